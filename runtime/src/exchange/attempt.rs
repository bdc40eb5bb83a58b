//! One attempt to have a request answered by one endpoint.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::{Response, StatusCode};

use super::answer::Answered;
use super::asked::Asked;
use super::clock::Clock;
use super::link::{Link, Unanswered};
use super::links::{Links, Place};
use super::upload::{Fault, Upload};
use crate::http::Streamed;
use crate::tls;
use crate::upstream::{Address, DialError, InvalidAnswer, Resolver, Timeouts, open};

/// How an endpoint is reached.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// Where it is.
    pub address: &'a Address,
    /// Whose the connections to it are.
    pub place: Place,
    /// Where they wait.
    pub links: &'a Rc<Links>,
    /// How long connecting may take.
    pub timeouts: &'a Timeouts,
    /// How long the answer may take to begin; `None`: for ever.
    pub patience: Option<Duration>,
    /// Who knows its addresses.
    pub resolver: &'a Resolver,
    /// How TLS is spoken.
    pub tls: Option<&'a tls::Client>,
}

/// Why an attempt brought no answer.
#[derive(Debug)]
pub enum Failure {
    /// The endpoint could not be reached, or did not answer.
    Dial(DialError),
    /// The body of the request did not come to its end.
    Body(Fault),
    /// The client took too long over it.
    ClientSlow,
}

/// Asks an endpoint: over a connection that waits if there is one, else over a new one. One that ends before it has begun to
/// answer was closed while the request was on its way, so a request that may be sent again is sent again.
///
/// # Errors
/// When there is no answer. Whether the request may go to another endpoint, [`Asked::may_go_again`] tells.
pub async fn attempt(asked: &Asked, upload: &Rc<Upload>, way: &Way<'_>) -> Result<Answered, Failure> {
    // Who is introduced has a connection of its own.
    while asked.introduction().is_none()
        && let Some(link) = poll_fn(|context| Poll::Ready(way.links.take(way.place, context))).await
    {
        match ask(asked, upload, way, link).await? {
            Ok((answer, link)) => return answered(answer, asked, upload, link, false),
            Err(Unanswered { was_sent, .. }) if asked.may_go_again(upload, was_sent) => {}
            Err(unanswered) => return Err(failed(unanswered, upload)),
        }
    }
    let opened = Box::pin(open(way.address, asked.introduction(), way.timeouts, way.resolver, way.tls)).await;
    let (transport, _) = opened.map_err(Failure::Dial)?;
    let link = Link::new(transport);
    let (answer, link) = ask(asked, upload, way, link).await?.map_err(|unanswered| failed(unanswered, upload))?;
    answered(answer, asked, upload, link, true)
}

type Answer = (Response<Streamed>, Link);

async fn ask(
    asked: &Asked,
    upload: &Rc<Upload>,
    way: &Way<'_>,
    mut link: Link,
) -> Result<Result<Answer, Unanswered>, Failure> {
    let impossible =
        || std::io::Error::new(std::io::ErrorKind::InvalidInput, "the target is too long for this endpoint");
    let target = asked.target(way.address).ok_or_else(|| Failure::Dial(DialError::Refused(impossible())))?;
    let mut clock = way.patience.map(|patience| Clock::new(patience, upload));
    let answer = {
        let mut asking = pin!(link.ask(asked, &target, way.address, upload));
        poll_fn(|context| match (asking.as_mut().poll(context), &mut clock) {
            (Poll::Ready(answer), _) => Poll::Ready(Ok(answer)),
            (Poll::Pending, Some(clock)) => clock.poll(context).map(Err),
            (Poll::Pending, None) => Poll::Pending,
        })
        .await
    };
    match answer {
        Ok(answer) => Ok(answer.map(|answer| (answer, link))),
        Err(()) if upload.is_awaited() => Err(Failure::ClientSlow),
        Err(()) => Err(Failure::Dial(DialError::AnswerTimeout)),
    }
}

fn answered(
    answer: Response<Streamed>,
    asked: &Asked,
    upload: &Upload,
    link: Link,
    is_new: bool,
) -> Result<Answered, Failure> {
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Failure::Dial(InvalidAnswer::Unasked.into()));
    }
    upload.answered();
    Ok(Answered::new(answer, asked.method(), link, is_new))
}

fn failed(unanswered: Unanswered, upload: &Upload) -> Failure {
    match upload.fault() {
        Some(fault) => Failure::Body(fault),
        None => Failure::Dial(unanswered.error),
    }
}
