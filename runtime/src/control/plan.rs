//! What changes from one configuration to another. What does not is not built again either, so a part of which nothing is
//! told here is the very same before and after.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use super::files;
use super::sources::Sources;
use crate::config::{ComponentSource, Config, Route, Target, Upstream};
use crate::session::{Effect, Snapshot};

/// The difference between what is in force and what a reload would put in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Keys of the top of the file whose values change, and `routes` where routes change places.
    pub settings: Vec<&'static str>,
    /// By name.
    pub components: BTreeMap<String, Change>,
    /// By name.
    pub upstreams: BTreeMap<String, Change>,
    /// By name.
    pub routes: BTreeMap<String, Change>,
    /// What becomes of the open connections of these routes, those that are new apart.
    pub effects: BTreeMap<String, Effect>,
}

/// What becomes of a part of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is another, because of these.
    Changed(Vec<Cause>),
}

/// Why a part is another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// `settings` for its own keys, `component NAME`, `upstream NAME` or `trusted_proxies`; of an upstream `endpoints`, too,
    /// which are none of its settings; of a component `bytes`, `limits` or `path`.
    pub what: String,
    /// Whether it is only about handshakes: it makes no difference to a connection that is open, nor to who may open one.
    pub is_passing: bool,
}

impl Cause {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), is_passing: false }
    }
}

impl Change {
    /// Whether it makes no difference to a connection that is open, nor to who may open one.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Changed(causes) if causes.iter().all(|cause| cause.is_passing))
    }

    /// Whether an upstream has other endpoints.
    pub(super) fn is_of_endpoints(&self) -> bool {
        match self {
            Self::Added => true,
            Self::Removed => false,
            Self::Changed(causes) => causes.iter().any(|cause| cause.what == ENDPOINTS),
        }
    }

    /// Whether an upstream has other endpoints, and is the same for the rest: then so are the routes that lead to it.
    pub(super) fn is_only_of_endpoints(&self) -> bool {
        matches!(self, Self::Changed(causes) if causes.iter().all(|cause| cause.what == ENDPOINTS))
    }
}

impl Plan {
    /// What changes from one to the other.
    pub fn between(before: &Sources, after: &Sources) -> Self {
        let components = changes(&before.config.components, &after.config.components, |name, old, new| {
            let path = |source: &ComponentSource| matches!(source, ComponentSource::File(_)).then(|| source.clone());
            let causes = [
                ("bytes", before.components.get(name) != after.components.get(name)),
                ("limits", old.limits != new.limits),
                (PATH, path(&old.source) != path(&new.source)),
            ];
            causes.into_iter().filter(|(_, differs)| *differs).map(|(cause, _)| Cause::new(cause)).collect()
        });
        let is_other = |name: &&str| components.get(*name).is_some_and(is_other_component);
        let of_component = |name: &str| Cause::new(format!("component {name}"));
        let upstreams = changes(&before.config.upstreams, &after.config.upstreams, |_, old: &Upstream, new| {
            let endpoints = ((&old.endpoints, &old.discover) != (&new.endpoints, &new.discover))
                .then(|| Cause { what: ENDPOINTS.to_owned(), is_passing: true });
            let differs = |path: &PathBuf| before.files.get(path) != after.files.get(path);
            let secured =
                speaks_tls(old) != speaks_tls(new) || files::of_upstream(new).iter().any(|file| differs(&file.path));
            let (old, new) = (without_endpoints(old), without_endpoints(new));
            let own = own_keys(&old, &new, |old, new| {
                let Upstream { retries, connect_timeout, ref tls, proxy_protocol, http2, keeping, .. } = *new;
                let tls = tls.clone();
                Upstream { retries, connect_timeout, tls, proxy_protocol, http2, keeping, ..old.clone() } == *new
            });
            let secured = secured.then(|| Cause { what: "tls".to_owned(), is_passing: true });
            own.into_iter()
                .chain(secured)
                .chain(endpoints)
                .chain(Some(new.balance.component.as_str()).filter(is_other).map(of_component))
                .collect()
        });
        let trust = before.config.trusted_proxies != after.config.trusted_proxies;
        let routes = changes(&by_name(&before.config), &by_name(&after.config), |_, &old, &new| {
            let own = own_keys(old, new, |old, new| {
                let (admission, handshake_timeout, http) = (new.admission, new.handshake_timeout, new.http.clone());
                let bridge = new.bridge.clone();
                Route { admission, handshake_timeout, http, bridge, ..old.clone() } == *new
            });
            let candidates = new.filters.iter().filter_map(|filter| filter.candidate.as_ref());
            let used = new.when.iter().chain(&new.filters).map(|used| used.component.as_str());
            let used: BTreeSet<_> = used.chain(candidates.map(|it| it.component.as_str())).filter(is_other).collect();
            let sockets = targets(new);
            let requests = new.http.as_ref().and_then(|http| http.upstream.as_deref());
            let all: BTreeSet<_> = sockets.iter().cloned().chain(requests.map(Into::into)).collect();
            let targets = all.into_iter().filter_map(|name| {
                let change = upstreams.get(&*name).filter(|change| !change.is_only_of_endpoints())?;
                // Where only plain requests go, no open connection is.
                let is_passing = change.is_passing() || !sockets.contains(&name);
                Some(Cause { what: format!("upstream {name}"), is_passing })
            });
            let trust = trust.then(|| Cause::new("trusted_proxies"));
            let token = new.token.as_ref().and_then(|token| of_tokens(&token.name, before, after));
            let differs = |file: &files::Named| before.files.get(&file.path) != after.files.get(&file.path);
            let passing = |what: &str| Cause { what: what.to_owned(), is_passing: true };
            let asked = files::of_authorize(new).filter(differs).map(|_| passing("authorize"));
            let answer = files::of_answer(new).filter(differs).map(|_| passing("answer"));
            let of_others = targets.chain(trust).chain(token).chain(asked).chain(answer);
            own.into_iter().chain(used.into_iter().map(of_component)).chain(of_others).collect()
        });
        let mut settings = settings(&before.config, &after.config);
        let differs = |file: &files::Named| before.files.get(&file.path) != after.files.get(&file.path);
        let of_listeners = after.config.listeners.iter().flat_map(files::of_listener).collect();
        for (key, files) in [(LISTENERS, of_listeners), (ADMIN, files::of_admin(&after.config))] {
            if files.iter().any(&differs) && !settings.contains(&key) {
                settings.push(key);
            }
        }
        if files::of_errors(&after.config).any(|file| differs(&file)) && !settings.contains(&ERRORS) {
            settings.push(ERRORS);
        }
        Self { settings, components, upstreams, routes, effects: BTreeMap::new() }
    }

    /// Together with what becomes of open connections where the one takes the place of the other.
    pub(super) fn with_effects(self, before: &Snapshot, after: &Snapshot) -> Self {
        let others: BTreeMap<_, _> = after.routes.routes().map(|route| (route.name.as_str(), route)).collect();
        let changed = before.routes.routes().filter(|route| self.routes.contains_key(&route.name));
        let effects = changed.map(|route| {
            let other = others.get(route.name.as_str()).copied();
            (route.name.clone(), Effect::of(route, other))
        });
        Self { effects: effects.collect(), ..self }
    }

    /// Whether a component that is there before and after is the very same.
    pub(super) fn keeps_component(&self, name: &str) -> bool {
        !self.components.get(name).is_some_and(is_other_component)
    }
}

/// That what a route asks of tokens has changed. Other keys, in a file, are only about handshakes.
fn of_tokens(name: &str, before: &Sources, after: &Sources) -> Option<Cause> {
    let (old, new) = (before.config.tokens.get(name), after.config.tokens.get(name));
    let file = new.and_then(files::of_tokens).map(|file| file.path);
    let is_passing = old == new;
    let differs = !is_passing || file.is_some_and(|path| before.files.get(&path) != after.files.get(&path));
    differs.then(|| Cause { what: format!("tokens {name}"), is_passing })
}

/// A component that has only moved is the same component.
fn is_other_component(change: &Change) -> bool {
    matches!(change, Change::Changed(causes) if causes.iter().any(|cause| cause.what != PATH))
}

const PATH: &str = "path";

const ENDPOINTS: &str = "endpoints";

/// Whether an upstream has an endpoint that TLS is spoken to, or may find one.
pub(super) fn speaks_tls(upstream: &Upstream) -> bool {
    upstream.tls.is_some()
        || upstream.discover.is_some()
        || upstream.endpoints.iter().any(|endpoint| endpoint.address.is_secure())
}

/// What of an upstream is in the snapshot.
fn without_endpoints(upstream: &Upstream) -> Upstream {
    let Upstream {
        balance,
        retries,
        connect_timeout,
        host,
        tls,
        proxy_protocol,
        http2,
        liveness,
        keeping,
        endpoints: _,
        discover: _,
        place,
    } = upstream;
    Upstream {
        balance: balance.clone(),
        retries: *retries,
        connect_timeout: *connect_timeout,
        host: host.clone(),
        tls: tls.clone(),
        proxy_protocol: *proxy_protocol,
        http2: *http2,
        liveness: *liveness,
        keeping: *keeping,
        endpoints: Vec::new(),
        discover: None,
        place: place.clone(),
    }
}

/// In words: the first changes, and how many more there are; `nothing` without one.
impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { settings, components, upstreams, routes, effects: _ } = self;
        let count = settings.len() + components.len() + upstreams.len() + routes.len();
        let parts = [("component", components), ("upstream", upstreams), ("route", routes)];
        let parts = parts.into_iter().flat_map(|(kind, changes)| changes.iter().map(move |change| (kind, change)));
        let settings = settings.iter().map(|key| format!("{key} changed"));
        let parts = parts.map(|(kind, (name, change))| match change {
            Change::Added => format!("{kind} {name} added"),
            Change::Removed => format!("{kind} {name} removed"),
            Change::Changed(causes) => {
                let because: Vec<_> = causes.iter().map(|cause| cause.what.as_str()).collect();
                format!("{kind} {name} changed ({})", because.join(", "))
            }
        });
        let told: Vec<_> = settings.chain(parts).take(MOST_TOLD).collect();
        match count.saturating_sub(told.len()) {
            _ if told.is_empty() => formatter.write_str("nothing"),
            0 => formatter.write_str(&told.join(", ")),
            more => write!(formatter, "{} and {more} more", told.join(", ")),
        }
    }
}

/// More would be no line to read.
const MOST_TOLD: usize = 16;

/// `differs` says what has become of something that is in both: nothing, if there is no cause.
fn changes<T>(
    before: &BTreeMap<String, T>,
    after: &BTreeMap<String, T>,
    differs: impl Fn(&str, &T, &T) -> Vec<Cause>,
) -> BTreeMap<String, Change> {
    let removed = before.keys().filter(|name| !after.contains_key(*name)).map(|name| (name.clone(), Change::Removed));
    let others = after.iter().filter_map(|(name, new)| {
        let change = match before.get(name) {
            None => Change::Added,
            Some(old) => Change::Changed(Some(differs(name, old, new)).filter(|causes| !causes.is_empty())?),
        };
        Some((name.clone(), change))
    });
    removed.chain(others).collect()
}

/// That something's own keys have changed, if they have; `passing`: whether those are only about handshakes.
fn own_keys<T: PartialEq>(old: &T, new: &T, passing: impl Fn(&T, &T) -> bool) -> Option<Cause> {
    (old != new).then(|| Cause { what: "settings".to_owned(), is_passing: passing(old, new) })
}

fn by_name(config: &Config) -> BTreeMap<String, &Route> {
    config.routes.iter().map(|route| (route.name.clone(), route)).collect()
}

fn targets(route: &Route) -> BTreeSet<Cow<'_, str>> {
    match &route.target {
        Target::Upstream(name) => BTreeSet::from([name.into()]),
        Target::Services(services) => services.upstreams.values().map(Into::into).collect(),
        Target::Application(_) => route.application().into_iter().map(|(name, _)| name.into()).collect(),
        Target::Answer(_) | Target::Redirect(_) => BTreeSet::new(),
    }
}

/// What can change at the top of the file; the rest needs a restart, and a reload refuses it.
fn settings(before: &Config, after: &Config) -> Vec<&'static str> {
    fn order<'c>(one: &'c Config, other: &Config) -> Vec<&'c str> {
        let others: BTreeSet<&str> = other.routes.iter().map(|route| route.name.as_str()).collect();
        one.routes.iter().map(|route| route.name.as_str()).filter(|name| others.contains(name)).collect()
    }
    let keys = [
        ("workers", before.workers != after.workers),
        ("drain_time", before.drain_time != after.drain_time),
        ("upgrade_timeout", before.upgrade_timeout != after.upgrade_timeout),
        ("reload_timeout", before.reload_timeout != after.reload_timeout),
        ("assembly_memory", before.assembly_memory != after.assembly_memory),
        ("max_connections", before.max_connections != after.max_connections),
        ("watch", before.watch != after.watch),
        ("trusted_proxies", before.trusted_proxies != after.trusted_proxies),
        ("tokens", before.tokens != after.tokens),
        (ERRORS, before.errors != after.errors),
        (LISTENERS, before.listeners != after.listeners),
        (ADMIN, before.admin != after.admin),
        ("routes", order(before, after) != order(after, before)),
    ];
    keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

/// Also where only the files have changed that they name.
const LISTENERS: &str = "listeners";
/// The same; all of it but its TLS cannot change in a reload.
const ADMIN: &str = "admin";

/// The same.
const ERRORS: &str = "errors";

#[cfg(test)]
mod random;
#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::config;

    const BEFORE: &str = r#"
        [[listeners]]
        listen = "127.0.0.1:0"
        [components.shout]
        path = "shout.wasm"
        [upstreams.chat]
        endpoints = [{ url = "127.0.0.1:9001" }]
        [upstreams.other]
        endpoints = [{ url = "127.0.0.1:9002" }]
        [[routes]]
        name = "chat"
        path = "/chat"
        filters = ["shout", "shout"]
        upstream = "chat"
        [[routes]]
        name = "other"
        upstream = "other"
    "#;

    fn sources(text: &str, shout: &[u8]) -> Sources {
        let standard: Vec<&str> = tidegate_filters::all().iter().map(|standard| standard.name).collect();
        let config = config::parse("a.toml", text, Path::new(""), &standard).unwrap();
        let components = config.components.keys().map(|name| {
            let bytes: &[u8] = if name == "shout" { shout } else { b"" };
            (name.clone(), Arc::from(bytes))
        });
        let components = components.collect();
        Sources { config, components, files: BTreeMap::new() }
    }

    fn plan(after: &str, shout: &[u8]) -> Plan {
        Plan::between(&sources(BEFORE, b"1"), &sources(after, shout))
    }

    fn changed(causes: &[&str]) -> Change {
        let cause = |what: &&str| Cause { what: (*what).to_owned(), is_passing: *what == ENDPOINTS };
        Change::Changed(causes.iter().map(cause).collect())
    }

    #[test]
    fn a_file_that_a_route_trusts_whom_it_asks_by_is_a_part_of_it() {
        let asking = BEFORE
            .replace("path = \"/chat\"", "path = \"/chat\"\nauthorize = { url = \"https://a/\", ca = \"ca.pem\" }");
        let with = |ca: &[u8]| {
            let mut sources = sources(&asking, b"1");
            sources.files.insert("ca.pem".into(), Arc::from(ca));
            sources
        };
        assert_eq!(Plan::between(&with(b"1"), &with(b"1")), Plan::default());
        let plan = Plan::between(&with(b"1"), &with(b"2"));
        let changed = Change::Changed(vec![Cause { what: "authorize".to_owned(), is_passing: true }]);
        assert_eq!(plan.routes, BTreeMap::from([("chat".to_owned(), changed)]));
    }

    #[test]
    fn nothing_changes_from_a_configuration_to_itself() {
        assert_eq!(plan(&format!("# with a comment\n{BEFORE}"), b"1"), Plan::default());
    }

    #[test]
    fn a_component_with_other_bytes_changes_the_routes_that_use_it() {
        let Plan { settings, components, upstreams, routes, .. } = plan(BEFORE, b"2");
        assert_eq!((settings, upstreams), (vec![], BTreeMap::new()));
        assert_eq!(components, BTreeMap::from([("shout".to_owned(), changed(&["bytes"]))]));
        assert_eq!(routes, BTreeMap::from([("chat".to_owned(), changed(&["component shout"]))]));
    }

    #[test]
    fn a_candidate_with_other_bytes_changes_its_route() {
        let filters = "filters = [{ component = \"rewrite\", candidate = { component = \"shout\", shadow = true } }]";
        let text = BEFORE.replace("filters = [\"shout\", \"shout\"]", filters);
        let Plan { routes, .. } = Plan::between(&sources(&text, b"1"), &sources(&text, b"2"));
        assert_eq!(routes, BTreeMap::from([("chat".to_owned(), changed(&["component shout"]))]));
    }

    #[test]
    fn a_component_that_has_moved_changes_no_route() {
        let Plan { components, routes, .. } = plan(&BEFORE.replace("shout.wasm", "there/shout.wasm"), b"1");
        assert_eq!(components, BTreeMap::from([("shout".to_owned(), changed(&["path"]))]));
        assert_eq!(routes, BTreeMap::new());
    }

    #[test]
    fn an_upstream_changes_the_routes_that_lead_to_it() {
        let after = BEFORE.replace("[upstreams.chat]", "[upstreams.chat]\nhost = \"endpoint\"");
        for (after, causes) in [
            (after.clone(), changed(&["settings"])),
            (after.replace("9001", "9003"), changed(&["settings", "endpoints"])),
        ] {
            let Plan { upstreams, routes, .. } = plan(&after, b"1");
            assert_eq!(upstreams, BTreeMap::from([("chat".to_owned(), causes)]));
            assert_eq!(routes, BTreeMap::from([("chat".to_owned(), changed(&["upstream chat"]))]));
        }
    }

    #[test]
    fn an_upstream_that_has_only_other_endpoints_changes_no_route() {
        let Plan { upstreams, routes, .. } = plan(&BEFORE.replace("9001", "9003"), b"1");
        assert_eq!(upstreams, BTreeMap::from([("chat".to_owned(), changed(&["endpoints"]))]));
        assert_eq!(routes, BTreeMap::new());
    }

    #[test]
    fn what_is_new_and_what_is_gone_is_told() {
        let after =
            BEFORE.replace("name = \"other\"", "name = \"third\"").replace("filters", "when = [\"conditions\"] #");
        let Plan { components, routes, .. } = plan(&format!("drain_time = 0\n{after}"), b"1");
        assert_eq!(components, BTreeMap::from([("conditions".to_owned(), Change::Added)]));
        let expected = [("chat", changed(&["settings"])), ("other", Change::Removed), ("third", Change::Added)];
        assert_eq!(routes, expected.map(|(name, change)| (name.to_owned(), change)).into());
    }

    #[test]
    fn changes_are_told_in_a_line_that_stays_short() {
        assert_eq!(Plan::default().to_string(), "nothing");
        let after = BEFORE.replace("[upstreams.chat]", "[upstreams.chat]\nretries = 7");
        let after = after.replace("9002", "9003").replace("name = \"other\"", "name = \"third\"");
        let told = "drain_time changed, upstream chat changed (settings), upstream other changed (endpoints), \
                    route chat changed (upstream chat), route other removed, route third added";
        assert_eq!(plan(&format!("drain_time = 0\n{after}"), b"1").to_string(), told);
        let routes = (0..100).map(|index| (format!("r{index:02}"), Change::Removed)).collect();
        let told = Plan { routes, ..Plan::default() }.to_string();
        assert!(told.starts_with("route r00 removed, ") && told.ends_with("route r15 removed and 84 more"), "{told}");
    }

    #[test]
    fn settings_of_the_top_and_the_order_of_routes_are_told() {
        let (first, last) = BEFORE.split_once("[[routes]]\n        name = \"chat\"").unwrap();
        let (chat, other) = last.split_once("[[routes]]").unwrap();
        let after = format!("drain_time = 0\n{first}[[routes]]{other}[[routes]]\n        name = \"chat\"{chat}");
        let Plan { settings, routes, .. } = plan(&after, b"1");
        assert_eq!(settings, ["drain_time", "routes"]);
        assert_eq!(routes, BTreeMap::new());
    }
}
