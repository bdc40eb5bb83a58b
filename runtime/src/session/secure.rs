//! The first stage of a connection whose listener speaks TLS: its handshake.

use std::future::poll_fn;
use std::time::Duration;

use super::worker::Worker;
use crate::metrics::{TlsOutcome, TlsVersion};
use crate::proxy_protocol;
use crate::reactor::timeout;
use crate::tls::{self, Identity};
use crate::transport::{HandshakeError, Tls, Transport};

/// Who is at the other end of a TLS connection, with us or with a proxy in front.
#[derive(Debug)]
pub(super) struct Peer {
    /// What an upstream is told of it that wants the PROXY protocol.
    pub(super) spoken: proxy_protocol::Tls,
    /// By the certificate that it has shown, which is valid.
    identity: Option<Identity>,
}

impl Peer {
    /// Who speaks TLS with a proxy in front.
    pub(super) fn told(spoken: proxy_protocol::Tls) -> Self {
        Self { spoken, identity: None }
    }

    /// What components, the access log and the API are told of it.
    pub(super) fn attributes(&self) -> Vec<(String, String)> {
        let Some(Identity { subject, names, fingerprint }) = &self.identity else {
            let name = self.spoken.common_name.as_deref();
            return name.map(|name| (SUBJECT.to_owned(), tls::common_name(name))).into_iter().collect();
        };
        let told = [(SUBJECT, subject), ("tls.client-san", names), ("tls.client-fingerprint", fingerprint)];
        told.into_iter().map(|(name, value)| (name.to_owned(), value.clone())).collect()
    }
}

const SUBJECT: &str = "tls.client-subject";

/// A connection that speaks TLS.
pub(super) struct Secured {
    pub(super) transport: Transport,
    pub(super) peer: Peer,
    /// Whether HTTP/2 was agreed on.
    pub(super) speaks_http2: bool,
}

/// Speaks TLS from here on; `None` where that has come to nothing within `patience`, which is counted then. Nobody can be
/// answered before it has.
pub(super) async fn secure(
    worker: &Worker,
    transport: Transport,
    server: &tls::Server,
    patience: Duration,
) -> Option<Secured> {
    let metrics = server.metrics().of(worker.index());
    let Transport::Socket(socket) = transport else { return None };
    let accepted = Tls::accept(socket, server.config());
    let done = match accepted {
        Err(error) => Some(Err(error)),
        Ok(mut tls) => {
            let done = timeout(patience, poll_fn(|context| tls.poll_handshake(context))).await;
            done.ok().map(|done| done.map(|()| tls))
        }
    };
    match done {
        None => metrics.tls_handshake(TlsOutcome::ClientTimeout, TlsVersion::None),
        Some(Err(error)) => {
            tracing::debug!(reason = %why(&error), "a TLS handshake with a client has failed");
            metrics.tls_handshake(outcome(&error), TlsVersion::None);
        }
        Some(Ok(tls)) => {
            let agreed = tls.agreed();
            let is_asked = agreed.alpn_protocol() == Some(tls::ACME_TLS_1);
            let (outcome, version) = tls::succeeded(agreed);
            metrics.tls_handshake(if is_asked { TlsOutcome::AcmeChallenge } else { outcome }, version);
            if is_asked {
                // Nothing follows (RFC 8737 section 3).
                return None;
            }
            let speaks_http2 = agreed.alpn_protocol() == Some(tls::HTTP_2);
            let shown = agreed.peer_certificates().and_then(<[_]>::first);
            let identity = shown.and_then(Identity::of);
            let spoken = proxy_protocol::Tls {
                version: match version {
                    TlsVersion::Tls12 => "TLSv1.2",
                    _ => "TLSv1.3",
                }
                .into(),
                is_verified: shown.is_some(),
                common_name: None,
            };
            let (transport, peer) = (Transport::Tls(Box::new(tls)), Peer { spoken, identity });
            return Some(Secured { transport, peer, speaks_http2 });
        }
    }
    None
}

fn outcome(error: &HandshakeError) -> TlsOutcome {
    match error {
        HandshakeError::Left | HandshakeError::Broken(_) => TlsOutcome::ClientGone,
        HandshakeError::Refused(error) => tls::failed(error),
    }
}

fn why(error: &HandshakeError) -> String {
    match error {
        HandshakeError::Refused(error) => tls::reason(error),
        error => error.to_string(),
    }
}
