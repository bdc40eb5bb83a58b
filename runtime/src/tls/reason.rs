//! Why two sides have not agreed, in words that an operator understands.

use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};
use x509_cert::der::DateTime;

/// What is wrong, as the end of a sentence. What a peer has sent is not quoted, but for names in its certificate.
pub fn reason(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => of_certificate(error),
        Error::NoCertificatesPresented => "the other side showed no certificate".to_owned(),
        Error::AlertReceived(alert) => format!("the other side refused: {}", of_alert(*alert)),
        Error::NoApplicationProtocol => "the two have no application protocol (ALPN) in common".to_owned(),
        Error::PeerIncompatible(why) => match why {
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig => {
                "the two have no version of TLS in common".to_owned()
            }
            PeerIncompatible::NoCipherSuitesInCommon => "the two have no cipher suite in common".to_owned(),
            why => format!("the two do not fit: {why:?}"),
        },
        Error::InvalidMessage(_) => "what came is no TLS".to_owned(),
        Error::PeerSentOversizedRecord => "a record was longer than any may be".to_owned(),
        Error::DecryptError => "a record could not be decrypted".to_owned(),
        Error::General(why) => why.clone(),
        error => error.to_string(),
    }
}

fn of_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the certificate has expired, on {}", date(*not_after))
        }
        CertificateError::Expired => "the certificate has expired".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("the certificate is not valid before {}", date(*not_before))
        }
        CertificateError::NotValidYet => "the certificate is not valid yet".to_owned(),
        CertificateError::Revoked => "the certificate has been revoked".to_owned(),
        CertificateError::UnknownIssuer => {
            "the certificate comes from an unknown issuer: nobody in `ca` has signed it, or the chain has a gap"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented: Vec<_> = presented.iter().map(|name| bare(name)).collect();
            let names = if presented.is_empty() { "no name".to_owned() } else { presented.join(", ") };
            format!("the certificate is for {names}, and not for {}", expected.to_str())
        }
        CertificateError::NotValidForName => "the certificate is for another name".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the certificate is not for this purpose (extended key usage)".to_owned()
        }
        CertificateError::BadSignature => "the certificate's signature is not its issuer's".to_owned(),
        CertificateError::BadEncoding => "the certificate cannot be read".to_owned(),
        CertificateError::UnknownRevocationStatus => "no revocation list says whether the certificate holds".to_owned(),
        CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. } => {
            "the revocation list has expired".to_owned()
        }
        error => format!("the certificate is not valid: {error}"),
    }
}

/// A name without the kind that it is printed with.
fn bare(name: &str) -> &str {
    name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).map_or(name, |inner| inner.trim_matches('"'))
}

fn of_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => "it wants a certificate of ours".to_owned(),
        AlertDescription::UnknownCA => "it does not know who issued the certificate".to_owned(),
        AlertDescription::BadCertificate => "it does not take the certificate".to_owned(),
        AlertDescription::CertificateExpired => "it says that the certificate has expired".to_owned(),
        AlertDescription::CertificateRevoked => "it says that the certificate has been revoked".to_owned(),
        AlertDescription::CertificateUnknown => "it does not believe the certificate".to_owned(),
        AlertDescription::ProtocolVersion => "it speaks no version of TLS that we do".to_owned(),
        AlertDescription::UnrecognisedName => "it knows no server of the name that was asked for".to_owned(),
        AlertDescription::HandshakeFailure => "it found nothing in common".to_owned(),
        alert => format!("alert {} ({alert:?})", u8::from(alert)),
    }
}

/// A day and a time, in RFC 3339.
fn date(time: UnixTime) -> String {
    let date = DateTime::from_unix_duration(Duration::from_secs(time.as_secs()));
    date.map_or_else(|_| "a day beyond the calendar".to_owned(), |date| date.to_string())
}
