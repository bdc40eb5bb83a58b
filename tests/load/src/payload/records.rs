//! The inside of a compressible payload: records as an application sends them, with keys that repeat, numbers that do not
//! and as much padding as the exact length takes.

use std::fmt::Write;

use crate::random::Random;

/// Exactly `length` bytes, at least [`LEAST`], that continue and end inside a JSON string of an object.
pub(super) fn body(length: usize, random: &mut Random) -> Vec<u8> {
    let mut text = String::from(HEAD);
    let mut record = String::new();
    loop {
        record.clear();
        write_record(&mut record, random);
        if text.len() + record.len() + END.len() > length {
            break;
        }
        text.push_str(&record);
    }
    if text.ends_with(',') {
        text.pop();
    }
    text.push_str(END);
    let mut body = text.into_bytes();
    body.resize(length, b'.');
    body
}

fn write_record(text: &mut String, random: &mut Random) {
    let symbol = SYMBOLS[(random.word() >> 32) as usize % SYMBOLS.len()];
    let side = if random.byte() < 128 { "buy" } else { "sell" };
    let (id, price, size) = (random.word() >> 40, random.word() >> 50, random.word() >> 54);
    let _ = write!(
        text,
        "{{\"id\":{id},\"symbol\":\"{symbol}\",\"side\":\"{side}\",\"price\":{}.{:02},\"size\":{size}}},",
        price / 100,
        price % 100
    );
}

const HEAD: &str = "\",\"records\":[";
const END: &str = "],\"padding\":\"";
/// Bytes of a body without a record.
pub(super) const LEAST: usize = HEAD.len() + END.len();
const SYMBOLS: [&str; 6] = ["BTC-EUR", "ETH-EUR", "ACME", "OSLO.OBX", "DAX40", "NIKKEI"];
