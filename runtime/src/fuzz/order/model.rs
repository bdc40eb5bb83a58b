//! What must come of what one peer says: each message through all filters before the next.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::script::Script;
use super::{Dice, Route};
use crate::component::{Content, Message, Need, Outgoing, Verdict};
use crate::peer::{MessageKind, Side};
use crate::ws::{CloseFrame, Opcode};

/// One direction of a connection, as it must be.
#[derive(Debug)]
pub(super) struct Model {
    /// What each filter is to be asked, and to decide.
    asked: Vec<VecDeque<Asked>>,
    messages: Vec<Out>,
    replies: Vec<Out>,
    controls: Vec<(usize, Opcode, Vec<u8>)>,
    /// The message that a filter closes the connection on.
    closed_at: Option<usize>,
    /// Delays that were decided, by the place of the message.
    delays: Vec<(usize, Instant)>,
}

/// A question to a filter, with its answer.
#[derive(Debug)]
struct Asked {
    place: usize,
    kind: MessageKind,
    payload: Vec<u8>,
    verdict: Verdict,
}

/// A message that goes out.
#[derive(Clone, Debug)]
pub(super) struct Out {
    /// Twice the number of the message that it was made of, and one.
    pub(super) place: usize,
    pub(super) kind: MessageKind,
    pub(super) payload: Vec<u8>,
}

impl Model {
    pub(super) fn of(script: &Script, route: &Route, dice: &mut Dice) -> Self {
        let mut model = Self {
            asked: route.interests.iter().map(|_| VecDeque::new()).collect(),
            messages: Vec::new(),
            replies: Vec::new(),
            controls: script.controls.clone(),
            closed_at: None,
            delays: Vec::new(),
        };
        let closes = dice.one_in(3);
        for (number, message) in script.messages.iter().enumerate() {
            let place = 2 * number + 1;
            let mut passing = vec![Out { place, kind: message.kind, payload: message.payload.clone() }];
            for filter in route.order(script.from) {
                let selection = route.interests[filter].from(script.from);
                let mut next = Vec::new();
                for out in passing {
                    if model.closed_at.is_some() || !selection.kinds.contains(out.kind) {
                        next.extend(model.closed_at.is_none().then_some(out));
                        continue;
                    }
                    let verdict = roll(&out, script.from, selection.need == Need::Whole, closes, dice);
                    let seen = match selection.need {
                        Need::Nothing => 0,
                        Need::Head(head) => head as usize,
                        Need::Stream | Need::Rewrite | Need::Whole => usize::MAX,
                    };
                    let payload = out.payload[..seen.min(out.payload.len())].to_vec();
                    model.asked[filter].push_back(Asked { place, kind: out.kind, payload, verdict: verdict.clone() });
                    match verdict {
                        Verdict::Forward | Verdict::Delay(_) => next.push(out),
                        Verdict::Replace(Content { kind, payload }) => next.push(Out { kind, payload, ..out }),
                        Verdict::Drop => {}
                        Verdict::Send(list) => {
                            for Outgoing { to, message: Content { kind, payload } } in list {
                                let out = Out { place, kind, payload };
                                if to == script.from { model.replies.push(out) } else { next.push(out) }
                            }
                        }
                        Verdict::Close(_) => model.closed_at = Some(number),
                    }
                }
                passing = next;
            }
            model.messages.extend(passing);
            if model.closed_at.is_some() {
                break;
            }
        }
        model
    }

    /// What a filter decides about the message that it is shown next.
    ///
    /// # Panics
    /// When it should be shown another.
    pub(super) fn decide(&mut self, filter: usize, message: Message<'_>) -> Verdict {
        // Behind the message that another filter closes the connection on, it does not matter.
        let Some(asked) = self.asked[filter].pop_front() else {
            assert!(self.closed_at.is_some(), "a filter is shown too much: {message:?}");
            return Verdict::Forward;
        };
        assert!(
            (asked.kind, asked.payload.as_slice()) == (message.kind, message.payload),
            "a filter is shown {message:?} instead of {asked:?}"
        );
        if let Verdict::Delay(milliseconds) = asked.verdict {
            let until = Instant::now() + Duration::from_millis(milliseconds.into());
            self.delays.push((asked.place, until));
        }
        asked.verdict
    }

    /// What must go out of the first so many messages.
    pub(super) fn messages(&self, said: usize) -> impl Iterator<Item = &Out> {
        self.messages.iter().take_while(move |out| out.place < 2 * said)
    }

    /// What must go back.
    pub(super) fn replies(&self) -> impl Iterator<Item = &Out> {
        self.replies.iter()
    }

    /// The first so many control frames, up to where a filter closes.
    pub(super) fn controls(&self, said: usize) -> impl Iterator<Item = (Opcode, &[u8])> {
        let last = self.closed_at.map_or(usize::MAX, |number| 2 * number + 1);
        let controls = self.controls.iter().take(said).take_while(move |(place, ..)| *place <= last);
        controls.map(|(_, opcode, payload)| (*opcode, payload.as_slice()))
    }

    /// Where a control frame stands.
    pub(super) fn place_of_control(&self, index: usize) -> usize {
        self.controls[index].0
    }

    /// Whether a filter closes the connection on one of the first so many messages.
    pub(super) fn close(&self, said: usize) -> Option<usize> {
        self.closed_at.filter(|number| *number < said)
    }

    /// Until when nothing may come that stands at `to`, by what was decided behind `from`.
    pub(super) fn delayed_until(&self, from: usize, to: usize) -> Option<Instant> {
        self.delays.iter().filter(|(place, _)| (from..to).contains(place)).map(|(_, until)| *until).max()
    }
}

fn roll(out: &Out, from: Side, whole: bool, closes: bool, dice: &mut Dice) -> Verdict {
    let sent = |to: Side, prefix: &str, dice: &mut Dice| {
        let kind = if dice.one_in(2) { MessageKind::Text } else { MessageKind::Binary };
        let mut payload = format!("{prefix}{} {}", out.place, dice.next() % 100).into_bytes();
        payload.resize(payload.len() + [0, 10, 300][dice.below(3)], b'.');
        Outgoing { to, message: Content { kind, payload } }
    };
    match dice.below(16) {
        0..3 => Verdict::Delay([0, 1, 7, 40, 300][dice.below(5)]),
        3 | 4 => Verdict::Drop,
        5 | 6 if whole => Verdict::Replace(sent(from, "S", dice).message),
        7 if whole => Verdict::Send((0..dice.below(3)).map(|_| sent(from.other(), "S", dice)).collect()),
        8 if whole => Verdict::Send(vec![sent(from, "R", dice)]),
        9 if whole => Verdict::Send(vec![sent(from.other(), "S", dice), sent(from, "R", dice)]),
        10 if closes && dice.one_in(4) => Verdict::Close(CloseFrame::new(4000, "enough")),
        _ => Verdict::Forward,
    }
}
