//! What a peer's bytes cost grows with their number and no faster, whatever they say.

use super::compressed::{Route, Say, taken};
use crate::component::Need;
use crate::peer::{MessageKind, Side};
use crate::pipe::carry::Carry;
use crate::pipe::emit::{encode, encode_frame};
use crate::pipe::scratch::Scratch;
use crate::ws::{FrameHeader, InflateLimits, Opcode, SlidingWindow, cost};

/// What a peer says: so many bytes of it, or a few more.
type Family = (&'static str, fn(usize) -> Vec<u8>);

/// Each is the most laborious of its kind that anyone has thought of.
const FAMILIES: [Family; 9] = [
    ("empty final blocks", |size| message(&[3, 0].repeat(size / 2))),
    ("empty stored blocks", |size| message(&[0, 0, 0, 0xff, 0xff].repeat(size / 5))),
    ("empty dynamic blocks", |size| message(&dynamic(size / DYNAMIC_BYTES))),
    ("zeros", |size| message(&zeros(size))),
    ("messages of zeros", |size| message(&zeros(1000)).repeat(size / 1000)),
    ("final blocks, each in a message", |size| message(&[3, 0]).repeat(size / 4)),
    ("final blocks, each in a fragment", |size| fragments(&[3, 0], size / 4)),
    ("a byte in each fragment", |size| fragments(b"\x00", size / 3)),
    ("empty fragments", |size| fragments(b"", size / 2)),
];

const ROUTES: [(Option<Need>, bool); 8] = [
    (Some(Need::Whole), true),
    (Some(Need::Whole), false),
    (Some(Need::Head(1 << 20)), true),
    (Some(Need::Head(1 << 20)), false),
    (Some(Need::Head(4)), true),
    (Some(Need::Head(4)), false),
    (Some(Need::Nothing), true),
    (None, true),
];

/// Deflate makes 1032 bytes of one; each is written, and may be kept for later and deflated anew.
const MOST_OF_A_BYTE: u64 = 4 * 1032;

fn message(payload: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    let header = FrameHeader { reserved: FrameHeader::RSV1, ..FrameHeader::new(Opcode::Binary, 0) };
    encode_frame(header, payload, Side::Client, &mut wire);
    wire
}

/// A message in fragments that carry the same.
fn fragments(payload: &[u8], count: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    let header = FrameHeader { fin: false, reserved: FrameHeader::RSV1, ..FrameHeader::new(Opcode::Binary, 0) };
    encode_frame(header, payload, Side::Client, &mut wire);
    for _ in 0..count {
        encode(Opcode::Continuation, false, payload, Side::Client, &mut wire);
    }
    encode(Opcode::Continuation, true, b"", Side::Client, &mut wire);
    wire
}

/// What deflate makes of very many zeros: so many bytes.
fn zeros(size: usize) -> Vec<u8> {
    let mut compressed = Vec::with_capacity(size + 1000);
    let mut state = flate2::Compress::new_with_window_bits(flate2::Compression::best(), false, 15);
    state.compress_vec(&vec![0; size * 1030], &mut compressed, flate2::FlushCompress::Sync).unwrap();
    compressed
}

/// Blocks with Huffman codes of their own that hold nothing but their end (RFC 1951 section 3.2.7): code lengths of which
/// only that of the end and one distance are not zero.
fn dynamic(count: usize) -> Vec<u8> {
    let mut bits = Bits::default();
    for _ in 0..count {
        bits.put(0, 1);
        bits.put(2, 2);
        // 257 literals and lengths, one distance, 18 code lengths.
        bits.put(0, 5);
        bits.put(0, 5);
        bits.put(14, 4);
        // In the order of the RFC: 16, 17, 18, 0, 8, ... 1. One bit each for 18 and 1.
        for symbol in [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1] {
            bits.put(u32::from(symbol == 18 || symbol == 1), 3);
        }
        // 138 and 118 zeros, then a length of one for the end and for the distance. The shorter symbol comes first.
        bits.put(1, 1);
        bits.put(138 - 11, 7);
        bits.put(1, 1);
        bits.put(118 - 11, 7);
        bits.put(0, 1);
        bits.put(0, 1);
        // The end.
        bits.put(0, 1);
    }
    bits.finish()
}

/// About as many as such a block has.
const DYNAMIC_BYTES: usize = 12;

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    held: u32,
    count: u32,
}

impl Bits {
    fn put(&mut self, value: u32, count: u32) {
        self.held |= value << self.count;
        self.count += count;
        while self.count >= 8 {
            self.bytes.push(self.held.to_le_bytes()[0]);
            self.held >>= 8;
            self.count -= 8;
        }
    }

    /// Ends with an empty stored block, as a flush does, without the lengths that a message is stripped of.
    fn finish(mut self) -> Vec<u8> {
        self.put(0, 3);
        if self.count > 0 {
            self.put(0, 8 - self.count);
        }
        self.bytes
    }
}

/// What it costs to take these bytes through a walk and back to the wire, some at a time; the filter drops or forwards.
fn spent(wire: &[u8], wanted: Option<Need>, takeover: bool, piece: usize, say: Say) -> u64 {
    let limits = InflateLimits { max_size: 16 << 20, max_ratio: None };
    let window = SlidingWindow { bits: 15, takeover };
    let route = Route { from: Side::Upstream, window, wanted: [wanted; MessageKind::COUNT], limits };
    let pieces: Vec<&[u8]> = wire.chunks(piece).collect();
    let says = vec![say; wire.len()];
    cost::of(|| {
        // It may be refused, which costs less.
        let _ = taken(route, &pieces, &says);
    })
}

#[test]
fn no_bytes_cost_more_than_their_number_times_what_deflate_makes_of_one() {
    for (family, wire) in FAMILIES {
        let wires = [1 << 12, 1 << 14].map(wire);
        for (wanted, takeover) in ROUTES {
            for (piece, say) in [(1 << 18, Say::Forward), (1 << 18, Say::Drop), (100, Say::Forward)] {
                let [small, large] =
                    wires.each_ref().map(|wire| (wire.len() as u64, spent(wire, wanted, takeover, piece, say)));
                let told = format!("{family}, {wanted:?}, takeover {takeover}, {piece} at a time, {say:?}");
                assert!(large.1 <= large.0 * MOST_OF_A_BYTE, "{told}: {large:?}");
                // Four times as many may cost four times as much.
                assert!(large.1 <= 5 * small.1 + (1 << 20), "{told}: {small:?} and {large:?}");
            }
        }
    }
}

#[test]
fn only_bytes_that_inflate_to_much_cost_much() {
    for (family, wire) in FAMILIES.into_iter().filter(|(family, _)| !family.contains("zeros")) {
        let wire = wire(1 << 15);
        for (wanted, takeover) in ROUTES {
            let spent = spent(&wire, wanted, takeover, 1 << 18, Say::Forward);
            let most = 300 * wire.len() as u64;
            assert!(spent <= most, "{family}, {wanted:?}, takeover {takeover}: {spent} for {} bytes", wire.len());
        }
    }
}

#[test]
fn dynamic_blocks_are_what_they_are_meant_to_be() {
    let wire = message(&dynamic(100));
    let limits = InflateLimits { max_size: 4096, max_ratio: None };
    let window = SlidingWindow { bits: 15, takeover: false };
    let route = Route { from: Side::Upstream, window, wanted: [Some(Need::Whole); MessageKind::COUNT], limits };
    taken(route, &[&wire], &[Say::Forward]).unwrap();
    assert!((10..=14).contains(&(wire.len() / 100)), "{} bytes", wire.len());
}

#[test]
fn a_frame_that_comes_a_byte_at_a_time_is_moved_a_few_times() {
    let size = 1 << 16;
    let mut scratch = Scratch::default();
    let cost = cost::of(|| {
        let mut carry = Carry::of(&[7]).unwrap();
        for _ in 1..size {
            carry.append(&[7], size, &mut scratch.spare);
        }
        assert_eq!(carry.bytes().len(), size);
    });
    assert!(cost <= 4 * size as u64, "{cost}");
}
