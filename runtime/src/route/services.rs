//! Routing by service, as light-4j does: a header names the service, or the path's prefix does.

use std::collections::HashMap;

use http::header::{HeaderMap, HeaderName};

use super::pattern::PathPattern;
use super::table::{Matcher, RouteTable};

/// Maps requests to services.
#[derive(Debug)]
pub struct Services<T> {
    headers: Vec<HeaderName>,
    prefixes: RouteTable<Box<str>>,
    services: HashMap<Box<str>, T>,
}

impl<T> Services<T> {
    /// Services by id, found by one of the headers or by a path prefix that stands for an id.
    pub fn new(
        headers: Vec<HeaderName>,
        prefixes: impl IntoIterator<Item = (PathPattern, Box<str>)>,
        services: impl IntoIterator<Item = (Box<str>, T)>,
    ) -> Self {
        let prefixes = prefixes.into_iter().map(|(path, id)| (Matcher { hosts: Vec::new(), path }, id));
        Self { headers, prefixes: RouteTable::new(prefixes.collect()), services: services.into_iter().collect() }
    }

    /// The headers of light-4j: `service_id` and `service-id`.
    pub fn default_headers() -> Vec<HeaderName> {
        vec![HeaderName::from_static("service_id"), HeaderName::from_static("service-id")]
    }

    /// The service a request names. A header wins over the path, also when it names a service that does not exist;
    /// `None` leaves the request to the next route.
    pub fn find(&self, headers: &HeaderMap, path: &str) -> Option<&T> {
        match self.headers.iter().find_map(|name| headers.get(name)) {
            Some(id) => self.services.get(id.to_str().ok()?),
            None => self.services.get(self.prefixes.candidates("", path).next()?.route),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(header: Option<(&'static str, &'static str)>, path: &str) -> Option<u32> {
        let services = Services::new(
            Services::<u32>::default_headers(),
            [("/chat", "chat-1.0"), ("/chat/admin", "admin-1.0"), ("/lost", "nobody")]
                .map(|(path, id)| (PathPattern::prefix(path).unwrap(), id.into())),
            [("chat-1.0".into(), 1), ("admin-1.0".into(), 2)],
        );
        let headers = header.map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        services.find(&headers.into_iter().collect(), path).copied()
    }

    #[test]
    fn the_header_wins_over_the_path() {
        assert_eq!(find(Some(("service_id", "admin-1.0")), "/chat"), Some(2));
        assert_eq!(find(Some(("service-id", "chat-1.0")), "/"), Some(1));
        assert_eq!(find(Some(("service_id", "unknown")), "/chat"), None);
    }

    #[test]
    fn a_prefix_matches_by_segment_and_the_longest_wins() {
        assert_eq!(find(None, "/chat"), Some(1));
        assert_eq!(find(None, "/chat/room"), Some(1));
        assert_eq!(find(None, "/chat/admin/x"), Some(2));
        assert_eq!(find(None, "/chatter"), None);
        assert_eq!(find(None, "/lost"), None);
    }
}
