//! What a source says, on the way to who follows it.

use std::fmt;

use tokio::sync::mpsc;

use super::entry::Entry;

/// Where a source says what it has found.
#[derive(Debug)]
pub(super) struct Report(mpsc::Sender<Said>);

/// What a source has to say.
#[derive(Debug)]
pub(super) enum Said {
    /// All that there is.
    Found(Vec<Entry>),
    /// All that there is could not be read, and this is why; the source goes on.
    Unreadable(String),
}

/// Why a source cannot go on, as a sentence without secrets.
#[derive(Debug)]
pub(super) struct Lost(String);

impl Report {
    /// One, and where what is said arrives.
    pub(super) fn new() -> (Self, mpsc::Receiver<Said>) {
        let (sender, said) = mpsc::channel(1);
        (Self(sender), said)
    }

    /// All endpoints that there are now; what is not among them is gone. To be said when the source was reached, even if nothing is
    /// another than before.
    pub(super) async fn found(&self, entries: Vec<Entry>) {
        // Who follows no more drops the source, too.
        let _ = self.0.send(Said::Found(entries)).await;
    }

    /// That what is there makes no sense as a whole. What was found before stays.
    pub(super) async fn unreadable(&self, why: String) {
        let _ = self.0.send(Said::Unreadable(why)).await;
    }
}

impl Lost {
    /// It cannot, because.
    pub(super) fn because(why: impl fmt::Display) -> Self {
        Self(why.to_string())
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
