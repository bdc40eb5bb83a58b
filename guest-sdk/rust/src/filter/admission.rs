//! The answer of a filter to a handshake.

use crate::Header;
pub use crate::bindings::balancer::tidegate::edge::types::HeaderEdit;
pub use crate::bindings::filter::exports::tidegate::edge::filtering::Refusal;

/// What a filter attaches to a handshake that it admits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Admission<S> {
    /// What the filter remembers of the connection.
    pub session: S,
    /// Applied to the request that goes to the upstream.
    pub upstream_headers: Vec<HeaderEdit>,
    /// Applied to the 101 answer that goes to the client.
    pub client_headers: Vec<HeaderEdit>,
    /// Shown to later filters and the balancer, and written to the access log.
    pub attributes: Vec<(String, String)>,
    /// After this many seconds the connection is closed with 1008: for credentials that run out.
    pub lease_seconds: Option<u32>,
}

impl<S> Admission<S> {
    /// Admits a handshake and leaves it as it is.
    pub fn of(session: S) -> Self {
        Self {
            session,
            upstream_headers: Vec::new(),
            client_headers: Vec::new(),
            attributes: Vec::new(),
            lease_seconds: None,
        }
    }

    /// Attaches an attribute.
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.push((name.into(), value.into()));
        self
    }

    /// Edits the header fields of the request that goes to the upstream.
    pub fn upstream_header(mut self, edit: HeaderEdit) -> Self {
        self.upstream_headers.push(edit);
        self
    }

    /// Edits the header fields of the 101 answer that goes to the client.
    pub fn client_header(mut self, edit: HeaderEdit) -> Self {
        self.client_headers.push(edit);
        self
    }

    /// Has the connection closed with 1008 after this many seconds.
    pub fn lease_seconds(mut self, seconds: u32) -> Self {
        self.lease_seconds = Some(seconds);
        self
    }
}

impl HeaderEdit {
    /// Replaces all fields of that name by this one.
    pub fn set(name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self::Set((name.into(), value.into()))
    }

    /// Adds a field.
    pub fn append(name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self::Append((name.into(), value.into()))
    }

    /// Removes all fields of that name.
    pub fn remove(name: impl Into<String>) -> Self {
        Self::Remove(name.into())
    }
}

impl Refusal {
    /// A refusal with an empty body; `status` is one of 300 to 599.
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// Sends the client elsewhere: 307 with a `Location` (RFC 9110 section 15.4.8). Clients that are no browsers follow it;
    /// browsers' WebSockets fail.
    pub fn redirect(location: impl Into<String>) -> Self {
        Self::new(307).header("location", location.into())
    }

    /// Adds a header field.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        let header: Header = (name.into(), value.into());
        self.headers.push(header);
        self
    }

    /// Sets the body, as plain text.
    #[must_use]
    pub fn text(mut self, body: impl Into<String>) -> Self {
        self.body = body.into().into_bytes();
        self.header("content-type", "text/plain; charset=utf-8")
    }
}
