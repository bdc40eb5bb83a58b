//! The bodies of answers: whole, or made while they are sent.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderMap;
use http::header::ACCEPT_ENCODING;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use super::places::Sending;
use crate::metrics::Scrape;

/// The body of an answer that is being sent.
pub(super) struct SentBody {
    body: AnswerBody,
    _sending: Sending,
}

/// The body of an answer.
pub(super) enum AnswerBody {
    /// All of it is there.
    Whole(Full<Bytes>),
    /// The text of a scrape, as it is.
    Plain(Turns),
    /// The text of a scrape, compressed (RFC 1952).
    Gzip(Turns, Option<Box<GzEncoder<Vec<u8>>>>),
}

/// A scrape that lets the runtime do other things before each piece.
pub(super) struct Turns {
    scrape: Scrape,
    is_our_turn: bool,
}

impl AnswerBody {
    /// The body of a scrape's answer.
    pub(super) fn scrape(scrape: Scrape, gzip: bool) -> Self {
        let turns = Turns { scrape, is_our_turn: true };
        match gzip {
            false => Self::Plain(turns),
            true => Self::Gzip(turns, Some(Box::new(GzEncoder::new(Vec::new(), Compression::fast())))),
        }
    }

    /// The same, which says how long it is there to be sent.
    pub(super) fn sent(self, sending: Sending) -> SentBody {
        SentBody { body: self, _sending: sending }
    }
}

impl Body for SentBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

impl Turns {
    fn poll(&mut self, context: &Context<'_>) -> Poll<Option<String>> {
        self.is_our_turn = !self.is_our_turn;
        if self.is_our_turn {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.scrape.next())
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Whole(whole) => Pin::new(whole)
                .poll_frame(context)
                .map(|frame| frame.map(|frame| frame.map_err(|never| match never {}))),
            Self::Plain(turns) => turns.poll(context).map(|piece| Some(Ok(Frame::data(piece?.into())))),
            Self::Gzip(turns, encoder) => loop {
                let Some(encoding) = encoder else { return Poll::Ready(None) };
                match turns.poll(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(piece)) => {
                        let written = encoding.write_all(piece.as_bytes());
                        let compressed = std::mem::take(encoding.get_mut());
                        match written {
                            // The encoder gathers some pieces before it has something to say.
                            Ok(()) if compressed.is_empty() => {}
                            Ok(()) => return Poll::Ready(Some(Ok(Frame::data(compressed.into())))),
                            Err(error) => return Poll::Ready(Some(Err(error))),
                        }
                    }
                    Poll::Ready(None) => {
                        let rest = encoder.take().map(|encoder| encoder.finish());
                        return Poll::Ready(rest.map(|rest| rest.map(|rest| Frame::data(rest.into()))));
                    }
                }
            },
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Plain(_) | Self::Gzip(..) => SizeHint::default(),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_end_stream(),
            Self::Plain(_) | Self::Gzip(..) => false,
        }
    }
}

/// Whether a client that sent these fields wants gzip (RFC 9110 section 12.5.3): it is named, or meant by `*`, and not
/// refused by a weight of 0. Without the field nobody has asked for it.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let mut any = false;
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    for coding in values.flat_map(|value| value.split(',')) {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let is_wanted = weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0));
        match name {
            "*" => any = is_wanted,
            name if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => return is_wanted,
            _ => {}
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn gzip_is_for_those_who_ask_for_it() {
        for (value, wanted) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("x-gzip", true),
            ("*", true),
            ("*;q=0.1, gzip;q=0", false),
            ("gzip;q=0", false),
            ("gzip; q=0.000, *", false),
            ("identity", false),
            ("gzipped", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(value))]);
            assert_eq!(accepts_gzip(&headers), wanted, "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
