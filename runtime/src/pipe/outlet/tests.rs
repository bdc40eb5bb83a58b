//! What leaves an outlet, and in which order.

use std::time::Duration;

use super::*;

/// A socket that takes everything, and the outlet to it.
struct Way {
    outlet: Outlet,
    socket: Vec<u8>,
}

impl Way {
    fn new() -> Self {
        Self { outlet: Outlet::new(), socket: Vec::new() }
    }

    fn put(&mut self, bytes: &[u8], end: Boundary) {
        self.outlet.put(bytes, end);
    }

    /// Everything that has left so far.
    fn left(&mut self) -> &str {
        self.socket.extend_from_slice(self.outlet.unwritten_mut().map_or(&[], |unwritten| unwritten.bytes()));
        self.outlet.all_written();
        std::str::from_utf8(&self.socket).unwrap()
    }
}

fn after(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

#[test]
fn nothing_gets_past_a_gate_but_a_ping_and_a_reply() {
    let mut way = Way::new();
    way.put(b"a", Boundary::Message);
    way.outlet.shut(after(60));
    way.put(b"b", Boundary::Message);
    way.outlet.shut(after(30));
    way.put(b"c", Boundary::Message);
    way.outlet.insert_close(b"!".to_vec());
    way.outlet.insert_ping(b"?");
    way.outlet.messages().extend_from_slice(b"=");
    way.outlet.settle();
    assert_eq!(way.left(), "a?=");
    assert!(!way.outlet.open(after(0)));
    assert_eq!(way.left(), "a?=");
    // The second gate stands behind the first.
    assert!(!way.outlet.open(after(40)));
    assert_eq!(way.left(), "a?=");
    assert!(way.outlet.open(after(61)));
    way.put(b"d", Boundary::Message);
    assert_eq!(way.left(), "a?=bc!");
}

#[test]
fn there_is_one_close_frame_and_nothing_behind_it() {
    let mut way = Way::new();
    way.outlet.shut(after(60));
    way.put(b"theirs", Boundary::Message);
    way.outlet.seal();
    way.outlet.insert_close(b"ours".to_vec());
    way.put(b"more", Boundary::Message);
    way.outlet.release();
    way.put(b"more", Boundary::Message);
    way.outlet.insert_close(b"ours".to_vec());
    way.outlet.insert_ping(b"?");
    assert_eq!(way.left(), "theirs");
    assert!(way.outlet.is_closed() && !way.outlet.is_waiting());
}

#[test]
fn our_close_frame_waits_for_what_was_read_and_is_not_put_in_yet() {
    let mut way = Way::new();
    way.put(b"a", Boundary::Message);
    way.outlet.expect_more(true);
    way.outlet.insert_close(b"!".to_vec());
    way.put(b"b", Boundary::Message);
    assert_eq!(way.left(), "ab");
    way.outlet.expect_more(false);
    assert_eq!(way.left(), "ab!");
}

#[test]
fn a_place_that_comes_without_bytes_is_a_place() {
    let mut way = Way::new();
    way.put(b"frame", Boundary::Frame);
    way.outlet.messages().extend_from_slice(b"reply");
    way.outlet.settle();
    assert_eq!(way.left(), "frame");
    assert!(way.outlet.holds_messages());
    way.put(b"", Boundary::Message);
    assert_eq!(way.left(), "framereply");
    assert!(!way.outlet.holds_messages());
}

#[test]
fn what_is_held_back_can_be_forgotten() {
    let mut way = Way::new();
    way.put(b"a", Boundary::Message);
    way.outlet.shut(after(60));
    way.put(b"b", Boundary::Inside);
    way.outlet.forget();
    way.outlet.insert_close(b"!".to_vec());
    assert_eq!(way.left(), "a!");
}

#[test]
fn a_ping_has_left_when_the_socket_has_taken_it() {
    let mut way = Way::new();
    way.put(b"half a fra", Boundary::Inside);
    way.outlet.insert_ping(b"?");
    assert_eq!(way.left(), "half a fra");
    assert!(!way.outlet.take_pinged());
    way.put(b"me", Boundary::Message);
    assert!(!way.outlet.take_pinged());
    assert_eq!(way.left(), "half a frame?");
    assert!(way.outlet.take_pinged());
    assert!(!way.outlet.take_pinged());
}
