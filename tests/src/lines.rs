//! The lines a process writes, kept as JSON and awaited.

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::watch;

use crate::within;

/// All lines of one stream so far. A line that is not JSON is kept as a JSON string.
#[derive(Clone, Debug)]
pub struct Lines {
    seen: watch::Receiver<Vec<Value>>,
}

impl Lines {
    /// Reads a stream to its end in the background.
    pub fn of(stream: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let (sender, seen) = watch::channel(Vec::new());
        tokio::spawn(async move {
            let mut lines = BufReader::new(stream).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                sender.send_modify(|seen| seen.push(value));
            }
        });
        Self { seen }
    }

    /// The lines so far.
    pub fn so_far(&self) -> Vec<Value> {
        self.seen.borrow().clone()
    }

    /// Waits for a line that `wanted` accepts, past or future.
    ///
    /// # Panics
    /// When none comes, with all lines that did.
    pub async fn find(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.try_find(&wanted).await.unwrap_or_else(|| panic!("no line is {what}: {:#?}", self.so_far()))
    }

    /// Waits until there are `count` lines that `wanted` accepts.
    pub async fn many(&self, count: usize, wanted: impl Fn(&Value) -> bool) {
        let mut seen = self.seen.clone();
        let enough = seen.wait_for(|lines| lines.iter().filter(|line| wanted(line)).count() >= count);
        if within("lines", enough).await.is_err() {
            panic!("the stream ended before the line {count} of its kind: {:#?}", self.so_far());
        }
    }

    /// Waits until there are `count` lines, and gives them.
    pub async fn at_least(&self, count: usize) -> Vec<Value> {
        let mut seen = self.seen.clone();
        let lines = within("lines", seen.wait_for(|lines| lines.len() >= count)).await.map(|lines| lines.clone());
        lines.unwrap_or_else(|_| panic!("the stream ended before its line {count}: {:#?}", self.so_far()))
    }

    /// As [`Lines::find`]; `None` when the stream ends first.
    pub async fn try_find(&self, wanted: &impl Fn(&Value) -> bool) -> Option<Value> {
        let mut seen = self.seen.clone();
        let waiting = async {
            let lines = seen.wait_for(|lines| lines.iter().any(wanted)).await.ok()?;
            lines.iter().find(|line| wanted(line)).cloned()
        };
        tokio::time::timeout(crate::DEADLINE, waiting).await.ok().flatten()
    }
}

/// A text field of an operational log line; empty when there is none.
pub(crate) fn field<'a>(line: &'a Value, name: &str) -> &'a str {
    line.get(name).and_then(Value::as_str).unwrap_or_default()
}
