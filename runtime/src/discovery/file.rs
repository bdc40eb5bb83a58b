//! Endpoints in a file of their own, watched.
//!
//! JSON, a list or `{ "endpoints": […] }`, or TOML with `endpoints = […]`, by the end of the file's name; an endpoint is a table, or
//! only its url.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::entry::{Entry, Record};
use super::report::{Lost, Report};
use crate::{background, file};

/// Reads the file whenever something has changed where it lies.
pub(super) async fn follow(path: &Path, report: &Report) -> Lost {
    let (changed, mut changes) = mpsc::channel(1);
    let _watcher = watch(path, changed);
    let mut before = None;
    loop {
        let bytes = match read(path.to_owned()).await {
            Ok(bytes) => bytes,
            Err(lost) => return lost,
        };
        if before.as_ref() != Some(&bytes) {
            match parse(path, &bytes) {
                Ok(entries) => report.found(entries).await,
                Err(why) => report.unreadable(why).await,
            }
            before = Some(bytes);
        }
        // Where nothing is told of changes, or not of all.
        let _ = timeout(LOOKED_AT_EVERY, changes.recv()).await;
        sleep(SETTLED).await;
        while changes.try_recv().is_ok() {}
    }
}

/// Has changes in the directory of the file told, as far as the system can: whoever replaces a file renames another.
fn watch(path: &Path, changed: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let told = move |_: notify::Result<notify::Event>| {
        // A full channel means that it is read anyway.
        let _ = changed.try_send(());
    };
    let mut watcher = notify::recommended_watcher(told).ok()?;
    watcher.watch(path.parent()?, RecursiveMode::NonRecursive).ok()?;
    Some(watcher)
}

/// What is in it, on a thread of its own: a file system may keep one waiting.
async fn read(path: PathBuf) -> Result<Vec<u8>, Lost> {
    let shown = path.display().to_string();
    let reading = background::run(move || file::read(&path, MOST));
    let read =
        timeout(PATIENCE, reading).await.map_err(|_| Lost::because(format!("{shown}: it cannot be read in time")))?;
    let read = read.map_err(Lost::because)?;
    read.map_err(|error| Lost::because(format!("{shown}: {error}")))
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let is_toml = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("toml"));
    let whole = if is_toml { toml(bytes) } else { serde_json::from_slice(bytes).map_err(|error| error.to_string()) };
    let entries = whole.and_then(entries);
    entries.map_err(|why| format!("{}: {why}", path.display()))
}

fn toml(bytes: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no UTF-8".to_owned())?;
    toml::from_str(text).map_err(|error| error.message().to_owned())
}

/// All of them, or the first that makes no sense: all was written at once, and no part of it is believed where another is wrong.
fn entries(whole: Value) -> Result<Vec<Entry>, String> {
    let listed = match whole {
        Value::Array(listed) => Some(listed),
        Value::Object(mut table) => match table.remove("endpoints") {
            Some(Value::Array(listed)) => Some(listed),
            _ => None,
        },
        _ => None,
    };
    let listed = listed.ok_or_else(|| "it is no list of endpoints, and has none as `endpoints`".to_owned())?;
    let entry = |(place, one): (usize, Value)| {
        let key = format!("endpoint {}", place + 1);
        let record = match one {
            Value::String(url) => Ok(Record::at(url)),
            one => serde_json::from_value(one).map_err(|error| error.to_string()),
        };
        let endpoint = record.and_then(Record::endpoint).map_err(|why| format!("{key}: {why}"))?;
        Ok(Entry { key, endpoint: Ok(endpoint) })
    };
    listed.into_iter().enumerate().map(entry).collect()
}

/// Twenty thousand endpoints with all that may be said of them.
const MOST: u64 = 64 << 20;
/// A change is seen within this time where the system tells of none.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(5);
/// Who writes a file in pieces has most often done so by then.
const SETTLED: Duration = Duration::from_millis(20);
/// No file system that is well takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_makes_no_sense_is_named_and_nothing_of_the_file_counts() {
        let read = |name: &str, text: &str| parse(Path::new(name), text.as_bytes());
        let urls = |name, text| -> Vec<String> {
            let endpoints = read(name, text).unwrap().into_iter().map(|entry| entry.endpoint.unwrap());
            endpoints.map(|endpoint| endpoint.address.url().to_owned()).collect()
        };
        for (name, text) in [
            ("a.json", r#"["h:1", { "url": "h:2" }]"#),
            ("a.json", r#"{ "endpoints": ["h:1", { "url": "h:2" }] }"#),
            ("a.toml", "endpoints = ['h:1', { url = 'h:2', weight = 7 }]"),
        ] {
            assert_eq!(urls(name, text), ["ws://h:1", "ws://h:2"], "{text}");
        }
        for (name, text, why) in [
            ("a.json", "{}", "a.json: it is no list of endpoints, and has none as `endpoints`"),
            ("a.json", "[1]", "a.json: endpoint 1: invalid type: integer `1`, expected struct Record"),
            (
                "a.json",
                r#"["h:1", { "url": "h:2", "weight": "x" }]"#,
                "a.json: endpoint 2: invalid type: string \"x\", expected u32",
            ),
            ("a.json", r#"[{ "weight": 1 }]"#, "a.json: endpoint 1: missing field `url`"),
            (
                "a.toml",
                "endpoints = ['ftp://h']",
                "a.toml: endpoint 1: its url has the scheme \"ftp\", and an endpoint `ws`, `wss` or `unix`",
            ),
        ] {
            assert_eq!(read(name, text).unwrap_err(), why, "{text}");
        }
    }
}
