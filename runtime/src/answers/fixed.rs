//! An answer that is always the same.

use http::header::{self, HeaderMap};
use http::{Response, StatusCode};

use super::page::Page;
use crate::handshake::AnswerBody;

/// Status, fields and body.
#[derive(Clone, Debug, PartialEq)]
pub struct Fixed {
    /// The status, which is final.
    pub status: StatusCode,
    /// Fields of the operator's, none of which the proxy owns.
    pub headers: HeaderMap,
    /// What follows them; nothing where the status has no content.
    pub page: Page,
}

impl Fixed {
    /// The answer. What the operator says of the type of its content is what counts.
    pub fn response(&self) -> Response<AnswerBody> {
        let Self { status, headers, page } = self;
        let body = if page.bytes.is_empty() { AnswerBody::Empty } else { AnswerBody::Whole(page.bytes.clone()) };
        let mut response = Response::new(body);
        *response.status_mut() = *status;
        *response.headers_mut() = headers.clone();
        if let Some(kind) = &page.kind
            && !headers.contains_key(header::CONTENT_TYPE)
        {
            response.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
        }
        response
    }
}
