//! The index of routes by host and path.

use std::collections::HashMap;

use super::pattern::{HostPattern, PathPattern};

/// What a route says about host and path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matcher {
    /// The hosts; empty for any host.
    pub hosts: Vec<HostPattern>,
    /// The path.
    pub path: PathPattern,
}

/// Routes, in the order they are to be tried for a request.
#[derive(Debug)]
pub struct RouteTable<T> {
    routes: Vec<(Matcher, T)>,
    hosts: HashMap<Box<str>, Paths>,
    /// By the domain after `*.`.
    wildcards: HashMap<Box<str>, Paths>,
    any: Paths,
}

/// The routes of one host, by path; prefixes without their final slash, so that the empty one is any path. The routes
/// of one path are sorted: exact ones first, then as in the file.
type Paths = HashMap<Box<str>, Vec<Entry>>;

#[derive(Clone, Copy, Debug)]
struct Entry {
    route: usize,
    exact: bool,
}

/// A route that may take a request.
#[derive(Debug)]
pub struct Found<'t, T> {
    /// The route.
    pub route: &'t T,
    /// How many segments of the path it matched.
    pub segments: usize,
}

impl<T> RouteTable<T> {
    /// Indexes routes; their order is the last criterion.
    pub fn new(routes: Vec<(Matcher, T)>) -> Self {
        let mut table =
            Self { routes: Vec::new(), hosts: HashMap::new(), wildcards: HashMap::new(), any: HashMap::new() };
        for (route, (matcher, _)) in routes.iter().enumerate() {
            let entry = Entry { route, exact: matcher.path.is_exact() };
            if matcher.hosts.is_empty() {
                insert(&mut table.any, &matcher.path, entry);
            }
            for host in &matcher.hosts {
                let (map, key) = match host {
                    HostPattern::Subdomains(domain) => (&mut table.wildcards, domain),
                    HostPattern::Exact(host) => (&mut table.hosts, host),
                };
                insert(map.entry(key.as_str().into()).or_default(), &matcher.path, entry);
            }
        }
        table.routes = routes;
        table
    }

    /// All routes in the order of the file.
    pub fn routes(&self) -> impl Iterator<Item = &T> {
        self.routes.iter().map(|(_, route)| route)
    }

    /// The routes that match, the most specific first: by an exact host, then by the longest wildcard, then for any
    /// host; within that by the longest path, an exact one before a prefix of the same length; then as in the file. Each
    /// route comes once. `host` is in lower case, without a port; `path` in the form in which paths are compared.
    pub fn candidates<'t>(&'t self, host: &'t str, path: &'t str) -> Candidates<'t, T> {
        Candidates {
            table: self,
            host,
            path,
            level: Level::Exact,
            paths: self.hosts.get(host),
            rest: Some(path),
            entries: &[],
        }
    }
}

impl Matcher {
    /// Whether this level is the most specific one at which the route matches the host.
    fn is_best_at(&self, level: Level<'_>, host: &str) -> bool {
        let length = match level {
            Level::Exact => return true,
            Level::Any => return self.hosts.is_empty(),
            Level::Wildcard(domain) => domain.len(),
        };
        !self.hosts.iter().any(|pattern| match pattern {
            HostPattern::Subdomains(domain) => domain.len() > length && is_under(host, domain),
            HostPattern::Exact(exact) => exact == host,
        })
    }
}

/// Iterator of [`RouteTable::candidates`].
#[derive(Debug)]
pub struct Candidates<'t, T> {
    table: &'t RouteTable<T>,
    host: &'t str,
    path: &'t str,
    level: Level<'t>,
    paths: Option<&'t Paths>,
    /// The part of the path to look up next; `None` when this level is done.
    rest: Option<&'t str>,
    entries: &'t [Entry],
}

/// How the routes under consideration match the host.
#[derive(Clone, Copy, Debug)]
enum Level<'t> {
    Exact,
    /// By `*.` and this domain.
    Wildcard(&'t str),
    Any,
}

impl<'t, T> Iterator for Candidates<'t, T> {
    type Item = Found<'t, T>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            while let Some((entry, rest)) = self.entries.split_first() {
                self.entries = rest;
                let Some((matcher, route)) = self.table.routes.get(entry.route) else {
                    continue;
                };
                let is_whole = matcher.path.path().len() == self.path.len();
                if (!entry.exact || is_whole) && matcher.is_best_at(self.level, self.host) {
                    return Some(Found { route, segments: matcher.path.segments() });
                }
            }
            match (self.paths, self.rest) {
                (Some(paths), Some(rest)) => {
                    self.entries = paths.get(rest).map_or(&[], Vec::as_slice);
                    self.rest = rest.rfind('/').and_then(|slash| rest.get(..slash));
                    // A path that has no slash, as that of `OPTIONS *`, is still any path.
                    if self.rest.is_none() && !rest.is_empty() {
                        self.rest = Some("");
                    }
                }
                _ => self.widen()?,
            }
        }
    }
}

impl<T> Candidates<'_, T> {
    /// Goes on to the next less specific level; `None` after the last.
    fn widen(&mut self) -> Option<()> {
        let domain = match self.level {
            Level::Exact => self.host,
            Level::Wildcard(domain) => domain,
            Level::Any => return None,
        };
        (self.level, self.paths) = match domain.split_once('.') {
            Some((_, parent)) if !parent.is_empty() => (Level::Wildcard(parent), self.table.wildcards.get(parent)),
            _ => (Level::Any, Some(&self.table.any)),
        };
        self.rest = Some(self.path);
        Some(())
    }
}

fn insert(paths: &mut Paths, path: &PathPattern, entry: Entry) {
    let entries = paths.entry(path.path().into()).or_default();
    // Routes come one after the other, so that one which is here already came last of those of its kind.
    let exact = entries.partition_point(|other| other.exact);
    let position = if entry.exact { exact } else { entries.len() };
    let last = position.checked_sub(1).and_then(|last| entries.get(last));
    if last.is_none_or(|last| last.route != entry.route) {
        entries.insert(position, entry);
    }
}

fn is_under(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|labels| labels.len() > 1 && labels.ends_with('.'))
}

#[cfg(test)]
mod tests;
