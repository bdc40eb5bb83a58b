//! The first part of every way to an endpoint: a connection that carries a request.

use std::cell::Cell;
use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::address::Address;
use super::connect::{self, Refused};
use super::dial::{DialError, Timeouts};
use super::resolve::Resolver;
use super::secure;
use crate::reactor::timeout;
use crate::tls;
use crate::transport::Transport;

/// Connects to an endpoint, introduces whoever it is for, and speaks TLS where its url says so. Says what is left of the time
/// for the handshake, too. Dropping the future closes the connection.
///
/// # Errors
/// When there is no connection in time.
pub async fn open(
    address: &Address,
    introduction: Option<&[u8]>,
    timeouts: &Timeouts,
    resolver: &Resolver,
    tls: Option<&tls::Client>,
) -> Result<(Transport, Option<Duration>), DialError> {
    let resolved = Cell::new(false);
    let connecting = pin!(connect::connect(address.place(), resolver, &timeouts.liveness, || resolved.set(true)));
    let mut stream = match within(timeouts.connect, connecting).await {
        Some(connected) => connected.map_err(|refused| match refused {
            Refused::Unresolved(error) => DialError::Unresolved(error),
            Refused::Socket(error) => DialError::Refused(error),
        })?,
        None if resolved.get() => return Err(DialError::ConnectTimeout),
        None => return Err(DialError::ResolveTimeout),
    };
    if let Some(introduction) = introduction {
        let introducing = pin!(stream.write_all(introduction));
        let introduced = within(timeouts.handshake, introducing).await.ok_or(DialError::HandshakeTimeout)?;
        introduced.map_err(DialError::Cut)?;
    }
    if !address.is_secure() {
        return Ok((Transport::from(stream), timeouts.handshake));
    }
    // Boxed, because who speaks in clear text has no use for it.
    let secured = async {
        let begun = Instant::now();
        let securing = pin!(secure::secure(stream, address, tls));
        let transport = within(timeouts.handshake, securing).await.ok_or(DialError::HandshakeTimeout)??;
        let left = timeouts.handshake.map(|handshake| handshake.saturating_sub(begun.elapsed()));
        Ok((transport, left))
    };
    Box::pin(secured).await
}

/// `None` when the time ran out. The future comes by reference, because each hand it passes through would keep room for
/// it.
pub(super) async fn within<F: Future>(limit: Option<Duration>, future: Pin<&mut F>) -> Option<F::Output> {
    match limit {
        Some(limit) => timeout(limit, future).await.ok(),
        None => Some(future.await),
    }
}
