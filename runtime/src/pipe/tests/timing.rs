//! Timers, on a clock that the tests move.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{Instant, sleep};

use crate::metrics::{CloseLabel, Initiator, Metrics, Side, WorkerIndex};
use crate::pipe::emit::{encode, encode_close};
use crate::pipe::{Handle, Outcome, Pipe, Plan, Scratch, Timers};
use crate::ws::{CloseFrame, Extensions, FrameHeader, Opcode, apply_mask};

/// A pipe between two ends that the test holds.
struct Piped {
    client: DuplexStream,
    upstream: DuplexStream,
    handle: Rc<Handle>,
    ended: JoinHandle<Box<Outcome>>,
}

fn pipe(timers: Timers) -> Piped {
    let (client, client_end) = duplex(1 << 16);
    let (upstream, upstream_end) = duplex(1 << 16);
    let handle = Rc::<Handle>::default();
    let plan = Plan {
        filters: Vec::new(),
        shadows: Vec::new(),
        extensions: Extensions::default(),
        lease: None,
        timers: Arc::new(timers),
        limits: Arc::default(),
        metrics: Metrics::new(1).route("test"),
        worker: WorkerIndex(0),
        scratch: Rc::<RefCell<Scratch>>::default(),
        handle: handle.clone(),
    };
    let pipe = Pipe::new((client_end, Bytes::new()), (upstream_end, Bytes::new()), plan);
    Piped { client, upstream, handle, ended: spawn_local(pipe.run()) }
}

/// The next frame: its opcode and its unmasked payload.
async fn frame(stream: &mut DuplexStream) -> (Opcode, Vec<u8>) {
    let mut bytes = Vec::new();
    loop {
        if let Some((header, _)) = FrameHeader::parse(&bytes).unwrap() {
            let mut payload = vec![0; usize::try_from(header.payload_len).unwrap()];
            stream.read_exact(&mut payload).await.unwrap();
            if let Some(key) = header.mask {
                apply_mask(&mut payload, key);
            }
            return (header.opcode, payload);
        }
        bytes.push(stream.read_u8().await.unwrap());
    }
}

async fn close(stream: &mut DuplexStream) -> (u16, String) {
    let (opcode, body) = frame(stream).await;
    assert_eq!(opcode, Opcode::Close);
    let close = CloseFrame::parse(&body).unwrap().unwrap();
    (close.code, close.reason)
}

async fn send(stream: &mut DuplexStream, opcode: Opcode, payload: &[u8], to: Side) {
    let mut wire = Vec::new();
    encode(opcode, true, payload, to, &mut wire);
    stream.write_all(&wire).await.unwrap();
}

async fn local<T>(test: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(test).await
}

const SECOND: Duration = Duration::from_secs(1);

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
