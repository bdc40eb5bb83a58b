//! The stages of a route whose WebSockets an application is told of: it is asked about the handshake before that is answered,
//! and from then on a counterpart of its own tells it of each message, at the other end of the passage that the pipe has for an
//! upstream.

mod asking;
mod counterpart;
mod registry;

use std::rc::Rc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName};
use http::{Response, response};
use tokio::sync::oneshot;
use tokio::time::Instant;

pub(super) use registry::{Applications, Place};
pub use registry::{Pushed, Scope};

use asking::{Asking, Fault};
use counterpart::Counterpart;
use registry::Entry;

use super::admit::Admitted;
use super::connect::Joined;
use super::record::Record;
use super::refusal::Refusal;
use crate::bridge::{Farewell, Opens, Queue, Said, is_ours, passage};
use crate::handshake::Opening;
use crate::http::Accepted;
use crate::log::Tried;
use crate::metrics::Initiator;
use crate::reactor::spawn;
use crate::transport::Transport;
use crate::upstream::{DialError, InvalidAnswer};
use crate::ws::Extensions;

impl<'w> Admitted<'w> {
    /// Asks the application of the route about the handshake. Once it is asked, it is told of the end as well, also where the
    /// client has left meanwhile.
    pub(super) async fn consult(self, opening: Opening, record: &mut Record<'_>) -> Result<Joined<'w>, Refusal> {
        let Some(application) = self.route.application.clone() else { return Err(Refusal::NoEndpoint) };
        let (worker, upstream) = (self.worker, self.upstream.clone());
        upstream.balance.name().clone_into(&mut record.upstream);
        let pick = |endpoints: &_, over: &_| worker.pool().pick(&upstream.balancer, endpoints, &self.handshake, over);
        let Ok(dialling) = upstream.balance.lease(worker.index(), Instant::now(), &[], pick) else {
            return Err(Refusal::NoEndpoint);
        };
        dialling.endpoint().url().clone_into(&mut record.endpoint);
        let headers = told(self.request.headers.clone());
        let mut common = common(&headers, &application.telling.headers);
        self.route.request_headers.apply(&mut common, &record.facts());
        let opens = self.opens(headers);
        let (inner, outer) = passage();
        let queue = Rc::new(Queue::new(application.telling.queue));
        let (parting, parted) = oneshot::channel();
        let (answer, answered) = oneshot::channel();
        let asking = Asking {
            worker: worker.clone(),
            upstream: upstream.clone(),
            address: dialling.endpoint().address().clone(),
            application: application.clone(),
            common,
        };
        let max_message_size = self.route.limits.max_message_size;
        let counterpart = Counterpart::new(record.connection.as_str().into(), asking, max_message_size);
        let task = spawn(counterpart.run(opens, outer, queue.clone(), answer, parted));
        let entry =
            Entry { route: self.route.name.as_str().into(), application, queue, max_message_size, parting, task };
        let place = Place::take(worker, &record.connection, entry);
        let agreed = answered.await.unwrap_or(Err(Fault::Late));
        let (head, protocol) = match agreed {
            Ok(agreed) => agreed,
            Err(Fault::Refused(answer)) => {
                dialling.answered(true, None);
                return Err(Refusal::Application(answer));
            }
            Err(fault) => {
                let error = fault.into_dial_error();
                record.tried.push(Tried {
                    endpoint: record.endpoint.clone(),
                    outcome: error.outcome(),
                    error: error.to_string(),
                });
                dialling.failed(&error);
                return Err(Refusal::Dial(error));
            }
        };
        if protocol.as_ref().is_some_and(|chosen| !self.handshake.protocols.contains(chosen)) {
            let error = DialError::from(InvalidAnswer::Protocol);
            place.part(Farewell { code: 1006, reason: error.to_string(), by: Initiator::Proxy });
            dialling.answered(true, Some(&error));
            return Err(Refusal::Dial(error));
        }
        let (lease, with_endpoint) = dialling.answered(true, None);
        let Self { worker, route, upstream, entry, until, followings, filters, mut client_headers, .. } = self;
        client_headers.extend(with_endpoint);
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
            socket: (Transport::boxed(inner), Bytes::new()),
            accepted: accepted(*head, protocol.as_deref()),
            place: Some(place),
        })
    }

    /// What the application is told of the handshake.
    fn opens(&self, headers: HeaderMap) -> Opens {
        let handshake = &self.handshake;
        Opens {
            route: self.route.name.clone(),
            client: handshake.client_address.clone(),
            scheme: handshake.scheme,
            host: handshake.authority.clone(),
            path: handshake.path.clone(),
            query: handshake.query.clone(),
            protocols: handshake.protocols.clone(),
            headers,
            attributes: handshake.attributes.clone(),
        }
    }
}

/// What an application has agreed to: the head of its answer, and the subprotocol that it has chosen.
type Agreed = (Box<response::Parts>, Option<String>);

/// The end of a conversation, and what it begins with.
type Answered = Result<Agreed, Fault>;

/// The fields of a handshake that an application is told: without those that say what a body is, which is another one here, and
/// those that only we write.
fn told(mut headers: HeaderMap) -> HeaderMap {
    let is_to_go = |name: &HeaderName| is_of_body(name) || is_ours(name.as_str()) || *name == header::ACCEPT_ENCODING;
    let gone: Vec<_> = headers.keys().filter(|name| is_to_go(name)).cloned().collect();
    for name in [header::HOST].into_iter().chain(gone) {
        headers.remove(name);
    }
    headers
}

/// Those that every event has.
fn common(headers: &HeaderMap, wanted: &[HeaderName]) -> HeaderMap {
    let correlating = CORRELATING.map(HeaderName::from_static);
    let mut common = HeaderMap::new();
    for name in correlating.iter().chain(wanted).filter(|name| headers.contains_key(*name)) {
        common.remove(name);
        headers.get_all(name).iter().for_each(|value| {
            common.append(name.clone(), value.clone());
        });
    }
    common
}

/// What the client is told of an answer that has let it in.
fn accepted(head: response::Parts, protocol: Option<&str>) -> Accepted {
    let mut headers = head.headers;
    let gone: Vec<_> = headers.keys().filter(|name| is_of_body(name) || is_ours(name.as_str())).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
    crate::http::fields::remove_for_hop(&mut headers);
    let protocol = protocol.and_then(|protocol| protocol.parse().ok());
    Accepted { headers, protocol, extensions: None, agreed: Extensions::default() }
}

fn is_of_body(name: &HeaderName) -> bool {
    name.as_str().starts_with("content-") || [header::TRANSFER_ENCODING, header::TRAILER, header::EXPECT].contains(name)
}

/// The answer of an application that refuses, for the client.
fn refused(mut head: response::Parts, body: Bytes) -> Box<Response<Bytes>> {
    let ours: Vec<_> = head.headers.keys().filter(|name| is_ours(name.as_str())).cloned().collect();
    for name in ours {
        head.headers.remove(name);
    }
    Box::new(Response::from_parts(head, body))
}

/// What an answer says beside what the client is told of the handshake.
fn greeting(said: &mut Said) -> Option<String> {
    said.protocol.take().filter(|protocol| !protocol.is_empty())
}

const CORRELATING: [&str; 3] = ["x-request-id", "traceparent", "tracestate"];
