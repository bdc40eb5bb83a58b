//! What a route says about its connections once they are open.

use std::num::NonZeroU32;
#[cfg(any(fuzzing, test))]
use std::sync::Arc;
use std::time::Duration;

use crate::ws::{FrameLimits, InflateLimits};

/// The timers of a connection. `None` really is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timers {
    /// How often the proxy pings; off by default.
    pub ping_interval: Option<Duration>,
    /// Whether the client is pinged, when pings are on.
    pub ping_client: bool,
    /// Whether the upstream is pinged, when pings are on.
    pub ping_upstream: bool,
    /// How long a pong may take; off by default, then a silent peer is never closed for its silence.
    pub pong_timeout: Option<Duration>,
    /// How long a connection may carry no data message before it is closed with 1001; off by default. Pings and pongs
    /// are no activity.
    pub max_inactivity: Option<Duration>,
    /// How long a connection may live before it is closed with 1001, give or take 10 percent; off by default.
    pub max_lifetime: Option<Duration>,
    /// How long a message may take to come that is assembled for a filter, and a second more for each 64 KiB that have
    /// come of it; one that takes longer closes with 1008. The time stands still while nothing is read from its sender.
    /// 30 s by default: what a peer sends a byte at a time would be held for ever.
    pub message_timeout: Option<Duration>,
    /// How long a closing handshake, and the delivery of what is under way, may take.
    pub close_timeout: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            ping_interval: None,
            ping_client: true,
            ping_upstream: true,
            pong_timeout: None,
            max_inactivity: None,
            max_lifetime: None,
            message_timeout: Some(Duration::from_secs(30)),
            close_timeout: Duration::from_secs(5),
        }
    }
}

/// The size limits of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most a message may hold that is assembled for a filter; a larger one closes with 1009.
    pub max_message_size: usize,
    /// How many times its size a compressed message may inflate to whose payload a filter wants; one that inflates
    /// further closes with 1009. What stays within 32 KiB is never refused. Off by default: an honest message may
    /// inflate as far as deflate itself goes, some 1030 times, and `max_message_size` bounds what is held.
    pub max_compression_ratio: Option<u32>,
    /// Those on single frames, in any direction. The most payload that one may announce, beyond which it closes with
    /// 1009, is off by default: a relayed frame is never held, so its size costs nothing. How many fragments of less than
    /// 64 bytes a message may have, beyond which it closes with 1008, is 4096 by default: nobody needs so many, no filter
    /// sees them one by one, and those of more bytes are bounded by their bytes.
    pub frames: FrameLimits,
    /// How many pings and pongs one side may send in a second, in a burst of as many; one more closes with 1008. 100 by
    /// default: no filter sees them.
    pub control_frames_per_second: Option<NonZeroU32>,
}

impl Limits {
    /// None but on the size of messages.
    #[cfg(any(fuzzing, test))]
    pub(super) fn on_messages(max_message_size: usize) -> Arc<Self> {
        let frames = FrameLimits::default();
        Arc::new(Self { max_message_size, max_compression_ratio: None, frames, control_frames_per_second: None })
    }

    /// Those on inflating a message.
    pub(super) fn of_inflating(&self) -> InflateLimits {
        InflateLimits { max_size: self.max_message_size, max_ratio: self.max_compression_ratio }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_size: 16 << 20,
            max_compression_ratio: None,
            frames: FrameLimits { max_size: None, max_fragments: NonZeroU32::new(4096) },
            control_frames_per_second: NonZeroU32::new(100),
        }
    }
}
