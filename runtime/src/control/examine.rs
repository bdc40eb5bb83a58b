//! Looking at the parts of a configuration that is wrong elsewhere, so that one pass tells everything.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::findings::Findings;
use super::sources::bytes;
use crate::component::{Component, Configuration, ConfigureError, Host, Kind, OnFailure};
use crate::config::{Parts, Problems};
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

fn take(component: &Component, kind: Kind, config: &Configuration, metrics: &Metrics) -> Result<(), ConfigureError> {
    match kind {
        Kind::Predicate => component.predicate("", config, metrics).map(drop),
        Kind::Balancer => component.balancer("", config, metrics).map(drop),
        Kind::Filter => component.filter("", config, OnFailure::Close, 1, metrics).map(drop),
    }
}
