//! TLS with an endpoint.

use std::future::poll_fn;
use std::sync::Arc;

use rustls::ClientConfig;

use super::address::{Address, Place};
use super::dial::DialError;
use crate::reactor::Socket;
use crate::tls;
use crate::transport::{HandshakeError, Tls, Transport};

/// Speaks TLS from here on. Bounding the time is the caller's business.
pub(super) async fn secure(
    socket: Socket,
    address: &Address,
    client: Option<&tls::Client>,
) -> Result<Transport, DialError> {
    speak(socket, address, client, tls::Client::config).await
}

/// The same, and offers HTTP/2 before HTTP/1.1.
pub(super) async fn secure_for_http2(
    socket: Socket,
    address: &Address,
    client: Option<&tls::Client>,
) -> Result<Transport, DialError> {
    speak(socket, address, client, tls::Client::config_for_http2).await
}

async fn speak(
    socket: Socket,
    address: &Address,
    client: Option<&tls::Client>,
    config: impl FnOnce(&tls::Client) -> Arc<ClientConfig>,
) -> Result<Transport, DialError> {
    let host = match address.place() {
        Place::Socket(socket) => socket.ip().to_string(),
        Place::Name(name, _) => name.clone(),
        Place::Unix(_) => "localhost".to_owned(),
    };
    let named = client.and_then(|client| Some((client, client.name(&host)?)));
    let (client, name) = named.ok_or_else(|| DialError::Tls(format!("no certificate could be for {host}")))?;
    let mut tls = Tls::connect(socket, config(client), name).map_err(failed)?;
    poll_fn(|context| tls.poll_handshake(context)).await.map_err(failed)?;
    Ok(Transport::Tls(Box::new(tls)))
}

fn failed(error: HandshakeError) -> DialError {
    match error {
        HandshakeError::Refused(error) => DialError::Tls(tls::reason(&error)),
        HandshakeError::Left => DialError::Tls("it closed the connection within the handshake".to_owned()),
        HandshakeError::Broken(error) => DialError::Cut(error),
    }
}
