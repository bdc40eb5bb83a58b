//! What waits for one peer is bounded, and finds its place.

use std::cell::Cell;
use std::rc::Rc;

use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use super::piped::{SECOND, filter, filtered, frame, local, send, text, texts};
use crate::component::{Content, Interest, Kinds, Need, Outgoing, Selection, Verdict};
use crate::peer::{MessageKind, Side};
use crate::pipe::emit::encode;
use crate::pipe::{Scripted, Timers};
use crate::ws::Opcode;

/// Answers every message to `to` with so many bytes, and counts.
async fn asked_for(to: Side, size: usize) -> u32 {
    asked_of(to, size, |filter| filter).await
}

async fn asked_of(to: Side, size: usize, how: fn(Scripted) -> Scripted) -> u32 {
    let asked = Rc::new(Cell::new(0));
    let count = asked.clone();
    let answering = filter(Need::Whole, move |_| {
        count.set(count.get() + 1);
        Verdict::Send(vec![Outgoing { to, message: Content { kind: MessageKind::Text, payload: vec![b'x'; size] } }])
    });
    local(async move {
        let mut piped = filtered(Timers::default(), vec![how(answering)]);
        piped.client.write_all(&texts(&[""; 2000])).await.unwrap();
        sleep(SECOND).await;
        let before = asked.get();
        // Whoever takes what there is gets all of it.
        let stream = if to == Side::Client { &mut piped.client } else { &mut piped.upstream };
        for _ in 0..2000 {
            assert_eq!(frame(stream).await.1.len(), size);
        }
        assert_eq!(asked.get(), 2000);
        before
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn no_more_is_decided_than_the_sender_takes_replies() {
    let asked = asked_for(Side::Client, 64 << 10).await;
    assert!(asked <= 128, "{asked} replies of 64 KiB wait");
}

#[tokio::test(start_paused = true)]
async fn no_more_is_decided_than_the_receiver_takes() {
    let asked = asked_for(Side::Upstream, 64 << 10).await;
    assert!(asked <= 128, "{asked} messages of 64 KiB wait");
}

#[tokio::test(start_paused = true)]
async fn what_the_sender_does_not_take_of_its_replies_is_counted_until_it_does() {
    let size = 1 << 20;
    let answering = filter(Need::Whole, move |message| {
        let payload = vec![b'x'; size];
        Verdict::Send(vec![Outgoing { to: message.origin, message: Content { kind: MessageKind::Text, payload } }])
    });
    local(async move {
        let mut piped = filtered(Timers::default(), vec![answering]);
        piped.client.write_all(&texts(&[""])).await.unwrap();
        sleep(SECOND).await;
        let held = piped.assemblies.held();
        assert!((size / 2..3 * size).contains(&held), "{held} bytes are counted");
        assert_eq!(frame(&mut piped.client).await.1.len(), size);
        sleep(SECOND).await;
        assert_eq!(piped.assemblies.held(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_answered_in_calls_of_its_own_waits_for_both_peers_call_by_call() {
    for to in [Side::Client, Side::Upstream] {
        let asked = asked_of(to, 64 << 10, Scripted::singly).await;
        // What a socket takes, 256 KiB that wait, and one.
        assert!(asked <= 9, "{asked} messages of 64 KiB wait for {to:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_finds_its_place_although_a_fragmented_message_was_dropped_around_a_control_frame() {
    local(async {
        // What the upstream says is dropped, unseen, and what the client says comes back.
        let texts_only = Kinds { text: true, binary: false };
        let from_client = Selection { kinds: texts_only, need: Need::Whole };
        let from_upstream = Selection { kinds: texts_only, need: Need::Nothing };
        let echo = Scripted::of_messages(Interest { from_client, from_upstream }, |message| match message.origin {
            Side::Upstream => Verdict::Drop,
            Side::Client => {
                let payload = message.payload.to_vec();
                Verdict::Send(vec![Outgoing {
                    to: Side::Client,
                    message: Content { kind: MessageKind::Text, payload },
                }])
            }
        });
        let mut piped = filtered(Timers::default(), vec![echo]);
        let mut wire = Vec::new();
        encode(Opcode::Text, false, b"one", Side::Client, &mut wire);
        encode(Opcode::Ping, true, b"between", Side::Client, &mut wire);
        piped.upstream.write_all(&wire).await.unwrap();
        assert_eq!(frame(&mut piped.client).await, (Opcode::Ping, b"between".to_vec()));
        send(&mut piped.upstream, Opcode::Continuation, b"two", Side::Client).await;
        sleep(SECOND).await;
        piped.client.write_all(&texts(&["hello"])).await.unwrap();
        assert_eq!(text(&mut piped.client).await, "hello");
        // Inside of such a message there is a place for it as well.
        piped.upstream.write_all(&wire).await.unwrap();
        assert_eq!(frame(&mut piped.client).await, (Opcode::Ping, b"between".to_vec()));
        piped.client.write_all(&texts(&["again"])).await.unwrap();
        assert_eq!(text(&mut piped.client).await, "again");
    })
    .await;
}
