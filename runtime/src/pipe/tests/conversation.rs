//! Two peers that say anything in any pieces, take what they get in any pieces, and filters that decide anything, against a
//! model that takes one message after the other. There is no socket and no task: the test is both peers.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use proptest::prelude::*;
use tokio::runtime::Builder;
use tokio::time::{Instant, advance};

use crate::component::{Content, Interest, Kinds, Message, Need, OnFailure, Outgoing, Selection, Verdict};
use crate::metrics::{Metrics, WorkerIndex};
use crate::peer::{MessageKind, Side};
use crate::pipe::chain::Chain;
use crate::pipe::clock::Due;
use crate::pipe::conversation::Conversation;
use crate::pipe::direction::{Absorbed, Next};
use crate::pipe::emit::encode;
use crate::pipe::scratch::Scratch;
use crate::pipe::{Plan, Scripted, Timers};
use crate::ws::{CloseFrame, Extensions, FrameHeader, FrameLimits, FrameSequence, Opcode, apply_mask};

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// A peer says a message, in so many frames.
    Say(Side, What, usize),
    /// So many bytes of what a peer has said come.
    Come(Side, usize),
    /// A peer takes so many bytes.
    Take(Side, usize),
    /// So many milliseconds pass.
    Pass(u64),
    /// The proxy pings.
    Ping,
}

/// What a message makes one of two filters do, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Nothing,
    Drop(usize),
    Replace(usize),
    /// It answers so many bytes, and lets nothing else go on.
    Reply(usize, usize),
    /// It makes two of it, and answers.
    Double(usize),
    Delay(usize, u16),
    Close(usize),
    Fail(usize),
}

impl What {
    /// The filter that does something.
    fn filter(self) -> Option<usize> {
        match self {
            Self::Nothing => None,
            Self::Drop(filter)
            | Self::Replace(filter)
            | Self::Reply(filter, _)
            | Self::Double(filter)
            | Self::Delay(filter, _)
            | Self::Close(filter)
            | Self::Fail(filter) => Some(filter),
        }
    }
}

/// What the filters of a connection do where they fail, and whether they see texts as a whole or only that they come.
#[derive(Clone, Copy, Debug)]
struct Roles {
    on_failure: [OnFailure; 2],
    /// Of each, by who sends.
    need: [[Need; 2]; 2],
}

fn step() -> impl Strategy<Value = Step> {
    let side = || prop_oneof![Just(Side::Client), Just(Side::Upstream)];
    let bytes = || prop_oneof![1usize..12, Just(200), Just(1 << 20)];
    let filter = || 0usize..2;
    let what = prop_oneof![
        8 => Just(What::Nothing),
        2 => filter().prop_map(What::Drop),
        2 => filter().prop_map(What::Replace),
        4 => (filter(), prop_oneof![5 => 0usize..50, 1 => Just(300_000)]).prop_map(|(at, size)| What::Reply(at, size)),
        2 => filter().prop_map(What::Double),
        2 => (filter(), 0u16..400).prop_map(|(at, delay)| What::Delay(at, delay)),
        1 => filter().prop_map(What::Close),
        1 => filter().prop_map(What::Fail),
    ];
    prop_oneof![
        6 => (side(), what, 1usize..4).prop_map(|(side, what, frames)| Step::Say(side, what, frames)),
        6 => (side(), bytes()).prop_map(|(side, bytes)| Step::Come(side, bytes)),
        6 => (side(), bytes()).prop_map(|(side, bytes)| Step::Take(side, bytes)),
        1 => (0u64..300).prop_map(Step::Pass),
        1 => Just(Step::Ping),
    ]
}

fn roles() -> impl Strategy<Value = Roles> {
    let on_failure = || prop_oneof![Just(OnFailure::Close), Just(OnFailure::Bypass)];
    // A head of so many bytes has what the filter goes by.
    let need = || prop_oneof![2 => Just(Need::Whole), 1 => Just(Need::Head(HEAD))];
    ([on_failure(), on_failure()], [[need(), need()], [need(), need()]])
        .prop_map(|(on_failure, need)| Roles { on_failure, need })
}

/// The start of each message says what it is for: a digit for each field, so that a filter needs no more to decide.
const HEAD: u32 = 16;

fn text(number: usize, what: What) -> String {
    let (verb, filter, more) = match what {
        What::Nothing => ('n', 0, 0),
        What::Drop(filter) => ('d', filter, 0),
        What::Replace(filter) => ('p', filter, 0),
        What::Reply(filter, size) => ('r', filter, size),
        What::Double(filter) => ('2', filter, 0),
        What::Delay(filter, delay) => ('w', filter, delay.into()),
        What::Close(filter) => ('c', filter, 0),
        What::Fail(filter) => ('f', filter, 0),
    };
    format!("{verb}{filter}{more:06}{number:08}{}", "lorem ipsum ".repeat(number % 5))
}

/// What a filter is told by the start of a message, if that is meant for it.
fn told(filter: usize, payload: &[u8]) -> (char, usize) {
    let text = std::str::from_utf8(payload).unwrap();
    let mut marks = text.chars();
    let (verb, place) = (marks.next().unwrap(), marks.next().unwrap());
    let is_its = place.to_digit(10) == Some(u32::try_from(filter).unwrap());
    (if is_its { verb } else { 'n' }, text[2..8].parse().unwrap())
}

/// What it decides; `None`: it fails. Only who sees a message as a whole may put others in its place.
fn decide(filter: usize, need: Need, origin: Side, payload: &[u8]) -> Option<Verdict> {
    let (verb, more) = told(filter, payload);
    let content = |text: String| Content { kind: MessageKind::Text, payload: text.into_bytes() };
    let number = std::str::from_utf8(&payload[8..16]).unwrap();
    let reply = |size: usize| Outgoing {
        to: origin,
        message: content(format!("n0{:06}{number}reply of {filter}{}", 0, "r".repeat(size))),
    };
    let made = |by: &str| content(format!("n0{:06}{number}{by} by {filter}", 0));
    Some(match verb {
        'd' => Verdict::Drop,
        'p' | 'r' | '2' if need != Need::Whole => Verdict::Forward,
        'p' => Verdict::Replace(made("made")),
        'r' => Verdict::Send(vec![reply(more)]),
        '2' => {
            let on = |by| Outgoing { to: origin.other(), message: made(by) };
            Verdict::Send(vec![on("first"), reply(3), on("second")])
        }
        'w' => Verdict::Delay(u32::try_from(more).unwrap()),
        'c' => Verdict::Close(CloseFrame::new(4000, "enough")),
        'f' => return None,
        _ => Verdict::Forward,
    })
}

/// What must come of what one side says.
#[derive(Debug, Default)]
struct Model {
    onward: Vec<Vec<u8>>,
    replies: Vec<Vec<u8>>,
    /// How a filter closes the connection.
    closes: Option<u16>,
}

impl Model {
    /// Each message through both filters, of which `out` are bypassed already, before the next.
    fn of(from: Side, said: &[String], roles: Roles) -> Self {
        let mut model = Self::default();
        let mut out = [false; 2];
        let order = if from == Side::Client { [0, 1] } else { [1, 0] };
        for text in said {
            let mut passing = vec![text.clone().into_bytes()];
            for filter in order {
                let mut next = Vec::new();
                for payload in passing {
                    let verdict = if out[filter] {
                        Some(Verdict::Forward)
                    } else {
                        decide(filter, roles.need[filter][from as usize], from, &payload)
                    };
                    match verdict {
                        Some(Verdict::Forward | Verdict::Delay(_)) => next.push(payload),
                        Some(Verdict::Drop) => {}
                        Some(Verdict::Replace(made)) => next.push(made.payload),
                        Some(Verdict::Send(list)) => {
                            for Outgoing { to, message } in list {
                                if to == from {
                                    model.replies.push(message.payload)
                                } else {
                                    next.push(message.payload)
                                }
                            }
                        }
                        Some(Verdict::Close(close)) => model.closes = Some(close.code),
                        None if roles.on_failure[filter] == OnFailure::Bypass => {
                            out[filter] = true;
                            next.push(payload);
                        }
                        None => model.closes = Some(1011),
                    }
                    if model.closes.is_some() {
                        return model;
                    }
                }
                passing = next;
            }
            model.onward.extend(passing);
        }
        model
    }
}

/// One peer, as the test plays it.
#[derive(Debug, Default)]
struct Played {
    said: Vec<String>,
    wire: Vec<u8>,
    come: usize,
    got: Vec<u8>,
}

/// A conversation, and both its peers.
struct Stage {
    conversation: Conversation,
    scratch: Scratch,
    peers: [Played; 2],
    number: usize,
}

impl Stage {
    fn new(roles: Roles) -> Self {
        let handle = Rc::default();
        let plan = Plan {
            filters: Vec::new(),
            shadows: Vec::new(),
            until: None,
            extensions: Extensions::default(),
            timers: Arc::new(Timers { message_timeout: None, ..Timers::default() }),
            limits: Arc::default(),
            metrics: Metrics::new(1).route("test"),
            worker: WorkerIndex(0),
            scratch: Rc::<RefCell<Scratch>>::default(),
            handle,
        };
        let filter = |place: usize| {
            let [from_client, from_upstream] =
                roles.need[place].map(|need| Selection { kinds: Kinds { text: true, binary: false }, need });
            let interest = Interest { from_client, from_upstream };
            let decide = move |message: Message<'_>| {
                decide(place, roles.need[place][message.origin as usize], message.origin, message.payload)
            };
            Scripted::failing(interest, roles.on_failure[place], decide)
        };
        let conversation = Conversation::new(&[], &[], plan, Chain::scripted(vec![filter(0), filter(1)]));
        Self { conversation, scratch: Scratch::default(), peers: Default::default(), number: 0 }
    }

    fn say(&mut self, from: Side, what: What, frames: usize) {
        let text = text(self.number, what);
        self.number += 1;
        let bytes = text.as_bytes();
        let wire = &mut self.peers[from as usize].wire;
        let piece = bytes.len().div_ceil(frames);
        let last = bytes.len().div_ceil(piece) - 1;
        for (index, payload) in bytes.chunks(piece).enumerate() {
            let opcode = if index == 0 { Opcode::Text } else { Opcode::Continuation };
            encode(opcode, index == last, payload, from.other(), wire);
        }
        self.peers[from as usize].said.push(text);
    }

    /// Lets at most so many bytes come of what one peer has said, as far as they are read.
    fn come(&mut self, from: Side, most: usize) {
        let (mut left, mut events) = (most, [Poll::Pending, Poll::Pending]);
        let Conversation { client, upstream, from_client, from_upstream, shared, .. } = &mut self.conversation;
        let (direction, source, target) = match from {
            Side::Client => (from_client, client, upstream),
            Side::Upstream => (from_upstream, upstream, client),
        };
        loop {
            if let Some(event) = direction.event(target) {
                events[from as usize] = Poll::Ready(event);
                break;
            }
            // All the buffering there is: what one read has brought.
            let is_flushed = target.outlet.is_empty();
            let peer = &mut self.peers[from as usize];
            let kept = match direction.next(is_flushed, source, target, shared) {
                Next::Flush => continue,
                Next::Wait | Next::Nothing => break,
                Next::Kept => direction.take_kept(&[], &mut self.scratch.spare),
                Next::Read(room) => {
                    assert!(is_flushed, "it reads what it has no place for");
                    // What goes to an upstream is masked, and cannot be told here.
                    let untaken = source.outlet.unwritten_mut().map_or(&[][..], |unwritten| unwritten.bytes());
                    let is_answered = shared.is_ending || !untaken.windows(8).any(|bytes| bytes == b"reply of");
                    assert!(is_answered, "it reads on while the sender does not take its replies");
                    let came = &peer.wire[peer.come..];
                    let came = &came[..came.len().min(left).min(room)];
                    if came.is_empty() {
                        direction.has_all();
                        break;
                    }
                    (left, peer.come) = (left - came.len(), peer.come + came.len());
                    let Some(kept) = direction.take_kept(came, &mut self.scratch.spare) else {
                        let Absorbed { consumed, onward } =
                            direction.absorb(came, source, target, shared, &mut self.scratch);
                        onward
                            .of(came, &self.scratch.wire)
                            .into_iter()
                            .for_each(|(bytes, end)| target.outlet.put(bytes, end));
                        direction.keep(&came[consumed..], false, target);
                        direction.has_put(target, shared, &self.scratch, Waker::noop());
                        continue;
                    };
                    Some(kept)
                }
            };
            let Some(kept) = kept else { continue };
            let Absorbed { consumed, onward } =
                direction.absorb(kept.bytes(), source, target, shared, &mut self.scratch);
            onward
                .of(kept.bytes(), &self.scratch.wire)
                .into_iter()
                .for_each(|(bytes, end)| target.outlet.put(bytes, end));
            direction.keep_on(kept, consumed, &mut self.scratch.spare);
            direction.has_put(target, shared, &self.scratch, Waker::noop());
        }
        let [from_client, from_upstream] = events;
        self.conversation.go_on(from_client, from_upstream);
    }

    /// Has one peer take so many bytes.
    fn take(&mut self, side: Side, most: usize) {
        let outlet = &mut self.conversation.peer(side).outlet;
        let Some(unwritten) = outlet.unwritten_mut() else { return };
        let bytes = unwritten.bytes();
        let taken = bytes[..bytes.len().min(most)].to_vec();
        unwritten.advance(taken.len());
        if unwritten.is_empty() {
            outlet.all_written();
        }
        self.peers[side as usize].got.extend(taken);
    }
}

/// What a peer got: data messages and replies, in order, and the code of the close frame that is the last, if one came. What
/// it got is a valid sequence of frames, whose last may be on its way.
fn heard(by: Side, got: &[u8]) -> (Vec<Vec<u8>>, Option<u16>) {
    let mut sequence = FrameSequence::new(by.other(), false);
    let (mut rest, mut messages, mut message, mut close) = (got, Vec::new(), Vec::new(), None);
    while let Some((header, len)) = FrameHeader::parse(rest).unwrap() {
        assert!(close.is_none(), "something follows a close frame");
        sequence.accept(&header, &FrameLimits::default()).unwrap();
        let Some(payload) = rest.get(len..len + usize::try_from(header.payload_len).unwrap()) else { break };
        let mut payload = payload.to_vec();
        rest = &rest[len + payload.len()..];
        if let Some(key) = header.mask {
            apply_mask(&mut payload, key);
        }
        match header.opcode {
            Opcode::Close => close = Some(CloseFrame::parse(&payload).unwrap().map_or(1005, |close| close.code)),
            Opcode::Ping | Opcode::Pong => {}
            Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                message.extend(payload);
                if header.fin {
                    messages.push(std::mem::take(&mut message));
                }
            }
        }
    }
    (messages, close)
}

fn is_reply(payload: &[u8]) -> bool {
    payload.get(16..24) == Some(b"reply of")
}

fn play(steps: &[Step], roles: Roles) {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut stage = Stage::new(roles);
        // Who has failed is gone for both sides: what the other side then gets of it depends on who was first.
        let fails =
            |filter: usize| steps.iter().any(|step| matches!(step, Step::Say(_, What::Fail(it), _) if *it == filter));
        for step in steps {
            match *step {
                Step::Say(Side::Upstream, what, frames) if what.filter().is_some_and(fails) => {
                    stage.say(Side::Upstream, What::Nothing, frames);
                }
                Step::Say(from, what, frames) => stage.say(from, what, frames),
                Step::Come(from, bytes) => stage.come(from, bytes),
                Step::Take(side, bytes) => stage.take(side, bytes),
                Step::Pass(milliseconds) => advance(Duration::from_millis(milliseconds)).await,
                Step::Ping => stage.conversation.due(Due::Ping),
            }
        }
        // In the end everything is read, taken, and has had its time.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(60) {
            for side in [Side::Client, Side::Upstream] {
                stage.come(side, usize::MAX);
                stage.take(side, usize::MAX);
            }
            advance(Duration::from_millis(200)).await;
        }
        judge(&stage, roles);
    });
}

fn judge(stage: &Stage, roles: Roles) {
    let models = [Side::Client, Side::Upstream].map(|from| Model::of(from, &stage.peers[from as usize].said, roles));
    let closes: Vec<u16> = models.iter().filter_map(|model| model.closes).collect();
    for to in [Side::Client, Side::Upstream] {
        let (messages, close) = heard(to, &stage.peers[to as usize].got);
        let (replies, onward): (Vec<_>, Vec<_>) = messages.into_iter().partition(|payload| is_reply(payload));
        let (whole, back) = (&models[to.other() as usize], &models[to as usize]);
        assert!(whole.onward.starts_with(&onward), "{to:?} got {onward:?} of {:?}", whole.onward);
        assert!(back.replies.starts_with(&replies), "{to:?} got {} replies of {}", replies.len(), back.replies.len());
        match close {
            None => {
                assert!(closes.is_empty(), "nobody closed with one of {closes:?}");
                assert_eq!((onward.len(), replies.len()), (whole.onward.len(), back.replies.len()), "for {to:?}");
            }
            Some(code) => {
                assert!(closes.contains(&code), "closed with {code}, not one of {closes:?}");
                // What came before the message that a filter closed on has gone on, unless the other side closed first.
                let is_first = models[to as usize].closes.is_none();
                assert!(!is_first || onward.len() == whole.onward.len(), "{} of {:?}", onward.len(), whole.onward);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn whatever_filters_decide_each_message_and_reply_comes_once_and_in_order(
        steps in prop::collection::vec(step(), 1..120),
        roles in roles(),
    ) {
        play(&steps, roles);
    }
}
