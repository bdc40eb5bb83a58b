//! Which hosts and paths a route serves, in the forms in which those of requests are compared.

use std::fmt;

use thiserror::Error;

use crate::http::{InvalidPath, canonical_host, comparable_rule};

/// A host that a route serves, in lower case, without a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// Exactly this host.
    Exact(String),
    /// One or more labels in front of this domain; written `*.example.com`.
    Subdomains(String),
}

/// The path of a request that a route serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathPattern {
    /// Of a prefix without its final slash, so that the empty one is any path.
    path: Box<str>,
    exact: bool,
}

/// A pattern that could never match, or not what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidPattern {
    /// It is no host name and no address.
    #[error("it is no host")]
    NoHost,
    /// A request's path starts with a slash.
    #[error("a path starts with `/`")]
    NoSlash,
    /// A request's path ends before these.
    #[error("a path has no query, fragment or space")]
    NoPath,
    /// A request's path is compared in its canonical form.
    #[error("no path is compared in this form: {0}")]
    NotCanonical(InvalidPath),
}

impl HostPattern {
    /// Reads a host, or `*.` in front of a domain.
    ///
    /// # Errors
    /// For what no host can be.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        match text.strip_prefix("*.") {
            Some(domain) => canonical_host(domain).map(Self::Subdomains),
            None => canonical_host(text).map(Self::Exact),
        }
        .ok_or(InvalidPattern::NoHost)
    }
}

impl PathPattern {
    /// Matches any path.
    pub fn any() -> Self {
        Self::default()
    }

    /// Matches this path alone.
    ///
    /// # Errors
    /// For what is no path, or is not compared as it stands.
    pub fn exact(path: &str) -> Result<Self, InvalidPattern> {
        Ok(Self { path: comparable(path)?.into(), exact: true })
    }

    /// Matches paths that start with these segments, whole; slashes at the end mean nothing.
    ///
    /// # Errors
    /// Those of [`exact`](Self::exact).
    pub fn prefix(path: &str) -> Result<Self, InvalidPattern> {
        let segments = path.trim_end_matches('/');
        if segments.is_empty() && !path.is_empty() {
            return Ok(Self::any());
        }
        Ok(Self { path: comparable(segments)?.into(), exact: false })
    }

    /// Whether it matches any path.
    pub fn is_any(&self) -> bool {
        !self.exact && self.path.is_empty()
    }

    /// Whether it matches one path alone.
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// What it matches; of any path, nothing.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// How many segments of a matching path are the pattern's.
    pub fn segments(&self) -> usize {
        self.path.bytes().filter(|byte| *byte == b'/').count()
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Subdomains(domain) => write!(f, "*.{domain}"),
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_any() { "/" } else { &self.path })
    }
}

fn comparable(path: &str) -> Result<String, InvalidPattern> {
    if !path.starts_with('/') {
        return Err(InvalidPattern::NoSlash);
    }
    if path.contains(['?', '#', ' ']) {
        return Err(InvalidPattern::NoPath);
    }
    comparable_rule(path).map_err(InvalidPattern::NotCanonical)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_could_never_match_is_refused() {
        for path in ["", "ws", "*"] {
            assert_eq!(PathPattern::prefix(path), Err(InvalidPattern::NoSlash));
        }
        for path in ["/ws?x", "/ws#x", "/w s"] {
            assert_eq!(PathPattern::exact(path), Err(InvalidPattern::NoPath));
        }
        for path in ["/ws//chat", "/ws/../admin", "/ws/%2e", "/ws;x", "/ws/%zz", "/ws/%00"] {
            assert!(matches!(PathPattern::prefix(path), Err(InvalidPattern::NotCanonical(_))), "{path}");
        }
    }

    #[test]
    fn patterns_are_the_same_where_they_match_the_same() {
        assert_eq!(HostPattern::parse("*.Example.com"), Ok(HostPattern::Subdomains("example.com".to_owned())));
        assert_eq!(HostPattern::parse("[0::1]"), HostPattern::parse("[::1]"));
        assert_eq!(PathPattern::prefix("/ws/"), PathPattern::prefix("/%77s"));
        assert_eq!(PathPattern::prefix("//"), Ok(PathPattern::any()));
        assert_ne!(PathPattern::exact("/ws"), PathPattern::prefix("/ws"));
        let shown = [PathPattern::any(), PathPattern::prefix("/ws/").unwrap(), PathPattern::exact("/ws/").unwrap()];
        assert_eq!(shown.map(|path| path.to_string()), ["/", "/ws", "/ws/"]);
    }
}
