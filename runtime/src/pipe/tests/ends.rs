//! A direction that does not read still sees that its sender is gone.

use std::io;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};

use super::piped::{SECOND, close, filtered, frame, local, obedient, pipe, send, text, texts};
use crate::metrics::{CloseLabel, Initiator};
use crate::peer::Side;
use crate::pipe::Timers;
use crate::pipe::emit::encode;
use crate::transport::End;
use crate::ws::Opcode;

fn broken() -> End {
    End::Broken(io::ErrorKind::ConnectionReset.into())
}

#[tokio::test(start_paused = true)]
async fn a_client_that_resets_its_connection_during_a_delay_is_gone_at_once() {
    local(async {
        let mut piped = filtered(Timers::default(), vec![obedient()]);
        piped.client.write_all(&texts(&["delay:4294967295", "held"])).await.unwrap();
        assert_eq!(text(&mut piped.upstream).await, "delay:4294967295");
        let started = Instant::now();
        piped.client_end.show(broken);
        assert_eq!(close(&mut piped.upstream).await, (1001, "the client went away".to_owned()));
        drop(piped.upstream);
        let outcome = piped.ended.await.unwrap();
        assert_eq!((outcome.by, outcome.label), (Initiator::Client, CloseLabel::Abnormal));
        assert_eq!(outcome.cause, "connection reset");
        assert_eq!(started.elapsed().as_millis(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_finished_during_a_delay_has_close_timeout_for_what_it_has_sent() {
    local(async {
        let mut piped = filtered(Timers::default(), vec![obedient()]);
        let frames = ["delay:2000", "one+", "+two", "delay:4000", "three", "delay:6000", "held"];
        piped.client.write_all(&texts(&frames)).await.unwrap();
        assert_eq!(text(&mut piped.upstream).await, "delay:2000");
        let started = Instant::now();
        piped.client_end.show(|| End::Finished);
        for expected in ["onetwo", "delay:4000", "three", "delay:6000"] {
            assert_eq!(text(&mut piped.upstream).await, expected);
        }
        assert_eq!(close(&mut piped.upstream).await.0, 1001);
        assert_eq!(started.elapsed(), 5 * SECOND);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_finished_waits_for_a_slow_upstream_as_long_as_that_takes_anything() {
    local(async {
        let mut piped = pipe(Timers::default());
        let mut wire = Vec::new();
        encode(Opcode::Binary, true, &[7; 1 << 20], Side::Upstream, &mut wire);
        let sending = async {
            piped.client.write_all(&wire).await.unwrap();
            piped.client_end.show(|| End::Finished);
            piped.client.shutdown().await.unwrap();
        };
        let reading = async {
            let mut arrived = Vec::new();
            // Takes some of it every four seconds, as much as is read at a time, so that as much is left each time.
            while arrived.len() < wire.len() {
                sleep(4 * SECOND).await;
                let mut part = vec![0; (64 << 10).min(wire.len() - arrived.len())];
                tokio::io::AsyncReadExt::read_exact(&mut piped.upstream, &mut part).await.unwrap();
                arrived.extend(part);
            }
            assert!(arrived == wire);
            assert_eq!(close(&mut piped.upstream).await.0, 1001);
        };
        tokio::join!(sending, reading);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_finished_is_gone_when_the_upstream_takes_nothing_for_close_timeout() {
    local(async {
        let mut piped = pipe(Timers::default());
        let mut wire = Vec::new();
        encode(Opcode::Binary, true, &[7; 1 << 20], Side::Upstream, &mut wire);
        let _ = tokio::time::timeout(SECOND, piped.client.write_all(&wire)).await;
        let started = Instant::now();
        piped.client_end.show(|| End::Finished);
        let outcome = piped.ended.await.unwrap();
        assert_eq!((outcome.by, outcome.label), (Initiator::Client, CloseLabel::Abnormal));
        // What is under way has the time of the end once more.
        assert_eq!(started.elapsed(), 10 * SECOND);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_no_replies_and_resets_its_connection_is_gone_at_once() {
    local(async {
        let mut piped = filtered(Timers::default(), vec![obedient()]);
        let reply = "reply:".to_owned() + &"x".repeat(1 << 20);
        piped.client.write_all(&texts(&[&reply])).await.unwrap();
        sleep(SECOND).await;
        let started = Instant::now();
        piped.client_end.show(broken);
        assert_eq!(close(&mut piped.upstream).await.0, 1001);
        assert_eq!(started.elapsed().as_millis(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_delay_does_not_keep_a_worker_busy_while_its_receiver_is_slow() {
    local(async {
        let mut piped = filtered(Timers::default(), vec![obedient()]);
        let mut wire = texts(&["delay:1000"]);
        wire.extend(texts(&[&"x".repeat(30_000), "delay:1000", &"y".repeat(30_000)]));
        // Less than all of it fits on the way.
        let blocking = vec![7; 60_000];
        send(&mut piped.client, Opcode::Binary, &blocking, Side::Upstream).await;
        piped.client.write_all(&wire).await.unwrap();
        // A task that were woken again and again would not let the clock move on.
        sleep(100 * SECOND).await;
        assert_eq!(frame(&mut piped.upstream).await, (Opcode::Binary, blocking));
        assert_eq!(text(&mut piped.upstream).await, "delay:1000");
        assert_eq!(text(&mut piped.upstream).await.len(), 30_000);
        assert_eq!(text(&mut piped.upstream).await, "delay:1000");
        assert_eq!(text(&mut piped.upstream).await.len(), 30_000);
    })
    .await;
}
