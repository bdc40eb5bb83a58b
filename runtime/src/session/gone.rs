//! Whether the listener of a connection is gone, which the connection outlives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Says so to all connections of a listener, on whatever worker they are; clones are about the same one.
#[derive(Clone, Debug, Default)]
pub struct Gone(Arc<AtomicBool>);

impl Gone {
    /// From now on it is. Those who wait for nothing have to be told, too.
    pub fn tell(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is.
    pub fn is_so(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
