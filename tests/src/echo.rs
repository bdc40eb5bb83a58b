//! A back end of `tokio-tungstenite` that sends every data message back.

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

/// An echo server; it runs for as long as the test does.
#[derive(Debug)]
pub struct Echo {
    address: String,
}

impl Echo {
    /// Echoes messages as they come.
    pub async fn start() -> Self {
        Self::named("").await
    }

    /// Echoes text with `name` before it.
    pub async fn named(name: &'static str) -> Self {
        Self::named_at("127.0.0.1:0", name).await
    }

    /// The same on an address at which nobody listens yet.
    pub async fn named_at(address: &str, name: &'static str) -> Self {
        let listener = TcpListener::bind(address).await.expect("bind");
        let address = listener.local_addr().expect("a local address").to_string();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(echo(stream, name));
            }
        });
        Self { address }
    }

    /// Where it listens, as `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }
}

async fn echo(stream: TcpStream, name: &str) {
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
        return;
    };
    while let Some(Ok(message)) = socket.next().await {
        let answer = match message {
            Message::Text(text) => Message::text(format!("{name}{text}")),
            Message::Binary(bytes) => Message::Binary(bytes),
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => continue,
        };
        if socket.send(answer).await.is_err() {
            return;
        }
    }
}
