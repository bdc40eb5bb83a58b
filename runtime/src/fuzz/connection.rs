//! A whole connection whose filter, if it has one, delays messages, between two peers that say anything.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::run;
use super::script::Script;
use crate::component::{Interest, Kinds, Need, Selection, Verdict};
use crate::metrics::{Metrics, RouteMetrics, WorkerIndex};
use crate::peer::Side;
use crate::pipe::{Pipe, Plan, Scratch, Scripted, Timers};
use crate::transport::Transport;
use crate::ws::fuzz::{Frame, relayed, written};
use crate::ws::{Extensions, Opcode};

/// Joins two peers. Five bytes of settings say how many bytes each says at a time, whether it hesitates, whether a filter
/// delays, and how many of the bytes that follow are the client's.
///
/// # Panics
/// When the connection does not end, or what a peer gets is not the start of what the other sent, with at most one close
/// frame of the proxy's own behind it.
pub fn connection(data: &[u8]) {
    let Some(([client_piece, upstream_piece, flags, high, low], rest)) = data.split_first_chunk::<5>() else { return };
    let split = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
    let (from_client, from_upstream) = rest.split_at(split);
    let compression = flags & 1 != 0;
    let early = usize::from(flags >> 4).min(from_client.len());
    let (leftover, later) = from_client.split_at(early);
    let client = Script::new(later, *client_piece).hesitating(flags & 2 != 0);
    let upstream = Script::new(from_upstream, *upstream_piece).hesitating(flags & 4 != 0);
    let (to_client, to_upstream) = (client.heard(), upstream.heard());
    run(async {
        let plan = plan(compression);
        let filters = (flags & 8 != 0).then(delaying).into_iter().collect();
        let client = (Transport::boxed(client), Bytes::copy_from_slice(leftover));
        let upstream = (Transport::boxed(upstream), Bytes::new());
        let pipe = Pipe::scripted(client, upstream, plan, filters);
        let ended = tokio::time::timeout(Duration::from_secs(5), pipe.run()).await;
        assert!(ended.is_ok(), "both peers are gone, and the connection stays");
    });
    check(Side::Client, compression, from_client, &to_upstream.borrow());
    check(Side::Upstream, compression, from_upstream, &to_client.borrow());
}

/// Delays a few messages a little, unseen.
fn delaying() -> Scripted {
    let all = Selection { kinds: Kinds { text: true, binary: true }, need: Need::Nothing };
    let mut left = 8;
    Scripted::of_messages(Interest { from_client: all, from_upstream: all }, move |_| match left {
        0 => Verdict::Forward,
        _ => {
            left -= 1;
            Verdict::Delay(left % 3)
        }
    })
}

fn check(from: Side, compression: bool, sent: &[u8], heard: &[u8]) {
    let (sent, _) = relayed(from, compression, None, sent);
    let heard = written(from, compression, heard);
    for (index, frame) in heard.iter().enumerate() {
        let is_last = index + 1 == heard.len();
        let came = sent.get(index).is_some_and(|sent| *frame == *sent || is_last && is_start(frame, sent));
        let own = frame.header.opcode == Opcode::Close;
        assert!(came || own, "{frame:?} was never sent: {sent:?}");
        assert!(is_last || !own, "{:?} follows a close frame", heard.get(index + 1));
    }
}

fn is_start(frame: &Frame, of: &Frame) -> bool {
    frame.header == of.header && of.payload.starts_with(&frame.payload)
}

fn plan(compression: bool) -> Plan {
    thread_local! {
        static SHARED: (Arc<RouteMetrics>, Rc<RefCell<Scratch>>) = (Metrics::new(1).route("fuzzed"), Rc::default());
    }
    let (metrics, scratch) = SHARED.with(Clone::clone);
    Plan {
        filters: Vec::new(),
        shadows: Vec::new(),
        until: None,
        extensions: Extensions { agreed: compression, deflate: None },
        // Nothing takes time here but what would never end.
        timers: Arc::new(Timers { close_timeout: Duration::from_secs(3600), ..Timers::default() }),
        limits: Arc::default(),
        metrics,
        worker: WorkerIndex(0),
        scratch,
        handle: Rc::default(),
    }
}
