//! Who a certificate is of, in words.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Who a client is, by its verified certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The subject, as RFC 4514 writes it; may be empty.
    pub subject: String,
    /// The alternative names (RFC 5280 section 4.2.1.6), each behind its kind, as `DNS:a.example`; separated by commas.
    pub names: String,
    /// The SHA-256 of the certificate, in lower-case hexadecimal digits.
    pub fingerprint: String,
}

impl Identity {
    /// That of a certificate; `None` where it cannot be read.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let Parsed { subject, alternatives, .. } = parse(certificate)?;
        let mut fingerprint = String::new();
        for byte in digest(&SHA256, certificate).as_ref() {
            let _ = write!(fingerprint, "{byte:02x}");
        }
        Some(Self { subject, names: alternatives.join(","), fingerprint })
    }
}

/// The subject with nothing but a common name (RFC 4514 section 2.4).
pub fn common_name(name: &str) -> String {
    let mut subject = String::from("CN=");
    let last = name.chars().count().saturating_sub(1);
    for (place, character) in name.chars().enumerate() {
        let is_edge = character == ' ' && (place == 0 || place == last) || character == '#' && place == 0;
        if is_edge || "\"+,;<>\\".contains(character) {
            subject.push('\\');
        }
        match character {
            '\0' => subject.push_str("\\00"),
            character => subject.push(character),
        }
    }
    subject
}

/// What is read of a certificate.
pub(super) struct Parsed {
    pub(super) subject: String,
    /// Names of hosts, in lower case, and addresses; the common name where there are none.
    pub(super) names: Vec<String>,
    /// All alternative names, each behind its kind.
    pub(super) alternatives: Vec<String>,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

/// Reads a certificate.
pub(super) fn parse(certificate: &[u8]) -> Option<Parsed> {
    let certificate = x509_cert::Certificate::from_der(certificate).ok()?.tbs_certificate;
    let not_after = certificate.validity.not_after.to_system_time();
    let not_before = certificate.validity.not_before.to_system_time();
    let subject = certificate.subject.to_string();
    let (mut names, mut alternatives) = (Vec::new(), Vec::new());
    if let Some((_, SubjectAltName(listed))) = certificate.get::<SubjectAltName>().ok()? {
        for name in listed {
            match name {
                GeneralName::DnsName(name) => {
                    names.push(name.as_str().to_ascii_lowercase());
                    alternatives.push(format!("DNS:{}", name.as_str()));
                }
                GeneralName::IpAddress(octets) => {
                    let Some(address) = address(octets.as_bytes()) else { continue };
                    names.push(address.to_string());
                    alternatives.push(format!("IP:{address}"));
                }
                GeneralName::Rfc822Name(name) => alternatives.push(format!("email:{}", name.as_str())),
                GeneralName::UniformResourceIdentifier(name) => alternatives.push(format!("URI:{}", name.as_str())),
                _ => {}
            }
        }
    }
    if names.is_empty() {
        let common = subject.split(',').find_map(|part| part.strip_prefix("CN=")).map(str::to_ascii_lowercase);
        names.extend(common);
    }
    Some(Parsed { subject, names, alternatives, not_before, not_after })
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_divide_a_subject_is_escaped_in_a_name() {
        for (name, subject) in [
            ("alice", "CN=alice"),
            ("Smith, Alice+Bob", "CN=Smith\\, Alice\\+Bob"),
            (" #a# ", "CN=\\ #a#\\ "),
            ("#1", "CN=\\#1"),
            ("a\0b\\", "CN=a\\00b\\\\"),
            ("", "CN="),
        ] {
            assert_eq!(common_name(name), subject);
        }
    }
}
