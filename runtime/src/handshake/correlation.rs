//! What a request is known by to all who see it: its id, and its place in a trace.
//!
//! An id comes from a proxy in front that is trusted, or is made: whoever else could choose it could make two requests look
//! like one in a log. A trace (W3C Trace Context) is whoever's who has begun it. Both are read and written here and nowhere
//! else, and what is written stands in memory that many requests share.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};

/// The field of a request's id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The id of a request.
#[derive(Clone, Debug)]
pub struct RequestId {
    /// As it stands in a field.
    pub value: HeaderValue,
    /// Whether a proxy in front has given it; else it is that of the connection.
    pub is_given: bool,
}

impl RequestId {
    /// The id, if a proxy in front has given it.
    pub fn given(&self) -> Option<&str> {
        self.value.to_str().ok().filter(|_| self.is_given)
    }
}

/// A trace, by its id of sixteen bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId([u8; 16]);

impl TraceId {
    /// The one that a request is part of, once it is [correlated](correlate).
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let text = only(headers, &TRACEPARENT)?.to_str().ok()?.get(TRACE_PLACE)?;
        u128::from_str_radix(text, 16).ok().map(|id| Self(id.to_be_bytes()))
    }

    /// The id, as a number.
    pub fn number(self) -> u128 {
        u128::from_be_bytes(self.0)
    }
}

/// Sees that a request has one id and one place in a trace. `own` is its id if no other was given, by a peer that is
/// `trusted`.
pub fn correlate(headers: &mut HeaderMap, own: &str, is_trusted: bool) -> Option<RequestId> {
    trace(headers);
    let given = only(headers, &REQUEST_ID).filter(|value| is_trusted && is_id(value.as_bytes())).cloned();
    if let Some(value) = given {
        return Some(RequestId { value, is_given: true });
    }
    let value = field(|room| room.extend_from_slice(own.as_bytes()))?;
    headers.insert(REQUEST_ID, value.clone());
    Some(RequestId { value, is_given: false })
}

/// Whether a field is a request's id in another spelling, which some servers take for this one.
pub(super) fn is_disguised_id(name: &str) -> bool {
    let is_same = |(byte, own): (u8, u8)| byte == own || (own == b'-' && !byte.is_ascii_alphanumeric());
    name.len() == REQUEST_ID.as_str().len()
        && name != REQUEST_ID.as_str()
        && name.bytes().zip(REQUEST_ID.as_str().bytes()).all(is_same)
}

/// Begins a trace where there is none that is valid; what is not is no part of another.
fn trace(headers: &mut HeaderMap) {
    if only(headers, &TRACEPARENT).is_some_and(|value| is_traceparent(value.as_bytes())) {
        return;
    }
    headers.remove(TRACESTATE);
    let begun = field(|room| {
        // Neither is zero, which would be invalid. Who comes behind may still sample it.
        let (trace, parent) = (rand::random::<u128>().max(1), rand::random::<u64>().max(1));
        // Writing to memory cannot fail.
        let _ = write!(room, "00-{trace:032x}-{parent:016x}-00");
    });
    if let Some(begun) = begun {
        headers.insert(TRACEPARENT, begun);
    }
}

/// The value of a field that stands there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Whether a text is fit for an id: it can stand in a log, a url or a query without being quoted.
fn is_id(text: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~:+/=@".contains(byte);
    (1..=LONGEST_ID).contains(&text.len()) && text.iter().all(fits)
}

/// Whether a value is valid (Trace Context section 3.2). Of versions to come the beginning is as it is now.
fn is_traceparent(value: &[u8]) -> bool {
    let Some((known, rest)) = value.split_at_checked(TRACEPARENT_LENGTH) else { return false };
    let mut parts = known.split(|byte| *byte == b'-');
    let mut next = |length: usize| {
        let is_hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        parts.next().filter(|part| part.len() == length && part.iter().all(is_hex))
    };
    let (Some(version), Some(trace), Some(parent), Some(_)) = (next(2), next(32), next(16), next(2)) else {
        return false;
    };
    let is_something = |part: &[u8]| part.iter().any(|byte| *byte != b'0');
    let is_ended =
        rest.is_empty() || (version != b"00" && rest.starts_with(b"-") && value.len() <= LONGEST_TRACEPARENT);
    version != b"ff" && is_something(trace) && is_something(parent) && is_ended
}

/// A value that is written into memory which many share.
fn field(write: impl FnOnce(&mut BytesMut)) -> Option<HeaderValue> {
    thread_local! {
        static ROOM: RefCell<BytesMut> = RefCell::new(BytesMut::with_capacity(ROOM_SIZE));
    }
    let written: Bytes = ROOM.with_borrow_mut(|room| {
        room.reserve(MOST_WRITTEN);
        write(room);
        room.split().freeze()
    });
    HeaderValue::from_maybe_shared(written).ok()
}

/// What Envoy, Heroku and the others write has 36 at most.
const LONGEST_ID: usize = 128;
const TRACEPARENT_LENGTH: usize = 55;
const TRACE_PLACE: Range<usize> = 3..35;
/// No version is known that is longer than the first.
const LONGEST_TRACEPARENT: usize = 256;
/// Some fifty requests share it, for as long as the last of them has not got its answer.
const ROOM_SIZE: usize = 4096;
const MOST_WRITTEN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        fields.iter().map(field).collect()
    }

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn only_a_trusted_peer_gives_a_request_its_id_and_only_one_that_is_fit() {
        let long = "x".repeat(LONGEST_ID + 1);
        for (given, is_trusted, id) in [
            (&["f47ac10b-58cc-4372-a567-0e02b2c3d479"][..], true, "f47ac10b-58cc-4372-a567-0e02b2c3d479"),
            (&["Root=1-67891233-abcdef012345678912345678"], true, "Root=1-67891233-abcdef012345678912345678"),
            (&["f47ac10b"], false, "own-1"),
            (&[], true, "own-1"),
            (&[""], true, "own-1"),
            (&["a b"], true, "own-1"),
            (&["a,b"], true, "own-1"),
            (&["\"a\""], true, "own-1"),
            (&["caf\u{e9}"], true, "own-1"),
            (&["a", "b"], true, "own-1"),
            (&[&long], true, "own-1"),
            (&[&long[1..]], true, &long[1..]),
        ] {
            let fields: Vec<_> = given.iter().map(|value| ("x-request-id", *value)).collect();
            let mut headers = headers(&fields);
            let known = correlate(&mut headers, "own-1", is_trusted).unwrap();
            assert_eq!((known.value.as_bytes(), known.is_given), (id.as_bytes(), id != "own-1"), "{given:?}");
            assert_eq!(headers.get_all(REQUEST_ID).iter().collect::<Vec<_>>(), [id]);
        }
    }

    #[test]
    fn a_valid_trace_goes_on_and_any_other_begins_anew() {
        let next = VALID.replacen("00", "01", 1);
        let longer = format!("{next}-more");
        let endless = format!("{next}-{}", "x".repeat(LONGEST_TRACEPARENT));
        for (given, goes_on) in [
            (&[VALID][..], true),
            (&[&VALID.replace("-01", "-ff")], true),
            (&[&next], true),
            (&[&longer], true),
            (&[&endless], false),
            (&[], false),
            (&[""], false),
            (&[VALID, VALID], false),
            (&[&VALID.to_uppercase()], false),
            (&[&VALID.replacen("00", "ff", 1)], false),
            (&[&VALID.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32))], false),
            (&[&VALID.replace("00f067aa0ba902b7", &"0".repeat(16))], false),
            (&[&VALID[..54]], false),
            (&[&format!("{VALID}-more")], false),
            (&[&format!("{next}more")], false),
            (&[&VALID.replace('-', "_")], false),
            (&[&VALID.replacen("4b", "4-", 1)], false),
        ] {
            let fields: Vec<_> = given.iter().map(|value| ("traceparent", *value)).collect();
            let mut headers = headers(&fields);
            headers.append(TRACESTATE, HeaderValue::from_static("a=1"));
            headers.append(TRACESTATE, HeaderValue::from_static("b=2"));
            correlate(&mut headers, "1", false);
            let trace = TraceId::of(&headers).unwrap().number();
            assert_eq!(trace == 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, goes_on, "{given:?}: {trace:x}");
            let told: Vec<_> = headers.get_all(TRACEPARENT).iter().map(|value| value.to_str().unwrap()).collect();
            assert_eq!(told == given, goes_on, "{given:?}: {told:?}");
            assert!(told.len() == 1 && is_traceparent(told[0].as_bytes()) && (goes_on || told[0].ends_with("-00")));
            assert_eq!(headers.get_all(TRACESTATE).iter().count(), if goes_on { 2 } else { 0 }, "{given:?}");
        }
    }

    #[test]
    fn an_id_in_another_spelling_is_known() {
        for (name, is_it) in [
            ("x_request_id", true),
            ("x-request_id", true),
            ("x.request.id", true),
            ("x-request-id", false),
            ("x-request-ids", false),
            ("xarequest-id", false),
        ] {
            assert_eq!(is_disguised_id(name), is_it, "{name}");
        }
    }

    #[test]
    fn values_of_many_requests_share_memory() {
        let first = field(|room| room.extend_from_slice(b"first")).unwrap();
        let second = field(|room| room.extend_from_slice(b"second")).unwrap();
        assert_eq!((first.as_bytes(), second.as_bytes()), (&b"first"[..], &b"second"[..]));
        let ends = first.as_bytes().as_ptr_range().end;
        assert_eq!(ends, second.as_bytes().as_ptr());
    }
}
