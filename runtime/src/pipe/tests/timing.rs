//! Timers, on a clock that the tests move.

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};

use super::piped::{SECOND, close, filter, filtered, frame, local, pipe, send, texts};
use crate::component::{Need, Verdict};
use crate::metrics::{CloseLabel, Initiator};
use crate::peer::Side;
use crate::pipe::Timers;
use crate::pipe::emit::{encode, encode_close};
use crate::ws::{CloseFrame, Opcode};

#[tokio::test(start_paused = true)]
async fn both_sides_are_pinged_and_our_pongs_go_no_further() {
    local(async {
        let timers = Timers { ping_interval: Some(10 * SECOND), pong_timeout: Some(5 * SECOND), ..Timers::default() };
        let mut piped = pipe(timers);
        let started = Instant::now();
        let (opcode, token) = frame(&mut piped.client).await;
        assert_eq!((opcode, started.elapsed()), (Opcode::Ping, 10 * SECOND));
        assert_eq!(frame(&mut piped.upstream).await, (Opcode::Ping, token.clone()));
        send(&mut piped.client, Opcode::Pong, &token, Side::Upstream).await;
        send(&mut piped.upstream, Opcode::Pong, &token, Side::Client).await;
        send(&mut piped.client, Opcode::Pong, b"mine", Side::Upstream).await;
        assert_eq!(frame(&mut piped.upstream).await, (Opcode::Pong, b"mine".to_vec()));
        // Answered in time, so the next thing that happens is the next ping.
        assert_eq!(frame(&mut piped.client).await.0, Opcode::Ping);
        assert_eq!(started.elapsed(), 20 * SECOND);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_side_that_does_not_answer_pings_is_closed_with_1011_and_an_upstream_is_told_to_the_client_as_1014() {
    local(async {
        let timers = Timers { ping_interval: Some(10 * SECOND), pong_timeout: Some(5 * SECOND), ..Timers::default() };
        let mut piped = pipe(timers);
        let (_, token) = frame(&mut piped.client).await;
        send(&mut piped.client, Opcode::Pong, &token, Side::Upstream).await;
        frame(&mut piped.upstream).await;
        assert_eq!(close(&mut piped.upstream).await.0, 1011);
        let (code, reason) = close(&mut piped.client).await;
        assert_eq!(code, 1014);
        assert!(reason.contains("pong_timeout"), "{reason}");
        drop((piped.client, piped.upstream));
        let outcome = piped.ended.await.unwrap();
        assert_eq!((outcome.by, outcome.label), (Initiator::Proxy, CloseLabel::InternalError));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn inactivity_closes_with_1001_and_pings_are_no_activity() {
    local(async {
        let mut piped = pipe(Timers { max_inactivity: Some(60 * SECOND), ..Timers::default() });
        let started = Instant::now();
        sleep(40 * SECOND).await;
        send(&mut piped.client, Opcode::Text, b"active", Side::Upstream).await;
        frame(&mut piped.upstream).await;
        sleep(30 * SECOND).await;
        send(&mut piped.client, Opcode::Ping, b"", Side::Upstream).await;
        frame(&mut piped.upstream).await;
        assert_eq!(close(&mut piped.client).await, (1001, "max_inactivity".to_owned()));
        assert_eq!(close(&mut piped.upstream).await, (1001, "max_inactivity".to_owned()));
        assert_eq!(started.elapsed().as_secs(), 100);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_ends_within_a_tenth_of_what_is_configured() {
    local(async {
        let mut piped = pipe(Timers { max_lifetime: Some(100 * SECOND), ..Timers::default() });
        let started = Instant::now();
        assert_eq!(close(&mut piped.client).await.0, 1001);
        assert!((90..=110).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_close_that_is_never_answered_ends_after_close_timeout() {
    local(async {
        let mut piped = pipe(Timers::default());
        let started = Instant::now();
        let sent = CloseFrame::new(4000, "bye");
        piped.client.write_all(&encode_close(Some(&sent), Side::Upstream)).await.unwrap();
        assert_eq!(close(&mut piped.upstream).await, (4000, "bye".to_owned()));
        // The client gets its own close frame back, although the upstream never answered.
        assert_eq!(close(&mut piped.client).await, (4000, "bye".to_owned()));
        let outcome = piped.ended.await.unwrap();
        assert_eq!((outcome.by, outcome.label), (Initiator::Client, CloseLabel::Private));
        assert_eq!(started.elapsed(), 5 * SECOND);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn without_timers_a_silent_connection_stays_open() {
    local(async {
        let mut piped = pipe(Timers::default());
        sleep(1_000_000 * SECOND).await;
        send(&mut piped.upstream, Opcode::Text, b"still here", Side::Client).await;
        assert_eq!(frame(&mut piped.client).await, (Opcode::Text, b"still here".to_vec()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_turned_switch_closes_both_sides() {
    local(async {
        let mut piped = pipe(Timers::default());
        sleep(SECOND).await;
        piped.handle.switch.turn(CloseFrame::new(1012, "restart"));
        assert_eq!(close(&mut piped.client).await, (1012, "restart".to_owned()));
        assert_eq!(close(&mut piped.upstream).await, (1012, "restart".to_owned()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_close_waits_for_the_end_of_a_frame_under_way() {
    local(async {
        let mut piped = pipe(Timers::default());
        let mut wire = Vec::new();
        encode(Opcode::Binary, true, &[7; 100], Side::Client, &mut wire);
        piped.upstream.write_all(&wire[..50]).await.unwrap();
        sleep(SECOND).await;
        piped.handle.switch.turn(CloseFrame::new(1012, ""));
        sleep(SECOND).await;
        piped.upstream.write_all(&wire[50..]).await.unwrap();
        send(&mut piped.upstream, Opcode::Text, b"too late", Side::Client).await;
        assert_eq!(frame(&mut piped.client).await, (Opcode::Binary, vec![7; 100]));
        assert_eq!(close(&mut piped.client).await.0, 1012);
    })
    .await;
}

fn pinging(client: bool) -> Timers {
    let (ping_interval, pong_timeout) = (Some(10 * SECOND), Some(5 * SECOND));
    Timers { ping_interval, pong_timeout, ping_client: client, ping_upstream: !client, ..Timers::default() }
}

#[tokio::test(start_paused = true)]
async fn no_pong_is_missing_while_no_ping_fits_into_a_frame_under_way() {
    local(async {
        let mut piped = pipe(pinging(true));
        let mut wire = Vec::new();
        encode(Opcode::Binary, true, &[7; 100], Side::Client, &mut wire);
        piped.upstream.write_all(&wire[..50]).await.unwrap();
        sleep(101 * SECOND).await;
        piped.upstream.write_all(&wire[50..]).await.unwrap();
        let started = Instant::now();
        assert_eq!(frame(&mut piped.client).await, (Opcode::Binary, vec![7; 100]));
        assert_eq!(frame(&mut piped.client).await.0, Opcode::Ping);
        assert_eq!(close(&mut piped.client).await.0, 1011);
        assert_eq!(started.elapsed(), 5 * SECOND);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn no_pong_is_missing_while_its_sender_is_not_read_behind_a_delay() {
    local(async {
        let filter = filter(Need::Nothing, |_| Verdict::Delay(30_000));
        let mut piped = filtered(pinging(true), vec![filter]);
        sleep(9 * SECOND).await;
        piped.client.write_all(&texts(&["held"])).await.unwrap();
        let (opcode, token) = frame(&mut piped.client).await;
        assert_eq!(opcode, Opcode::Ping);
        send(&mut piped.client, Opcode::Pong, &token, Side::Upstream).await;
        piped.client.write_all(&texts(&["on"])).await.unwrap();
        assert_eq!(frame(&mut piped.upstream).await.1, b"held");
        assert_eq!(frame(&mut piped.upstream).await.1, b"on");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn no_pong_is_missing_while_its_sender_is_not_read_because_of_a_slow_receiver() {
    local(async {
        let mut piped = pipe(pinging(true));
        let mut wire = Vec::new();
        encode(Opcode::Binary, true, &[7; 300_000], Side::Upstream, &mut wire);
        let sending = async {
            let (opcode, token) = frame(&mut piped.client).await;
            assert_eq!(opcode, Opcode::Ping);
            piped.client.write_all(&wire).await.unwrap();
            send(&mut piped.client, Opcode::Pong, &token, Side::Upstream).await;
            assert_eq!(frame(&mut piped.client).await.0, Opcode::Ping);
        };
        let reading = async {
            sleep(100 * SECOND).await;
            assert_eq!(frame(&mut piped.upstream).await, (Opcode::Binary, vec![7; 300_000]));
        };
        tokio::join!(sending, reading);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_pong_may_come_behind_a_frame_that_comes_slowly_and_is_missing_when_nothing_comes() {
    local(async {
        let mut piped = pipe(pinging(true));
        let mut wire = Vec::new();
        encode(Opcode::Binary, true, &[7; 100], Side::Upstream, &mut wire);
        frame(&mut piped.client).await;
        for part in wire[..40].chunks(10) {
            sleep(4 * SECOND).await;
            piped.client.write_all(part).await.unwrap();
        }
        let last = Instant::now();
        while frame(&mut piped.client).await.0 == Opcode::Ping {}
        assert_eq!(last.elapsed(), 5 * SECOND);
    })
    .await;
}
