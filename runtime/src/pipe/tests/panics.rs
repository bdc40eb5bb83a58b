//! What a fault of the proxy within one connection costs the others of its worker: nothing.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, duplex};
use tokio::task::{LocalSet, spawn_local};

use crate::metrics::{Metrics, WorkerIndex};
use crate::peer::Side;
use crate::pipe::emit::encode;
use crate::pipe::{Pipe, Plan, Scratch, Timers};
use crate::transport::{Duplex, Transport};
use crate::ws::{Extensions, Opcode};

fn plan(scratch: &Rc<RefCell<Scratch>>) -> Plan {
    Plan {
        filters: Vec::new(),
        shadows: Vec::new(),
        until: None,
        extensions: Extensions::default(),
        timers: Timers::default().into(),
        limits: std::sync::Arc::default(),
        metrics: Metrics::new(1).route("test"),
        worker: WorkerIndex(0),
        scratch: scratch.clone(),
        handle: Rc::default(),
    }
}

/// A socket that brings nothing and panics when it is written to.
#[derive(Debug)]
struct Faulty;

impl Duplex for Faulty {}

impl AsyncRead for Faulty {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Faulty {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        panic!("a fault within one connection")
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_panic_costs_its_own_connection_and_no_other() {
    let test = async {
        let scratch = Rc::new(RefCell::new(Scratch::default()));
        let mut message = Vec::new();
        encode(Opcode::Text, true, b"hello", Side::Upstream, &mut message);

        let (mut client, client_end) = duplex(1 << 16);
        let faulty = Pipe::new(
            (Transport::boxed(client_end), Bytes::new()),
            (Transport::boxed(Faulty), Bytes::new()),
            plan(&scratch),
        );
        let faulty = spawn_local(faulty.run());
        client.write_all(&message).await.unwrap();
        assert!(faulty.await.unwrap_err().is_panic());

        let (mut client, client_end) = duplex(1 << 16);
        let (mut upstream, upstream_end) = duplex(1 << 16);
        let sound = Pipe::new(
            (Transport::boxed(client_end), Bytes::new()),
            (Transport::boxed(upstream_end), Bytes::new()),
            plan(&scratch),
        );
        let sound = spawn_local(sound.run());
        client.write_all(&message).await.unwrap();
        let mut received = vec![0; message.len()];
        upstream.read_exact(&mut received).await.unwrap();
        assert_eq!(received, message);
        assert!(!sound.is_finished());
    };
    LocalSet::new().run_until(test).await;
}
