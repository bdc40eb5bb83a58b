//! What a route says about its connections once they are open.

use std::time::Duration;

use crate::ws::InflateLimits;

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
            close_timeout: Duration::from_secs(5),
        }
    }
}

/// The size limits of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most a message may hold that is assembled for a filter; a larger one closes with 1009.
    pub max_message_size: usize,
    /// How many times its size a compressed message may inflate to when a filter reads it, or when those behind it
    /// need it inflated; one that does closes with 1009. What stays within 32 KiB is never refused. 200 by default:
    /// text rarely reaches 50, and deflate itself ends at 1030.
    pub max_compression_ratio: Option<u32>,
    /// The most payload a frame may announce, in any direction; a larger one closes with 1009. Off by default: a
    /// relayed frame is never held, so its size costs nothing.
    pub max_frame_size: Option<u64>,
}

impl Limits {
    /// Those on inflating a message.
    pub(super) fn of_inflating(&self) -> InflateLimits {
        InflateLimits { max_size: self.max_message_size, max_ratio: self.max_compression_ratio }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_message_size: 16 << 20, max_compression_ratio: Some(200), max_frame_size: None }
    }
}
