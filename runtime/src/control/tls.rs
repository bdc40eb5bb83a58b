//! TLS as a configuration wants it: what is wrong with its files is told with the place that names them.

use std::time::SystemTime;

use super::build::Means;
use super::files::staple;
use super::findings::Findings;
use super::plan::speaks_tls;
use super::sources::Sources;
use crate::acme::{Terms, Ways};
use crate::config::{Acme, CertificateFiles, ClientAuth, Discover, File, Problems, Tls, Upstream};
use crate::discovery;
use crate::tls::{
    self, Certificate, Client, ClientSettings, Issuers, IssuersError, Revocations, Server, Settings, Trust,
};

/// What a listener of this address answers with; `None` where something is wrong, which is among the findings then.
pub(super) fn server(
    listener: &str,
    wanted: &Tls,
    speaks_http2: bool,
    sources: &Sources,
    means: &Means<'_>,
    findings: &mut Findings,
) -> Option<Server> {
    let certificates: Vec<_> =
        wanted.certificates.iter().filter_map(|files| certificate(files, sources, findings)).collect();
    let renewed = match &wanted.acme {
        None => None,
        Some(acme) => Some(means.acme.certificate(&terms(acme, wanted, sources, findings)?)),
    };
    let client_auth = match &wanted.client_auth {
        None => None,
        Some(auth) => Some(client_auth(auth, sources, findings)?),
    };
    if certificates.len() < wanted.certificates.len() {
        return None;
    }
    let min_version = wanted.min_version;
    let protocols =
        [tls::HTTP_2, tls::HTTP_1_1].into_iter().skip(usize::from(!speaks_http2)).map(<[u8]>::to_vec).collect();
    let settings = Settings { certificates, renewed, min_version, client_auth, protocols };
    Server::new(settings, means.keys.clone(), listener, means.metrics)
        .map_err(|error| findings.add(&wanted.place, error, "name other authorities"))
        .ok()
}

/// What the admin API answers with, where it speaks TLS.
///
/// # Errors
/// When something is wrong, which is among the findings then.
pub(super) fn admin(sources: &Sources, means: &Means<'_>, findings: &mut Findings) -> Result<Option<Server>, ()> {
    let Some(admin) = &sources.config.admin else { return Ok(None) };
    let Some(wanted) = &admin.tls else { return Ok(None) };
    server(&admin.listen.to_string(), wanted, false, sources, means, findings).map(Some).ok_or(())
}

/// What is ordered, and how whoever issues it can convince himself.
fn terms(acme: &Acme, tls: &Tls, sources: &Sources, findings: &mut Findings) -> Option<Terms> {
    let server_ca = match &acme.server_ca {
        None => None,
        Some(ca) => {
            issuers(ca, sources, findings)?;
            Some(sources.file(&ca.path)?.into())
        }
    };
    // Nobody who validates has a certificate to show.
    let ways = Ways { tls: tls.is_for_everybody(), http: sources.config.listeners.iter().any(|it| it.tls.is_none()) };
    if !ways.tls && !ways.http {
        let what =
            "nobody could validate the domains: clients have to show certificates, and no listener is in clear text";
        findings.add(&acme.place, what, "add a listener without `tls`, for port 80, or write `mode = \"optional\"`");
        return None;
    }
    let Acme { domains, contact, server, directory, .. } = acme.clone();
    Some(Terms { domains, contact, server, server_ca, directory, ways })
}

/// What an upstream is asked with; none where no endpoint speaks TLS.
///
/// # Errors
/// When something is wrong, which is among the findings then.
pub(super) fn client(upstream: &Upstream, sources: &Sources, findings: &mut Findings) -> Result<Option<Client>, ()> {
    if !speaks_tls(upstream) {
        return Ok(None);
    }
    let wanted = upstream.tls.as_ref();
    let trust = match wanted.map(|tls| (tls.is_insecure, &tls.ca)) {
        Some((true, _)) => Trust::Anybody,
        Some((false, Some(ca))) => Trust::Issuers(issuers(ca, sources, findings).ok_or(())?),
        None | Some((false, None)) => Trust::System,
    };
    let certificate = match wanted.and_then(|tls| tls.certificate.as_ref()) {
        None => None,
        Some(files) => Some(certificate(files, sources, findings).ok_or(())?),
    };
    let min_version = wanted.map_or(tls::Version::Tls12, |tls| tls.min_version);
    let server_name = wanted.and_then(|tls| tls.server_name.clone());
    let place = wanted.map_or(&upstream.place, |tls| &tls.place);
    Client::new(ClientSettings { trust, certificate, min_version, server_name })
        .map(Some)
        // Where endpoints are only found later, none may need it.
        .or_else(|error| if wanted.is_none() && upstream.discover.is_some() { Ok(None) } else { Err(error) })
        .map_err(|error| findings.add(place, error, "name some with `ca`"))
}

/// Where endpoints are found, with what the files say of TLS; `None` where something is wrong with them, which is among the findings
/// then.
pub(super) fn discovery(discover: &Discover, sources: &Sources, findings: &mut Findings) -> Option<discovery::Terms> {
    let mut terms = discover.terms.clone();
    let (Some(wanted), Some(server)) = (&discover.tls, terms.source.server_mut()) else { return Some(terms) };
    // One that is not there has been told of.
    let bytes = |file: &File| sources.files.get(&file.path).cloned();
    let certificate = match &wanted.certificate {
        None => None,
        Some(files) => Some((bytes(&files.chain)?, bytes(&files.key)?)),
    };
    let ca = match &wanted.ca {
        None => None,
        Some(file) => Some(bytes(file)?),
    };
    let tls = discovery::Tls {
        ca,
        certificate,
        server_name: wanted.server_name.clone(),
        min_version: wanted.min_version,
        is_insecure: wanted.is_insecure,
    };
    if let Err(error) = tls.client() {
        findings.add(&wanted.place, error, "name PEM files with certificates, and with the key of the first one");
        return None;
    }
    server.tls = Some(tls);
    Some(terms)
}

impl Sources {
    /// What is not wrong with TLS, and most likely not meant. A certificate that has expired is shown all the same: some
    /// client may not mind, and nobody is helped by no service at all.
    pub fn warnings(&self, warnings: &mut Problems) {
        let (listeners, upstreams) = (&self.config.listeners, &self.config.upstreams);
        let served = listeners.iter().flat_map(|listener| &listener.tls);
        let served: Vec<_> = served.chain(self.config.admin.iter().flat_map(|admin| &admin.tls)).collect();
        let shown = served.iter().flat_map(|tls| &tls.certificates);
        let shown = shown.chain(upstreams.values().flat_map(|upstream| &upstream.tls).flat_map(|tls| &tls.certificate));
        for files in shown {
            // What cannot be read is told by whoever builds.
            let Ok(certificate) = self.certificate(files) else { continue };
            if let Some(expired_for) = certificate.expired_for(SystemTime::now()) {
                let (file, name, days) = (files.chain.path.display(), certificate.name(), expired_for.as_secs() / DAY);
                let what = format!("{file}: the certificate for {name} has expired, {days} days ago");
                warnings.add(&files.chain.place, what, "have it renewed: most peers refuse it");
            }
        }
        for auth in served.iter().flat_map(|tls| &tls.client_auth) {
            self.warn_of_revocations(auth, warnings);
        }
        for (name, upstream) in upstreams {
            let is_spoken =
                upstream.discover.is_some() || upstream.endpoints.iter().any(|endpoint| endpoint.address.is_secure());
            if let Some(tls) = upstream.tls.as_ref().filter(|_| !is_spoken) {
                let what = format!("upstream `{name}` speaks TLS with nobody: none of its endpoints is `wss://`");
                warnings.add(&tls.place, what, "write `wss://` where TLS is meant, or leave this out");
            }
            if let Some(tls) = upstream.tls.as_ref().filter(|tls| tls.is_insecure) {
                let what = format!("upstream `{name}` may be anybody: no certificate is verified (insecure)");
                warnings.add(&tls.place, what, "name with `ca` who has issued its certificates");
            }
        }
    }

    fn warn_of_revocations(&self, auth: &ClientAuth, warnings: &mut Problems) {
        let Some(crl) = &auth.crl else { return };
        let (Some(ca), Some(revoked)) = (self.file(&auth.ca.path), self.file(&crl.path)) else { return };
        // What cannot be read is told by whoever builds.
        let Ok(issuers) = Issuers::read(ca).and_then(|issuers| issuers.without(revoked)) else { return };
        for Revocations { issuer, is_foreign, not_after } in issuers.revocations() {
            let file = crl.path.display();
            if is_foreign {
                let what = format!("{file}: the revocation list of {issuer} is of none of the authorities in `ca`");
                let instead = "name theirs, unless its issuer stands between them and the clients";
                warnings.add(&crl.place, what, instead);
            }
            let over = not_after.and_then(|end| SystemTime::now().duration_since(end).ok());
            if let Some(over) = over.filter(|over| !over.is_zero()) {
                let what =
                    format!("{file}: the revocation list of {issuer} has ended, {} days ago", over.as_secs() / DAY);
                warnings.add(&crl.place, what, "fetch the one of today: who was revoked since comes in");
            }
        }
    }

    /// # Errors
    /// The file that is wrong, and what is wrong with it; nothing where one is absent, which whoever has read them tells.
    fn certificate<'f>(
        &self,
        files: &'f CertificateFiles,
    ) -> Result<Certificate, Option<(&'f File, tls::CertificateError)>> {
        let (chain, key) = (self.file(&files.chain.path).ok_or(None)?, self.file(&files.key.path).ok_or(None)?);
        let staple = self.file(&staple(&files.chain.path));
        Certificate::read(chain, key, staple)
            .map_err(|error| Some((if error.is_of_key() { &files.key } else { &files.chain }, error)))
    }
}

fn certificate(files: &CertificateFiles, sources: &Sources, findings: &mut Findings) -> Option<Certificate> {
    let read = sources.certificate(files).map_err(|wrong| {
        if let Some((file, error)) = wrong {
            findings.add(&file.place, format!("{} {error}", file.path.display()), error.advice());
        }
    });
    read.ok()
}

fn client_auth(auth: &ClientAuth, sources: &Sources, findings: &mut Findings) -> Option<tls::ClientAuth> {
    let mut terms = sources.file(&auth.ca.path)?.to_vec();
    let mut issuers = issuers(&auth.ca, sources, findings)?;
    if let Some(crl) = &auth.crl {
        let revoked = sources.file(&crl.path)?;
        terms.extend_from_slice(revoked);
        issuers = issuers.without(revoked).map_err(|error| refuse(crl, error, findings)).ok()?;
    }
    Some(tls::ClientAuth { issuers, is_optional: auth.is_optional, terms })
}

pub(super) fn issuers(ca: &File, sources: &Sources, findings: &mut Findings) -> Option<Issuers> {
    Issuers::read(sources.file(&ca.path)?).map_err(|error| refuse(ca, error, findings)).ok()
}

fn refuse(file: &File, error: IssuersError, findings: &mut Findings) {
    findings.add(&file.place, format!("{} {error}", file.path.display()), error.advice());
}

/// In seconds.
const DAY: u64 = 86_400;
