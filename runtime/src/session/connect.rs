//! The stages of the upstream: an endpoint is leased, dialled and asked, until one agrees.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::admit::{Admitted, Filters};
use super::application::Place;
use super::limit::Entry;
use super::record::Record;
use super::refusal::Refusal;
use super::snapshot::{Route, Upstream};
use super::worker::Worker;
use crate::balance::Lease;
use crate::component::{Handshake, HeaderEdit};
use crate::handshake::Opening;
use crate::http::{Accepted, UpstreamRequest};
use crate::log::Tried;
use crate::transport::Transport;
use crate::upstream::{self, Endpoint, Timeouts, Upgraded};

/// Two handshakes that agree, the client's not yet answered.
pub(super) struct Joined<'w> {
    pub(super) worker: &'w Rc<Worker>,
    pub(super) route: Arc<Route>,
    pub(super) upstream: Arc<Upstream>,
    pub(super) opening: Opening,
    pub(super) entry: Entry,
    /// When the token is over that it came with.
    pub(super) until: Option<Instant>,
    pub(super) followings: u64,
    pub(super) filters: Filters,
    /// What filters and the balancer have for the client's answer.
    pub(super) client_headers: Vec<HeaderEdit>,
    pub(super) lease: Lease,
    /// The way to the endpoint, and what has come from there behind its answer.
    pub(super) socket: (Transport, Bytes),
    /// What it has answered.
    pub(super) accepted: Accepted,
    /// The place among those of which an application is told, on a route that has one in the place of an upstream.
    pub(super) place: Option<Place>,
}

impl<'w> Admitted<'w> {
    /// Leases endpoints and dials them for this handshake until one has agreed or no attempt is left. Dropping it gives
    /// everything back.
    #[expect(clippy::manual_async_fn, reason = "an async function would keep its arguments twice")]
    pub(super) fn connect(
        self,
        opening: Opening,
        record: &mut Record<'_>,
    ) -> impl Future<Output = Result<Joined<'w>, Refusal>> {
        async move {
            let timeouts = Timeouts {
                connect: Some(self.upstream.connect_timeout),
                handshake: Some(self.route.handshake_timeout),
                liveness: self.upstream.liveness,
                ..Timeouts::default()
            };
            let reached = reach(self.worker, &self.upstream, &self.handshake, self.request, &timeouts, record).await;
            let ((lease, with_endpoint), Upgraded { socket, leftover, accepted }) = reached?;
            // Taken apart only here: what is taken apart before a wait has room in the future twice.
            let Self { worker, route, upstream, entry, until, followings, filters, mut client_headers, .. } = self;
            client_headers.extend(with_endpoint);
            let socket = (socket, leftover);
            Ok(Joined {
                worker,
                route,
                upstream,
                opening,
                entry,
                until,
                followings,
                filters,
                client_headers,
                lease,
                socket,
                accepted,
                place: None,
            })
        }
    }
}

/// What the balancer has for the client comes with the endpoint that has agreed.
async fn reach(
    worker: &Worker,
    upstream: &Upstream,
    handshake: &Handshake,
    request: UpstreamRequest,
    timeouts: &Timeouts,
    record: &mut Record<'_>,
) -> Result<((Lease, Vec<HeaderEdit>), Upgraded), Refusal> {
    upstream.balance.name().clone_into(&mut record.upstream);
    let mut tried = Vec::new();
    let mut failed = None;
    let mut left = upstream.retries;
    let mut has_probed = false;
    loop {
        let pick = |endpoints: &_, over: &_| worker.pool().pick(&upstream.balancer, endpoints, handshake, over);
        let Ok(dialling) = upstream.balance.lease(worker.index(), Instant::now(), &tried, pick) else {
            return Err(failed.map_or(Refusal::NoEndpoint, Refusal::Dial));
        };
        dialling.endpoint().url().clone_into(&mut record.endpoint);
        let (id, is_probe) = (dialling.endpoint().id(), dialling.is_probe());
        let (address, timeouts) = (dialling.endpoint().address(), dialling.bounded(timeouts));
        let (resolver, tls) = (worker.resolver(), upstream.tls.as_ref());
        let dialled = match upstream.http2 {
            None => upstream::dial(address, &request, &timeouts, resolver, tls).await,
            Some(limits) => {
                let endpoint = Endpoint { upstream: upstream.balance.name(), address, resolver, tls, limits };
                // Boxed, because who does without has no use for it.
                Box::pin(worker.http2().dial(endpoint, &request, &timeouts)).await
            }
        };
        match dialled {
            Ok(upgraded) => return Ok((dialling.connected(), upgraded)),
            Err(error) => {
                record.tried.push(Tried {
                    endpoint: dialling.endpoint().url().to_owned(),
                    outcome: error.outcome(),
                    error: error.to_string(),
                });
                dialling.failed(&error);
                // Who finds out for the others that an endpoint still takes no connections has lost nothing by it.
                let is_free = is_probe && !error.was_sent() && !std::mem::replace(&mut has_probed, true);
                if !is_free {
                    if !error.is_retryable() || left == 0 {
                        return Err(Refusal::Dial(error));
                    }
                    left -= 1;
                }
                if !tried.contains(&id) {
                    tried.push(id);
                }
                failed = Some(error);
            }
        }
    }
}
