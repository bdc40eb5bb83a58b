//! What must arrive, in which order, and not before its time: connections whose filters delay, drop, replace, send and
//! close, in both directions at once, against a model that takes one message after the other.
//!
//! Each connection is made of a seed: what both peers say, in how many frames and pieces, compressed or not, how much
//! they take at a time, and what the filters decide. Time is paused, so that delays cost nothing.

mod model;
mod peer;
mod script;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Builder;
use tokio::task::{JoinHandle, LocalSet, spawn_local, yield_now};
use tokio::time::{Instant, sleep, timeout};

use crate::component::{Interest, Kinds, Need, Selection};
use crate::metrics::{Metrics, WorkerIndex};
use crate::peer::Side;
use crate::pipe::{Handle, Limits, Outcome, Pipe, Plan, Scratch, Scripted, Timers};
use crate::ws::{CloseFrame, DeflateParameters, Extensions, SlidingWindow};
use model::Model;
use peer::Peer;
use script::{Ending, Script};

/// A small random number generator, so that a seed is all that there is to a connection.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next()).unwrap() % limit
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// What was agreed on: who compresses how, and what each filter wants.
#[derive(Debug)]
struct Route {
    deflate: Option<DeflateParameters>,
    interests: Vec<Interest>,
}

impl Route {
    fn roll(dice: &mut Dice) -> Self {
        let window =
            |dice: &mut Dice| SlidingWindow { bits: [8, 9, 10, 15, 15][dice.below(5)], takeover: !dice.one_in(3) };
        let deflate = dice.one_in(2).then(|| DeflateParameters { client: window(dice), server: window(dice) });
        let selection = |dice: &mut Dice| {
            let kinds = [(true, true), (true, false), (false, true), (false, false)][dice.below(4)];
            let need = match dice.below(5) {
                0 => Need::Nothing,
                1 => Need::Head(u32::try_from(1 + dice.below(50)).unwrap()),
                _ => Need::Whole,
            };
            Selection { kinds: Kinds { text: kinds.0, binary: kinds.1 }, need }
        };
        let count = 1 + dice.below(2);
        let interest = |dice: &mut Dice| Interest { from_client: selection(dice), from_upstream: selection(dice) };
        Self { deflate, interests: (0..count).map(|_| interest(dice)).collect() }
    }

    /// The filters that messages of one side pass, in order, by their numbers.
    fn order(&self, from: Side) -> Vec<usize> {
        match from {
            Side::Client => (0..self.interests.len()).collect(),
            Side::Upstream => (0..self.interests.len()).rev().collect(),
        }
    }

    fn window(&self, from: Side) -> Option<SlidingWindow> {
        self.deflate.map(|deflate| deflate.of(from))
    }
}

/// Filters that decide what the model says, and take note of the delays.
fn filters(route: &Route, models: &[Rc<RefCell<Model>>; 2]) -> Vec<Scripted> {
    let filter = |(number, interest): (usize, &Interest)| {
        let models = models.clone();
        Scripted::of_messages(*interest, move |message| {
            models[message.origin as usize].borrow_mut().decide(number, message)
        })
    };
    route.interests.iter().enumerate().map(filter).collect()
}

fn plan(route: &Route, dice: &mut Dice, handle: Rc<Handle>) -> Plan {
    thread_local! {
        static SCRATCH: Rc<RefCell<Scratch>> = Rc::default();
    }
    let ping_interval = dice.one_in(4).then(|| Duration::from_millis(20));
    let day = Duration::from_secs(86_400);
    Plan {
        filters: Vec::new(),
        shadows: Vec::new(),
        until: None,
        extensions: Extensions { agreed: route.deflate.is_some(), deflate: route.deflate },
        timers: Arc::new(Timers { ping_interval, message_timeout: None, close_timeout: day, ..Timers::default() }),
        limits: Arc::new(Limits { control_frames_per_second: None, ..Limits::default() }),
        metrics: Metrics::new(1).route("fuzzed"),
        worker: WorkerIndex(0),
        scratch: SCRATCH.with(Clone::clone),
        handle,
    }
}

/// Runs the connection of a seed; says how many steps that took.
///
/// # Panics
/// When anything arrives that should not, or does not that should, or in another order, or too early.
fn connection(seed: u64) -> u64 {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let local = LocalSet::new();
    local.block_on(&runtime, run(seed))
}

async fn run(seed: u64) -> u64 {
    let dice = &mut Dice::new(seed);
    let route = Route::roll(dice);
    let size = [4, 12, 40, 200][dice.below(4)];
    let scripts = [Side::Client, Side::Upstream].map(|from| Script::roll(from, &route, size, dice));
    let models = scripts.each_ref().map(|script| Rc::new(RefCell::new(Model::of(script, &route, dice))));
    let mut peers = scripts.map(|script| Peer::new(script, dice));
    let handle = Rc::<Handle>::default();
    let ends = peers.each_ref().map(|peer| (peer.transport(), Bytes::new()));
    let [client, upstream] = ends;
    let plan = plan(&route, dice, handle.clone());
    let ended = spawn_local(Pipe::scripted(client, upstream, plan, filters(&route, &models)).run());
    let drained = play(&mut peers, &ended, &handle, dice).await;
    let steps = peers.iter().map(Peer::steps).sum();
    let outcome = timeout(Duration::from_secs(30 * 86_400), ended).await;
    assert!(outcome.is_ok(), "the connection does not end");
    let [from_client, from_upstream] = models.map(|model| Rc::into_inner(model).map(RefCell::into_inner));
    let (from_client, from_upstream) = (from_client.unwrap(), from_upstream.unwrap());
    let [client, upstream] = peers;
    judge(&route, &client, &upstream, &from_client, &from_upstream, drained.map(|read| read[0]));
    judge(&route, &upstream, &client, &from_upstream, &from_client, drained.map(|read| read[1]));
    steps
}

/// Has both peers say and take what they want to, in any order, until the connection has ended. Says how much the proxy had
/// read of each when it was told to drain, if it was.
async fn play(
    peers: &mut [Peer; 2],
    ended: &JoinHandle<Box<Outcome>>,
    handle: &Handle,
    dice: &mut Dice,
) -> Option<[usize; 2]> {
    let drains = dice.one_in(6).then(|| dice.below(60));
    let mut drained = None;
    for step in 0.. {
        if drains == Some(step) {
            yield_now().await;
            // Once a peer has ended, that is what counts.
            let is_first = !peers.iter().any(Peer::is_done);
            drained = Some(peers.each_ref().map(|peer| if is_first { peer.read() } else { 0 }));
            handle.switch.turn(CloseFrame::new(1012, "drained"));
        }
        match dice.below(8) {
            0..4 => peers[dice.below(2)].say(dice),
            4..6 => peers[dice.below(2)].take(dice),
            6 => sleep(Duration::from_millis([1, 5, 50, 700][dice.below(4)])).await,
            _ => yield_now().await,
        }
        if dice.one_in(2) {
            yield_now().await;
        }
        if peers.iter().all(Peer::is_done) || ended.is_finished() {
            break;
        }
    }
    // Whoever is closed answers, and takes everything that comes.
    while !ended.is_finished() {
        peers.iter_mut().for_each(|peer| peer.finish(dice));
        sleep(Duration::from_millis(100)).await;
    }
    drained
}

/// Compares what came to the receiver of one direction with what had to.
fn judge(route: &Route, sender: &Peer, receiver: &Peer, model: &Model, back: &Model, read_at_drain: Option<usize>) {
    let heard = receiver.heard(route.window(sender.side()));
    let said = sender.said();
    let told = || format!("\nsaid {said:?}\nof {sender:?}\nheard {heard:?}\nmodel {model:?}\nroute {route:?}");
    // Every peer gets one close frame at most, and nothing behind it.
    let closes = heard.iter().filter(|it| it.is_close()).count();
    assert!(closes <= 1 && heard.iter().rev().skip(1).all(|it| !it.is_close()), "{closes} close frames{}", told());
    // Messages, controls and replies each come in their order.
    let messages: Vec<_> = heard.iter().filter_map(|it| it.message()).filter(|it| !it.1.starts_with(b"R")).collect();
    let expected: Vec<_> = model.messages(said.messages).collect();
    assert!(messages.len() <= expected.len(), "{} messages too many{}", messages.len() - expected.len(), told());
    for (index, (got, expected)) in messages.iter().zip(&expected).enumerate() {
        assert!(got.0 == expected.kind && got.1 == expected.payload, "message {index} is another{}", told());
    }
    let replies: Vec<_> = heard.iter().filter_map(|it| it.message()).filter(|it| it.1.starts_with(b"R")).collect();
    let expected_replies: Vec<_> = back.replies().collect();
    assert!(replies.len() <= expected_replies.len(), "replies too many{}", told());
    for (got, expected) in replies.iter().zip(&expected_replies) {
        assert!(got.0 == expected.kind && got.1 == expected.payload, "a reply is another{}", told());
    }
    let controls: Vec<_> = heard.iter().filter_map(|it| it.control()).collect();
    let expected_controls: Vec<_> = model.controls(said.controls).collect();
    for (index, got) in controls.iter().enumerate() {
        assert!(expected_controls.get(index) == Some(got), "control frame {index} is another{}", told());
    }
    // Nothing overtakes anything, and nothing comes before its time.
    let (mut place, mut message, mut control) = (0, 0, 0);
    let mut not_before: Option<Instant> = None;
    for it in &heard {
        let own = if it.control().is_some() {
            control += 1;
            model.place_of_control(control - 1)
        } else if it.message().is_some_and(|it| !it.1.starts_with(b"R")) {
            message += 1;
            expected[message - 1].place
        } else {
            continue;
        };
        assert!(own >= place, "something at {own} came behind {place}{}", told());
        if own > place {
            not_before = not_before.max(model.delayed_until(place, own));
        }
        place = own;
        assert!(not_before.is_none_or(|until| it.came_at() >= until), "it came before its time: {it:?}{}", told());
    }
    // What had to arrive has arrived.
    let due =
        match (sender.ending(), model.close(said.messages).or(back.close(receiver.said().messages)), read_at_drain) {
            (_, Some(_), _)
                if model.close(said.messages).is_some() && back.close(receiver.said().messages).is_none() =>
            {
                let is_first = read_at_drain.is_none() && receiver.ending() != Ending::Vanish;
                // The other peer may have closed before.
                if is_first && heard.iter().any(|it| it.close_code() == Some(4000)) { expected.len() } else { 0 }
            }
            (_, Some(_), _) => 0,
            (_, None, Some(read)) => model.messages(sender.messages_within(read)).count(),
            (Ending::Close | Ending::Vanish, None, None) if receiver.ending() == Ending::Close => expected.len(),
            _ => 0,
        };
    assert!(messages.len() >= due, "{} of {due} messages arrived{}", messages.len(), told());
    let is_whole = due == expected.len() && due > 0 && read_at_drain.is_none() && model.close(said.messages).is_none();
    assert!(!is_whole || controls.len() == expected_controls.len(), "{} control frames{}", controls.len(), told());
}

/// Enough to have each fault that was ever found here, many times over; `TIDEGATE_FUZZ_STEPS` asks for more.
const STEPS: u64 = 100_000;

#[test]
fn everything_arrives_in_order_and_in_time_whatever_filters_decide() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (steps, first) = (number("TIDEGATE_FUZZ_STEPS").unwrap_or(STEPS), number("TIDEGATE_FUZZ_SEED").unwrap_or(0));
    let (mut done, mut seed) = (0, first);
    while done < steps {
        let outcome = std::panic::catch_unwind(|| connection(seed));
        assert!(outcome.is_ok(), "TIDEGATE_FUZZ_SEED={seed} shows it again");
        done += outcome.unwrap_or_default();
        seed += 1;
    }
}
