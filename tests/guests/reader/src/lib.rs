//! Reads every byte of every message, both ways, and lets everything pass: what a filter that inspects costs at least.

use serde::Deserialize;
use tidegate_guest::{Admission, Filter, Handshake, Message, Refusal, Verdict, export_filter};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reader {}

impl Filter for Reader {
    type Session = u8;

    fn open(&self, _: &Handshake) -> Result<Admission<u8>, Refusal> {
        Ok(Admission::of(0))
    }

    fn on_message(&self, parity: &mut u8, message: Message<'_>) -> Verdict {
        *parity ^= fold(message.payload());
        Verdict::Forward
    }
}

/// The parity of all bytes, many at a time: where a loop goes round the runtime looks at its deadline.
fn fold(payload: &[u8]) -> u8 {
    let (strides, rest) = payload.as_chunks::<128>();
    let wide = strides.iter().copied().reduce(|mut lanes, stride| {
        lanes.iter_mut().zip(stride).for_each(|(lane, byte)| *lane ^= byte);
        lanes
    });
    let wide = wide.map_or(0, |lanes| lanes.iter().fold(0, |parity, byte| parity ^ byte));
    rest.iter().fold(wide, |parity, byte| parity ^ byte)
}

export_filter!(Reader);
