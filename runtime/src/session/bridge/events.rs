//! A plain request that is answered with what an upstream says: it is the handshake of a connection of its own.

use std::collections::VecDeque;
use std::future::pending;
use std::pin::pin;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use tokio_tungstenite::tungstenite::Message;

use super::super::admit::Admitted;
use super::super::record::Record;
use super::super::refusal::Refusal;
use super::{Crossing, EVENTS, NOT_TEXT, read};
use crate::bridge::{Events, Failure, Line, message, passage};
use crate::handshake::{self, AnswerBody, Opening, REQUEST_ID, Stream, Streams};
use crate::reactor::{spawn, timeout};
use crate::transport::Transport;

impl<'w> Admitted<'w> {
    /// Opens a connection to the upstream for this request alone, sends its body, if it has one to send, and answers with what
    /// the upstream says. Gives what the client's connection has to bring beside it.
    pub(in super::super) async fn stream(
        self: Box<Self>,
        crossing: Crossing,
        mut stream: Stream,
        mut record: Record<'w>,
    ) -> Option<Streams> {
        let terms = self.route.bridge.clone()?;
        let client_headers = self.client_headers.clone();
        let headers = self.handshake.clone();
        let joined = {
            let opening = Opening::own();
            let record = &mut record;
            let terms = &terms;
            let body = stream.body();
            let connecting = pin!(async {
                // Kept until it is sent.
                let mut held = None;
                let said = match crossing {
                    Crossing::Listen => None,
                    Crossing::Post => {
                        let _place = terms.place().map_err(Refusal::Bridge)?;
                        let (body, assembly) = read(body, terms, self.worker).await?;
                        held = Some(assembly);
                        let kind = headers.headers.iter().find(|(name, _)| *name == header::CONTENT_TYPE.as_str());
                        let kind = kind.and_then(|(_, value)| HeaderValue::from_bytes(value).ok());
                        let kind = kind.map(|kind| (header::CONTENT_TYPE, kind)).into_iter().collect();
                        Some(message(&kind, body).map_err(|_| Refusal::Request(NOT_TEXT))?)
                    }
                };
                Ok((said, held, self.connect(opening, record).await?))
            });
            stream.during(connecting).await.unwrap_or(Err(Refusal::ClientGone))
        };
        let (said, _held, joined) = match joined {
            Ok(joined) => joined,
            Err(refusal) => return refusal.answer(stream, record).await,
        };
        let mut response = Response::new(AnswerBody::Empty);
        *response.headers_mut() = joined.accepted.headers.clone();
        handshake::apply(response.headers_mut(), &client_headers);
        record.dress(response.headers_mut());
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(EVENTS));
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // What a refusal has, too, that comes only after the record is gone.
        let (worker, accept, mut dress) = (joined.worker, record.accept.clone(), HeaderMap::new());
        record.dress(&mut dress);
        let (inner, outer) = passage();
        let open = joined.open((Transport::boxed(inner), Bytes::new()), StatusCode::OK, record);
        spawn(open.run()).detach();
        let (mut line, mut heard) = (Line::new(outer, terms.max_message_size).await, VecDeque::new());
        if let Some(said) = said {
            let mut held = 0;
            let hear = |message: Message, _| {
                held += message.len();
                heard.push_back(message);
                held < MOST_HEARD
            };
            let sent = timeout(terms.timeout, line.send(said, hear)).await;
            let failure = match sent {
                Ok(Ok(())) => None,
                Ok(Err(_)) => Some(Failure::Lost),
                Err(_) => Some(Failure::Late),
            };
            if let Some(failure) = failure {
                let refused = Refusal::Bridge(failure).response()?;
                let mut refused = worker.snapshot().errors.form(refused, accept.as_ref(), dress.get(REQUEST_ID));
                refused.headers_mut().extend(dress);
                return stream.refuse(refused).await;
            }
        }
        *response.body_mut() = AnswerBody::Events(Box::new(Events::new(line, heard)));
        stream.answer(response, pin!(pending())).await.ok().flatten()
    }
}

/// How much is kept of what the upstream says before the message is written, beside the last of it.
const MOST_HEARD: usize = 64 << 10;
