//! What the proxy says when it serves a request not, in the form that is wanted: a page of the operator's, a JSON object
//! (RFC 9457) or a line of plain text.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use serde::Serialize;

use super::page::Page;
use crate::handshake::AnswerBody;
use crate::http::fields::elements;

/// Pages in the place of what the proxy says itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorPages(pub BTreeMap<StatusCode, Page>);

/// A problem (RFC 9457 section 3). Its type is `about:blank`: the status says it all.
#[derive(Serialize)]
struct Problem<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

impl ErrorPages {
    /// Gives an answer its form, if it is one of the proxy's own about a request that is not served. Status and fields stay.
    pub fn form(
        &self,
        response: Response<AnswerBody>,
        accept: Option<&HeaderValue>,
        request_id: Option<&HeaderValue>,
    ) -> Response<AnswerBody> {
        let status = response.status();
        if !(status.is_client_error() || status.is_server_error()) {
            return response;
        }
        let (mut head, body) = response.into_parts();
        let AnswerBody::Own(text) = body else { return Response::from_parts(head, body) };
        if let Some(page) = self.0.get(&status) {
            if let Some(kind) = &page.kind {
                head.headers.insert(header::CONTENT_TYPE, kind.clone());
            }
            return Response::from_parts(head, AnswerBody::Whole(page.bytes.clone()));
        }
        head.headers.insert(header::VARY, HeaderValue::from_static("accept"));
        let wanted = accept.and_then(|accept| accept.to_str().ok()).is_some_and(prefers_json);
        let json = wanted.then(|| json(status, &text, request_id)).flatten();
        let Some(json) = json else { return Response::from_parts(head, AnswerBody::Own(text)) };
        head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        Response::from_parts(head, AnswerBody::Whole(json))
    }
}

fn json(status: StatusCode, text: &[u8], request_id: Option<&HeaderValue>) -> Option<Bytes> {
    let problem = Problem {
        title: status.canonical_reason().unwrap_or_default(),
        status: status.as_u16(),
        detail: std::str::from_utf8(text).ok()?.trim_end(),
        request_id: request_id.and_then(|id| id.to_str().ok()),
    };
    serde_json::to_vec(&problem).ok().map(Bytes::from)
}

/// Whether a list of media ranges (RFC 9110 section 12.5.1) has JSON above plain text, which is what it gets who does not
/// care.
fn prefers_json(accept: &str) -> bool {
    let json = quality(accept, "application", "problem+json").max(quality(accept, "application", "json"));
    json > quality(accept, "text", "plain")
}

/// How much somebody wants a type, in thousandths, by the most specific range that it is in.
fn quality(accept: &str, kind: &str, subtype: &str) -> u16 {
    let ranges = elements(accept).take(MOST_RANGES).filter_map(|element| {
        let (range, parameters) = element.split_once(';').unwrap_or((element, ""));
        let (one, other) = range.trim().split_once('/')?;
        let specific = match (one.eq_ignore_ascii_case(kind), other.eq_ignore_ascii_case(subtype)) {
            (true, true) => 3,
            (true, false) if other == "*" => 2,
            _ if (one, other) == ("*", "*") => 1,
            _ => return None,
        };
        let weights = parameters.split(';').map(str::trim);
        let weight = weights.rev().find_map(|parameter| parameter.strip_prefix("q=").or(parameter.strip_prefix("Q=")));
        Some((specific, weight.map_or(1000, thousandths)))
    });
    ranges.max().map_or(0, |(_, weight)| weight)
}

/// A weight (RFC 9110 section 12.4.2); what is none counts as nothing.
fn thousandths(weight: &str) -> u16 {
    let (whole, part) = weight.trim().split_once('.').unwrap_or((weight.trim(), ""));
    let digits = part.bytes().chain(std::iter::repeat(b'0')).take(3);
    let part = digits.fold(0, |sum, digit| sum * 10 + u16::from(digit.wrapping_sub(b'0').min(9)));
    match whole {
        "0" => part,
        "1" => 1000,
        _ => 0,
    }
}

/// Browsers send eight.
const MOST_RANGES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::text;

    #[test]
    fn json_is_for_who_wants_it_more_than_plain_text() {
        for (accept, wants) in [
            ("application/problem+json", true),
            ("application/json", true),
            ("Application/JSON", true),
            ("application/*", true),
            ("application/json, */*;q=0.8", true),
            ("text/plain;q=0.5, application/json;q=0.6", true),
            ("application/json;charset=utf-8;q=0.9,text/*;q=0.1", true),
            ("", false),
            ("*/*", false),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", false),
            ("application/json, text/plain, */*", false),
            ("application/json;q=0", false),
            ("application/json;q=0.5, text/plain", false),
            ("application/json;q=9", false),
            ("application/json;q=", false),
            ("json", false),
            ("application/json-seq", false),
        ] {
            assert_eq!(prefers_json(accept), wants, "{accept}");
        }
        assert_eq!(
            ["1", "1.000", "0.5", "0.05", "0.0019", "0", "x", "2"].map(thousandths),
            [1000, 1000, 500, 50, 1, 0, 0, 0]
        );
    }

    fn formed(pages: &ErrorPages, response: Response<AnswerBody>, accept: &'static str) -> (Response<()>, String) {
        let (accept, id) = (HeaderValue::from_static(accept), HeaderValue::from_static("1-2"));
        let (head, body) = pages.form(response, Some(&accept), Some(&id)).into_parts();
        let (AnswerBody::Own(body) | AnswerBody::Whole(body)) = body else { panic!("{body:?}") };
        (Response::from_parts(head, ()), String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn a_problem_takes_the_form_that_is_wanted_and_keeps_its_fields() {
        let busy = || {
            let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "no \"place\"");
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            response
        };
        let page = Page { kind: Some(HeaderValue::from_static("text/html")), bytes: Bytes::from_static(b"<p>") };
        let pages = ErrorPages(BTreeMap::from([(StatusCode::SERVICE_UNAVAILABLE, page)]));
        let json = r#"{"title":"Service Unavailable","status":503,"detail":"no \"place\"","request_id":"1-2"}"#;
        for (pages, accept, kind, body) in [
            (&ErrorPages::default(), "*/*", "text/plain; charset=utf-8", "no \"place\"\n"),
            (&ErrorPages::default(), "application/json", "application/problem+json", json),
            (&pages, "application/json", "text/html", "<p>"),
        ] {
            let (response, told) = formed(pages, busy(), accept);
            assert_eq!((response.status().as_u16(), told.as_str()), (503, body));
            assert_eq!(
                (&response.headers()["content-type"], &response.headers()["retry-after"]),
                (&HeaderValue::from_static(kind), &HeaderValue::from_static("1"))
            );
        }
    }

    #[test]
    fn what_others_say_and_what_is_no_problem_stays_as_it_is() {
        let pages = ErrorPages(BTreeMap::from([(StatusCode::NOT_FOUND, Page::text("mine"))]));
        let mut others = Response::new(AnswerBody::Whole(Bytes::from_static(b"theirs")));
        *others.status_mut() = StatusCode::NOT_FOUND;
        assert_eq!(formed(&pages, others, "application/json").1, "theirs");
        assert_eq!(formed(&pages, text(StatusCode::FOUND, "there"), "application/json").1, "there\n");
    }
}
