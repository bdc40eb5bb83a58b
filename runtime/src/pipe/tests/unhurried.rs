//! A transport that keeps what it takes until it is told to let it go, as one that encrypts or shares a connection does.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

use super::piped::{close, local, piped, send, text, texts};
use crate::peer::Side;
use crate::pipe::Timers;
use crate::transport::Duplex;
use crate::ws::{CloseFrame, Opcode};

/// It needs to be asked three times before it lets anything go, or ends its half.
#[derive(Debug)]
struct Unhurried {
    stream: DuplexStream,
    kept: Vec<u8>,
    asked: u8,
    has_ended: bool,
}

impl Unhurried {
    fn new(stream: DuplexStream) -> Self {
        Self { stream, kept: Vec::new(), asked: 0, has_ended: false }
    }

    fn poll_patience(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.asked += 1;
        if self.asked.is_multiple_of(3) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Duplex for Unhurried {}

impl AsyncRead for Unhurried {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, to)
    }
}

impl AsyncWrite for Unhurried {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        assert!(!self.has_ended, "it is written to behind its end");
        self.kept.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.kept.is_empty() {
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_patience(context));
        let written = ready!(Pin::new(&mut this.stream).poll_write(context, &this.kept))?;
        this.kept.drain(..written);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_ended {
            return Poll::Ready(Ok(()));
        }
        assert!(self.kept.is_empty(), "it ends before what it has was let go");
        ready!(self.poll_patience(context));
        self.has_ended = true;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[tokio::test]
async fn what_a_transport_keeps_is_let_go_and_its_half_ends_before_it_is_dropped() {
    local(async {
        let mut piped = piped(Timers::default(), Vec::new(), Unhurried::new, Unhurried::new);
        piped.client.write_all(&texts(&["one", "two"])).await.unwrap();
        assert_eq!(text(&mut piped.upstream).await, "one");
        assert_eq!(text(&mut piped.upstream).await, "two");
        send(&mut piped.client, Opcode::Close, &CloseFrame::new(3000, "bye").body(), Side::Upstream).await;
        assert_eq!(close(&mut piped.upstream).await, (3000, "bye".into()));
        send(&mut piped.upstream, Opcode::Close, &CloseFrame::new(3000, "bye").body(), Side::Client).await;
        assert_eq!(close(&mut piped.client).await, (3000, "bye".into()));
        piped.upstream.shutdown().await.unwrap();
        assert_eq!(piped.client.read_u8().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(piped.upstream.read_u8().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(piped.ended.await.unwrap().code(), 3000);
    })
    .await;
}
