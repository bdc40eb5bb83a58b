//! The stages of a plain request on a route with a bridge: its body becomes a message, and a message its answer.

mod events;
mod shared;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::future::{Either, select};
use http::header::{self, HeaderMap};
use http::{Method, Response, StatusCode};
use http_body_util::{LengthLimitError, Limited};
use hyper::body::Body;

pub(super) use shared::Bridges;
use shared::{Unopened, dial};

use super::arrive::{Entered, Routed};
use super::record::Record;
use super::refusal::Refusal;
use super::snapshot::Upstream;
use super::underway::Listed;
use super::worker::Worker;
use crate::bridge::{Failure, Reply, Sent, Terms, body, message};
use crate::handshake::{AnswerBody, Refused, RequestBody, Stream, Streams};
use crate::http::fields;
use crate::pipe::Assembly;
use crate::reactor::timeout;

/// What a plain request wants of a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crossing {
    /// To have its body sent, and be answered as the route says.
    Post,
    /// To hear what the upstream says, and send nothing.
    Listen,
}

impl Crossing {
    /// What a request wants, where it is one that the bridge serves.
    pub(super) fn of(method: &Method, headers: &HeaderMap, terms: &Terms) -> Result<Self, Refused> {
        let accepts = fields::combined(headers, &header::ACCEPT);
        let wants_events = || accepts.as_ref().and_then(|it| it.to_str().ok()).is_some_and(|it| it.contains(EVENTS));
        match *method {
            Method::POST => Ok(Self::Post),
            Method::GET if terms.reply == Reply::Stream && wants_events() => Ok(Self::Listen),
            _ => Err(Refused::BridgeMethod { has_events: terms.reply == Reply::Stream }),
        }
    }
}

impl<'w> Entered<'w> {
    /// The same as a handshake, which has no body to speak of; components see what came.
    pub(super) fn without_body(mut self) -> Self {
        for name in [header::CONTENT_LENGTH, header::CONTENT_TYPE, header::CONTENT_ENCODING, header::EXPECT] {
            self.routed.head.headers.remove(name);
        }
        self
    }

    /// Sends the body of the request as a message over a connection that is shared, and answers. Gives what the client's
    /// connection has to bring beside it.
    pub(super) async fn cross(
        self: Box<Self>,
        upstream: Arc<Upstream>,
        mut stream: Stream,
        mut record: Record<'w>,
    ) -> Option<Streams> {
        let Self { routed: Routed { worker, route, head, .. }, entry: _entry, .. } = *self;
        let terms = route.bridge.clone()?;
        let listed = Listed::new(worker, &route, &record);
        let crossed = {
            let body = stream.body();
            let crossing = pin!(async {
                // Also while its body comes, which is held here.
                let place = terms.place().map_err(Refusal::Bridge)?;
                let ended = pin!(poll_fn(|context| listed.underway.poll_end(context)));
                let read = pin!(read(body, &terms, worker));
                let (body, held) = match select(read, ended).await {
                    Either::Left((body, _)) => body?,
                    Either::Right((reason, _)) => return Err(Refusal::Ended(reason)),
                };
                let bytes = u64::try_from(body.len()).unwrap_or_default();
                let message = message(&head.headers, body).map_err(|_| Refusal::Request(NOT_TEXT))?;
                let pool = worker.bridges().of(worker, &route, &upstream, &terms);
                let dial = dial(worker.clone(), route.clone(), upstream.clone(), terms.clone());
                // From here on nothing may end it that does not know whether it was sent.
                let is_called = |context: &Context<'_>| held.is_called_for(context.waker());
                Ok((bytes, pool.send(message, place, &dial, is_called).await))
            });
            stream.during(crossing).await.unwrap_or(Err(Refusal::ClientGone))
        };
        let refusal = match crossed {
            Ok((bytes, Sent::Written)) => {
                let mut response = Response::new(AnswerBody::Empty);
                *response.status_mut() = StatusCode::ACCEPTED;
                return told(response, stream, record, (bytes, 0)).await;
            }
            Ok((bytes, Sent::Answered(answer))) => {
                let (kind, content) = body(answer);
                let length = u64::try_from(content.len()).unwrap_or_default();
                let mut response = Response::new(AnswerBody::Whole(content));
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                return told(response, stream, record, (bytes, length)).await;
            }
            Ok((_, Sent::Failed(failure))) => Refusal::Bridge(failure),
            Ok((_, Sent::Refused(unopened))) => {
                let Unopened { refusal, tried, upstream, endpoint } = *unopened;
                (record.tried, record.upstream, record.endpoint) = (tried, upstream, endpoint);
                refusal
            }
            Err(refusal) => refusal,
        };
        refusal.answer(stream, record).await
    }
}

/// Answers with what there is.
async fn told(
    mut response: Response<AnswerBody>,
    stream: Stream,
    record: Record<'_>,
    bytes: (u64, u64),
) -> Option<Streams> {
    record.dress(response.headers_mut());
    let status = response.status();
    let further = stream.refuse(response).await;
    record.answered(if further.is_some() { "answered" } else { "client_gone" }, status, bytes);
    further
}

/// The body of a request, which may take as long as the bridge allows. It counts for `assembly_memory`, as long as what comes
/// with it is kept.
async fn read(body: RequestBody, terms: &Terms, worker: &Worker) -> Result<(Bytes, Assembly), Refusal> {
    let mut body = pin!(Limited::new(body, terms.max_message_size));
    let (mut assembly, mut content) = (None, BytesMut::new());
    let reading = poll_fn(|context| {
        let held = assembly.get_or_insert_with(|| worker.assemblies().begin(context.waker()));
        loop {
            if held.is_called_for(context.waker()) {
                return Poll::Ready(Err(Refusal::Bridge(Failure::NoRoom)));
            }
            match ready!(body.as_mut().poll_frame(context)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(frame)) => {
                    content.extend_from_slice(frame.data_ref().map_or(&[][..], Bytes::as_ref));
                    held.hold(content.capacity(), content.len(), None, context.waker());
                }
                Some(Err(error)) if error.is::<LengthLimitError>() => {
                    return Poll::Ready(Err(Refusal::BodyTooLarge("max_message_size")));
                }
                Some(Err(_)) => return Poll::Ready(Err(Refusal::ClientGone)),
            }
        }
    });
    timeout(terms.timeout, reading).await.map_err(|_| Refusal::BodyTimeout)??;
    Ok((content.freeze(), assembly.ok_or(Refusal::ClientGone)?))
}

const EVENTS: &str = "text/event-stream";
const NOT_TEXT: Refused = Refused::Malformed("the body is not text in UTF-8: send bytes as application/octet-stream");
