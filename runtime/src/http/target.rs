//! The target of a request to an endpoint (RFC 9112 section 3.2.1).

use std::rc::Rc;

use bytes::Bytes;
use http::uri::{InvalidUri, PathAndQuery};

/// What of a client's target goes to an endpoint: all of it, or what is behind the prefix that the route matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTarget {
    /// Path and query for an endpoint whose url has no path.
    whole: PathAndQuery,
    /// The path in which a prefix is replaced, where it is another than that of `whole`.
    shown: Option<Rc<str>>,
    /// The length of that prefix.
    matched: usize,
}

impl UpstreamTarget {
    /// A target of which the first `matched` bytes of the path were matched.
    pub fn new(whole: PathAndQuery, matched: usize) -> Self {
        Self { whole, shown: None, matched }
    }

    /// Has the prefix replaced in this path instead.
    #[must_use]
    pub fn shown(self, path: &str) -> Self {
        Self { shown: Some(path.into()), ..self }
    }

    /// The same with another query, or without one.
    ///
    /// # Errors
    /// When it could not be sent.
    pub fn with_query(self, query: Option<&str>) -> Result<Self, InvalidUri> {
        let path = self.whole.path();
        let whole = query.map_or_else(|| path.to_owned(), |query| [path, "?", query].concat());
        Ok(Self { whole: PathAndQuery::from_maybe_shared(Bytes::from(whole))?, ..self })
    }

    /// The path for an endpoint whose url has none.
    pub fn path(&self) -> &str {
        self.whole.path()
    }

    /// The query.
    pub fn query(&self) -> Option<&str> {
        self.whole.query()
    }

    /// What is behind the prefix that the route matched: nothing, or what begins with a slash.
    pub fn rest(&self) -> &str {
        let shown = self.shown.as_deref().unwrap_or_else(|| self.whole.path());
        shown.get(self.matched..).unwrap_or_default()
    }

    /// Path and query for an endpoint: the client's, or with `path` in the place of what the route matched.
    ///
    /// # Errors
    /// When the two together are longer than a target may be, which is 65,534 bytes.
    pub fn at(&self, path: Option<&str>) -> Result<PathAndQuery, InvalidUri> {
        let Some(path) = path else {
            return Ok(self.whole.clone());
        };
        let (rest, query) = (self.rest(), self.query());
        let mut target = String::with_capacity(path.len() + rest.len() + query.map_or(0, |query| query.len() + 1));
        target.push_str(if rest.starts_with('/') { path.trim_end_matches('/') } else { path });
        target.push_str(rest);
        if let Some(query) = query {
            target.push('?');
            target.push_str(query);
        }
        PathAndQuery::from_maybe_shared(Bytes::from(target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_the_url_takes_the_place_of_the_matched_prefix() {
        for (url, client, matched, target) in [
            (None, "/ws/chat/room?x=%2F", 8, "/ws/chat/room?x=%2F"),
            (Some("/v2"), "/ws/chat/room?x=%2F", 8, "/v2/room?x=%2F"),
            (Some("/v2/"), "/ws/chat/room", 8, "/v2/room"),
            (Some("/v2"), "/ws/chat", 8, "/v2"),
            (Some("/v2/"), "/ws/chat?q", 8, "/v2/?q"),
            (Some("/"), "/ws/chat", 8, "/"),
            (Some("/"), "/ws/chat/room", 8, "/room"),
            (Some("/v2"), "/ws/chat/", 8, "/v2/"),
            (Some("/v2"), "/room", 0, "/v2/room"),
        ] {
            let client = UpstreamTarget::new(PathAndQuery::from_static(client), matched);
            assert_eq!(client.at(url).unwrap(), target, "{url:?} {client:?}");
        }
    }

    #[test]
    fn a_prefix_is_replaced_in_the_path_that_is_shown() {
        let client = UpstreamTarget::new(PathAndQuery::from_static("/ws//chat//room?x"), 8).shown("/ws/chat/room");
        assert_eq!(client.at(None).unwrap(), "/ws//chat//room?x");
        assert_eq!(client.at(Some("/v2")).unwrap(), "/v2/room?x");
    }
}
