//! A request as an endpoint gets it.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode, Uri, Version};

use super::upload::{Lent, Upload};
use crate::http::{UpstreamRequest, field_names, fields};
use crate::upstream::Address;

/// A plain request, the same for each attempt.
#[derive(Debug)]
pub struct Asked {
    method: Method,
    request: UpstreamRequest,
    /// Whether the client takes trailers.
    takes_trailers: bool,
    /// The trailers that it announces.
    trailers: Option<HeaderValue>,
}

/// What of a request's head its [`UpstreamRequest`] does not say, because it ends at this hop.
#[derive(Clone, Debug)]
pub struct Hop {
    method: Method,
    takes_trailers: bool,
    trailers: Option<HeaderValue>,
    /// Whether it waits for `100 Continue`.
    pub(super) waits: bool,
    /// The length of its body, where the version lets no other come than is announced (RFC 9113 section 8.1.1).
    pub(super) length: Option<u64>,
}

impl Hop {
    /// That of a request of our own, by this method.
    pub fn own(method: Method) -> Self {
        Self { method, takes_trailers: false, trailers: None, waits: false, length: None }
    }

    /// That of a request.
    pub fn of(parts: &Parts) -> Self {
        let headers = &parts.headers;
        Self {
            method: parts.method.clone(),
            takes_trailers: fields::has_token(headers, &header::TE, "trailers"),
            trailers: announced(headers),
            waits: headers.contains_key(header::EXPECT),
            length: announced_length(parts),
        }
    }
}

/// Over HTTP/1.1 the body itself knows.
fn announced_length(parts: &Parts) -> Option<u64> {
    let length = parts.headers.get(header::CONTENT_LENGTH).filter(|_| parts.version == Version::HTTP_2)?;
    length.to_str().ok()?.parse().ok()
}

/// The names of trailers that may go on at this hop (RFC 9110 section 6.5.1).
pub(super) fn announced(headers: &HeaderMap) -> Option<HeaderValue> {
    let list = fields::combined(headers, &header::TRAILER)?;
    let names = fields::elements(list.to_str().ok()?).filter(|name| {
        let name = name.to_ascii_lowercase();
        fields::is_token(&name) && !field_names::is_owned(&name)
    });
    let names: Vec<&str> = names.collect();
    HeaderValue::from_str(&names.join(", ")).ok().filter(|names| !names.is_empty())
}

impl Asked {
    /// A request and what ends at this hop.
    pub fn new(hop: Hop, request: UpstreamRequest) -> Self {
        let Hop { method, takes_trailers, trailers, .. } = hop;
        Self { method, request, takes_trailers, trailers }
    }

    /// What is sent before it.
    pub(super) fn introduction(&self) -> Option<&[u8]> {
        self.request.introduction.as_deref()
    }

    /// Its method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Whether it may be sent again (RFC 9110 section 9.2.2): nothing of its body may have gone up, and where the endpoint may
    /// have seen it, to ask twice has to be the same as to ask once.
    pub fn may_go_again(&self, upload: &Upload, was_sent: bool) -> bool {
        upload.is_whole() && upload.fault().is_none() && (!was_sent || self.method.is_idempotent())
    }

    /// Its target at an endpoint; `None` when it could not be written down.
    pub(super) fn target(&self, address: &Address) -> Option<PathAndQuery> {
        self.request.target.at(address.path()).ok()
    }

    /// The request for an endpoint as it is sent; `None` when that takes more than its head, or when its answer is not framed
    /// as its head says.
    pub(super) fn written(&self, target: &PathAndQuery, address: &Address, upload: &Upload) -> Option<Vec<u8>> {
        if !upload.is_empty() || upload.continued().is_some() || self.method == Method::HEAD {
            return None;
        }
        let mut wire = Vec::with_capacity(HEAD);
        let (method, host) = (self.method.as_str().as_bytes(), self.host(address).as_bytes());
        // First, as RFC 9110 section 7.2 asks.
        for part in [method, b" ", target.as_str().as_bytes(), b" HTTP/1.1\r\nHost: ", host, b"\r\n"] {
            wire.extend_from_slice(part);
        }
        let framing = self.framing(upload);
        fields::write(self.own().chain(framing.iter().map(|(name, value)| (name, value))), &mut wire);
        Some(wire)
    }

    /// The same for hyper.
    pub(super) fn at(&self, target: &PathAndQuery, address: &Address, upload: &Rc<Upload>) -> Request<Lent> {
        let mut request = Request::new(Lent::new(upload));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = Uri::from(target.clone());
        let headers = request.headers_mut();
        headers.reserve(self.request.headers.len() + MORE);
        headers.insert(header::HOST, self.host(address).clone());
        self.own().for_each(|(name, value)| {
            headers.append(name, value.clone());
        });
        headers.extend(self.framing(upload));
        if let Some(continued) = upload.continued() {
            headers.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
            let continued: Arc<AtomicBool> = Arc::clone(continued);
            hyper::ext::on_informational(&mut request, move |interim| {
                continued.fetch_or(interim.status() == StatusCode::CONTINUE, Ordering::Relaxed);
            });
        }
        request
    }

    fn host<'a>(&'a self, address: &'a Address) -> &'a HeaderValue {
        self.request.host.of(self.request.client_host.as_ref(), address.authority())
    }

    /// The end-to-end fields but for `Host`.
    fn own(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.request.headers.iter().filter(|(name, _)| *name != header::HOST)
    }

    /// The fields of this hop, which say how the request is framed and what it takes.
    fn framing(&self, upload: &Upload) -> Vec<(HeaderName, HeaderValue)> {
        let mut fields = Vec::new();
        if self.takes_trailers {
            fields.push((header::TE, HeaderValue::from_static("trailers")));
            fields.push((header::CONNECTION, HeaderValue::from_static("TE")));
        }
        match (upload.is_empty(), upload.length()) {
            // A server may want to know (RFC 9110 section 8.6).
            (true, _) if matches!(self.method, Method::POST | Method::PUT | Method::PATCH) => {
                fields.push((header::CONTENT_LENGTH, HeaderValue::from(0)));
            }
            (true, _) => {}
            (false, Some(length)) => fields.push((header::CONTENT_LENGTH, HeaderValue::from(length))),
            (false, None) => {
                fields.push((header::TRANSFER_ENCODING, HeaderValue::from_static("chunked")));
                fields.extend(self.trailers.clone().map(|trailers| (header::TRAILER, trailers)));
            }
        }
        fields
    }
}

/// Room for the head of most requests.
const HEAD: usize = 512;
/// Fields that are added for an attempt.
const MORE: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_that_frame_or_route_a_message_are_not_announced() {
        for (list, expected) in [
            ("X-Checksum, content-length, Host", Some("X-Checksum")),
            ("x-a,, x-b, two words", Some("x-a, x-b")),
            ("transfer-encoding", None),
            ("", None),
        ] {
            let headers: HeaderMap = [(header::TRAILER, HeaderValue::from_static(list))].into_iter().collect();
            let names = announced(&headers);
            assert_eq!(names.as_ref().map(|names| names.to_str().unwrap()), expected, "{list}");
        }
    }

    #[test]
    fn fields_that_are_written_for_an_attempt_come_from_no_client() {
        let written =
            [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::EXPECT, header::TE, header::CONNECTION];
        assert!(written.iter().all(|name| field_names::is_owned(name.as_str())));
    }
}
