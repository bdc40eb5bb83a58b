//! Asking other servers over HTTP/1.1 for what decides about connections: the keys of an issuer, whether somebody may come in.
//!
//! It happens on the control runtime, so that no worker waits; connections are kept for the next question. Whatever is
//! answered has a bound in size, and each question one in time.

mod desk;
mod way;

use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt, Collected, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use thiserror::Error;
use tokio::time::timeout;

use way::Ways;

use crate::tls::{Client as Tls, Trust};

pub use desk::{Clerk, Desk};

/// Who asks. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Inquirer(Client<Ways, Full<Bytes>>);

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum InquiryError {
    /// Nobody is there, or TLS has something against whoever is, or the answer breaks off.
    #[error("{0}")]
    Unreachable(String),
    /// The answer is too large.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
    /// Too many questions wait to be asked.
    #[error("too many questions wait to be asked")]
    Busy,
    /// It takes too long.
    #[error("there is no answer within {0:?}")]
    Late(Duration),
}

impl Inquirer {
    /// One without connections, who believes whom the system does.
    pub fn new() -> Self {
        Self::by(Ways::default())
    }

    /// One without connections, who believes only these.
    ///
    /// # Errors
    /// When they are none that certificates could come from, as a sentence.
    pub fn trusting(trust: Trust) -> Result<Self, String> {
        Ways::trusting(trust).map(Self::by)
    }

    /// One without connections, who speaks TLS so.
    pub fn speaking(tls: Tls) -> Self {
        Self::by(Ways::speaking(tls))
    }

    fn by(ways: Ways) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).pool_max_idle_per_host(MOST_IDLE);
        Self(builder.build(ways))
    }

    /// Asks once, and reads at most so many bytes of the answer's body. The request's url is absolute.
    ///
    /// # Errors
    /// When there is no such answer within the time.
    pub async fn ask(
        &self,
        request: Request<Full<Bytes>>,
        most: usize,
        patience: Duration,
    ) -> Result<Response<Bytes>, InquiryError> {
        let (head, body) = self.exchange(request, most, patience).await?;
        Ok(Response::from_parts(head, body?))
    }

    /// The same for a question whose answer is yes or no: a success is one whatever comes with it, and none of a body is kept that
    /// is too large for that.
    ///
    /// # Errors
    /// When there is no such answer within the time.
    pub async fn ask_whether(
        &self,
        request: Request<Full<Bytes>>,
        most: usize,
        patience: Duration,
    ) -> Result<Response<Bytes>, InquiryError> {
        let (head, body) = self.exchange(request, most, patience).await?;
        if head.status.is_informational() {
            return Err(InquiryError::Unreachable(format!("it says {}, which is no answer", head.status)));
        }
        let body = body.or_else(|error| if head.status.is_success() { Ok(Bytes::new()) } else { Err(error) });
        Ok(Response::from_parts(head, body?))
    }

    /// The same for an answer that goes on and on: its head has come within the time, and its body comes as it does.
    ///
    /// # Errors
    /// When there is no answer within the time.
    pub async fn listen(
        &self,
        request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Result<Response<Incoming>, InquiryError> {
        let answer = timeout(patience, self.0.request(request)).await.map_err(|_| InquiryError::Late(patience))?;
        answer.map_err(|error| InquiryError::Unreachable(reason(&error)))
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        most: usize,
        patience: Duration,
    ) -> Result<(Parts, Result<Bytes, InquiryError>), InquiryError> {
        let asking = async {
            let answer = self.0.request(request).await.map_err(|error| InquiryError::Unreachable(reason(&error)))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, most).collect().await.map(Collected::to_bytes);
            let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
                Some(_) => InquiryError::TooLarge(most),
                None => InquiryError::Unreachable(error.to_string()),
            });
            Ok((head, body))
        };
        timeout(patience, asking).await.unwrap_or(Err(InquiryError::Late(patience)))
    }
}

impl Default for Inquirer {
    fn default() -> Self {
        Self::new()
    }
}

/// All that led to an error; itself, where nothing did: it says only in which stage of asking it was.
fn reason(error: &dyn std::error::Error) -> String {
    let first = error.source().unwrap_or(error);
    let causes = std::iter::successors(Some(first), |error| error.source()).map(ToString::to_string);
    causes.collect::<Vec<_>>().join(": ")
}

/// Servers close what is idle after a minute or more.
const IDLE: Duration = Duration::from_secs(30);
/// More wait only after a burst.
const MOST_IDLE: usize = 32;
