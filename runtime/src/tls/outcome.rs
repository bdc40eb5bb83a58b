//! What has become of a handshake with a client, as it is counted.

use rustls::{CommonState, Error, HandshakeKind, ProtocolVersion};

use crate::metrics::{TlsOutcome, TlsVersion};

/// One that has come to its end.
pub fn succeeded(agreed: &CommonState) -> (TlsOutcome, TlsVersion) {
    let outcome = match agreed.handshake_kind() {
        Some(HandshakeKind::Resumed) => TlsOutcome::Resumed,
        _ => TlsOutcome::Full,
    };
    let version = match agreed.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => TlsVersion::Tls12,
        _ => TlsVersion::Tls13,
    };
    (outcome, version)
}

/// One that has failed for this.
pub fn failed(error: &Error) -> TlsOutcome {
    match error {
        Error::InvalidCertificate(_) | Error::NoCertificatesPresented => TlsOutcome::CertificateRefused,
        _ => TlsOutcome::Failed,
    }
}
