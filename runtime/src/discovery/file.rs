//! Endpoints in a file of their own, watched.
//!
//! JSON, a list or `{ "endpoints": […] }`, or TOML with `endpoints = […]`, by the end of the file's name; an endpoint is a table, or
//! only its url.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::entry::{Entry, Record};
use super::report::{Lost, Report};
use crate::{background, file};

/// An endpoint, as a file has it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Listed {
    Url(String),
    Record(Record),
}

#[derive(Debug, Deserialize)]
struct Table {
    endpoints: Vec<Listed>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    List(Vec<Listed>),
    Table(Table),
}

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
    let whole = if is_toml { toml(bytes) } else { json(bytes) };
    let listed = whole.map_err(|why| format!("{}: {why}", path.display()))?;
    let mut entries = Vec::with_capacity(listed.len());
    for (place, listed) in listed.into_iter().enumerate() {
        let record = match listed {
            Listed::Url(url) => Record::at(url),
            Listed::Record(record) => record,
        };
        let entry = Entry::of(format!("endpoint {}", place + 1), record);
        // All of it was written at once: no part of it is believed where another makes no sense.
        if let Err(why) = &entry.endpoint {
            return Err(format!("{}: {}: {why}", path.display(), entry.key));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn json(bytes: &[u8]) -> Result<Vec<Listed>, String> {
    let content = serde_json::from_slice(bytes).map_err(|error| match error.is_data() {
        true => "it is no list of endpoints, each its url or a table with a `url`".to_owned(),
        false => error.to_string(),
    })?;
    Ok(match content {
        Content::List(listed) | Content::Table(Table { endpoints: listed }) => listed,
    })
}

fn toml(bytes: &[u8]) -> Result<Vec<Listed>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no UTF-8".to_owned())?;
    let Table { endpoints } = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    Ok(endpoints)
}

/// Twenty thousand endpoints with all that may be said of them.
const MOST: u64 = 64 << 20;
/// A change is seen within this time where the system tells of none.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(5);
/// Who writes a file in pieces has most often done so by then.
const SETTLED: Duration = Duration::from_millis(20);
/// No file system that is well takes longer.
const PATIENCE: Duration = Duration::from_secs(10);
