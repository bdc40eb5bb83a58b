//! Messages that filters are shown part by part: however they are fragmented and however their bytes come, the filters are
//! shown all of them, in order, and the receiver gets what they made of them.

use std::cell::RefCell;
use std::rc::Rc;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::yield_now;

use super::piped::{close, filtered, local, whole_frame};
use crate::component::{Interest, Kinds, Need, PartVerdict, Selection, Verdict};
use crate::peer::{MessageKind, Side};
use crate::pipe::emit::{encode, opcode};
use crate::pipe::{Scripted, Timers};
use crate::ws::{CloseFrame, Opcode};

type Message = (MessageKind, Vec<u8>);

/// A filter of a chain, in the order in which messages pass it.
#[derive(Clone, Copy, Debug)]
enum Role {
    /// Is shown each part.
    Watch,
    /// Doubles some bytes and leaves out others.
    Rewrite,
    /// Is shown so much of the start.
    Head(u32),
    /// Is shown whole text messages.
    WholeText,
}

/// What a filter that rewrites makes of bytes, wherever they are cut.
fn rewritten(bytes: &[u8]) -> Vec<u8> {
    let rewrite = |byte: &u8| match byte % 5 {
        0 => vec![],
        1 => vec![*byte, *byte],
        _ => vec![*byte],
    };
    bytes.iter().flat_map(rewrite).collect()
}

/// What one filter was shown.
type Shown = Rc<RefCell<Vec<Message>>>;

fn scripted(role: Role, shown: &Shown) -> Scripted {
    let (shown, parts) = (shown.clone(), shown.clone());
    let both = Kinds { text: true, binary: true };
    let interest = |kinds, need| {
        let selection = Selection { kinds, need };
        Interest { from_client: selection, from_upstream: selection }
    };
    let mut inside = false;
    let mut watch = move |part: crate::component::Part<'_>| {
        assert_eq!(part.first, !inside, "{part:?}");
        inside = !part.last;
        let mut shown = parts.borrow_mut();
        if part.first {
            shown.push((part.kind, Vec::new()));
        }
        shown.last_mut().unwrap().1.extend_from_slice(part.bytes);
        part.bytes.to_vec()
    };
    match role {
        Role::Watch => Scripted::of_parts(interest(both, Need::Stream), move |part| {
            watch(part);
            PartVerdict::Forward
        }),
        Role::Rewrite => Scripted::of_parts(interest(both, Need::Rewrite), move |part| {
            let bytes = watch(part);
            let made = rewritten(&bytes);
            if made == bytes { PartVerdict::Forward } else { PartVerdict::Replace(made) }
        }),
        Role::Head(head) => Scripted::of_messages(interest(both, Need::Head(head)), {
            move |message| {
                shown.borrow_mut().push((message.kind, message.payload.to_vec()));
                Verdict::Forward
            }
        }),
        Role::WholeText => Scripted::of_messages(interest(Kinds { text: true, binary: false }, Need::Whole), {
            move |message| {
                shown.borrow_mut().push((message.kind, message.payload.to_vec()));
                Verdict::Forward
            }
        }),
    }
}

/// The next data message, put together.
async fn message(stream: &mut DuplexStream) -> Message {
    let mut whole: Option<Message> = None;
    loop {
        let (opcode, fin, payload) = whole_frame(stream).await;
        match opcode {
            Opcode::Text => whole = Some((MessageKind::Text, payload)),
            Opcode::Binary => whole = Some((MessageKind::Binary, payload)),
            Opcode::Continuation => whole.as_mut().unwrap().1.extend(payload),
            _ => continue,
        }
        if fin {
            return whole.unwrap();
        }
    }
}

#[derive(Clone, Debug)]
struct Sent {
    kind: MessageKind,
    fragments: Vec<Vec<u8>>,
    ping: bool,
}

fn sent() -> impl Strategy<Value = Sent> {
    let kind = prop_oneof![Just(MessageKind::Text), Just(MessageKind::Binary)];
    let size = prop_oneof![4 => 0usize..20, 2 => 100usize..300, 1 => 65_000usize..70_000];
    let fragment = (size, 0_u8..120).prop_map(|(size, first)| {
        // ASCII, so that a text is one wherever it is cut.
        (0..size).map(|at| u8::try_from((usize::from(first) + at) % 128).unwrap()).collect::<Vec<_>>()
    });
    (kind, prop::collection::vec(fragment, 1..4), any::<bool>()).prop_map(|(kind, fragments, ping)| Sent {
        kind,
        fragments,
        ping,
    })
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![
        3 => Just(Role::Watch),
        3 => Just(Role::Rewrite),
        1 => (1u32..200).prop_map(Role::Head),
        1 => Just(Role::WholeText),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn filters_are_shown_every_byte_once_and_the_receiver_gets_what_they_make_of_it(
        messages in prop::collection::vec(sent(), 1..6),
        roles in prop::collection::vec(role(), 1..4),
        from_client in any::<bool>(),
        piece in prop_oneof![1usize..40, 1000usize..100_000],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(local(play(&messages, &roles, from_client, piece)));
    }
}

async fn play(messages: &[Sent], roles: &[Role], from_client: bool, piece: usize) {
    let shown: Vec<Shown> = roles.iter().map(|_| Shown::default()).collect();
    let mut filters: Vec<_> = roles.iter().zip(&shown).map(|(role, shown)| scripted(*role, shown)).collect();
    if !from_client {
        filters.reverse();
    }
    let piped = filtered(Timers::default(), filters);
    let to = if from_client { Side::Upstream } else { Side::Client };
    let (mut sender, mut receiver) =
        if from_client { (piped.client, piped.upstream) } else { (piped.upstream, piped.client) };
    let mut wire = Vec::new();
    for Sent { kind, fragments, ping } in messages {
        for (index, fragment) in fragments.iter().enumerate() {
            let opcode = if index == 0 { opcode(*kind) } else { Opcode::Continuation };
            encode(opcode, index + 1 == fragments.len(), fragment, to, &mut wire);
            if *ping {
                encode(Opcode::Ping, true, b"here?", to, &mut wire);
            }
        }
    }
    let sending = async {
        for piece in wire.chunks(piece) {
            sender.write_all(piece).await.unwrap();
            yield_now().await;
        }
    };
    let receiving = async {
        let mut received = Vec::new();
        for _ in messages {
            received.push(message(&mut receiver).await);
        }
        received
    };
    let ((), received) = tokio::join!(sending, receiving);
    let mut now: Vec<Message> = messages.iter().map(|sent| (sent.kind, sent.fragments.concat())).collect();
    let mut is_rewritten = false;
    for (role, shown) in roles.iter().zip(&shown) {
        let shown = shown.take();
        match role {
            Role::Watch => assert_eq!(shown, now),
            Role::Rewrite => {
                assert_eq!(shown, now);
                now.iter_mut().for_each(|(_, payload)| *payload = rewritten(payload));
                is_rewritten = true;
            }
            // Behind one that rewrites there may be less of a part than came.
            Role::Head(_) if is_rewritten => assert_eq!(shown.len(), now.len()),
            Role::Head(head) => {
                let heads = now
                    .iter()
                    .map(|(kind, payload)| (*kind, payload.iter().copied().take(*head as usize).collect::<Vec<_>>()));
                assert_eq!(shown, heads.collect::<Vec<_>>());
            }
            Role::WholeText => {
                let texts = now.iter().filter(|(kind, _)| *kind == MessageKind::Text).cloned();
                assert_eq!(shown, texts.collect::<Vec<_>>());
            }
        }
    }
    assert_eq!(received, now);
}

#[tokio::test(start_paused = true)]
async fn a_part_that_closes_leaves_nobody_waiting_for_the_rest_of_a_frame() {
    local(async {
        let selection = Selection { kinds: Kinds { text: true, binary: true }, need: Need::Stream };
        let interest = Interest { from_client: selection, from_upstream: selection };
        let closing = Scripted::of_parts(interest, |part| match part.first {
            true => PartVerdict::Forward,
            false => PartVerdict::Close(CloseFrame::new(4000, "enough")),
        });
        let mut piped = filtered(Timers::default(), vec![closing]);
        let mut wire = Vec::new();
        encode(Opcode::Binary, true, &vec![7; 1000], Side::Upstream, &mut wire);
        let (start, rest) = wire.split_at(500);
        piped.client.write_all(start).await.unwrap();
        let mut begun = vec![0; 500];
        piped.upstream.read_exact(&mut begun).await.unwrap();
        piped.client.write_all(rest).await.unwrap();
        assert_eq!(close(&mut piped.client).await, (4000, "enough".to_owned()));
        let mut behind = Vec::new();
        piped.upstream.read_to_end(&mut behind).await.unwrap();
        assert!(behind.is_empty(), "{behind:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_held_of_a_message_that_is_shown_part_by_part() {
    local(async {
        let selection = Selection { kinds: Kinds { text: true, binary: true }, need: Need::Rewrite };
        let interest = Interest { from_client: selection, from_upstream: selection };
        let mut piped = filtered(Timers::default(), vec![Scripted::of_parts(interest, |_| PartVerdict::Forward)]);
        let mut wire = Vec::new();
        encode(Opcode::Binary, true, &vec![7; 8 << 20], Side::Upstream, &mut wire);
        // All but the last byte: every part has gone on by then.
        let (last, all) = wire.split_last().unwrap();
        let sending = piped.client.write_all(all);
        let receiving = async {
            let mut received = 0;
            while received < (8 << 20) - 1 {
                received += whole_frame(&mut piped.upstream).await.2.len();
            }
        };
        let (sent, ()) = tokio::join!(sending, receiving);
        sent.unwrap();
        piped.client.write_all(&[*last]).await.unwrap();
        assert_eq!(whole_frame(&mut piped.upstream).await, (Opcode::Continuation, true, vec![7]));
    })
    .await;
}
