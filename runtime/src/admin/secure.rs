//! TLS of the admin API: with what it is in force, which a reload may change, and its handshakes.

use std::io;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::socket::Stream;
use crate::metrics::{TlsOutcome, TlsVersion, WorkerIndex};
use crate::tls::{self, Server};

/// What the admin API answers TLS with; nothing: it speaks clear text.
#[derive(Debug, Default)]
pub struct Secured(ArcSwapOption<Server>);

impl Secured {
    /// Has who comes from now on answered with this. Connections that are open are not touched.
    pub fn set(&self, server: Option<Server>) {
        self.0.store(server.map(Into::into));
    }

    /// Speaks TLS with a client, where it is to; `None` where that has come to nothing within `patience`, which `counting`
    /// counts.
    pub(super) async fn accept(&self, stream: Stream, counting: WorkerIndex, patience: Duration) -> Option<Stream> {
        let Some(server) = self.0.load_full() else { return Some(stream) };
        let metrics = server.metrics().of(counting);
        match timeout(patience, TlsAcceptor::from(server.config()).accept(stream)).await {
            Err(_) => metrics.tls_handshake(TlsOutcome::ClientTimeout, TlsVersion::None),
            Ok(Err(error)) => {
                let (outcome, reason) = failure(&error);
                tracing::debug!(reason, "a TLS handshake with a client of the admin API has failed");
                metrics.tls_handshake(outcome, TlsVersion::None);
            }
            Ok(Ok(stream)) => {
                let (outcome, version) = tls::succeeded(stream.get_ref().1);
                metrics.tls_handshake(outcome, version);
                return Some(Stream::Tls(Box::new(TlsStream::from(stream))));
            }
        }
        None
    }
}

fn failure(error: &io::Error) -> (TlsOutcome, String) {
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        None => (TlsOutcome::ClientGone, error.to_string()),
        Some(error) => (tls::failed(error), tls::reason(error)),
    }
}
