//! What the listeners of a configuration go by.

use std::sync::Arc;

use super::findings::Findings;
use super::sources::Sources;
use super::tls;
use crate::config::Listener;
use crate::handshake::HeadLimits;
use crate::listener::Settings;
use crate::metrics::Metrics;
use crate::tls::Keys;

/// Makes the settings of all listeners, in the order of the configuration. Where something is wrong it is among the findings,
/// and there are fewer.
pub(super) fn listeners(
    sources: &Sources,
    means: (&Arc<Keys>, &Metrics),
    findings: &mut Findings,
) -> Vec<Arc<Settings>> {
    let made = sources.config.listeners.iter().filter_map(|listener| settings(listener, sources, means, findings));
    made.map(Arc::new).collect()
}

fn settings(
    listener: &Listener,
    sources: &Sources,
    means: (&Arc<Keys>, &Metrics),
    findings: &mut Findings,
) -> Option<Settings> {
    let tls = match &listener.tls {
        None => None,
        Some(wanted) => Some(tls::server(&listener.listen.to_string(), wanted, sources, means, findings)?),
    };
    let head = HeadLimits {
        max_header_bytes: listener.max_header_bytes,
        max_header_fields: listener.max_header_fields,
        paths: listener.paths,
    };
    Some(Settings { head, handshake_timeout: listener.handshake_timeout, tls })
}
