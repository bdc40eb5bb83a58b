//! Looking for all that is wrong with a configuration, and serving nothing.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::Builder;

use super::{RunError, UNSAFE_CACHE};
use crate::acme::Acme;
use crate::component::{CacheDirectory, CacheError, Host, Moment};
use crate::config::{Config, Examined, KeysAt, Problems, Tokens};
use crate::control::{self, Means, ReadSources, Steps};
use crate::inquiry::Desk;
use crate::listener::{self, Address, Claim};
use crate::metrics::Metrics;
use crate::tls::Keys;
use crate::token::{self, Issuers};

/// What a check has found.
#[derive(Debug)]
pub struct Checked {
    /// What would be put in force; `None`: something is wrong with it.
    pub config: Option<Config>,
    /// Everything that is wrong.
    pub problems: Problems,
    /// What is not wrong, and most likely not meant.
    pub warnings: Problems,
}

/// Looks for everything that would keep a configuration from being put in force, without binding anything. What it
/// compiles it keeps in the configured cache, if there is that directory.
///
/// # Errors
/// Only where nothing can be said about the configuration.
pub fn check(sources: &ReadSources) -> Result<Checked, RunError> {
    let steps = Steps::untold();
    let Examined { config, mut problems, mut parts, .. } = sources.examine(&steps);
    let mut warnings = config.as_ref().map_or_else(|| Problems::none(&problems), warnings);
    let mut cache = None;
    if let Some(wanted) = parts.cache_directory.take() {
        match CacheDirectory::check(&wanted.path) {
            Ok(true) => cache = CacheDirectory::open(&wanted.path).ok(),
            Ok(false) | Err(CacheError::Unusable { .. }) => {}
            Err(error) => problems.add(&wanted.place, error.to_string(), UNSAFE_CACHE),
        }
    }
    let host = Host::with(1, cache, None, Arc::default())?;
    let metrics = Metrics::new(1);
    let Some(config) = config.filter(|_| problems.is_empty()) else {
        let problems = control::examine(&parts, problems, &host, &metrics);
        return Ok(Checked { config: None, problems, warnings });
    };
    let ((issuers, _), (acme, _), (desk, _)) = (Issuers::new(), Acme::new(), Desk::new());
    let keys = Arc::new(Keys::new().map_err(io::Error::other)?);
    let means = Means { host: &host, metrics: &metrics, keys: &keys, issuers: &issuers, desk: &desk, acme: &acme };
    let read = match ReadSources::read_components(config.clone(), &steps) {
        Ok(read) => read,
        Err(unread) => {
            // Both find again what is in `unread`.
            let (parts, problems) = (config.parts(), Problems::none(&unread));
            let problems = control::examine_files(config, problems, &means);
            let problems = control::examine(&parts, problems, &host, &metrics);
            return Ok(Checked { config: None, problems, warnings });
        }
    };
    read.warnings(&mut warnings);
    ask_issuers(&read.config, &mut warnings)?;
    let problems = control::build(&read, None, Moment::now(), 1, &means, &steps).err();
    let is_good = problems.is_none();
    let problems = problems.unwrap_or_else(|| read.config.problems());
    Ok(Checked { config: Some(read.config).filter(|_| is_good), problems, warnings })
}

/// Asks the issuers of tokens for their keys, once: a url may be wrong, and nobody comes in until it is right.
fn ask_issuers(config: &Config, warnings: &mut Problems) -> io::Result<()> {
    let at = |tokens: &Tokens| match &tokens.jwks {
        Some(KeysAt::Url(url, place)) => Some((url.clone(), place.clone())),
        Some(KeysAt::File(_)) | None => None,
    };
    let issuers: Vec<_> = config.tokens.values().filter_map(at).collect();
    if issuers.is_empty() {
        return Ok(());
    }
    let asking = issuers.iter().map(|(url, _)| token::ask(url, PATIENCE));
    let answers = Builder::new_current_thread().enable_all().build()?.block_on(join_all(asking));
    for ((_, place), answer) in issuers.iter().zip(answers) {
        if let Err(error) = answer {
            let what = format!("the keys cannot be fetched from here now: {error}");
            warnings.add(place, what, "name a url that answers with them; until it does, 503 is all that clients get");
        }
    }
    Ok(())
}

/// What is not wrong with a configuration, and most likely not meant; also ports and paths that somebody has.
fn warnings(config: &Config) -> Problems {
    let mut warnings = config.warnings();
    let listening = listener::listening().unwrap_or_default().into_iter().map(Address::Socket);
    let listening: Vec<_> = listening.chain(listener::listening_paths().into_iter().map(Address::Unix)).collect();
    let admin = config.admin.iter().map(|admin| (admin.listen.clone(), &admin.place));
    let own = config.listeners.iter().map(|listener| (listener.listen.clone(), &listener.place)).chain(admin);
    for (address, place) in own {
        let wanted = config.claim(&address);
        // Whether a socket of IPv6 takes IPv4, too, the system does not tell.
        let is_in_the_way = |taken: &&Address| wanted.overlaps(&Claim { address: (*taken).clone(), only_v6: false });
        if let Some(taken) = listening.iter().find(is_in_the_way) {
            let what = format!("something listens on {taken} now");
            let another = if taken.is_unix() { "path" } else { "port" };
            let instead = format!("choose another {another}, unless that is the proxy which this is for");
            warnings.add(place, what, instead);
        }
    }
    warnings
}

/// A check is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
