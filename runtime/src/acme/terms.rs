//! What is ordered, from whom, and where it is kept.

use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use http::Uri;

/// What is ordered, from whom, and where it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Terms {
    /// The names that the certificate is for, in lower case, at least one.
    pub domains: Vec<String>,
    /// Whom the authority tells of what may matter, a `mailto:`; `None`: nobody.
    pub contact: Option<String>,
    /// The directory of the authority (RFC 8555 section 7.1.1).
    pub server: Uri,
    /// Whose certificate that has to have, in PEM; `None`: one that the system believes.
    pub server_ca: Option<Arc<[u8]>>,
    /// Where accounts, keys and certificates are kept.
    pub directory: PathBuf,
    /// How the authority can convince itself.
    pub ways: Ways,
}

/// How an authority can convince itself that a name is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ways {
    /// By a TLS handshake with the listener (`tls-alpn-01`, RFC 8737).
    pub tls: bool,
    /// By a request to a listener in clear text (`http-01`, RFC 8555 section 8.3).
    pub http: bool,
}

impl Terms {
    /// What it is called in logs and metrics.
    pub fn name(&self) -> &str {
        self.domains.first().map_or("", String::as_str)
    }

    /// What its files are called: the name, and what tells it from others with that first name.
    pub(super) fn file_name(&self) -> String {
        let mut domains: Vec<_> = self.domains.iter().map(String::as_str).collect();
        domains.sort_unstable();
        format!("{}-{}", self.name(), fingerprint(&[&self.server.to_string(), &domains.join(" ")]))
    }

    /// What the file of its account is called.
    pub(super) fn account_name(&self) -> String {
        let host = self.server.host().unwrap_or_default().trim_matches(['[', ']']).replace(':', ".");
        let contact = self.contact.as_deref().unwrap_or_default();
        format!("{host}-{}.json", fingerprint(&[&self.server.to_string(), contact]))
    }
}

/// Eight hexadecimal digits that depend on all of these.
fn fingerprint(texts: &[&str]) -> String {
    let digest = digest(&SHA256, texts.join("\n").as_bytes());
    digest.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart_by_the_names_whatever_their_order_and_by_the_authority() {
        let terms = |domains: &[&str], server: &'static str| Terms {
            domains: domains.iter().map(|&domain| domain.to_owned()).collect(),
            contact: None,
            server: Uri::from_static(server),
            server_ca: None,
            directory: PathBuf::new(),
            ways: Ways { tls: true, http: false },
        };
        let (one, other) = ("https://acme.example/directory", "https://staging.example/directory");
        let name = terms(&["a.example", "b.example"], one).file_name();
        assert!(name.starts_with("a.example-") && name.len() == "a.example-".len() + 8, "{name}");
        let swapped = terms(&["b.example", "a.example"], one).file_name();
        assert_eq!(swapped.rsplit('-').next(), name.rsplit('-').next());
        for different in [terms(&["a.example"], one), terms(&["a.example", "b.example"], other)] {
            assert_ne!(different.file_name(), name);
        }
    }
}
