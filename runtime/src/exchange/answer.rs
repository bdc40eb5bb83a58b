//! The answer of an endpoint, as the client gets it.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::{Method, Response, Version, response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use thiserror::Error;

use super::asked::announced;
use super::link::Link;
use super::links::{Keeping, Links, Place};
use super::upload::Upload;
use crate::handshake::AnswerBody;
use crate::http::{Carried, Streamed, StreamedBody, end_to_end, fields};

/// The head of an answer, and what brings the rest.
#[derive(Debug)]
pub struct Answered {
    /// Status and fields, without those that end at this hop.
    pub head: response::Parts,
    body: Streamed,
    link: Link,
    /// Whether the connection was made for it.
    pub is_new: bool,
}

impl Answered {
    pub(super) fn new(answer: Response<Streamed>, method: &Method, mut link: Link, is_new: bool) -> Self {
        let (mut head, body) = answer.into_parts();
        link.hinted = hinted(&head.headers);
        let trailers = match head.headers.contains_key(header::TRANSFER_ENCODING) {
            true => announced(&head.headers),
            false => None,
        };
        end_to_end(&mut head);
        // What has a length is framed by it anew; without a body the field tells of one that would be.
        if *method != Method::HEAD && body.size_hint().exact().is_some() {
            head.headers.remove(header::CONTENT_LENGTH);
        }
        head.headers.extend(trailers.map(|trailers| (header::TRAILER, trailers)));
        head.version = Version::HTTP_11;
        Self { head, body, link, is_new }
    }

    /// The answer for the client, and what stands beside it while it is written.
    pub fn into_parts(self) -> (Response<AnswerBody>, Rc<Carried>, Link) {
        let Self { head, body, link, .. } = self;
        let carried = Rc::<Carried>::default();
        let body = AnswerBody::Streamed(StreamedBody::new(body, Rc::clone(&carried)));
        (Response::from_parts(head, body), carried, link)
    }

    /// The answer with its whole body, of no more bytes than these. The connection is kept for a next request, if it can be.
    ///
    /// # Errors
    /// When the body is larger, or breaks off.
    pub async fn whole(
        self,
        most: usize,
        upload: &Upload,
        (links, place, keeping): (&Rc<Links>, Place, Keeping),
    ) -> Result<(response::Parts, Bytes), Incomplete> {
        let (answer, carried, mut link) = self.into_parts();
        let (head, body) = answer.into_parts();
        let collected = {
            let mut collecting = pin!(Limited::new(body, most).collect());
            let mut driving = pin!(link.drive());
            poll_fn(|context| {
                // When it ends, the body tells.
                let _ = driving.as_mut().poll(context);
                collecting.as_mut().poll(context)
            })
            .await
        };
        match collected {
            Ok(body) => {
                link.release(links, place, keeping, upload, &carried);
                Ok((head, body.to_bytes()))
            }
            Err(error) if error.is::<LengthLimitError>() => Err(Incomplete::TooLarge(most)),
            Err(error) => Err(Incomplete::BrokenOff(error.to_string())),
        }
    }
}

/// Why an answer did not come to its end.
#[derive(Debug, Error)]
pub enum Incomplete {
    /// It has more bytes than are taken.
    #[error("its body has more than {0} bytes")]
    TooLarge(usize),
    /// The endpoint has ended the connection.
    #[error("its body breaks off: {0}")]
    BrokenOff(String),
}

impl Link {
    /// Keeps it for a next request, if all of the last one has gone up and all of its answer has come.
    pub fn release(self, links: &Rc<Links>, place: Place, keeping: Keeping, upload: &Upload, carried: &Carried) {
        if upload.has_ended() && carried.is_whole() {
            links.keep(place, self, keeping);
        }
    }
}

/// Whether an answer is a stream of events, which has no end of its own.
pub fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// How long an endpoint says that it keeps the connection, less what a request takes to get there.
fn hinted(headers: &HeaderMap) -> Option<Duration> {
    let parameters = fields::combined(headers, &header::HeaderName::from_static("keep-alive"))?;
    let parameters = parameters.to_str().ok()?.to_ascii_lowercase();
    let timeout = fields::elements(&parameters).find_map(|one| one.strip_prefix("timeout="))?;
    Some(Duration::from_secs(timeout.trim().parse().ok()?).saturating_sub(MARGIN))
}

/// An endpoint that closes just as a request comes has not read it, and nobody knows.
const MARGIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;

    use super::*;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        [(header::HeaderName::from_static(name), HeaderValue::from_static(value))].into_iter().collect()
    }

    #[test]
    fn a_connection_is_kept_for_less_than_the_endpoint_says() {
        for (told, expected) in [("timeout=5, max=100", Some(4)), ("max=1, Timeout=1", Some(0)), ("max=1", None)] {
            assert_eq!(hinted(&headers("keep-alive", told)), expected.map(Duration::from_secs), "{told}");
        }
    }

    #[test]
    fn a_stream_of_events_is_known_by_its_type() {
        for (kind, expected) in
            [("text/event-stream", true), ("Text/Event-Stream; charset=utf-8", true), ("text/event-streams", false)]
        {
            assert_eq!(is_event_stream(&headers("content-type", kind)), expected, "{kind}");
        }
    }
}
