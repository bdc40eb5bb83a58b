//! How long an answer may take to begin.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::upload::Upload;
use crate::reactor::{Sleep, sleep};

/// The time until the first byte of an answer. It begins anew while the body of the request moves.
#[derive(Debug)]
pub(super) struct Clock<'a> {
    limit: Duration,
    patience: Sleep,
    upload: &'a Upload,
    /// How much of the body had gone up when the time began.
    taken: u64,
}

impl<'a> Clock<'a> {
    pub(super) fn new(limit: Duration, upload: &'a Upload) -> Self {
        Self { limit, patience: sleep(limit), upload, taken: upload.taken() }
    }

    /// Ready when the time is over.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(Pin::new(&mut self.patience).poll(context));
            if self.upload.taken() == self.taken {
                return Poll::Ready(());
            }
            self.taken = self.upload.taken();
            self.patience.reset(Instant::now() + self.limit);
        }
    }
}
