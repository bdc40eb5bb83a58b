//! The files that a configuration names: of certificates, keys and key sets, and of pages that are answered.

use std::path::{Path, PathBuf};

use crate::config::{
    CertificateFiles, Config, Content, File, KeysAt, Listener, Place, Route, Target, Tls, Tokens, Upstream,
};

/// A file that is named.
#[derive(Clone, Debug)]
pub(super) struct Named {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Where it is named.
    pub(super) place: Place,
    /// Whether it has to be there.
    pub(super) is_needed: bool,
    /// The most bytes that it may have.
    pub(super) most: u64,
}

/// All of them.
pub(super) fn of(config: &Config) -> impl Iterator<Item = Named> {
    let of_listeners = config.listeners.iter().flat_map(of_listener).chain(of_admin(config));
    let of_upstreams = config.upstreams.values().flat_map(of_upstream);
    let of_routes = config.routes.iter().flat_map(|route| of_authorize(route).into_iter().chain(of_answer(route)));
    let of_tokens = config.tokens.values().filter_map(of_tokens);
    of_listeners.chain(of_upstreams).chain(of_tokens).chain(of_routes).chain(of_errors(config))
}

/// Those of a listener.
pub(super) fn of_listener(listener: &Listener) -> Vec<Named> {
    listener.tls.iter().flat_map(of_tls).collect()
}

/// Those of the admin API.
pub(super) fn of_admin(config: &Config) -> Vec<Named> {
    config.admin.iter().flat_map(|admin| &admin.tls).flat_map(of_tls).collect()
}

fn of_tls(tls: &Tls) -> Vec<Named> {
    let mut files = Vec::new();
    tls.certificates.iter().for_each(|certificate| files.extend(of_certificate(certificate)));
    let auth = tls.client_auth.iter().flat_map(|auth| std::iter::once(&auth.ca).chain(&auth.crl));
    files.extend(auth.map(needed));
    files.extend(tls.acme.iter().flat_map(|acme| &acme.server_ca).map(needed));
    files
}

/// Those of an upstream.
pub(super) fn of_upstream(upstream: &Upstream) -> Vec<Named> {
    let mut files = Vec::new();
    let found = upstream.discover.iter().filter_map(|discover| discover.tls.as_ref());
    for tls in upstream.tls.iter().chain(found) {
        files.extend(tls.ca.iter().map(needed));
        tls.certificate.iter().for_each(|certificate| files.extend(of_certificate(certificate)));
    }
    files
}

/// That of who is asked by a route.
pub(super) fn of_authorize(route: &Route) -> Option<Named> {
    route.authorize.as_ref()?.ca.as_ref().map(needed)
}

/// That of what a route answers.
pub(super) fn of_answer(route: &Route) -> Option<Named> {
    match &route.target {
        Target::Answer(answer) => match &answer.content {
            Content::File(file) => Some(Named { most: MOST_OF_PAGE, ..needed(file) }),
            Content::Nothing | Content::Text(_) => None,
        },
        Target::Upstream(_) | Target::Services(_) | Target::Redirect(_) | Target::Application(_) => None,
    }
}

/// Those of what is said when a request is not served.
pub(super) fn of_errors(config: &Config) -> impl Iterator<Item = Named> {
    config.errors.values().map(|file| Named { most: MOST_OF_PAGE, ..needed(file) })
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
    let staple = Named { path: staple(&chain.path), is_needed: false, ..needed(chain) };
    [needed(chain), staple, needed(key)]
}

fn needed(file: &File) -> Named {
    Named { path: file.path.clone(), place: file.place.clone(), is_needed: true, most: MOST }
}

/// A bundle of all public authorities has 220 KB, and a revocation list may have some MiB.
const MOST: u64 = 16 << 20;

/// What is answered is held in memory, and by each client's socket that is slow to take it.
const MOST_OF_PAGE: u64 = 1 << 20;
