//! Closing verdicts: one close frame for each peer, nothing behind it, and nothing forgotten.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::piped::{SECOND, close, filtered, local, obedient, text, texts};
use crate::metrics::Initiator;
use crate::peer::Side;
use crate::pipe::Timers;
use crate::pipe::emit::{encode, encode_close};
use crate::ws::{CloseFrame, Opcode};

#[tokio::test(start_paused = true)]
async fn a_close_of_a_filter_and_of_the_client_in_one_read_make_one_close_frame() {
    local(async {
        let mut piped = filtered(Timers::default(), vec![obedient()]);
        let bye = CloseFrame::new(1000, "bye");
        let wire = [texts(&["before", "close:4000", "behind"]), encode_close(Some(&bye), Side::Upstream)].concat();
        let started = Instant::now();
        piped.client.write_all(&wire).await.unwrap();
        assert_eq!(text(&mut piped.upstream).await, "before");
        assert_eq!(close(&mut piped.upstream).await, (4000, "enough".to_owned()));
        assert_eq!(close(&mut piped.client).await, (4000, "enough".to_owned()));
        piped.upstream.write_all(&encode_close(Some(&bye), Side::Client)).await.unwrap();
        drop(piped.upstream);
        // The client has closed already: nobody waits for it.
        let outcome = piped.ended.await.unwrap();
        assert_eq!((outcome.by, outcome.close.unwrap().code), (Initiator::Proxy, 4000));
        assert!(started.elapsed() < SECOND, "{:?}", started.elapsed());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nothing_that_stands_behind_a_closing_verdict_goes_on_although_no_filter_wants_it() {
    local(async {
        let mut piped = filtered(Timers::default(), vec![obedient()]);
        let mut wire = texts(&["close:4000"]);
        encode(Opcode::Binary, true, b"unwanted", Side::Upstream, &mut wire);
        encode(Opcode::Ping, true, b"ping", Side::Upstream, &mut wire);
        encode(Opcode::Binary, false, b"fragment", Side::Upstream, &mut wire);
        wire.extend(texts(&["+more", "reply:no"]));
        piped.client.write_all(&wire).await.unwrap();
        assert_eq!(close(&mut piped.upstream).await, (4000, "enough".to_owned()));
        assert_eq!(close(&mut piped.client).await, (4000, "enough".to_owned()));
        drop(piped.ended);
        let mut rest = Vec::new();
        piped.client.shutdown().await.unwrap();
        piped.upstream.read_to_end(&mut rest).await.unwrap();
        piped.client.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty(), "{rest:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_closing_verdict_waits_for_the_messages_before_it_that_are_delayed() {
    local(async {
        let mut piped = filtered(Timers::default(), vec![obedient()]);
        let started = Instant::now();
        piped.client.write_all(&texts(&["delay:3000", "held", "close:4000", "behind"])).await.unwrap();
        assert_eq!(text(&mut piped.upstream).await, "delay:3000");
        assert_eq!(text(&mut piped.upstream).await, "held");
        assert_eq!(close(&mut piped.upstream).await.0, 4000);
        assert_eq!(close(&mut piped.client).await.0, 4000);
        assert_eq!(started.elapsed(), 3 * SECOND);
    })
    .await;
}
