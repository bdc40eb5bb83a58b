//! Looking at the parts of a configuration that is wrong elsewhere, so that one pass tells everything.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::authorize::authorizer;
use super::build::Means;
use super::findings::Findings;
use super::sources::{Sources, bytes, read_files};
use super::steps::Steps;
use super::{tls, tokens};
use crate::component::{Component, Configuration, ConfigureError, Host, Kind, OnFailure};
use crate::config::{Config, Parts, Problems};
use crate::metrics::Metrics;

/// Loads all components that could be read, and has each take the configurations of its uses; adds what is wrong to the
/// problems that are known.
pub fn examine(parts: &Parts, problems: Problems, host: &Host, metrics: &Metrics) -> Problems {
    let mut findings = Findings::new(problems);
    let mut components = BTreeMap::new();
    for (name, component) in &parts.components {
        match bytes(name, component) {
            Ok(None) => {}
            Ok(Some(bytes)) => match host.load(name, &bytes, component.limits.clone()) {
                Ok(loaded) => drop(components.insert(name.as_str(), loaded)),
                Err(error) => findings.unloadable(name, component, &error),
            },
            Err(what) => findings.unreadable(component, what),
        }
    }
    let mut asked: BTreeMap<(&str, &'static str, &Configuration), Result<(), Arc<ConfigureError>>> = BTreeMap::new();
    for (kind, used) in &parts.uses {
        let Some(component) = components.get(used.component.as_str()) else { continue };
        let key = (used.component.as_str(), kind.label(), &used.config);
        let answer =
            asked.entry(key).or_insert_with(|| take(component, *kind, &used.config, metrics).map_err(Arc::new));
        findings.configured(&used.component, &used.place, answer.clone());
    }
    findings.into_problems()
}

/// Looks at the certificates, keys and key sets of a configuration whose sources cannot all be read, as far as they can;
/// adds what is wrong to the problems that are known.
pub fn examine_files(config: Config, problems: Problems, means: &Means<'_>) -> Problems {
    let mut findings = Findings::new(problems);
    let files = read_files(&config, &Steps::untold(), &mut findings);
    let sources = Sources { config, components: BTreeMap::new(), files };
    tokens::rules(&sources, means.issuers, &mut findings);
    for listener in &sources.config.listeners {
        let wanted = listener.tls.as_ref();
        wanted.map(|wanted| tls::server(&listener.listen.to_string(), wanted, false, &sources, means, &mut findings));
    }
    // What is wrong is among the findings, here and below.
    let _ = tls::admin(&sources, means, &mut findings);
    for upstream in sources.config.upstreams.values() {
        let _ = tls::client(upstream, &sources, &mut findings);
    }
    for route in &sources.config.routes {
        let _ = authorizer(route, &sources, means, &mut findings);
    }
    findings.into_problems()
}

fn take(component: &Component, kind: Kind, config: &Configuration, metrics: &Metrics) -> Result<(), ConfigureError> {
    match kind {
        Kind::Predicate => component.predicate("", config, metrics).map(drop),
        Kind::Balancer => component.balancer("", config, metrics).map(drop),
        Kind::Filter => component.filter("", config, OnFailure::Close, 1, metrics).map(drop),
    }
}
