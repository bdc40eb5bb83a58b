//! What a source says of one endpoint.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::balance::EndpointSpec;
use crate::duration;
use crate::upstream::Address;

/// An entry of a source.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Names it among the others of its source, over time.
    pub key: String,
    /// What it says; or why that cannot be read, as a sentence.
    pub endpoint: Result<EndpointSpec, String>,
}

/// An endpoint as sources write it: only where it is has to be said. What else is there is passed over, so that others may add to
/// it.
#[derive(Debug, Deserialize)]
pub(super) struct Record {
    pub(super) url: String,
    #[serde(default = "usual_weight")]
    pub(super) weight: u32,
    pub(super) warmup: Option<Time>,
    pub(super) started: Option<Moment>,
    #[serde(default = "usually")]
    pub(super) enabled: bool,
    pub(super) zone: Option<String>,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
}

/// A duration, `"30s"` or milliseconds.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Time {
    Milliseconds(u64),
    Text(String),
}

impl From<String> for Time {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// A moment, by RFC 3339 or in milliseconds of Unix time.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Moment {
    Milliseconds(u64),
    Text(String),
}

impl Entry {
    /// Reads a value that is JSON, an object or a string, or the bare url.
    pub fn read(key: impl Into<String>, value: &[u8]) -> Self {
        Self { key: key.into(), endpoint: read(value) }
    }

    /// One that was read as a record.
    pub(super) fn of(key: impl Into<String>, record: Record) -> Self {
        Self { key: key.into(), endpoint: record.endpoint() }
    }
}

fn read(value: &[u8]) -> Result<EndpointSpec, String> {
    let text = std::str::from_utf8(value).map_err(|_| "it is no UTF-8".to_owned())?.trim();
    match text.as_bytes().first() {
        None => Err("it is empty".to_owned()),
        Some(b'{') => {
            let record: Record = serde_json::from_str(text).map_err(|error| error.to_string())?;
            record.endpoint()
        }
        Some(b'"') => Record::at(serde_json::from_str(text).map_err(|error| error.to_string())?).endpoint(),
        Some(_) => Record::at(text.to_owned()).endpoint(),
    }
}

impl Record {
    /// An endpoint of which only that is known.
    pub(super) fn at(url: String) -> Self {
        Self {
            url,
            weight: usual_weight(),
            warmup: None,
            started: None,
            enabled: true,
            zone: None,
            metadata: BTreeMap::new(),
        }
    }

    /// It, as the upstream takes it.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence that quotes nothing that may be a secret.
    pub(super) fn endpoint(self) -> Result<EndpointSpec, String> {
        let Self { url, weight, warmup, started, enabled, zone, metadata } = self;
        let address = Address::parse(&url).map_err(|error| format!("its url {error}"))?;
        if weight > MOST_WEIGHT {
            return Err(format!("its weight {weight} is over {MOST_WEIGHT}"));
        }
        let warmup = match warmup {
            None => Duration::ZERO,
            Some(Time::Milliseconds(milliseconds)) => Duration::from_millis(milliseconds),
            Some(Time::Text(text)) if text == "off" => Duration::ZERO,
            Some(Time::Text(text)) => duration::parse(&text).map_err(|error| format!("its warmup {text:?} {error}"))?,
        };
        let started = match started {
            None => None,
            Some(Moment::Milliseconds(milliseconds)) => {
                SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds))
            }
            Some(Moment::Text(text)) => match OffsetDateTime::parse(&text, &Rfc3339) {
                Ok(moment) => Some(moment.into()),
                Err(_) => return Err(format!("its start {text:?} is no moment such as 2026-11-28T04:07:00Z")),
            },
        };
        let zone = zone.filter(|zone| !zone.is_empty());
        if let Some(zone) = zone.as_ref().filter(|zone| zone.len() > MOST_ZONE) {
            return Err(format!("its zone has {} bytes, and may have {MOST_ZONE}", zone.len()));
        }
        let size: usize = metadata.iter().map(|(name, text)| name.len() + text.len()).sum();
        if metadata.len() > MOST_METADATA || size > MOST_METADATA_SIZE {
            return Err(format!(
                "its metadata are {} names in {size} bytes, and may be {MOST_METADATA} in {MOST_METADATA_SIZE}",
                metadata.len()
            ));
        }
        let warmup = Some(warmup).filter(|warmup| !warmup.is_zero());
        Ok(EndpointSpec { address, weight, warmup, started, enabled, zone, metadata })
    }
}

fn usual_weight() -> u32 {
    100
}

fn usually() -> bool {
    true
}

/// The largest share of an endpoint.
pub const MOST_WEIGHT: u32 = 65_535;
/// The most bytes in the name of a zone.
pub const MOST_ZONE: usize = 128;
/// The most names in the metadata of an endpoint.
pub const MOST_METADATA: usize = 64;
/// The most bytes in its metadata, names and values. Every balancer instance is told it and may keep it: with ten thousand endpoints,
/// 40 of its 64 MiB.
pub const MOST_METADATA_SIZE: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_url_has_to_be_there() {
        for value in
            ["ws://127.0.0.1:9001", " 127.0.0.1:9001\n", "\"http://127.0.0.1:9001\"", r#"{"url":"127.0.0.1:9001"}"#]
        {
            let endpoint = read(value.as_bytes()).unwrap();
            assert_eq!(endpoint.address.url(), "ws://127.0.0.1:9001", "{value}");
            assert_eq!((endpoint.weight, endpoint.warmup, endpoint.enabled), (100, None, true), "{value}");
            assert_eq!((endpoint.started, endpoint.zone), (None, None), "{value}");
        }
    }

    #[test]
    fn everything_else_may_be_said_too_and_what_is_not_known_is_passed_over() {
        let value = r#"{
            "url": "wss://chat.internal/ws", "weight": 7, "warmup": "1m30s", "started": "2026-11-28T04:07:00Z", "enabled": false,
            "zone": "eu-1", "metadata": { "version": "2" }, "plugin": ["x"]
        }"#;
        let endpoint = read(value.as_bytes()).unwrap();
        let started = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_838_820);
        assert_eq!(endpoint.address.url(), "wss://chat.internal/ws");
        assert_eq!((endpoint.weight, endpoint.warmup), (7, Some(Duration::from_secs(90))));
        assert_eq!((endpoint.started, endpoint.enabled), (Some(started), false));
        assert_eq!(endpoint.zone.as_deref(), Some("eu-1"));
        assert_eq!(endpoint.metadata, BTreeMap::from([("version".to_owned(), "2".to_owned())]));
        let value = r#"{ "url": "a:1", "warmup": 1500, "started": 1795838820000 }"#;
        let endpoint = read(value.as_bytes()).unwrap();
        assert_eq!((endpoint.warmup, endpoint.started), (Some(Duration::from_millis(1500)), Some(started)));
    }

    #[test]
    fn what_cannot_be_read_says_why_without_a_secret() {
        let long = format!(r#"{{ "url": "a:1", "zone": "{}" }}"#, "x".repeat(129));
        let many = format!(r#"{{ "url": "a:1", "metadata": {{ "a": "{}" }} }}"#, "x".repeat(4096));
        for (value, why) in [
            ("", "it is empty"),
            ("ws://user:secret@a", "its url holds a user or a password"),
            ("ftp://a", "its url has the scheme \"ftp\", and an endpoint `ws`, `wss` or `unix`"),
            (r#"{ "weight": 1 }"#, "missing field `url` at line 1 column 15"),
            (r#"{ "url": "a:1", "weight": 65536 }"#, "its weight 65536 is over 65535"),
            (r#"{ "url": "a:1", "warmup": "5" }"#, "its warmup \"5\" is no duration: the units are d, h, m, s and ms"),
            (r#"{ "url": "a:1", "started": "now" }"#, "its start \"now\" is no moment such as 2026-11-28T04:07:00Z"),
            (&long, "its zone has 129 bytes, and may have 128"),
            (&many, "its metadata are 1 names in 4097 bytes, and may be 64 in 4096"),
        ] {
            assert_eq!(read(value.as_bytes()).unwrap_err(), why, "{value}");
        }
        assert_eq!(read(b"\xff").unwrap_err(), "it is no UTF-8");
    }
}
