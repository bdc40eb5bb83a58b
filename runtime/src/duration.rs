//! Durations as people write them.

use std::time::Duration;

use thiserror::Error;

/// Why a text is no duration, as the end of a sentence that begins with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoDuration {
    /// It does not consist of numbers with units.
    #[error("is no duration")]
    Malformed,
    /// A unit is none.
    #[error("is no duration: the units are d, h, m, s and ms")]
    Unit,
    /// Its units are in another order.
    #[error("is no duration: the largest unit comes first, and each only once")]
    Order,
    /// Nobody can count it.
    #[error("is no duration: it is too long")]
    Endless,
    /// It is longer than anything here may take.
    #[error("is no duration: it is longer than 365 days")]
    TooLong,
}

/// What to write instead.
pub const ADVICE: &str = "write numbers with units, such as \"1m30s\" or \"500ms\"";

/// Reads `1h`, `1m30s`, `500ms`: whole numbers with units, largest unit first, at most 365 days in all; or `0`.
///
/// # Errors
/// When it is written in another way.
pub fn parse(text: &str) -> Result<Duration, NoDuration> {
    const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| NoDuration::Malformed)?;
        let letters = after.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        if !UNITS.iter().any(|(name, _)| *name == unit) {
            return Err(NoDuration::Unit);
        }
        let (_, milliseconds) = units.find(|(name, _)| *name == unit).ok_or(NoDuration::Order)?;
        let added = number.checked_mul(*milliseconds).and_then(|part| total.checked_add(part));
        total = added.ok_or(NoDuration::Endless)?;
        rest = after;
    }
    match total {
        0 if text.is_empty() => Err(NoDuration::Malformed),
        0..=31_536_000_000 => Ok(Duration::from_millis(total)),
        _ => Err(NoDuration::TooLong),
    }
}
