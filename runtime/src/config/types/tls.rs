//! TLS, with clients and with upstreams, as a configuration wants it.

use std::path::PathBuf;

use http::Uri;
use rustls::pki_types::ServerName;

use crate::config::source::Place;
use crate::tls::Version;

/// What a listener speaks TLS with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The first is for all who ask for no name, or for one that none has. None only where there is `acme`.
    pub certificates: Vec<CertificateFiles>,
    /// One that renews itself, behind them.
    pub acme: Option<Acme>,
    /// The least version that is spoken.
    pub min_version: Version,
    /// What clients have to show; `None`: nothing.
    pub client_auth: Option<ClientAuth>,
    /// Where it is declared.
    pub place: Place,
}

impl Tls {
    /// Whether somebody without a certificate comes in, too.
    pub fn is_for_everybody(&self) -> bool {
        self.client_auth.as_ref().is_none_or(|auth| auth.is_optional)
    }
}

/// A certificate that renews itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acme {
    /// Hosts in lower case, at least one.
    pub domains: Vec<String>,
    /// A `mailto:`.
    pub contact: Option<String>,
    /// The directory of the authority.
    pub server: Uri,
    /// Whose certificate that has to have; `None`: one that the system believes.
    pub server_ca: Option<File>,
    /// Where accounts, keys and certificates are kept; a relative path has been resolved against the directory of the
    /// configuration.
    pub directory: PathBuf,
    /// Where it is declared.
    pub place: Place,
}

/// How TLS is spoken to an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Whom its certificates have to come from; `None`: authorities that the system knows.
    pub ca: Option<File>,
    /// What is shown to it.
    pub certificate: Option<CertificateFiles>,
    /// The name that its certificates have to be for; `None`: the host of the url.
    pub server_name: Option<ServerName<'static>>,
    /// The least version that is spoken.
    pub min_version: Version,
    /// Whether any certificate is believed.
    pub is_insecure: bool,
    /// Where it is declared.
    pub place: Place,
}

/// A certificate with its issuers, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificates.
    pub chain: File,
    /// The key.
    pub key: File,
}

/// Which certificates clients have to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuth {
    /// Who may have issued them.
    pub ca: File,
    /// Whether a client may do without.
    pub is_optional: bool,
    /// Which are revoked.
    pub crl: Option<File>,
}

/// A file that the configuration names; a relative path has been resolved against the directory of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where it is.
    pub path: PathBuf,
    /// Where it is named.
    pub place: Place,
}
