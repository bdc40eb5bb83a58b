//! Exact counts of what crossed a socket, kept by the generator and by the echo server alike, for comparison with what
//! a proxy says it carried.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::frame::Opcode;

/// Messages of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Kinds {
    /// Whole text messages.
    pub text: u64,
    /// Whole binary messages.
    pub binary: u64,
    /// Pings.
    pub ping: u64,
    /// Pongs.
    pub pong: u64,
    /// Close frames.
    pub close: u64,
}

/// One direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Direction {
    /// Whole messages and control frames.
    pub messages: Kinds,
    /// Frames, control frames included.
    pub frames: u64,
    /// Payload bytes of text and binary messages.
    pub data_bytes: u64,
    /// Payload bytes of control frames.
    pub control_bytes: u64,
    /// Close frames by code; 1005 stands for an empty one.
    pub closes: BTreeMap<u16, u64>,
}

impl Direction {
    /// Counts a frame; the message of a data frame counts with its last frame, under the kind of its first.
    pub fn frame(&mut self, fin: bool, kind: Opcode, payload: u64) {
        self.frames += 1;
        if kind.is_control() {
            self.control_bytes += payload;
        } else {
            self.data_bytes += payload;
        }
        if !fin {
            return;
        }
        match kind {
            Opcode::Text => self.messages.text += 1,
            Opcode::Binary => self.messages.binary += 1,
            Opcode::Ping => self.messages.ping += 1,
            Opcode::Pong => self.messages.pong += 1,
            Opcode::Close => self.messages.close += 1,
            Opcode::Continuation => {}
        }
    }

    /// Counts the code of a close frame.
    pub fn close(&mut self, code: u16) {
        *self.closes.entry(code).or_default() += 1;
    }
}

/// Both directions and the handshakes, from one side's view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Opening handshakes completed.
    pub opened: u64,
    /// Those of them over a TLS session that was resumed.
    pub resumed: u64,
    /// Handshakes answered with something else than 101, by status.
    pub refused: BTreeMap<u16, u64>,
    /// What this side sent.
    pub sent: Direction,
    /// What this side received.
    pub received: Direction,
}
