//! Telling an application of something, over connections that the worker keeps.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue, USER_AGENT};
use http::{Method, Response, StatusCode, response};

use super::super::snapshot::Upstream;
use super::super::worker::Worker;
use super::refused;
use crate::bridge::{Application, Unintelligible};
use crate::exchange::{self, Asked, Hop, Incomplete, Place, Upload, Way, attempt};
use crate::handshake::RequestBody;
use crate::http::{Host, UpstreamRequest, UpstreamTarget};
use crate::metrics::EventOutcome;
use crate::reactor::{sleep, timeout};
use crate::upstream::{Address, DialError, InvalidAnswer, Timeouts};
use crate::ws::CloseFrame;

/// How an application is told of one connection.
pub(super) struct Asking {
    pub(super) worker: Rc<Worker>,
    pub(super) upstream: Arc<Upstream>,
    pub(super) address: Address,
    pub(super) application: Arc<Application>,
    /// The fields that every event has.
    pub(super) common: HeaderMap,
}

/// Why an event has no answer that lets the connection go on.
#[derive(Debug)]
pub(super) enum Fault {
    /// Nobody could be reached, or what was reached did not answer.
    Dial(DialError),
    /// `timeout` is over.
    Late,
    /// The answer did not come to its end.
    Incomplete(Incomplete),
    /// It is no success.
    Refused(Box<Response<Bytes>>),
    /// It is not understood.
    Unintelligible(Unintelligible),
}

impl Fault {
    /// Its label.
    pub(super) fn outcome(&self) -> EventOutcome {
        match self {
            Self::Dial(error) if !error.was_sent() => EventOutcome::Unreachable,
            Self::Dial(DialError::InvalidAnswer(_)) | Self::Unintelligible(_) => EventOutcome::Invalid,
            Self::Incomplete(Incomplete::TooLarge(_)) => EventOutcome::Invalid,
            Self::Dial(_) | Self::Incomplete(_) => EventOutcome::Lost,
            Self::Late => EventOutcome::Timeout,
            Self::Refused(_) => EventOutcome::Refused,
        }
    }

    /// Whether the application may take a connection for open of whose handshake this has become.
    pub(super) fn may_have_opened(&self) -> bool {
        match self {
            Self::Dial(error) => error.was_sent(),
            Self::Late | Self::Incomplete(_) | Self::Unintelligible(_) => true,
            Self::Refused(_) => false,
        }
    }

    /// What the client is told. It names no address.
    pub(super) fn close(&self) -> CloseFrame {
        match self {
            Self::Refused(answer) => {
                let code = match answer.status() {
                    StatusCode::PAYLOAD_TOO_LARGE => 1009,
                    StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => 1013,
                    StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => 1014,
                    status if status.is_client_error() => 1008,
                    status if status.is_server_error() => 1011,
                    _ => 1014,
                };
                CloseFrame::new(code, format!("the application answered {}", answer.status().as_u16()))
            }
            Self::Late => CloseFrame::new(1014, "the application took too long"),
            Self::Dial(error) if !error.was_sent() => CloseFrame::new(1014, "the application cannot be reached"),
            Self::Dial(_) | Self::Incomplete(Incomplete::BrokenOff(_)) => {
                CloseFrame::new(1014, "the application did not answer")
            }
            Self::Incomplete(Incomplete::TooLarge(_)) | Self::Unintelligible(_) => {
                CloseFrame::new(1014, "the application gave an invalid answer")
            }
        }
    }

    /// The same of a handshake, as of one that an upstream has not answered.
    pub(super) fn into_dial_error(self) -> DialError {
        let told = self.to_string();
        match self {
            Self::Dial(error) => error,
            Self::Late => DialError::HandshakeTimeout,
            Self::Incomplete(_) | Self::Unintelligible(_) | Self::Refused(_) => {
                InvalidAnswer::Unintelligible(told).into()
            }
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dial(error) => error.fmt(formatter),
            Self::Late => formatter.write_str("the application did not answer within `timeout`"),
            Self::Incomplete(incomplete) => write!(formatter, "the application's answer is not taken: {incomplete}"),
            Self::Refused(answer) => write!(formatter, "the application answered {}", answer.status().as_u16()),
            Self::Unintelligible(error) => write!(formatter, "the application's answer is not understood: {error}"),
        }
    }
}

impl Asking {
    /// Posts an event, and reads the answer; only a success is one. `is_patient`: an application that cannot be reached, and has
    /// been told nothing, is tried again.
    pub(super) async fn ask(
        &self,
        mut fields: HeaderMap,
        body: Bytes,
        is_patient: bool,
    ) -> Result<(response::Parts, Bytes), Fault> {
        for name in self.common.keys().filter(|name| !fields.contains_key(*name)).cloned().collect::<Vec<_>>() {
            self.common.get_all(&name).iter().for_each(|value| {
                fields.append(name.clone(), value.clone());
            });
        }
        fields.entry(USER_AGENT).or_insert(HeaderValue::from_static("tidegate"));
        let telling = &self.application.telling;
        let hop = Hop::own(Method::POST);
        let request = UpstreamRequest {
            introduction: None,
            target: UpstreamTarget::new(telling.target.clone(), 0),
            headers: fields,
            client_host: None,
            host: Host::Endpoint,
            protocols: None,
            extensions: None,
        };
        let asked = Asked::new(hop.clone(), request);
        let last = RefCell::new(None);
        let asking = async {
            let mut pause = FIRST_PAUSE;
            loop {
                match self.once(&asked, &hop, body.clone()).await {
                    Err(Fault::Dial(error)) if is_patient && !error.was_sent() => {
                        last.replace(Some(error));
                        sleep(pause).await;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                    answer => return answer,
                }
            }
        };
        let late = |_| Err(last.take().map_or(Fault::Late, Fault::Dial));
        let (head, body) = timeout(telling.timeout, asking).await.unwrap_or_else(late)?;
        match head.status.is_success() {
            true => Ok((head, body)),
            false => Err(Fault::Refused(refused(head, body))),
        }
    }

    async fn once(&self, asked: &Asked, hop: &Hop, body: Bytes) -> Result<(response::Parts, Bytes), Fault> {
        let upstream = &self.upstream;
        // Connections that wait are of the generation in force, whatever this one's is; the upstream tells them apart.
        let place = Place {
            generation: self.worker.snapshot().generation,
            upstream: Arc::as_ptr(upstream).addr(),
            endpoint: NO_ENDPOINT,
        };
        let telling = &self.application.telling;
        let timeouts = Timeouts {
            connect: Some(upstream.connect_timeout),
            handshake: Some(telling.timeout),
            liveness: upstream.liveness,
            ..Timeouts::default()
        };
        let links = self.worker.links();
        let way = Way {
            address: &self.address,
            place,
            links,
            timeouts: &timeouts,
            patience: None,
            resolver: self.worker.resolver(),
            tls: upstream.tls.as_ref(),
        };
        // It has no bound, so nothing is too large.
        let Ok(upload) = Upload::new(RequestBody::Own(body), None, hop) else { return Err(Fault::Late) };
        let answered = attempt(asked, &upload, &way).await.map_err(|failure| match failure {
            exchange::Failure::Dial(error) => Fault::Dial(error),
            // Its body is there and needs nobody.
            exchange::Failure::Body(_) | exchange::Failure::ClientSlow => Fault::Late,
        })?;
        let kept = (links, place, upstream.keeping);
        answered.whole(telling.max_answer_size, &upload, kept).await.map_err(Fault::Incomplete)
    }
}

/// An address of this upstream's own, which has one.
const NO_ENDPOINT: u32 = u32::MAX;
/// Until an application that is started again takes connections.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
