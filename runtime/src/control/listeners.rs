//! What the listeners of a configuration go by.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::findings::Findings;
use super::sources::Sources;
use crate::config::{ClientAuth, File, Listener, Place, Problems, Tls};
use crate::handshake::HeadLimits;
use crate::listener::Settings;
use crate::metrics::Metrics;
use crate::tls;

/// Makes the settings of all listeners, in the order of the configuration; tickets are made with `keys`.
pub(super) fn listeners(
    sources: &Sources,
    keys: &Arc<tls::Keys>,
    metrics: &Metrics,
    findings: &mut Findings,
) -> Vec<Arc<Settings>> {
    let listeners = &sources.config.listeners;
    listeners.iter().filter_map(|listener| settings(listener, sources, keys, metrics, findings)).map(Arc::new).collect()
}

fn settings(
    listener: &Listener,
    sources: &Sources,
    keys: &Arc<tls::Keys>,
    metrics: &Metrics,
    findings: &mut Findings,
) -> Option<Settings> {
    let tls = match &listener.tls {
        None => None,
        Some(tls) => Some(secured(&listener.listen.to_string(), tls, sources, keys, metrics, findings)?),
    };
    let head = HeadLimits {
        max_header_bytes: listener.max_header_bytes,
        max_header_fields: listener.max_header_fields,
        paths: listener.paths,
    };
    Some(Settings { head, handshake_timeout: listener.handshake_timeout, tls })
}

/// `None` where something is wrong, which is among the findings then.
fn secured(
    listener: &str,
    tls: &Tls,
    sources: &Sources,
    keys: &Arc<tls::Keys>,
    metrics: &Metrics,
    findings: &mut Findings,
) -> Option<tls::Server> {
    let certificates: Vec<_> = tls
        .certificates
        .iter()
        .filter_map(|files| {
            let (chain, key) = (sources.file(&files.chain.path)?, sources.file(&files.key.path)?);
            let ocsp = sources.file(&staple(&files.chain.path));
            let read = tls::Certificate::read(chain, key, ocsp);
            let read = read.map_err(|error| {
                let file = if error.is_of_key() { &files.key } else { &files.chain };
                findings.add(&file.place, format!("{} {error}", file.path.display()), error.advice());
            });
            read.ok()
        })
        .collect();
    let client_auth = match &tls.client_auth {
        None => None,
        Some(auth) => Some(client_auth(auth, sources, findings)?),
    };
    if certificates.len() < tls.certificates.len() {
        return None;
    }
    let settings =
        tls::Settings { certificates, min_version: tls.min_version, client_auth, protocols: vec![HTTP_1_1.to_vec()] };
    tls::Server::new(settings, keys.clone(), listener, metrics)
        .map_err(|error| findings.add(&tls.place, error, "name other authorities"))
        .ok()
}

fn client_auth(auth: &ClientAuth, sources: &Sources, findings: &mut Findings) -> Option<tls::ClientAuth> {
    let ca = sources.file(&auth.ca.path)?;
    let mut terms = ca.to_vec();
    let mut refuse = |file: &File, error: tls::IssuersError| {
        findings.add(&file.place, format!("{} {error}", file.path.display()), error.advice());
    };
    let mut issuers = tls::Issuers::read(ca).map_err(|error| refuse(&auth.ca, error)).ok()?;
    if let Some(crl) = &auth.crl {
        let revoked = sources.file(&crl.path)?;
        terms.extend_from_slice(revoked);
        issuers = issuers.without(revoked).map_err(|error| refuse(crl, error)).ok()?;
    }
    Some(tls::ClientAuth { issuers, is_optional: auth.is_optional, terms })
}

impl Sources {
    /// What is not wrong with its certificates, and most likely not meant. One that has expired is shown all the same: some
    /// client may not mind, and nobody is helped by no service at all.
    pub fn warnings(&self, warnings: &mut Problems) {
        let now = SystemTime::now();
        for files in self.config.listeners.iter().flat_map(|listener| &listener.tls).flat_map(|tls| &tls.certificates) {
            let (Some(chain), Some(key)) = (self.file(&files.chain.path), self.file(&files.key.path)) else { continue };
            // What cannot be read is told by whoever builds.
            let Ok(certificate) = tls::Certificate::read(chain, key, None) else { continue };
            if let Some(expired_for) = certificate.expired_for(now) {
                let (file, name, days) = (files.chain.path.display(), certificate.name(), expired_for.as_secs() / DAY);
                let what = format!("{file}: the certificate for {name} has expired, {days} days ago");
                warnings.add(&files.chain.place, what, "have it renewed: most clients refuse it");
            }
        }
    }
}

/// The files that a listener's TLS is made of, each with its place; `false` where it may be missing.
pub(super) fn files(listener: &Listener) -> Vec<(PathBuf, Place, bool)> {
    let mut files = Vec::new();
    if let Some(tls) = &listener.tls {
        for certificate in &tls.certificates {
            let chain = &certificate.chain;
            files.push((chain.path.clone(), chain.place.clone(), true));
            files.push((staple(&chain.path), chain.place.clone(), false));
            files.push((certificate.key.path.clone(), certificate.key.place.clone(), true));
        }
        let named = tls.client_auth.iter().flat_map(|auth| std::iter::once(&auth.ca).chain(&auth.crl));
        files.extend(named.map(|file| (file.path.clone(), file.place.clone(), true)));
    }
    files
}

/// Where an OCSP response for a chain lies, if there is one.
fn staple(chain: &Path) -> PathBuf {
    let mut path = chain.as_os_str().to_owned();
    path.push(".ocsp");
    path.into()
}

/// RFC 7301 section 6.
const HTTP_1_1: &[u8] = b"http/1.1";
/// In seconds.
const DAY: u64 = 86_400;
