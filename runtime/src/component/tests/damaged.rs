//! Components with a bit turned: each is refused, serves or fails, and none harms the host.

use super::guests::{Bed, FILTER, handshake, message, module};
use super::*;

/// What became of damaged components.
#[derive(Debug, Default)]
struct Tally {
    refused: usize,
    fails: usize,
    serves: usize,
}

/// The same numbers in every run (xorshift, 64 bits).
fn numbers() -> impl Iterator<Item = usize> {
    let mut state = 0x7469_6465_6761_7465_u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 32).unwrap()
    })
}

/// Configures it, opens a session and sends a message.
fn serve(bed: &Bed, component: &Component) -> Option<Verdict> {
    let filter = component.filter("chat", "{}", OnFailure::Close, 1, &bed.metrics).ok()?;
    match bed.pool.open(&filter, &Rc::new(handshake("/"))).ok()? {
        Opened::Admitted(admission) => {
            let mut session = admission.session;
            let decided = session.on_message(message(b"n")).ok();
            session.on_close(None, None);
            decided
        }
        Opened::Refused(_) => None,
    }
}

#[test]
fn a_component_with_a_bit_turned_is_refused_or_fails_or_serves_and_the_next_one_is_served() {
    let bed = Bed::new();
    let sound = module(FILTER, "full-filter");
    let component = wit_component::ComponentEncoder::default().module(&sound).unwrap().encode().unwrap();
    let mut tally = Tally::default();
    let mut numbers = numbers();
    for original in [&sound, &component].into_iter().cycle().take(FLIPS) {
        let mut bytes = original.clone();
        let place = numbers.next().unwrap() % bytes.len();
        bytes[place] ^= 1 << (numbers.next().unwrap() % 8);
        match bed.host.load("damaged", &bytes, Limits::default()) {
            Err(_) => tally.refused += 1,
            Ok(component) => match serve(&bed, &component) {
                Some(_) => tally.serves += 1,
                None => tally.fails += 1,
            },
        }
        bed.pool.retire(&|_| false);
    }
    assert_eq!(tally.refused + tally.fails + tally.serves, FLIPS);
    // Otherwise the damage was not where it matters.
    assert!(tally.refused > FLIPS / 10 && tally.serves > FLIPS / 10, "{tally:?}");
    let filter = bed.filter("{}", Limits::default());
    assert_eq!(bed.session(&filter).on_message(message(b"n")).unwrap(), Verdict::Delay(1));
    bed.with_shard("damaged", |shard| assert_eq!(shard.memory_bytes.value(), 0, "{tally:?}"));
}

const FLIPS: usize = 500;
