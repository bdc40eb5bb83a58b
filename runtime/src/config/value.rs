//! The values that keys take: durations, sizes, counts, choices, names, addresses.
//!
//! Each reader names what it expects and an example, so that a refusal always says what to write instead.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    time::Duration,
};

use http::HeaderName;
use toml::de::DeValue;

use super::reader::{Fault, Read, Value, quoted};
use super::types::MemorySize;
use crate::duration;
use crate::http::field_names::is_owned;
use crate::listener::{Address, InvalidAddress};

/// A duration above zero.
pub(super) fn duration(value: &Value<'_>) -> Read<Duration> {
    match duration_or_off(value)? {
        Some(duration) => Ok(duration),
        None => Err(value.refuse("this time cannot be off", "write a duration above zero, such as \"5s\"")),
    }
}

/// A duration; zero and `"off"` are none.
pub(super) fn duration_or_off(value: &Value<'_>) -> Read<Option<Duration>> {
    let duration = match value.node() {
        DeValue::Integer(integer) if integer.as_str() == "0" => Duration::ZERO,
        DeValue::Integer(integer) => {
            let advice = format!("write \"{integer}s\" for seconds, \"{integer}ms\" for milliseconds");
            return Err(value.refuse(format!("the duration `{integer}` has no unit"), advice));
        }
        DeValue::String(text) if text == "off" => Duration::ZERO,
        _ => value.parsed("a duration", "write text such as \"10s\"", parse_duration)?,
    };
    Ok((!duration.is_zero()).then_some(duration))
}

/// A size in bytes above zero.
pub(super) fn size(value: &Value<'_>) -> Read<u64> {
    let size = match value.node() {
        DeValue::Integer(_) => whole(value, 0..=MAX_SIZE, "a size", "write text such as \"16MiB\", or bytes")?,
        _ => value.parsed("a size", "write text such as \"16MiB\", or bytes", parse_size)?,
    };
    if size == 0 {
        return Err(value.refuse("a size of zero lets nothing pass", "write a size above zero, such as \"16MiB\""));
    }
    Ok(size)
}

/// A size in bytes within bounds that are themselves written as sizes.
pub(super) fn size_within(value: &Value<'_>, least: (u64, &str), most: (u64, &str)) -> Read<usize> {
    let size = size(value)?;
    match usize::try_from(size) {
        Ok(bytes) if (least.0..=most.0).contains(&size) => Ok(bytes),
        _ => Err(value.refuse(
            format!("{size} bytes is outside of what is possible"),
            format!("write a size from \"{}\" to \"{}\"", least.1, most.1),
        )),
    }
}

/// A size; `"off"` is none.
pub(super) fn size_or_off(value: &Value<'_>) -> Read<Option<u64>> {
    if is_off(value) { Ok(None) } else { size(value).map(Some) }
}

/// An amount of memory in bytes, or a share of what there is.
pub(super) fn memory_size(value: &Value<'_>) -> Read<MemorySize> {
    const ADVICE: &str = "write text such as \"256MiB\" or \"10%\"";
    match value.node().as_str().and_then(|text| text.strip_suffix('%')) {
        None => size(value).map(MemorySize::Bytes),
        Some(percent) => match percent.parse() {
            Ok(percent @ 1..=100) => Ok(MemorySize::Percent(percent)),
            _ => Err(value.refuse(format!("\"{percent}%\" is no share from 1% to 100%"), ADVICE)),
        },
    }
}

/// A whole number within bounds.
pub(super) fn count(value: &Value<'_>, bounds: RangeInclusive<u32>) -> Read<u32> {
    let advice = format!("write a whole number from {} to {}", bounds.start(), bounds.end());
    let wide = u64::from(*bounds.start())..=u64::from(*bounds.end());
    let number = whole(value, wide, "a whole number", &advice)?;
    u32::try_from(number).map_err(|_| value.refuse("this number is too large", advice))
}

/// A whole number above zero; `"off"` is none. Zero could mean both "none" and "no limit", so it is refused.
pub(super) fn count_or_off(value: &Value<'_>) -> Read<Option<u32>> {
    if is_off(value) {
        return Ok(None);
    }
    if matches!(value.node(), DeValue::Integer(integer) if integer.as_str() == "0") {
        return Err(value.refuse("zero could mean both none and no limit", "write \"off\" for no limit"));
    }
    count(value, 1..=u32::MAX).map(Some)
}

/// `true` or `false`.
pub(super) fn boolean(value: &Value<'_>) -> Read<bool> {
    value.node().as_bool().ok_or_else(|| value.mistyped("`true` or `false`", "write `true` or `false`, without quotes"))
}

/// One of a few words.
pub(super) fn choice<T: Copy>(value: &Value<'_>, choices: &[(&str, T)]) -> Read<T> {
    let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    let advice = format!("write {}", words.join(" or "));
    let text = value.string("text", &advice)?;
    let found = choices.iter().find(|(word, _)| *word == text);
    found
        .map(|(_, choice)| *choice)
        .ok_or_else(|| value.refuse(format!("{} is not a choice here", quoted(text)), advice))
}

/// A name that is fit for a metric label and a path of the admin API.
pub(super) fn name(value: &Value<'_>) -> Read<String> {
    value.parsed("a name", "write text such as \"chat\"", |text| parse_name(text).map(str::to_owned))
}

/// See [`name`].
pub(super) fn parse_name(text: &str) -> Result<&str, Fault> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=64).contains(&text.len()) && text.bytes().all(fits) {
        Ok(text)
    } else {
        Err(Fault::new(format!("{} is no name", quoted(text)), "use 1 to 64 of the characters a-z A-Z 0-9 - _ ."))
    }
}

/// An address to listen on.
pub(super) fn listen(value: &Value<'_>) -> Read<Address> {
    if !value.node().as_str().is_some_and(|text| text.starts_with("unix:")) {
        return address(value).map(Address::Socket);
    }
    value.parsed("an address", UNIX_ADVICE, |text| {
        let fault =
            |what: InvalidAddress| Fault::new(format!("{} is no unix socket: {what}", quoted(text)), UNIX_ADVICE);
        text.parse().map_err(fault)
    })
}

const UNIX_ADVICE: &str = "write a path such as \"unix:/run/tidegate.sock\"";

/// An IP address and a port to listen on.
pub(super) fn address(value: &Value<'_>) -> Read<SocketAddr> {
    value.parsed("an address", "write an address with a port, such as \"0.0.0.0:8080\"", |text| {
        text.parse().map_err(|_| {
            let port = text.rsplit(':').next().filter(|port| port.parse::<u16>().is_ok());
            let advice = match (text.rsplit_once(':').map(|(host, _)| host), port, text.parse::<IpAddr>()) {
                (_, _, Ok(IpAddr::V4(host))) => format!("add a port, such as \"{host}:8080\""),
                (_, _, Ok(IpAddr::V6(host))) => format!("add a port, such as \"[{host}]:8080\""),
                (Some("localhost"), Some(port), _) => format!("write \"127.0.0.1:{port}\""),
                (Some("" | "*") | None, Some(port), _) => format!("write \"0.0.0.0:{port}\" for all addresses"),
                _ => "write an IP address with a port, such as \"0.0.0.0:8080\" or \"[::]:8080\"".to_owned(),
            };
            Fault::new(format!("{} is no address to listen on", quoted(text)), advice)
        })
    })
}

/// The name of an end-to-end header field.
pub(super) fn header(value: &Value<'_>) -> Read<HeaderName> {
    value.parsed("the name of a header", "write text such as \"x-group-id\"", parse_header)
}

/// See [`header`].
pub(super) fn parse_header(text: &str) -> Result<HeaderName, Fault> {
    let name = HeaderName::try_from(text).map_err(|_| {
        Fault::new(format!("{} is no header name", quoted(text)), "write a name such as \"x-group-id\"")
    })?;
    if is_owned(name.as_str()) {
        return Err(Fault::new(format!("the proxy itself owns the header `{name}`"), "choose another header"));
    }
    Ok(name)
}

/// The largest size: what TOML integers hold.
const MAX_SIZE: u64 = i64::MAX.cast_unsigned();

fn is_off(value: &Value<'_>) -> bool {
    value.node().as_str() == Some("off")
}

fn whole(value: &Value<'_>, bounds: RangeInclusive<u64>, expected: &str, advice: &str) -> Read<u64> {
    let DeValue::Integer(integer) = value.node() else {
        return Err(value.mistyped(expected, advice));
    };
    match u64::from_str_radix(integer.as_str(), integer.radix()) {
        Ok(number) if bounds.contains(&number) => Ok(number),
        _ => Err(value.refuse(format!("`{integer}` is out of range"), advice)),
    }
}

/// Reads a duration as people write it.
pub(super) fn parse_duration(text: &str) -> Result<Duration, Fault> {
    duration::parse(text).map_err(|error| Fault::new(format!("{} {error}", quoted(text)), duration::ADVICE))
}

/// Reads `16MiB`, `1MB`, `4096`.
pub(super) fn parse_size(text: &str) -> Result<u64, Fault> {
    const UNITS: [(&str, u64); 9] = [
        ("", 1),
        ("B", 1),
        ("kB", 1_000),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
    ];
    let fault = || {
        Fault::new(
            format!("{} is no size", quoted(text)),
            "write a whole number with B, KB, MB, GB, KiB, MiB or GiB, such as \"16MiB\"",
        )
    };
    let (number, unit) = split_number(text).ok_or_else(fault)?;
    let (_, bytes) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(fault)?;
    number.checked_mul(*bytes).filter(|size| *size <= MAX_SIZE).ok_or_else(fault)
}

/// The digits that a text starts with, and the rest.
fn split_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_units() {
        let milliseconds = |text| parse_duration(text).ok().map(|duration| duration.as_millis());
        let read = ["10s", "1m30s", "500ms", "0", "0s", "1d2h3m4s5ms", "365d"].map(milliseconds);
        assert_eq!(
            read,
            [Some(10_000), Some(90_000), Some(500), Some(0), Some(0), Some(93_784_005), Some(31_536_000_000)]
        );
        for refused in ["", "s", "10", "1.5s", "-1s", "30s1m", "1s1s", "1y", "366d", "99999999999999999999s", "10 s"] {
            assert_eq!(milliseconds(refused), None, "{refused:?}");
        }
    }

    #[test]
    fn sizes_are_decimal_or_binary() {
        let read = ["16MiB", "1MB", "4096", "1kB", "1KiB", "2GiB", "7B"].map(|text| parse_size(text).ok());
        assert_eq!(read, [Some(16 << 20), Some(1_000_000), Some(4096), Some(1000), Some(1024), Some(2 << 30), Some(7)]);
        for refused in ["", "MiB", "1.5MB", "-1", "1mb", "1 MB", "99999999999GiB"] {
            assert!(parse_size(refused).is_err(), "{refused:?}");
        }
    }
}
