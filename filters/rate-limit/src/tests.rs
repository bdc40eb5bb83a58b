use tidegate_guest::testing;

use super::*;

fn limit() -> RateLimit {
    RateLimit {
        messages_per_second: Some(10.0),
        burst: Some(3.0),
        bytes_per_second: None,
        burst_bytes: None,
        action: Action::Delay,
        from: Origins::Client,
        messages: None,
        bytes: None,
    }
}

fn open(limit: RateLimit) -> (RateLimit, Session) {
    let limit = limit.configured().unwrap();
    let session = limit.open(&Handshake::default()).unwrap().session;
    (limit, session)
}

fn message(size: u32) -> Message<'static> {
    Message::text_from(Side::Client, "").of_size(size)
}

#[test]
fn a_burst_passes_and_then_each_message_waits_for_its_token() {
    let (limit, mut session) = open(limit());
    let mut verdicts = Vec::new();
    for _ in 0..3 {
        verdicts.push(limit.on_message(&mut session, message(1)));
    }
    assert_eq!(verdicts, [Verdict::Forward, Verdict::Forward, Verdict::Delay(100)]);
    testing::advance(Duration::from_millis(100));
    assert_eq!(limit.on_message(&mut session, message(1)), Verdict::Delay(100));
}

#[test]
fn the_delays_of_a_batch_grow_with_the_debt() {
    let (limit, mut session) = open(limit());
    let verdicts: Vec<_> = (0..5).map(|_| limit.on_message(&mut session, message(1))).collect();
    assert_eq!(verdicts[2..], [Verdict::Delay(100), Verdict::Delay(200), Verdict::Delay(300)]);
}

#[test]
fn a_sender_that_obeys_the_delays_keeps_the_rate_exactly() {
    let (limit, mut session) = open(limit());
    let start = clock::monotonic();
    for _ in 0..103 {
        if let Verdict::Delay(milliseconds) = limit.on_message(&mut session, message(1)) {
            testing::advance(Duration::from_millis(u64::from(milliseconds)));
        }
    }
    // A burst of 3, then 100 messages at 10 a second, and the delay after the last of them.
    assert_eq!(clock::monotonic() - start, Duration::from_millis(10_100));
}

#[test]
fn dropped_messages_take_no_token() {
    let (limit, mut session) = open(RateLimit { action: Action::Drop, ..limit() });
    let verdicts: Vec<_> = (0..5).map(|_| limit.on_message(&mut session, message(1))).collect();
    let forwarded = [Verdict::Forward, Verdict::Forward, Verdict::Forward];
    assert_eq!(verdicts[..3], forwarded);
    assert_eq!(verdicts[3..], [Verdict::Drop, Verdict::Drop]);
    testing::advance(Duration::from_millis(100));
    assert_eq!(limit.on_message(&mut session, message(1)), Verdict::Forward);
}

#[test]
fn the_message_over_the_limit_closes_with_1008() {
    let (limit, mut session) = open(RateLimit { action: Action::Close, burst: Some(1.0), ..limit() });
    assert_eq!(limit.on_message(&mut session, message(1)), Verdict::Forward);
    assert_eq!(limit.on_message(&mut session, message(1)), Verdict::close(1008, "rate limit exceeded"));
}

#[test]
fn bytes_are_limited_by_the_size_even_of_a_message_larger_than_the_burst() {
    let bytes = RateLimit { messages_per_second: None, burst: None, bytes_per_second: Some(1_000.0), ..limit() };
    let (limit, mut session) = open(bytes);
    // 2,999 bytes over the burst, and room for one more byte: 3,000 ms at 1,000 bytes a second.
    assert_eq!(limit.on_message(&mut session, message(3_999)), Verdict::Delay(3_000));
}

#[test]
fn an_idle_connection_saves_up_no_more_than_a_burst() {
    let (limit, mut session) = open(limit());
    testing::advance(Duration::from_secs(3_600));
    let verdicts: Vec<_> = (0..3).map(|_| limit.on_message(&mut session, message(1))).collect();
    assert_eq!(verdicts[2], Verdict::Delay(100));
}

#[test]
fn each_direction_has_its_own_bucket() {
    let (limit, mut session) = open(RateLimit { from: Origins::Both, burst: Some(2.0), ..limit() });
    limit.on_message(&mut session, message(1));
    let from_upstream = Message::text_from(Side::Upstream, "x");
    assert_eq!(limit.on_message(&mut session, from_upstream), Verdict::Forward);
}

#[test]
fn no_payload_is_asked_for() {
    let (limit, _) = open(limit());
    assert_eq!(limit.interest(), Interest::from_client(Selection::fact(Kinds::all())));
}

#[test]
fn a_swapped_component_gives_no_new_burst() {
    let (limit, mut session) = open(limit());
    (0..3).for_each(|_| drop(limit.on_message(&mut session, message(1))));
    let state = limit.save(&session);
    let mut resumed = limit.resume(&Handshake::default(), &state).unwrap();
    assert_eq!(limit.on_message(&mut resumed, message(1)), Verdict::Delay(200));
    let mut without_state = limit.resume(&Handshake::default(), b"").unwrap();
    assert_eq!(limit.on_message(&mut without_state, message(1)), Verdict::Forward);
}

#[test]
fn a_configuration_that_limits_nothing_is_refused() {
    let error = |limit: RateLimit| limit.configured().err().unwrap();
    assert!(error(RateLimit { messages_per_second: None, burst: None, ..limit() }).starts_with("nothing to limit"));
    assert!(error(RateLimit { messages_per_second: None, ..limit() }).contains("`burst` without"));
    assert!(error(RateLimit { messages_per_second: Some(0.0), ..limit() }).contains("write a number above 0"));
    assert!(error(RateLimit { burst: Some(0.0), ..limit() }).contains("write 1 or more"));
}
