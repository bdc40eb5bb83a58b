//! A pipe between two ends that a test holds.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::task::{JoinHandle, LocalSet, spawn_local};

use crate::component::{Content, Interest, Kinds, Message, Need, Outgoing, Selection, Verdict};
use crate::metrics::{Metrics, WorkerIndex};
use crate::peer::{MessageKind, Side};
use crate::pipe::emit::encode;
use crate::pipe::{Assemblies, Handle, Outcome, Pipe, Plan, Scratch, Scripted, Timers};
use crate::transport::{Duplex, End, Transport};
use crate::ws::{CloseFrame, Extensions, FrameHeader, Opcode, apply_mask};

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// The two ends, what else there is to hold of the connection, and how it ended.
pub(super) struct Piped {
    pub(super) client: DuplexStream,
    pub(super) upstream: DuplexStream,
    /// What the pipe sees of the end of the client's socket.
    pub(super) client_end: Rc<Seen>,
    pub(super) handle: Rc<Handle>,
    pub(super) assemblies: Rc<Assemblies>,
    pub(super) ended: JoinHandle<Box<Outcome>>,
}

pub(super) fn pipe(timers: Timers) -> Piped {
    filtered(timers, Vec::new())
}

pub(super) fn filtered(timers: Timers, filters: Vec<Scripted>) -> Piped {
    let end = Rc::<Seen>::default();
    let client_end = end.clone();
    let piped = piped(timers, filters, move |stream| Line { stream, end }, |stream| stream);
    Piped { client_end, ..piped }
}

/// A pipe between two streams that are made of the proxy's ends.
pub(super) fn piped<C, U>(
    timers: Timers,
    filters: Vec<Scripted>,
    client_of: impl FnOnce(DuplexStream) -> C,
    upstream_of: impl FnOnce(DuplexStream) -> U,
) -> Piped
where
    C: Duplex + 'static,
    U: Duplex + 'static,
{
    let (client, client_end) = duplex(1 << 16);
    let (upstream, upstream_end) = duplex(1 << 16);
    let handle = Rc::<Handle>::default();
    let scratch = Rc::<RefCell<Scratch>>::default();
    let assemblies = scratch.borrow().assemblies.clone();
    let plan = Plan {
        filters: Vec::new(),
        shadows: Vec::new(),
        until: None,
        extensions: Extensions::default(),
        timers: Arc::new(timers),
        limits: Arc::default(),
        metrics: Metrics::new(1).route("test"),
        worker: WorkerIndex(0),
        scratch,
        handle: handle.clone(),
    };
    let client_end = (Transport::boxed(client_of(client_end)), Bytes::new());
    let upstream_end = (Transport::boxed(upstream_of(upstream_end)), Bytes::new());
    let ended = spawn_local(Pipe::scripted(client_end, upstream_end, plan, filters).run());
    Piped { client, upstream, client_end: Rc::default(), handle, assemblies, ended }
}

/// What can be seen of the end of a socket without reading it.
#[derive(Default)]
pub(super) struct Seen {
    end: Cell<Option<fn() -> End>>,
    waker: Cell<Option<Waker>>,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Seen").finish_non_exhaustive()
    }
}

impl Seen {
    pub(super) fn show(&self, end: fn() -> End) {
        self.end.set(Some(end));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A socket whose end can be seen from afar.
#[derive(Debug)]
struct Line {
    stream: DuplexStream,
    end: Rc<Seen>,
}

impl Duplex for Line {
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<End> {
        self.end.waker.set(Some(context.waker().clone()));
        self.end.end.get().map_or(Poll::Pending, |end| Poll::Ready(end()))
    }
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, to)
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A filter of both directions that sees so much of text messages and does what the function says.
pub(super) fn filter(need: Need, decide: impl FnMut(Message<'_>) -> Verdict + 'static) -> Scripted {
    let selection = Selection { kinds: Kinds { text: true, binary: false }, need };
    Scripted::of_messages(Interest { from_client: selection, from_upstream: selection }, decide)
}

/// A filter that does what each text message says: `delay:` and milliseconds, `drop`, `reply:` and `close:`.
pub(super) fn obedient() -> Scripted {
    filter(Need::Whole, |message| {
        let text = std::str::from_utf8(message.payload).unwrap();
        let (verb, rest) = text.split_once(':').unwrap_or((text, ""));
        match verb {
            "delay" => Verdict::Delay(rest.parse().unwrap()),
            "drop" => Verdict::Drop,
            "reply" => {
                let payload = rest.as_bytes().to_vec();
                Verdict::Send(vec![Outgoing {
                    to: message.origin,
                    message: Content { kind: MessageKind::Text, payload },
                }])
            }
            "close" => Verdict::Close(CloseFrame::new(rest.parse().unwrap(), "enough")),
            _ => Verdict::Forward,
        }
    })
}

/// The next frame: its opcode, whether it is final, and its unmasked payload.
pub(super) async fn whole_frame(stream: &mut DuplexStream) -> (Opcode, bool, Vec<u8>) {
    let mut bytes = Vec::new();
    loop {
        if let Some((header, _)) = FrameHeader::parse(&bytes).unwrap() {
            let mut payload = vec![0; usize::try_from(header.payload_len).unwrap()];
            stream.read_exact(&mut payload).await.unwrap();
            if let Some(key) = header.mask {
                apply_mask(&mut payload, key);
            }
            return (header.opcode, header.fin, payload);
        }
        bytes.push(stream.read_u8().await.unwrap());
    }
}

/// The next frame: its opcode and its unmasked payload.
pub(super) async fn frame(stream: &mut DuplexStream) -> (Opcode, Vec<u8>) {
    let (opcode, _, payload) = whole_frame(stream).await;
    (opcode, payload)
}

/// The next frame, which is text.
pub(super) async fn text(stream: &mut DuplexStream) -> String {
    let (opcode, payload) = frame(stream).await;
    assert!(opcode == Opcode::Text || opcode == Opcode::Continuation, "{opcode:?} {payload:?}");
    String::from_utf8(payload).unwrap()
}

pub(super) async fn close(stream: &mut DuplexStream) -> (u16, String) {
    let (opcode, body) = frame(stream).await;
    assert_eq!(opcode, Opcode::Close);
    let close = CloseFrame::parse(&body).unwrap().unwrap();
    (close.code, close.reason)
}

pub(super) async fn send(stream: &mut DuplexStream, opcode: Opcode, payload: &[u8], to: Side) {
    let mut wire = Vec::new();
    encode(opcode, true, payload, to, &mut wire);
    stream.write_all(&wire).await.unwrap();
}

/// Frames of text as a client sends them, in one write; those that end with `+` have fragments behind them, and those
/// that begin with it are fragments.
pub(super) fn texts(texts: &[&str]) -> Vec<u8> {
    let mut wire = Vec::new();
    for text in texts {
        let (opcode, text) = text.strip_prefix('+').map_or((Opcode::Text, *text), |text| (Opcode::Continuation, text));
        let (fin, text) = text.strip_suffix('+').map_or((true, text), |text| (false, text));
        encode(opcode, fin, text.as_bytes(), Side::Upstream, &mut wire);
    }
    wire
}

pub(super) async fn local<T>(test: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(test).await
}
