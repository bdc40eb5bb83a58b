//! Random changes of a configuration: what the plan says becomes of connections is what they do, and what a small model
//! of the keys says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use arc_swap::ArcSwap;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tokio::runtime::{Builder, LocalOptions};

use super::super::{Built, Means, Sources, Steps, build};
use super::*;
use crate::component::{CacheDirectory, Host, Moment};
use crate::config;
use crate::discovery::Discovery;
use crate::drain::Order;
use crate::log::AccessLog;
use crate::metrics::{Metrics, WorkerIndex};
use crate::pipe::Scope;
use crate::session::{Connection, Worker, follow};
use crate::tls::Keys;
use crate::token::Issuers;
use crate::upstream::Resolver;

/// What a key, or a few of them, may be set to, the first of all at the start. `passing`: only about handshakes.
struct Key {
    of: Of,
    passing: bool,
    options: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Top,
    Component(&'static str),
    Upstream(&'static str),
    Route(usize),
}

/// The choice for each of [`keys`].
type Chosen = Vec<usize>;

const ROUTES: usize = 3;
const ON_CHANGE: &[&str] = &["on_change = 'drain'", "on_change = 'swap'", "on_change = 'keep'"];
const PRESENT: &[&str] = &["# here", "# gone"];
const TRUST: &[&str] = &["", "trusted_proxies = ['10.0.0.0/8']", "trusted_proxies = ['10.0.0.0/8', '::1/128']"];
const UPSTREAM: &[&str] = &["upstream = 'a'", "upstream = 'b'"];
const ENDPOINTS: &[&str] = &[
    "endpoints = [{ url = 'h:1' }]",
    "endpoints = [{ url = 'h:1', weight = 7 }]",
    "endpoints = [{ url = 'h:2', zone = 'a' }, { url = 'h:1' }]",
];
const BALANCE: &[&str] = &["balance = 'picks'", ""];
const BUILD: &[&str] = &["# first build", "# second build"];
const MOVED: &[&str] = &["path = 'guest.wasm'", "path = 'moved/guest.wasm'"];
const WHEN: &[&str] = &[
    "when = [{ component = 'asks', config = { all = [{ query = 'a', op = '=', value = '1' }] } }]",
    "",
    "when = [{ component = 'asks', config = { all = [{ query = 'a', op = '=', value = '2' }] } }]",
];
const FILTERS: &[&str] = &[
    "filters = ['guard']",
    "",
    "filters = ['guard', 'next']",
    "filters = [{ component = 'guard', on_failure = 'bypass' }]",
    "filters = [{ component = 'guard', candidate = { component = 'next', shadow = true } }]",
    "filters = [{ component = 'guard', candidate = { component = 'next', canary = '5%' } }]",
];

fn keys() -> Vec<Key> {
    let key = |of, options| Key { of, passing: false, options };
    let passing = |of, options| Key { of, passing: true, options };
    let mut keys = vec![
        key(Of::Top, TRUST),
        key(Of::Top, &["drain_time = 0", "drain_time = '1s'"]),
        key(Of::Top, &["", "upgrade_timeout = '9s'"]),
        key(Of::Top, &["", "reload_timeout = '9s'"]),
        key(Of::Top, &["", "max_connections = 99"]),
        key(Of::Top, &["", "assembly_memory = '1MiB'"]),
    ];
    for component in ["asks", "guard", "next", "picks"].map(Of::Component) {
        keys.extend([key(component, BUILD), key(component, &["deadline = '1s'", "deadline = '2s'"])]);
        keys.push(key(component, MOVED));
    }
    for upstream in ["a", "b"].map(Of::Upstream) {
        keys.extend([key(upstream, BALANCE), passing(upstream, &["", "retries = 0"])]);
        keys.push(passing(upstream, &["", "connect_timeout = '1s'"]));
        keys.push(key(upstream, &["", "host = 'endpoint'"]));
        keys.push(key(upstream, &["", "tcp_keepalive = '2s'"]));
        keys.push(key(upstream, ENDPOINTS));
    }
    for route in (0..ROUTES).map(Of::Route) {
        keys.extend([ON_CHANGE, PRESENT, WHEN, FILTERS, UPSTREAM].map(|options| key(route, options)));
        keys.push(key(route, &["path_prefix = '/NAME/a'", "path_prefix = '/NAME/b'"]));
        keys.push(key(route, &["", "hosts = ['example.com']"]));
        keys.push(key(route, &["", "allowed_origins = ['https://example.com']"]));
        keys.push(key(route, &["", "ping_interval = '30s'"]));
        keys.push(key(route, &["", "max_frame_size = '1MiB'"]));
        keys.push(key(route, &["", "forwarded_headers = false"]));
        keys.push(key(route, &["", "group_id_header = 'x-room'"]));
        keys.push(passing(route, &["", "max_connections = 9"]));
        keys.push(passing(route, &["", "handshakes_per_second = 9"]));
        keys.push(passing(route, &["", "handshake_timeout = '1s'"]));
    }
    keys
}

/// All keys, as they are set.
struct Draft<'a> {
    keys: &'a [Key],
    chosen: &'a [usize],
}

impl Draft<'_> {
    fn of(&self, of: Of) -> impl Iterator<Item = &'static str> {
        let set = self.keys.iter().zip(self.chosen).filter(move |(key, _)| key.of == of);
        set.map(|(key, chosen)| key.options[*chosen])
    }

    /// Which of these it is set to.
    fn chosen(&self, of: Of, options: &[&str]) -> usize {
        let mut known = self.keys.iter().zip(self.chosen);
        *known.find(|(key, _)| key.of == of && key.options == options).unwrap().1
    }

    fn is_there(&self, route: usize) -> bool {
        PRESENT[self.chosen(Of::Route(route), PRESENT)] == "# here"
    }

    fn text(&self) -> String {
        let lines = |of| self.of(of).map(|line| format!("{line}\n")).collect::<String>();
        let mut text = format!("{}\n[[listeners]]\nlisten = '127.0.0.1:0'\n", lines(Of::Top));
        for name in ["asks", "guard", "next", "picks"] {
            text.push_str(&format!("[components.{name}]\n{}", lines(Of::Component(name))));
        }
        for name in ["a", "b"] {
            text.push_str(&format!("[upstreams.{name}]\n{}", lines(Of::Upstream(name))));
        }
        for route in (0..ROUTES).filter(|route| self.is_there(*route)) {
            let keys = lines(Of::Route(route)).replace("NAME", &route.to_string());
            text.push_str(&format!("[[routes]]\nname = 'r{route}'\n{keys}"));
        }
        format!("{text}[[routes]]\nname = 'last'\npath = '/last'\nupstream = 'a'\non_change = 'keep'\n")
    }

    /// What a file would have it read.
    fn sources(&self) -> Sources {
        let standard: Vec<_> = tidegate_filters::all().iter().map(|standard| standard.name).collect();
        let config = config::parse("a.toml", &self.text(), Path::new(""), &standard).unwrap();
        let components = config.components.keys().map(|name| {
            let of = match name.as_str() {
                "asks" => "conditions",
                "guard" | "next" => "json-guard",
                "picks" => "round-robin",
                name => name,
            };
            let standard = tidegate_filters::all().iter().find(|standard| standard.name == of).unwrap();
            let mut bytes = standard.bytes.to_vec();
            if standard.name != name && BUILD[self.chosen(Of::Component(of_name(name)), BUILD)] != BUILD[0] {
                // A custom section without a name, which says nothing.
                bytes.extend([0, 1, 0]);
            }
            (name.clone(), Arc::from(bytes))
        });
        let components = components.collect();
        Sources { config, components, files: BTreeMap::new() }
    }
}

fn of_name(name: &str) -> &'static str {
    ["asks", "guard", "next", "picks"].into_iter().find(|known| *known == name).unwrap()
}

/// One set of choices and the next.
struct Step<'a> {
    before: Draft<'a>,
    after: Draft<'a>,
}

impl Step<'_> {
    fn changed(&self, of: Of) -> impl Iterator<Item = &Key> {
        let pairs = self.before.keys.iter().zip(self.before.chosen.iter().zip(self.after.chosen));
        pairs.filter(move |(key, (before, after))| key.of == of && before != after).map(|(key, _)| key)
    }

    fn is_another(&self, component: &'static str) -> bool {
        self.changed(Of::Component(component)).any(|key| key.options != MOVED)
    }

    /// Whether a route's own filters are others.
    fn has_other_filters(&self, route: usize) -> bool {
        let used = FILTERS[self.after.chosen(Of::Route(route), FILTERS)];
        self.changed(Of::Route(route)).any(|key| key.options == FILTERS)
            || ["guard", "next"].iter().any(|name| used.contains(&format!("'{name}'")) && self.is_another(name))
    }

    /// What has changed about a route that is there before and after: nothing, or whether it is only passing.
    fn change(&self, route: usize) -> Option<bool> {
        let upstream = if self.after.chosen(Of::Route(route), UPSTREAM) == 0 { "a" } else { "b" };
        let asks = !WHEN[self.after.chosen(Of::Route(route), WHEN)].is_empty();
        let picks = !BALANCE[self.after.chosen(Of::Upstream(upstream), BALANCE)].is_empty();
        let of_upstream = self.changed(Of::Upstream(upstream)).filter(|key| key.options != ENDPOINTS);
        let own = self.changed(Of::Route(route)).chain(of_upstream).map(|key| key.passing);
        let others = [
            self.changed(Of::Top).any(|key| key.options == TRUST),
            self.has_other_filters(route),
            asks && self.is_another("asks"),
            picks && self.is_another("picks"),
        ];
        let all: Vec<_> = own.chain(others.into_iter().filter(|differs| *differs).map(|_| false)).collect();
        (!all.is_empty()).then(|| all.into_iter().all(|passing| passing))
    }

    /// What is to become of the open connections of a route that is there before; `None`: it is the same.
    fn effect(&self, route: usize) -> Option<Effect> {
        let wish = |draft: &Draft<'_>| ON_CHANGE[draft.chosen(Of::Route(route), ON_CHANGE)];
        let (before, after) = (wish(&self.before), wish(&self.after));
        let drain = "on_change = 'drain'";
        if !self.after.is_there(route) {
            return Some(if before == drain { Effect::Closed } else { Effect::Kept });
        }
        let is_passing = self.change(route)?;
        Some(match after {
            "on_change = 'drain'" if !is_passing => Effect::Closed,
            "on_change = 'swap'" if before != after || self.has_other_filters(route) => Effect::Swapped,
            _ => Effect::Kept,
        })
    }
}

/// One worker and what it is built from.
struct Bed {
    host: Host,
    discovery: Arc<Discovery>,
    metrics: Arc<Metrics>,
    keys: Arc<Keys>,
    issuers: Arc<Issuers>,
    acme: Arc<crate::acme::Acme>,
    desk: crate::inquiry::Desk,
    _cache: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        let cache = tempfile::tempdir().unwrap();
        let directory = CacheDirectory::open(cache.path()).unwrap();
        let host = Host::with(1, Some(directory), None, Arc::default()).unwrap();
        Self {
            host,
            discovery: Discovery::new(Metrics::new(1)).0,
            metrics: Metrics::new(1),
            keys: Arc::new(Keys::new().unwrap()),
            issuers: Issuers::new().0,
            acme: crate::acme::Acme::new().0,
            desk: crate::inquiry::Desk::new().0,
            _cache: cache,
        }
    }

    fn build(&self, sources: &Sources, previous: Option<(&Snapshot, &Sources)>) -> Built {
        let generation = previous.map_or(1, |(snapshot, _)| snapshot.generation + 1);
        let means = Means {
            host: &self.host,
            metrics: &self.metrics,
            keys: &self.keys,
            issuers: &self.issuers,
            desk: &self.desk,
            acme: &self.acme,
        };
        build(sources, previous, Moment::now(), generation, &means, &Steps::untold()).unwrap()
    }

    fn worker(&self, snapshot: &Arc<ArcSwap<Snapshot>>) -> Rc<Worker> {
        let (index, resolver) = (WorkerIndex(0), Resolver::new().0);
        let (pool, access) = (self.host.pool(index), AccessLog::off());
        Worker::new(index, pool, snapshot.clone(), access, &self.metrics, 0, resolver)
    }
}

/// What a connection has been told to do, with those that are to be closed.
fn told(connection: &Rc<Connection>, closing: &[Rc<Connection>]) -> Effect {
    if closing.iter().any(|other| Rc::ptr_eq(other, connection)) {
        return Effect::Closed;
    }
    match connection.handle.switch.poll(&Context::from_waker(Waker::noop())) {
        // Otherwise it is only about candidates that have failed.
        Some(Order::Change(change)) if change.scope == Scope::Whole => Effect::Swapped,
        _ => Effect::Kept,
    }
}

async fn changes(steps: u32, seed: u64) {
    let (bed, keys, mut random) = (Bed::new(), keys(), StdRng::seed_from_u64(seed));
    let mut chosen: Chosen = vec![0; keys.len()];
    let mut sources = Draft { keys: &keys, chosen: &chosen }.sources();
    let current = bed.build(&sources, None);
    current.endpoints.hand_in(&bed.metrics, &bed.discovery);
    let current = Arc::new(ArcSwap::from_pointee(current.snapshot));
    let worker = bed.worker(&current);
    let mut open: BTreeMap<usize, Vec<Rc<Connection>>> = BTreeMap::new();
    for number in 0..steps {
        let mut next = chosen.clone();
        for _ in 0..random.random_range(1..=3) {
            let key = random.random_range(0..keys.len());
            let others: Vec<_> = (0..keys[key].options.len()).filter(|option| *option != chosen[key]).collect();
            next[key] = *others.choose(&mut random).unwrap();
        }
        let (before, after) = (Draft { keys: &keys, chosen: &chosen }, Draft { keys: &keys, chosen: &next });
        for route in (0..ROUTES).filter(|route| before.is_there(*route)) {
            open.entry(route).or_default().push(worker.open_for_test(&format!("r{route}")));
        }

        let previous = current.load_full();
        let read = after.sources();
        let Built { snapshot, plan, endpoints, .. } = bed.build(&read, Some((&previous, &sources)));
        endpoints.hand_in(&bed.metrics, &bed.discovery);
        let step = Step { before: Draft { ..before }, after: Draft { ..after } };
        for name in ["a", "b"] {
            let ([was, is], of) = ([&previous, &snapshot].map(|it| &it.upstreams[name]), Of::Upstream(name));
            let mut others = step.changed(of).filter(|key| key.options != ENDPOINTS);
            let has_balancer = !BALANCE[step.after.chosen(of, BALANCE)].is_empty();
            let is_same = others.next().is_none() && !(has_balancer && step.is_another("picks"));
            assert_eq!(Arc::ptr_eq(was, is), is_same, "{name}: {plan}");
            let urls = is.balance.set().endpoints().iter().map(|it| it.url().to_owned()).collect::<Vec<_>>();
            let expected: &[&str] =
                [&["ws://h:1"][..], &["ws://h:1"], &["ws://h:2", "ws://h:1"]][step.after.chosen(of, ENDPOINTS)];
            assert_eq!(urls, expected);
        }
        current.store(Arc::new(snapshot));
        let closing: Vec<_> = follow(&worker).await.into_iter().filter_map(|it| it.upgrade()).collect();

        let said = || format!("seed {seed}, step {number}: {plan}\n{}\nthen\n{}", before.text(), after.text());
        let mut listed = BTreeSet::new();
        for route in (0..ROUTES).filter(|route| step.before.is_there(*route)) {
            let (name, expected) = (format!("r{route}"), step.effect(route));
            assert_eq!(plan.effects.get(&name).copied(), expected, "of {name} in the plan; {}", said());
            for connection in &open[&route] {
                let told = told(connection, &closing);
                assert_eq!(told, expected.unwrap_or(Effect::Kept), "of a connection of {name}; {}", said());
            }
            listed.extend(expected.map(|_| name));
        }
        let added = (0..ROUTES).filter(|route| !step.before.is_there(*route) && step.after.is_there(*route));
        listed.extend(added.map(|route| format!("r{route}")));
        let routes: BTreeSet<_> = plan.routes.keys().filter(|name| *name != "last").cloned().collect();
        assert_eq!(routes, listed, "{}", said());

        // Closed, or of a route that would be another if it came back.
        for connection in closing {
            worker.close_for_test(&connection);
        }
        for (route, all) in &mut open {
            let expected = step.effect(*route);
            if !step.after.is_there(*route) || expected == Some(Effect::Closed) {
                all.drain(..).for_each(|connection| worker.close_for_test(&connection));
            }
        }
        (chosen, sources) = (next, read);
    }
}

/// `TIDEGATE_FUZZ_STEPS` asks for more.
const STEPS: u32 = 300;

#[test]
fn connections_do_what_a_dry_run_says_whatever_changes() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (steps, seed) = (number("TIDEGATE_FUZZ_STEPS").unwrap_or(STEPS.into()), number("TIDEGATE_FUZZ_SEED"));
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
    runtime.block_on(changes(u32::try_from(steps).unwrap(), seed.unwrap_or(1)));
}
