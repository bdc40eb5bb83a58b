//! What the listeners of a configuration go by.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::build::Means;
use super::findings::Findings;
use super::sources::Sources;
use super::tls;
use crate::config::Listener;
use crate::handshake::HeadLimits;
use crate::listener::Settings;
use crate::session::{Admission, Door, Http2};

/// Makes the settings of all listeners, in the order of the configuration. Where something is wrong it is among the findings,
/// and there are fewer.
pub(super) fn listeners(
    sources: &Sources,
    doors: &BTreeMap<String, Admission>,
    means: &Means<'_>,
    findings: &mut Findings,
) -> Vec<Arc<Settings>> {
    let made =
        sources.config.listeners.iter().filter_map(|listener| settings(listener, sources, doors, means, findings));
    made.map(Arc::new).collect()
}

fn settings(
    listener: &Listener,
    sources: &Sources,
    doors: &BTreeMap<String, Admission>,
    means: &Means<'_>,
    findings: &mut Findings,
) -> Option<Settings> {
    let address = listener.listen.to_string();
    let tls = match &listener.tls {
        None => None,
        Some(wanted) => Some(tls::server(&address, wanted, listener.http2.is_some(), sources, means, findings)?),
    };
    let http2 = listener.http2.map(|limits| Arc::new(Http2 { limits, metrics: means.metrics.http2(&address) }));
    let head = HeadLimits {
        max_header_bytes: listener.max_header_bytes,
        max_header_fields: listener.max_header_fields,
        paths: listener.paths,
    };
    let door = Arc::new(Door {
        access: listener.access.clone(),
        admission: doors.get(&address)?.clone(),
        trusted: sources.config.trusted_proxies.clone(),
    });
    let orders = sources.config.listeners.iter().flat_map(|listener| &listener.tls).any(|tls| tls.acme.is_some());
    Some(Settings {
        head,
        handshake_timeout: listener.handshake_timeout,
        door,
        is_introduced: listener.is_introduced,
        notes_destination: sources.config.upstreams.values().any(|upstream| upstream.proxy_protocol),
        challenges: (orders && listener.tls.is_none()).then(|| means.acme.challenges()),
        redirect: listener.redirect.clone().map(Arc::new),
        tls,
        http2,
    })
}
