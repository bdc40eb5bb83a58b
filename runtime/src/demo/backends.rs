//! The demo's back ends: two echo servers that say their name, and a chat.

use std::io;
use std::net::{Ipv4Addr, TcpListener as StdListener};
use std::thread;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::broadcast;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

use super::Backends;

/// Starts the back ends on free ports of loopback, on a thread of their own.
pub(super) fn start() -> io::Result<Backends> {
    let bound = || -> io::Result<_> {
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    let (red, blue, chat) = (bound()?, bound()?, bound()?);
    let backends = Backends { red: red.1, blue: blue.1, chat: chat.1 };
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let serve = move || {
        runtime.block_on(async {
            let (red, blue) = (echo(red.0, "red"), echo(blue.0, "blue"));
            // None of them ends before the process does.
            let _ = tokio::join!(red, blue, broadcast(chat.0));
        });
    };
    thread::Builder::new().name("demo-backends".to_owned()).spawn(serve)?;
    Ok(backends)
}

/// Answers each message with itself, behind the server's name.
async fn echo(listener: StdListener, name: &'static str) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let Ok(mut socket) = accept_async(stream).await else { return };
            while let Some(Ok(message)) = socket.next().await {
                let answer = match message {
                    Message::Text(text) => Message::text(format!("{name}: {text}")),
                    Message::Binary(bytes) => Message::Binary(bytes),
                    _ => continue,
                };
                if socket.send(answer).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Gives each message to everybody.
async fn broadcast(listener: StdListener) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let (room, _) = broadcast::channel(ROOM);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(member(stream, room.clone()));
    }
}

async fn member(stream: TcpStream, room: broadcast::Sender<String>) {
    let Ok(mut socket) = accept_async(stream).await else { return };
    let mut said = room.subscribe();
    loop {
        tokio::select! {
            received = socket.next() => match received {
                Some(Ok(Message::Text(text))) => {
                    // There is at least one member: this one.
                    let _ = room.send(text.to_string());
                }
                Some(Ok(_)) => {}
                _ => return,
            },
            heard = said.recv() => match heard {
                Ok(text) => {
                    if socket.send(Message::text(text)).await.is_err() {
                        return;
                    }
                }
                // Who is too slow misses what was said meanwhile.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            },
        }
    }
}

const ROOM: usize = 256;
