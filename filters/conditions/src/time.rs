//! Points in time as `timeBefore` and `timeAfter` write them: RFC 3339 with an offset, or `yyyy-MM-dd HH:mm:ss`,
//! which is UTC here.
//!
//! There is no local time: what a condition means must not depend on the machine that reads it.

use std::time::Duration;

/// A point in time, comparable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time {
    /// Seconds since 1970-01-01T00:00:00Z.
    seconds: i64,
    nanoseconds: u32,
}

impl Time {
    /// A time from what the host's wall clock tells.
    pub(crate) fn from_unix(since_epoch: Duration) -> Self {
        let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
        Self { seconds, nanoseconds: since_epoch.subsec_nanos() }
    }

    /// `None` when `text` is no time in one of the two forms.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut text = Reader(text.as_bytes());
        let year = text.number(4)?;
        text.one_of(b"-")?;
        let month = text.number(2)?;
        text.one_of(b"-")?;
        let day = text.number(2)?;
        let separator = text.one_of(b"Tt ")?;
        let hour = text.number(2)?;
        text.one_of(b":")?;
        let minute = text.number(2)?;
        text.one_of(b":")?;
        // 60 is a leap second, which unix time folds into the next one.
        let second = text.number(2)?;
        if !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
            return None;
        }
        if hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let nanoseconds = text.fraction()?;
        let offset = if text.0.is_empty() && separator == b' ' { 0 } else { text.offset_seconds()? };
        if !text.0.is_empty() {
            return None;
        }
        let seconds = ((days_since_epoch(year, month, day) * 24 + hour) * 60 + minute) * 60 + second - offset;
        Some(Self { seconds, nanoseconds })
    }
}

/// What is left of a text.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn one_of(&mut self, allowed: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        allowed.contains(first).then_some(*first)
    }

    fn digit(&mut self) -> Option<i64> {
        self.one_of(b"0123456789").map(|digit| i64::from(digit - b'0'))
    }

    fn number(&mut self, digits: u32) -> Option<i64> {
        (0..digits).try_fold(0, |number, _| Some(number * 10 + self.digit()?))
    }

    /// Nanoseconds; digits past the ninth are cut off.
    fn fraction(&mut self) -> Option<u32> {
        if self.0.first() != Some(&b'.') {
            return Some(0);
        }
        self.one_of(b".")?;
        let (mut nanoseconds, mut unit) = (0, 100_000_000);
        while let Some(digit) = self.0.first().filter(|byte| byte.is_ascii_digit()) {
            nanoseconds += u32::from(digit - b'0') * unit;
            unit /= 10;
            self.digit()?;
        }
        // A point without a digit after it.
        (unit < 100_000_000).then_some(nanoseconds)
    }

    fn offset_seconds(&mut self) -> Option<i64> {
        let sign = match self.one_of(b"Zz+-")? {
            b'+' => 1,
            b'-' => -1,
            _ => return Some(0),
        };
        let hours = self.number(2)?;
        self.one_of(b":")?;
        let minutes = self.number(2)?;
        (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60)
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, for years from 0 on.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let leap_days_before = |year: i64| match year {
        0 => 0,
        year => (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400 + 1,
    };
    let in_earlier_years = year * 365 + leap_days_before(year) - (1970 * 365 + leap_days_before(1970));
    let in_earlier_months: i64 = (1..month).map(|month| days_in_month(year, month)).sum();
    in_earlier_years + in_earlier_months + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<i64> {
        Time::parse(text).map(|time| time.seconds)
    }

    #[test]
    fn both_forms_name_the_same_instant() {
        for text in [
            "2026-11-20 10:31:00",
            "2026-11-20T10:31:00Z",
            "2026-11-20t10:31:00z",
            "2026-11-20 10:31:00Z",
            "2026-11-20T12:31:00+02:00",
            "2026-11-20T05:01:00-05:30",
            "2026-11-20T10:31:00.000Z",
            "2026-11-20T10:30:60Z",
        ] {
            assert_eq!(seconds(text), Some(1_795_170_660), "{text}");
        }
    }

    #[test]
    fn dates_are_counted_as_the_calendar_does() {
        for (text, expected) in [
            ("1970-01-01 00:00:00", 0),
            ("1969-12-31 23:59:59", -1),
            ("2000-02-29 00:00:00", 951_782_400),
            ("2000-03-01 00:00:00", 951_868_800),
            ("2100-03-01 00:00:00", 4_107_542_400),
            ("0000-01-01 00:00:00", -62_167_219_200),
            ("9999-12-31 23:59:59", 253_402_300_799),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_fraction_orders_times_within_a_second() {
        let time = |text| Time::parse(text).expect("a time");

        assert!(time("2026-01-01T00:00:00.5Z") > time("2026-01-01T00:00:00.499999999999Z"));
        assert_eq!(time("1970-01-01T00:00:01.25Z"), Time::from_unix(Duration::from_millis(1_250)));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "2026-11-20",
            "2026-11-20T10:31:00",
            "2026-11-20 10:31",
            "2026-13-20 10:31:00",
            "2026-00-20 10:31:00",
            "2026-02-29 00:00:00",
            "2100-02-29 00:00:00",
            "2026-11-20 24:00:00",
            "2026-11-20 10:60:00",
            "2026-11-20 10:31:61",
            "2026-11-20T10:31:00.Z",
            "2026-11-20T10:31:00+2",
            "2026-11-20T10:31:00+24:00",
            "2026-11-20T10:31:00Zx",
            "+026-11-20 10:31:00",
            "１970-01-01 00:00:00",
        ] {
            assert_eq!(seconds(text), None, "{text:?}");
        }
    }
}
