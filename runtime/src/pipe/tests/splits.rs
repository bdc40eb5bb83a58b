//! How bytes are split into reads changes nothing.

use proptest::prelude::*;

use crate::component::Need;
use crate::peer::{MessageKind, Side};
use crate::pipe::chain::Batch;
use crate::pipe::emit::{Emission, encode};
use crate::pipe::item::{Boundary, Fate, Finds, Item, Seen, Stop, Tally};
use crate::pipe::settings::Limits;
use crate::pipe::walk::Walk;
use crate::ws::{FrameSequence, Opcode};

/// A message in fragments, with a ping before each of them or not.
#[derive(Clone, Debug)]
struct Sent {
    kind: MessageKind,
    fragments: Vec<(Vec<u8>, bool)>,
}

/// What came of the bytes: what went on, what the filters saw, what was counted.
type Result = (Vec<u8>, Vec<(MessageKind, u64, Vec<u8>)>, Tally);

const TOKEN: [u8; 8] = *b"our ping";

fn sent() -> impl Strategy<Value = Sent> {
    let kind = prop_oneof![Just(MessageKind::Text), Just(MessageKind::Binary)];
    let size = prop_oneof![4 => 0usize..20, 1 => 120usize..300, 1 => 65_500usize..65_600];
    let fragment = (size.prop_map(|size| vec![b'x'; size]), any::<bool>());
    (kind, prop::collection::vec(fragment, 1..4)).prop_map(|(kind, fragments)| Sent { kind, fragments })
}

fn wanted() -> impl Strategy<Value = Option<Need>> {
    prop_oneof![
        Just(None),
        Just(Some(Need::Nothing)),
        (0u32..200).prop_map(|head| Some(Need::Head(head))),
        Just(Some(Need::Whole)),
    ]
}

/// The messages as an upstream sends them: unmasked, so that equal messages are equal bytes.
fn wire(messages: &[Sent]) -> Vec<u8> {
    let mut wire = Vec::new();
    for Sent { kind, fragments } in messages {
        for (index, (payload, ping)) in fragments.iter().enumerate() {
            if *ping {
                encode(Opcode::Ping, true, b"theirs", Side::Client, &mut wire);
                encode(Opcode::Pong, true, &TOKEN, Side::Client, &mut wire);
            }
            let opcode = match (index, kind) {
                (0, MessageKind::Text) => Opcode::Text,
                (0, MessageKind::Binary) => Opcode::Binary,
                _ => Opcode::Continuation,
            };
            encode(opcode, index + 1 == fragments.len(), payload, Side::Client, &mut wire);
        }
    }
    wire
}

/// Walks over bytes that come in pieces; every `drop_every`-th message is dropped.
fn walk(pieces: &[&[u8]], wanted: [Option<Need>; 2], drop_every: usize) -> Result {
    let mut walk = Walk::new(FrameSequence::new(Side::Upstream, false), Limits::on_messages(1 << 20), TOKEN);
    walk.want(wanted);
    let (mut finds, mut batch, mut carry) = (Finds::default(), Batch::default(), Vec::new());
    let (mut wire, mut seen, mut tally, mut end) = (Vec::new(), Vec::new(), Tally::default(), Boundary::Message);
    for piece in pieces {
        carry.extend_from_slice(piece);
        let mut position = 0;
        loop {
            finds.clear();
            let (next, stop) = walk.walk(&carry, position, &mut finds);
            position = next;
            let more = finds.tally;
            tally.bytes += more.bytes;
            tally.pong |= more.pong;
            tally.messages.iter_mut().zip(more.messages).for_each(|(sum, more)| *sum += more);
            batch.load(&finds);
            for found in finds.items.iter().filter_map(|item| match item {
                Item::Message(found) => Some(found),
                Item::Pass { .. } | Item::Part(_) | Item::Slice(_) => None,
            }) {
                let payload = match &found.payload {
                    Seen::Buffer(range) => &carry[range.clone()],
                    Seen::Unmasked(range) => &finds.unmasked[range.clone()],
                    Seen::Inflated(range) => &finds.inflated[range.clone()],
                    Seen::Assembled => found.assembled.as_deref().unwrap(),
                };
                seen.push((found.kind, found.size, payload.to_vec()));
            }
            let count = batch.passing.len();
            let first = seen.len() - count;
            let mut index = first;
            batch.passing.retain(|_| {
                index += 1;
                index % drop_every != 0
            });
            let mut emission =
                Emission { bytes: &carry, finds: &finds, batch: &batch, to: Side::Client, compressing: None };
            end = emission.render(0..finds.items.len(), &mut wire).unwrap_or(end);
            let dropped = seen.len() % drop_every == 0;
            match stop {
                Some(Stop::Undecided) => walk.decide(if dropped { Fate::Discard } else { Fate::Pass }),
                Some(stop) => panic!("{stop:?}"),
                None => break,
            }
        }
        carry.drain(..position);
    }
    assert_eq!((carry.len(), end), (0, Boundary::Message));
    (wire, seen, tally)
}

proptest! {
    #[test]
    fn any_split_of_the_bytes_gives_the_same_result(
        messages in prop::collection::vec(sent(), 1..6),
        text in wanted(),
        binary in wanted(),
        drop_every in 1usize..5,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let wire = wire(&messages);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut start = 0;
        for cut in cuts.into_iter().chain([wire.len()]) {
            pieces.push(&wire[start..cut]);
            start = cut;
        }
        let whole = walk(&[&wire], [text, binary], drop_every);
        prop_assert_eq!(&walk(&pieces, [text, binary], drop_every), &whole);
        let single: Vec<&[u8]> = wire.chunks(1).collect();
        if wire.len() < 1000 {
            prop_assert_eq!(&walk(&single, [text, binary], drop_every), &whole);
        }
        let count = |kind| messages.iter().filter(|sent| sent.kind == kind).count() as u64;
        prop_assert_eq!(whole.2.messages.map(u64::from), [count(MessageKind::Text), count(MessageKind::Binary)]);
    }

    #[test]
    fn what_nobody_wants_goes_on_byte_for_byte_but_for_our_own_pongs(
        messages in prop::collection::vec(sent(), 1..6),
    ) {
        let came = wire(&messages);
        let mut ours = Vec::new();
        encode(Opcode::Pong, true, &TOKEN, Side::Client, &mut ours);
        let mut expected = Vec::new();
        let mut rest = &came[..];
        while let Some(at) = rest.windows(ours.len()).position(|window| window == ours) {
            expected.extend_from_slice(&rest[..at]);
            rest = &rest[at + ours.len()..];
        }
        expected.extend_from_slice(rest);
        prop_assert_eq!(walk(&[&came], [None, None], usize::MAX).0, expected);
    }
}
