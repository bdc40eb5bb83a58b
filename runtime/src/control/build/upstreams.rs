//! The upstreams of a snapshot, and the endpoints that are to be handed in to them.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::{Builder, answer};
use crate::balance::{Balance, EndpointSpec, JustStarted};
use crate::component::BalancerUse;
use crate::config::{self, ComponentUse};
use crate::control::plan::Change;
use crate::control::tls;
use crate::session::Upstream;

impl Builder<'_> {
    pub(super) fn upstreams(&mut self) -> BTreeMap<String, Arc<Upstream>> {
        let mut upstreams = BTreeMap::new();
        for (name, upstream) in &self.sources.config.upstreams {
            let previous = self.previous.as_ref();
            let before = previous.and_then(|previous| previous.snapshot.upstreams.get(name)).cloned();
            let added = Change::Added;
            let change = previous.map_or(Some(&added), |previous| previous.plan.upstreams.get(name));
            let has_others = change.is_some_and(Change::is_of_endpoints);
            let is_same = change.is_none_or(Change::is_only_of_endpoints);
            let balance = self.balance(name);
            if let Some(discover) = &upstream.discover {
                if let Some(terms) = tls::discovery(discover, self.sources, &mut self.findings) {
                    self.endpoints.find(&balance, terms);
                }
            } else if has_others {
                self.endpoints.add(&balance, upstream.endpoints.iter().map(specified).collect());
            }
            if let Some(before) = before.as_ref().filter(|_| is_same) {
                upstreams.insert(name.clone(), before.clone());
                continue;
            }
            let kept = before.as_ref().map(|before| &before.balancer);
            let tls = tls::client(upstream, self.sources, &mut self.findings);
            if let (Some(balancer), Ok(tls)) = (self.balancer(name, &upstream.balance, kept), tls) {
                let built = Upstream {
                    balance,
                    balancer,
                    retries: upstream.retries,
                    connect_timeout: upstream.connect_timeout,
                    host: upstream.host.clone(),
                    tls,
                    proxy_protocol: upstream.proxy_protocol,
                    http2: upstream.http2,
                    liveness: upstream.liveness,
                    keeping: upstream.keeping,
                };
                upstreams.insert(name.clone(), Arc::new(built));
            }
        }
        upstreams
    }

    /// What is known of the endpoints of an upstream of this name, or may become known.
    fn balance(&self, name: &str) -> Arc<Balance> {
        let previous = self.previous.as_ref().map(|previous| previous.snapshot);
        let present = previous.and_then(|previous| previous.upstreams.get(name)).map(|before| before.balance.clone());
        let former = || previous.and_then(|previous| previous.former.get(name)).and_then(Weak::upgrade);
        present.or_else(former).unwrap_or_else(|| Arc::new(Balance::new(name, JustStarted::default())))
    }

    /// What is to be remembered of upstreams that are not among these.
    pub(super) fn former(&self, upstreams: &BTreeMap<String, Arc<Upstream>>) -> BTreeMap<String, Weak<Balance>> {
        let Some(previous) = &self.previous else { return BTreeMap::new() };
        let known = previous.snapshot.upstreams.iter();
        let known = known.map(|(name, upstream)| (name, Arc::downgrade(&upstream.balance)));
        let known = known.chain(previous.snapshot.former.iter().map(|(name, balance)| (name, Weak::clone(balance))));
        let former = known.filter(|(name, balance)| !upstreams.contains_key(*name) && balance.strong_count() > 0);
        former.map(|(name, balance)| (name.clone(), balance)).collect()
    }

    fn balancer(
        &mut self,
        upstream: &str,
        wanted: &ComponentUse,
        before: Option<&Arc<BalancerUse>>,
    ) -> Option<Arc<BalancerUse>> {
        let component = self.components.get(&wanted.component).filter(|_| !self.steps.are_given_up())?;
        let kept = before.filter(|kept| kept.component().is(component) && *kept.config() == wanted.config);
        let made = match kept {
            Some(kept) => Ok(kept.clone()),
            None => answer(
                &mut self.answered.balancers,
                wanted,
                || {
                    self.steps.configuring(&wanted.component);
                    component.balancer(upstream, &wanted.config, self.metrics)
                },
                |known| known.again(upstream, self.metrics),
            ),
        };
        self.findings.configured(&wanted.component, &wanted.place, made)
    }
}

/// An endpoint that the configuration names, as the balance takes it.
fn specified(endpoint: &config::Endpoint) -> EndpointSpec {
    EndpointSpec {
        address: endpoint.address.clone(),
        weight: endpoint.weight,
        warmup: endpoint.warmup,
        started: None,
        enabled: endpoint.enabled,
        zone: endpoint.zone.clone(),
        metadata: endpoint.metadata.clone(),
    }
}
