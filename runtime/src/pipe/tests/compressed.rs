//! Compressed messages through a walk and back to the wire: what the receiver inflates is what the filters let through,
//! however the bytes were split and whatever became of the messages before.

use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;

use crate::component::Need;
use crate::peer::{MessageKind, Side};
use crate::pipe::chain::{Batch, seen};
use crate::pipe::deflate::Compressing;
use crate::pipe::emit::{Emission, encode, encode_frame, opcode};
use crate::pipe::inflate::Inflation;
use crate::pipe::item::{Fate, Finds, Item, Stop, Tally};
use crate::pipe::settings::Limits;
use crate::pipe::walk::Walk;
use crate::ws::{
    Deflater, FrameHeader, FrameLimits, FrameSequence, Growth, InflateLimits, Inflater, Opcode, SlidingWindow,
    Violation, apply_mask,
};

mod cases;

/// What a filter says about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Say {
    Forward,
    Drop,
    /// Only of whole messages; forwarded otherwise.
    Replace,
}

/// A message as its sender sends it.
#[derive(Clone, Debug)]
struct Sent {
    kind: MessageKind,
    plain: Vec<u8>,
    compressed: bool,
    /// Where it is cut into frames, each after a ping.
    cuts: Vec<prop::sample::Index>,
    say: Say,
}

/// The route and its filters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) from: Side,
    pub(super) window: SlidingWindow,
    pub(super) wanted: [Option<Need>; MessageKind::COUNT],
    pub(super) limits: InflateLimits,
}

/// What came of it.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    wire: Vec<u8>,
    /// Kind, size and payload as the filters saw them.
    seen: Vec<(MessageKind, u64, Vec<u8>)>,
    tally: Tally,
}

const LIMITS: InflateLimits = InflateLimits { max_size: 4 << 20, max_ratio: None };
const TOKEN: [u8; 8] = *b"our ping";
const MADE: &[u8] =
    b"made by a filter, and long enough for it to be worth the time that compressing it takes, which for \
a message that is shorter than this one is more than what is saved on the wire";

/// A sender with a window of its own.
struct Sender {
    state: Compress,
    window: SlidingWindow,
}

impl Sender {
    fn new(window: SlidingWindow) -> Self {
        Self { state: Compress::new_with_window_bits(Compression::new(6), false, window.bits.max(9)), window }
    }

    fn deflate(&mut self, plain: &[u8]) -> Vec<u8> {
        // zlib does not compress with 8 bits, but a sender may always store.
        if self.window.bits == 8 {
            let mut stored = Vec::new();
            Deflater::default().deflate(8, plain, true, &mut stored);
            return stored;
        }
        if !self.window.takeover {
            self.state.reset();
        }
        if plain.is_empty() {
            return vec![0];
        }
        let mut compressed = Vec::with_capacity(plain.len() + plain.len() / 100 + 1000);
        self.state.compress_vec(plain, &mut compressed, FlushCompress::Sync).unwrap();
        assert!(compressed.ends_with(&[0, 0, 0xff, 0xff]));
        compressed.truncate(compressed.len() - 4);
        compressed
    }

    fn send(&mut self, from: Side, messages: &[Sent]) -> Vec<u8> {
        let mut wire = Vec::new();
        let to = from.other();
        for Sent { kind, plain, compressed, cuts, .. } in messages {
            let payload = if *compressed { self.deflate(plain) } else { plain.clone() };
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
            ends.sort_unstable();
            ends.push(payload.len());
            let mut start = 0;
            for (index, end) in ends.iter().copied().enumerate() {
                let opcode = if index == 0 { opcode(*kind) } else { Opcode::Continuation };
                let reserved = if index == 0 && *compressed { FrameHeader::RSV1 } else { 0 };
                let header = FrameHeader { fin: index + 1 == ends.len(), reserved, ..FrameHeader::new(opcode, 0) };
                if index > 0 {
                    encode(Opcode::Ping, true, b"theirs", to, &mut wire);
                }
                encode_frame(header, &payload[start..end], to, &mut wire);
                start = end;
            }
        }
        wire
    }
}

/// What goes on of bytes that come in pieces.
pub(super) fn taken(route: Route, pieces: &[&[u8]], says: &[Say]) -> Result<Vec<u8>, Violation> {
    take(route, pieces, says).map(|outcome| outcome.wire)
}

/// Takes bytes that come in pieces through a walk, the filters' words and back to the wire.
fn take(route: Route, pieces: &[&[u8]], says: &[Say]) -> Result<Outcome, Violation> {
    let mut walk = Walk::new(FrameSequence::new(route.from, true), Limits::on_messages(route.limits.max_size), TOKEN);
    walk.inflate(Inflation::new(route.window, route.limits));
    walk.want(route.wanted);
    let (mut finds, mut batch, mut carry) = (Finds::default(), Batch::default(), Vec::new());
    let (mut deflater, mut deflated) = (Deflater::default(), Vec::new());
    let (mut outcome, mut said) = (Outcome::default(), says.iter());
    for piece in pieces {
        carry.extend_from_slice(piece);
        let mut position = 0;
        loop {
            finds.clear();
            let (next, stop) = walk.walk(&carry, position, &mut finds);
            position = next;
            let more = finds.tally;
            outcome.tally.bytes += more.bytes;
            outcome.tally.messages.iter_mut().zip(more.messages).for_each(|(sum, more)| *sum += more);
            batch.load(&finds);
            batch.passing.retain_mut(|passing| {
                let Some(Item::Message(found)) = finds.items.get(passing.item) else { panic!("no message") };
                outcome.seen.push((found.kind, found.size, seen(found, &carry, &finds).to_vec()));
                match said.next().unwrap() {
                    Say::Forward => true,
                    Say::Drop => false,
                    Say::Replace => {
                        let whole = route.wanted[found.kind as usize] == Some(Need::Whole);
                        passing.made = whole.then(|| MADE.to_vec());
                        true
                    }
                }
            });
            let last = finds.items.len().saturating_sub(1);
            let goes_on = batch.passing.last().is_some_and(|passing| passing.item == last);
            let compressing = walk.receiver().map(|receiver| Compressing {
                receiver,
                deflater: &mut deflater,
                deflated: &mut deflated,
            });
            let (bytes, to) = (carry.as_slice(), route.from.other());
            let mut emission = Emission { bytes, finds: &finds, batch: &batch, to, compressing };
            match emission.untouched() {
                Some((run, _)) => outcome.wire.extend_from_slice(&carry[run]),
                None => {
                    emission.render(0..finds.items.len(), &mut outcome.wire);
                }
            }
            match stop {
                Some(Stop::Undecided) => walk.decide(if goes_on { Fate::Pass } else { Fate::Discard }),
                Some(Stop::Full) => {}
                Some(Stop::Violation(violation)) => return Err(violation),
                Some(stop) => panic!("{stop:?}"),
                None => break,
            }
        }
        carry.drain(..position);
    }
    assert_eq!(carry.len(), 0);
    Ok(outcome)
}

/// What a receiver that knows only the wire makes of it.
fn receive(route: Route, mut wire: &[u8]) -> Vec<(MessageKind, Vec<u8>)> {
    let mut sequence = FrameSequence::new(route.from, true);
    let mut inflater = Inflater::new(route.window);
    let mut messages = Vec::new();
    let (mut kind, mut compressed, mut payload) = (MessageKind::Text, false, Vec::new());
    while let Some((header, header_len)) = FrameHeader::parse(wire).unwrap() {
        sequence.accept(&header, &FrameLimits::default()).unwrap();
        let end = header_len + usize::try_from(header.payload_len).unwrap();
        let mut frame = wire[header_len..end].to_vec();
        wire = &wire[end..];
        if let Some(key) = header.mask {
            apply_mask(&mut frame, key);
        }
        match header.opcode {
            Opcode::Text | Opcode::Binary => {
                kind = if header.opcode == Opcode::Text { MessageKind::Text } else { MessageKind::Binary };
                compressed = header.reserved == FrameHeader::RSV1;
            }
            Opcode::Continuation => {}
            _ => continue,
        }
        payload.extend_from_slice(&frame);
        if header.fin {
            let plain = if compressed { inflate(&mut inflater, route.window, &payload) } else { payload.clone() };
            messages.push((kind, plain));
            payload.clear();
        }
    }
    assert!(wire.is_empty() && payload.is_empty(), "the wire ends inside a message");
    messages
}

fn inflate(inflater: &mut Inflater, window: SlidingWindow, payload: &[u8]) -> Vec<u8> {
    if !window.takeover {
        inflater.reset();
    }
    let limits = InflateLimits { max_size: usize::MAX, max_ratio: None };
    let (mut growth, mut plain) = (Growth::new(limits), Vec::new());
    inflater.inflate(payload, &mut growth, &mut plain).expect("what goes on can be inflated");
    inflater.finish(&mut growth, &mut plain).expect("what goes on can be inflated");
    plain
}

/// What the receiver should get.
fn expected(route: Route, messages: &[Sent]) -> Vec<(MessageKind, Vec<u8>)> {
    let let_through = |sent: &Sent| {
        let wanted = route.wanted[sent.kind as usize];
        match (sent.say, wanted) {
            (Say::Drop, Some(_)) => None,
            (Say::Replace, Some(Need::Whole)) => Some((sent.kind, MADE.to_vec())),
            _ => Some((sent.kind, sent.plain.clone())),
        }
    };
    messages.iter().filter_map(let_through).collect()
}

/// What the filters should be asked, in order.
fn asked(route: Route, messages: &[Sent]) -> Vec<Say> {
    messages.iter().filter(|sent| route.wanted[sent.kind as usize].is_some()).map(|sent| sent.say).collect()
}

/// Text of words, so that messages refer to each other.
fn plain() -> impl Strategy<Value = Vec<u8>> {
    let words =
        ["{\"type\":", "\"message\"", ",\"text\":\"", "lorem ipsum", "dolor sit amet", "\"}", "0123456789", " "];
    let count = prop_oneof![6 => 0usize..30, 2 => 30usize..300, 1 => 3000usize..6000];
    (count, any::<u32>()).prop_map(move |(count, mut seed)| {
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            words[(seed >> 24) as usize % words.len()]
        };
        (0..count).flat_map(|_| next().bytes()).collect()
    })
}

/// More than a turn is for: bytes that do not compress, and bytes that compress very well.
fn large() -> impl Strategy<Value = Vec<u8>> {
    (0usize..300_000, 0usize..3_000_000, any::<u32>()).prop_map(|(random, zeros, mut seed)| {
        let noise = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed.to_be_bytes()[0]
        });
        noise.take(random).chain(std::iter::repeat_n(0, zeros)).collect()
    })
}

fn say() -> impl Strategy<Value = Say> {
    prop_oneof![4 => Just(Say::Forward), 1 => Just(Say::Drop), 1 => Just(Say::Replace)]
}

/// The bytes, cut in these places.
fn pieces<'a>(wire: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
    ends.sort_unstable();
    ends.push(wire.len());
    let mut start = 0;
    ends.into_iter().map(|end| &wire[std::mem::replace(&mut start, end)..end]).collect()
}

fn sent() -> impl Strategy<Value = Sent> {
    let kind = prop_oneof![Just(MessageKind::Text), Just(MessageKind::Binary)];
    let compressed = prop_oneof![4 => Just(true), 1 => Just(false)];
    let cuts = prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(any::<prop::sample::Index>(), 0..3)];
    (kind, plain(), compressed, cuts, say()).prop_map(|(kind, plain, compressed, cuts, say)| Sent {
        kind,
        plain,
        compressed,
        cuts,
        say,
    })
}

fn wanted() -> impl Strategy<Value = Option<Need>> {
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(Need::Nothing)),
        1 => (0u32..400).prop_map(|head| Some(Need::Head(head))),
        2 => Just(Some(Need::Whole)),
    ]
}

fn route() -> impl Strategy<Value = Route> {
    let from = prop_oneof![Just(Side::Client), Just(Side::Upstream)];
    let bits = prop_oneof![2 => 8u8..=15, 1 => Just(15)];
    (from, bits, any::<bool>(), wanted(), wanted()).prop_map(|(from, bits, takeover, text, binary)| Route {
        from,
        window: SlidingWindow { bits, takeover },
        wanted: [text, binary],
        limits: LIMITS,
    })
}

proptest! {
    #[test]
    fn the_receiver_inflates_what_the_filters_let_through_however_the_bytes_were_split(
        route in route(),
        messages in prop::collection::vec(sent(), 1..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let wire = Sender::new(route.window).send(route.from, &messages);
        let says = asked(route, &messages);
        let whole = take(route, &[&wire], &says).unwrap();
        prop_assert_eq!(receive(route, &whole.wire), expected(route, &messages));
        let count = |kind| messages.iter().filter(|sent| sent.kind == kind).count() as u64;
        prop_assert_eq!(whole.tally.messages.map(u64::from), [count(MessageKind::Text), count(MessageKind::Binary)]);
        let split = take(route, &pieces(&wire, &cuts), &says).unwrap();
        prop_assert_eq!(receive(route, &split.wire), expected(route, &messages));
        prop_assert_eq!(split.tally, whole.tally);
        // Of a head, an earlier verdict may show more than it needs.
        let shown = |seen: &[(MessageKind, u64, Vec<u8>)]| -> Vec<(MessageKind, u64, Vec<u8>)> {
            let cut = |(kind, size, payload): &(MessageKind, u64, Vec<u8>)| {
                let enough = match route.wanted[*kind as usize] {
                    Some(Need::Head(head)) => head as usize,
                    Some(Need::Nothing) | None => 0,
                    Some(Need::Stream | Need::Rewrite | Need::Whole) => usize::MAX,
                };
                (*kind, *size, payload[..payload.len().min(enough)].to_vec())
            };
            seen.iter().map(cut).collect()
        };
        prop_assert_eq!(shown(&split.seen), shown(&whole.seen));
        let unseen = messages.iter().filter(|sent| route.wanted[sent.kind as usize].is_some());
        for ((kind, _, payload), sent) in shown(&whole.seen).iter().zip(unseen) {
            prop_assert_eq!(*kind, sent.kind);
            prop_assert!(sent.plain.starts_with(payload), "a filter saw what was not sent");
        }
    }

    #[test]
    fn originals_go_on_while_every_verdict_is_forward(
        route in route(),
        mut messages in prop::collection::vec(sent(), 1..12),
    ) {
        for sent in &mut messages {
            (sent.say, sent.cuts) = (Say::Forward, Vec::new());
        }
        let wire = Sender::new(route.window).send(route.from, &messages);
        let outcome = take(route, &[&wire], &asked(route, &messages)).unwrap();
        prop_assert_eq!(outcome.wire, wire);
    }

    #[test]
    fn no_bytes_make_a_walk_over_compressed_messages_panic(
        route in route(),
        compressed in prop::collection::vec((any::<Vec<u8>>(), any::<bool>()), 1..5),
    ) {
        let mut wire = Vec::new();
        for (payload, text) in &compressed {
            let opcode = if *text { Opcode::Text } else { Opcode::Binary };
            let header = FrameHeader { reserved: FrameHeader::RSV1, ..FrameHeader::new(opcode, 0) };
            encode_frame(header, payload, route.from.other(), &mut wire);
        }
        let _ = take(route, &[&wire], &[Say::Forward; 5]);
    }
}

proptest! {
    // Each of these is worth many small ones.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn messages_that_take_several_turns_are_inflated_as_those_of_one(
        route in route(),
        large in prop::collection::vec((large(), prop::collection::vec(any::<prop::sample::Index>(), 0..3), say()), 1..3),
        head in prop::option::of(1u32..300_000),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let wanted = head.map_or(route.wanted[1], |head| Some(Need::Head(head)));
        let route = Route { wanted: [route.wanted[0], wanted], ..route };
        let messages: Vec<Sent> = large
            .into_iter()
            .map(|(plain, cuts, say)| Sent { kind: MessageKind::Binary, plain, compressed: true, cuts, say })
            .collect();
        let wire = Sender::new(route.window).send(route.from, &messages);
        let says = asked(route, &messages);
        let pieces = pieces(&wire, &cuts);
        for pieces in [vec![wire.as_slice()], pieces] {
            let outcome = take(route, &pieces, &says).unwrap();
            prop_assert!(receive(route, &outcome.wire) == expected(route, &messages), "it is not what was let through");
        }
    }
}
