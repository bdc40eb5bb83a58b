//! The stages of a plain request that everybody has let in: endpoints are leased and asked until one has answered, and its
//! answer is written down as it comes.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::{self, HeaderValue};
use tokio::time::Instant;

use super::admit::Admitted;
use super::record::Record;
use super::refusal::Refusal;
use super::snapshot::Upstream;
use super::underway::{Came, Listed, Underway};
use super::worker::Worker;
use crate::balance::Lease;
use crate::component::{Handshake, HeaderEdit};
use crate::exchange::{Answered, Asked, Failure, Fault, Hop, Place, Upload, Way, attempt, is_event_stream};
use crate::handshake::{Stream, Streams, WriteError, apply};
use crate::http::is_unwell;
use crate::log::Tried;
use crate::reactor::{Sleep, sleep_until};
use crate::upstream::{DialError, Timeouts};

/// When a request in progress has to end, and why.
struct End<'a> {
    underway: &'a Underway,
    /// When its token, or what a filter has lent it, is over.
    over: Option<Sleep>,
}

impl End<'_> {
    fn poll(&mut self, context: &mut std::task::Context<'_>) -> Poll<&'static str> {
        if let Some(over) = &mut self.over
            && Pin::new(over).poll(context).is_ready()
        {
            self.over = None;
            return Poll::Ready("its token, or what a filter has lent it, is over");
        }
        self.underway.poll_end(context)
    }
}

impl<'w> Admitted<'w> {
    /// Carries the request to an endpoint, and its answer to the client. Gives what the connection has to bring beside it.
    pub(super) async fn exchange(
        self: Box<Self>,
        hop: Hop,
        mut stream: Stream,
        mut record: Record<'w>,
    ) -> Option<Streams> {
        let Self {
            worker, route, upstream, entry, until, filters, client_headers, handshake, request, generation, ..
        } = *self;
        let _entry = entry;
        let Some(http) = &route.http else { return None };
        let listed = Listed::new(worker, &route, &record);
        let over = until.into_iter().chain(filters.until).min().map(sleep_until);
        let mut end = End { underway: &listed.underway, over };
        let upload = match Upload::new(stream.body(), http.max_body_size, &hop) {
            Ok(upload) => upload,
            Err(_) => return Refusal::BodyTooLarge("max_body_size").answer(stream, record).await,
        };
        let asked = Asked::new(hop, request);
        let timeouts = Timeouts {
            connect: Some(upstream.connect_timeout),
            handshake: Some(route.handshake_timeout),
            liveness: upstream.liveness,
            ..Timeouts::default()
        };
        let plan = Plan { worker, upstream: &upstream, generation, timeouts, patience: http.request_timeout };
        let reached = {
            let mut reaching = Box::pin(plan.reach(&handshake, &asked, &upload, &mut record));
            let reaching = pin!(poll_fn(|context| match reaching.as_mut().poll(context) {
                Poll::Ready(reached) => Poll::Ready(reached),
                Poll::Pending => end.poll(context).map(|reason| Err(Refusal::Ended(reason))),
            }));
            stream.during(reaching).await.unwrap_or(Err(Refusal::ClientGone))
        };
        let Reached { lease, with_endpoint, answered, place } = match reached {
            Ok(reached) => reached,
            Err(refusal) => return refusal.answer(stream, record).await,
        };
        let _lease = lease;
        let (mut response, carried, mut link) = answered.into_parts();
        apply(response.headers_mut(), client_headers.iter().chain(&with_endpoint));
        record.dress(response.headers_mut());
        if worker.is_draining() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        listed.underway.is_events.set(is_event_stream(response.headers()));
        let status = response.status();
        let written = {
            let driving = pin!(link.drive());
            let mut answering = pin!(stream.answer(response, driving));
            let mut ended = None;
            poll_fn(|context| {
                if ended.is_none()
                    && let Poll::Ready(reason) = end.poll(context)
                {
                    if !listed.underway.is_events() {
                        return Poll::Ready(Err(Some(reason)));
                    }
                    // What has no end of its own may end between two events; who reads nothing does not see it.
                    carried.end();
                    ended = Some((reason, sleep_until(Instant::now() + LAST_WORD)));
                }
                match (answering.as_mut().poll(context), &mut ended) {
                    (Poll::Ready(Ok(_)), Some((reason, _))) => Poll::Ready(Err(Some(*reason))),
                    (Poll::Ready(written), _) => Poll::Ready(written.map_err(|error| cause(&error))),
                    (Poll::Pending, Some((reason, patience))) => {
                        Pin::new(patience).poll(context).map(|()| Err(Some(*reason)))
                    }
                    (Poll::Pending, None) => Poll::Pending,
                }
            })
            .await
        };
        let (came, further) = match written {
            Ok(further) => {
                link.release(worker.links(), place, upstream.keeping, &upload, &carried);
                (Came::Answered(status), further)
            }
            Err(Some("")) => (Came::BrokenOff(status), None),
            Err(Some(reason)) => (Came::Ended(status, reason), None),
            Err(None) => (Came::Left(status), None),
        };
        if let Came::Ended(_, reason) = came {
            reason.clone_into(&mut record.reason);
        }
        record.answered(came.label(), came.status(), (upload.taken(), carried.bytes()));
        further
    }
}

/// Why an answer was not written: an empty reason where its body broke off, and none where the client is gone.
fn cause(error: &WriteError) -> Option<&'static str> {
    match error {
        WriteError::Body(_) | WriteError::Relayed(_) => Some(""),
        WriteError::Broken(_) | WriteError::Stalled | WriteError::Closed => None,
    }
}

/// How a request is carried.
struct Plan<'a> {
    worker: &'a Rc<Worker>,
    upstream: &'a Arc<Upstream>,
    generation: u64,
    timeouts: Timeouts,
    /// How long the answer may take to begin.
    patience: Option<Duration>,
}

/// An endpoint that has answered.
struct Reached {
    lease: Lease,
    /// What the balancer has for the client.
    with_endpoint: Vec<HeaderEdit>,
    answered: Answered,
    place: Place,
}

impl Plan<'_> {
    /// Leases endpoints and asks them until one has answered well or no attempt is left.
    async fn reach(
        &self,
        handshake: &Handshake,
        asked: &Asked,
        upload: &Rc<Upload>,
        record: &mut Record<'_>,
    ) -> Result<Reached, Refusal> {
        let Self { worker, upstream, generation, ref timeouts, patience } = *self;
        upstream.balance.name().clone_into(&mut record.upstream);
        let (mut tried, mut failed) = (Vec::new(), None);
        let (mut left, mut has_probed) = (upstream.retries, false);
        loop {
            let pick = |endpoints: &_, over: &_| worker.pool().pick(&upstream.balancer, endpoints, handshake, over);
            let Ok(dialling) = upstream.balance.lease(worker.index(), Instant::now(), &tried, pick) else {
                return Err(failed.map_or(Refusal::NoEndpoint, Refusal::Dial));
            };
            dialling.endpoint().url().clone_into(&mut record.endpoint);
            let (id, is_probe) = (dialling.endpoint().id(), dialling.is_probe());
            let place = Place { generation, upstream: Arc::as_ptr(upstream).addr(), endpoint: id };
            let way = Way {
                address: dialling.endpoint().address(),
                place,
                links: worker.links(),
                timeouts: &dialling.bounded(timeouts),
                patience,
                resolver: worker.resolver(),
                tls: upstream.tls.as_ref(),
            };
            let error = match attempt(asked, upload, &way).await {
                Ok(answered) => {
                    let status = answered.head.status;
                    let unwell = is_unwell(status).then_some(DialError::Unwell(status));
                    match unwell {
                        Some(error) if left > 0 && asked.may_go_again(upload, true) => error,
                        unwell => {
                            let (lease, with_endpoint) = dialling.answered(answered.is_new, unwell.as_ref());
                            return Ok(Reached { lease, with_endpoint, answered, place });
                        }
                    }
                }
                Err(Failure::Dial(error)) => error,
                Err(Failure::Body(Fault::TooLarge)) => return Err(Refusal::BodyTooLarge("max_body_size")),
                Err(Failure::Body(Fault::BrokenOff)) => return Err(Refusal::ClientGone),
                Err(Failure::ClientSlow) => return Err(Refusal::BodyTimeout),
            };
            record.tried.push(Tried {
                endpoint: dialling.endpoint().url().to_owned(),
                outcome: error.outcome(),
                error: error.to_string(),
            });
            dialling.failed(&error);
            // Who finds out for the others that an endpoint still takes no connections has lost nothing by it.
            let is_free = is_probe && !error.was_sent() && !std::mem::replace(&mut has_probed, true);
            if !is_free {
                if !error.is_retryable() || left == 0 || !asked.may_go_again(upload, error.was_sent()) {
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

/// How long the end of a stream of events may take to be read.
const LAST_WORD: Duration = Duration::from_secs(1);
