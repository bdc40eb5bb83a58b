//! The files of certificates, keys and key sets that a configuration names.

use std::path::{Path, PathBuf};

use crate::config::{CertificateFiles, Config, File, KeysAt, Listener, Place, Route, Tokens, Upstream};

/// A file, where it is named, and whether it has to be there.
pub(super) type Named = (PathBuf, Place, bool);

/// All of them.
pub(super) fn of(config: &Config) -> impl Iterator<Item = Named> {
    let of_listeners = config.listeners.iter().flat_map(of_listener);
    let of_upstreams = config.upstreams.values().flat_map(of_upstream);
    let of_routes = config.routes.iter().filter_map(of_route);
    of_listeners.chain(of_upstreams).chain(config.tokens.values().filter_map(of_tokens)).chain(of_routes)
}

/// Those of a listener.
pub(super) fn of_listener(listener: &Listener) -> Vec<Named> {
    let mut files = Vec::new();
    if let Some(tls) = &listener.tls {
        tls.certificates.iter().for_each(|certificate| files.extend(of_certificate(certificate)));
        let auth = tls.client_auth.iter().flat_map(|auth| std::iter::once(&auth.ca).chain(&auth.crl));
        files.extend(auth.map(needed));
        files.extend(tls.acme.iter().flat_map(|acme| &acme.server_ca).map(needed));
    }
    files
}

/// Those of an upstream.
pub(super) fn of_upstream(upstream: &Upstream) -> Vec<Named> {
    let mut files = Vec::new();
    if let Some(tls) = &upstream.tls {
        files.extend(tls.ca.iter().map(needed));
        tls.certificate.iter().for_each(|certificate| files.extend(of_certificate(certificate)));
    }
    files
}

/// That of a route.
pub(super) fn of_route(route: &Route) -> Option<Named> {
    route.authorize.as_ref()?.ca.as_ref().map(needed)
}

/// That of tokens.
pub(super) fn of_tokens(tokens: &Tokens) -> Option<Named> {
    match &tokens.jwks {
        Some(KeysAt::File(file)) => Some(needed(file)),
        Some(KeysAt::Url(..)) | None => None,
    }
}

/// Where an OCSP response for a chain lies, if there is one.
pub(super) fn staple(chain: &Path) -> PathBuf {
    let mut path = chain.as_os_str().to_owned();
    path.push(".ocsp");
    path.into()
}

fn of_certificate(CertificateFiles { chain, key }: &CertificateFiles) -> [Named; 3] {
    [needed(chain), (staple(&chain.path), chain.place.clone(), false), needed(key)]
}

fn needed(file: &File) -> Named {
    (file.path.clone(), file.place.clone(), true)
}
