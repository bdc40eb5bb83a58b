//! The control plane at random: edits, broken files, new builds, decisions about candidates, drains, upgrades, quarantine
//! and restoring, in any order and some of them at once, under a crowd of pipelined connections whose filters count.
//! A small model says what must be in force and what every connection must have.
//!
//! `TIDEGATE_STEERING_SECONDS` says for how long, `TIDEGATE_STEERING_SEED` which order. With the same seed, the same steps
//! are taken; how they meet inside the proxy is up to the machine.

mod crowd;
mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tidegate_tests::{Echo, Frame, Proxy, Reply, Request, guests, within};
use tokio::time::{Instant, interval, sleep};

use crowd::{Crowd, Side};
use model::{Candidate, HOSTILE, Model, ROUTES, Standing};

const ACTIVE: &str = "tidegate_connections_active";
const CONNECTIONS: &str = "tidegate_component_connections";
const QUARANTINED: &str = "tidegate_component_quarantined";
const SWAPS: &str = "tidegate_component_swaps_total";

/// Connections of each route.
const MEMBERS: usize = 16;
/// Steps after which memory is looked at.
const STRETCH: usize = 10;
/// Stretches in which memory finds its level: a reload with all other routes may come late.
const WARM_UP: usize = 4;
/// Milliseconds within which something happens during a reload.
const MEANWHILE: u64 = 150;

#[tokio::test]
async fn whatever_an_operator_does_in_whatever_order_the_model_is_in_force_and_no_message_is_lost() {
    let (seconds, seed) = (scale("TIDEGATE_STEERING_SECONDS", 20), scale("TIDEGATE_STEERING_SEED", 1));
    let mut steering = Steering::start(seed).await;
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        steering.step().await;
    }
    steering.finish().await;
}

/// A proxy, its clients, and what is known of both.
struct Steering {
    proxy: Proxy,
    /// The process that serves.
    pid: u32,
    _echo: Echo,
    crowd: Crowd,
    model: Model,
    random: StdRng,
    steps: usize,
    /// Of the filter and of the candidates.
    builds: BTreeMap<&'static str, u8>,
    generation: u64,
    /// The memory that each stretch of steps ended with, of the process that serves.
    resident: Vec<u64>,
    told: Vec<String>,
}

impl Steering {
    async fn start(seed: u64) -> Self {
        let echo = Echo::start().await;
        let model = Model::new(echo.address());
        let proxy = Proxy::upgradable(&model.start()).await;
        let builds = BTreeMap::from([("counter", 0), ("next", 0)]);
        for component in builds.keys() {
            proxy.place(&format!("{component}.wasm"), guests::rebuilt("counter", 0));
        }
        proxy.rewrite(&model.text());
        assert_eq!(proxy.reload().await.status, 200);
        let crowd = Crowd::gather(proxy.address, MEMBERS, |route| model.labels(route)).await;
        let (pid, random) = (proxy.pid(), StdRng::seed_from_u64(seed));
        let (resident, told) = (Vec::new(), vec![format!("seed {seed}")]);
        Self { proxy, pid, _echo: echo, crowd, model, random, steps: 0, builds, generation: 0, resident, told }
    }

    async fn step(&mut self) {
        let route = self.random.random_range(0..ROUTES);
        match self.random.random_range(0..100) {
            0..4 => self.change_others().await,
            4..8 => self.change_endpoints().await,
            8..18 => self.relabel(route).await,
            18..32 => self.try_candidate(route).await,
            32..38 => self.end_trial_in_file(route).await,
            38..56 => self.decide(route).await,
            56..62 => self.decide_and_edit(route).await,
            62..68 => self.decide_and_build(route).await,
            68..75 => self.build().await,
            75..85 => self.break_something().await,
            85..91 => self.drain(route).await,
            91..98 => self.fail_or_restore().await,
            _ => self.upgrade().await,
        }
        self.steps += 1;
        self.compare().await;
        if self.steps.is_multiple_of(STRETCH) {
            self.resident.push(self.resident());
        }
    }

    /// Says what is about to be done: without it, nobody could tell what a failure was about.
    fn tell(&mut self, what: String) {
        self.told.push(what);
        let last = self.told.len().saturating_sub(12);
        self.crowd.told(self.told[last..].join("; "));
    }

    /// Reloads, and asks at the same time what a reload would do.
    async fn reload(&mut self) {
        let dry_run = self.proxy.admin("POST", "/api/v1/reload?dry_run=true");
        let (reloaded, tried) = tokio::join!(self.proxy.reload(), dry_run);
        assert_eq!((reloaded.status, tried.status), (200, 200), "{reloaded:?} {tried:?} after {:?}", self.told);
    }

    /// Puts the model's configuration in force, and waits until all connections of a route have what it says.
    async fn apply(&mut self, route: usize) {
        self.crowd.allow(route, self.model.labels(route));
        self.proxy.rewrite(&self.model.text());
        self.reload().await;
        self.settle(route).await;
    }

    async fn settle(&mut self, route: usize) {
        let side = self.model.side(route);
        self.crowd.settle(route, &self.model.labels(route), side).await;
        self.model.settled(route);
    }

    async fn relabel(&mut self, route: usize) {
        self.model.relabel(route);
        self.tell(format!("route {route} is labelled {:?}", self.model.labels(route)));
        self.apply(route).await;
    }

    /// Other routes come, or go.
    async fn change_others(&mut self) {
        self.model.change_others();
        self.tell("other routes come, or go".to_owned());
        self.proxy.rewrite(&self.model.text());
        self.reload().await;
    }

    /// What nothing but the upstream hears of.
    async fn change_endpoints(&mut self) {
        self.model.change_endpoints();
        self.tell("the endpoints are others".to_owned());
        self.proxy.rewrite(&self.model.text());
        self.reload().await;
    }

    /// A new candidate, or another one in its place.
    async fn try_candidate(&mut self, route: usize) {
        self.model.try_candidate(route);
        self.tell(format!("route {route} has a candidate {:?}", self.model.labels(route)));
        self.apply(route).await;
    }

    async fn end_trial_in_file(&mut self, route: usize) {
        self.model.forget_candidate(route);
        self.tell(format!("route {route} has no candidate"));
        self.apply(route).await;
    }

    /// A route with a candidate, from this one on.
    fn with_candidate(&self, route: usize) -> Option<usize> {
        (route..ROUTES).chain(0..route).find(|route| self.model.candidate(*route).is_some())
    }

    fn decision(&mut self) -> (Standing, &'static str) {
        let decisions = [(Standing::Promoted, "promote"), (Standing::RolledBack, "roll-back")];
        *decisions.choose(&mut self.random).unwrap()
    }

    /// Reloads, and decides at some moment of that.
    async fn decide_meanwhile(&mut self, route: usize, decision: &str) {
        let moment = Duration::from_millis(self.random.random_range(0..MEANWHILE));
        let decide = async {
            sleep(moment).await;
            Self::ask(&self.proxy, route, decision).await
        };
        let (reloaded, decided) = tokio::join!(self.proxy.reload(), decide);
        assert_eq!((reloaded.status, decided.status), (200, 200), "{reloaded:?} {decided:?}");
    }

    async fn ask(proxy: &Proxy, route: usize, decision: &str) -> Reply {
        proxy.admin("POST", &format!("/api/v1/routes/r{route}/candidates/next/{decision}")).await
    }

    async fn decide(&mut self, route: usize) {
        let Some(route) = self.with_candidate(route) else { return };
        let (standing, decision) = self.decision();
        self.tell(format!("{decision} on route {route}"));
        self.model.decide(route, standing);
        self.crowd.allow(route, self.model.labels(route));
        let reply = Self::ask(&self.proxy, route, decision).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        self.settle(route).await;
    }

    /// A decision while a reload of another route is under way: both hold.
    async fn decide_and_edit(&mut self, route: usize) {
        let Some(route) = self.with_candidate(route) else { return };
        let (standing, decision) = self.decision();
        let other = (route + 1) % ROUTES;
        self.tell(format!("{decision} on route {route} while route {other} is relabelled"));
        self.model.decide(route, standing);
        self.model.relabel(other);
        self.crowd.allow(route, self.model.labels(route));
        self.crowd.allow(other, self.model.labels(other));
        self.proxy.rewrite(&self.model.text());
        self.decide_meanwhile(route, decision).await;
        self.settle(route).await;
        self.settle(other).await;
    }

    /// A decision while the candidate itself is replaced by a new build: a promotion holds, and what was rolled back does
    /// not serve everybody.
    async fn decide_and_build(&mut self, route: usize) {
        let Some(route) = self.with_candidate(route) else { return };
        let (standing, decision) = self.decision();
        self.tell(format!("{decision} on route {route} while its candidate is built anew"));
        self.model.rebuilt();
        self.model.decide(route, standing);
        self.crowd.allow_all(|route| self.model.all_labels(route));
        self.build_anew("next");
        self.decide_meanwhile(route, decision).await;
        let shown = self.standing(route).await;
        if standing == Standing::RolledBack {
            assert_ne!(shown, Standing::Promoted, "{:?}", self.told);
            if shown == Standing::OnTrial {
                self.model.try_anew(route);
            }
        }
        self.settle_all().await;
    }

    async fn settle_all(&mut self) {
        for route in 0..ROUTES {
            self.settle(route).await;
        }
    }

    fn build_anew(&mut self, component: &'static str) {
        self.builds.entry(component).and_modify(|build| *build = build.wrapping_add(1));
        self.place(component);
    }

    fn place(&self, component: &str) {
        self.proxy.place(&format!("{component}.wasm"), guests::rebuilt("counter", self.builds[component]));
    }

    async fn build(&mut self) {
        let component = *["counter", "next"].choose(&mut self.random).unwrap();
        self.tell(format!("{component} is built anew"));
        if component == "next" {
            self.model.rebuilt();
            self.crowd.allow_all(|route| self.model.all_labels(route));
        }
        self.build_anew(component);
        self.reload().await;
        self.settle_all().await;
    }

    /// Something that must be refused, and leaves everything as it is.
    async fn break_something(&mut self) {
        let what = self.random.random_range(0..6);
        self.tell(format!("break something: {what}"));
        let text = self.model.text();
        match what {
            0 => self.proxy.rewrite("this is no configuration"),
            1 => self.proxy.rewrite(&text.replacen("label = ", "nonsense = 1, label = ", 1)),
            2 => self.proxy.rewrite(&text.replacen("upstream = \"back\"", "upstream = \"nowhere\"", 1)),
            3 => self.proxy.place_pipe("counter.wasm"),
            4 => self.proxy.place_pipe("tidegate.toml"),
            _ => self.proxy.place("counter.wasm", &guests::bytes("counter")[..1000]),
        }
        let reply = self.proxy.reload().await;
        assert_eq!(reply.status, 422, "{reply:?} after {:?}", self.told);
        self.place("counter");
        self.proxy.rewrite(&text);
        self.reload().await;
    }

    async fn drain(&mut self, route: usize) {
        self.tell(format!("route {route} is drained"));
        let target = format!("/api/v1/drain?route=r{route}&over=0s");
        let reply = self.crowd.send_away(&[route], self.proxy.admin("POST", &target)).await;
        assert_eq!(reply.status, 202, "{reply:?}");
        self.settle(route).await;
    }

    async fn upgrade(&mut self) {
        self.tell("an upgrade".to_owned());
        self.model.restarted();
        self.crowd.allow_all(|route| self.model.all_labels(route));
        let all: Vec<usize> = (0..ROUTES).collect();
        let (proxy, pid) = (&self.proxy, self.pid);
        let upgrade = async {
            let successor = proxy.upgrade_of(pid).await;
            // Until then a connection that has just come may be sent away once more.
            within("the former process to end", ended(pid)).await;
            successor
        };
        self.pid = self.crowd.send_away(&all, upgrade).await;
        self.generation = 0;
        self.has_kept_its_memory();
        self.resident.clear();
        self.settle_all().await;
    }

    /// A filter fails until it is called no more, or is called again.
    async fn fail_or_restore(&mut self) {
        if self.model.quarantined {
            self.tell("restore".to_owned());
            let reply = self.proxy.admin("POST", "/api/v1/components/hostile/restore").await;
            assert!(reply.body.contains("\"lifted\": 1"), "{reply:?}");
            self.model.quarantined = false;
            return;
        }
        self.tell("a filter fails".to_owned());
        for _ in 0..model::MAX_FAILURES {
            let mut client = self.proxy.open(&format!("/{HOSTILE}")).await;
            client.send(Frame::text("boom")).await;
            client.expect_close(1011).await;
        }
        self.model.quarantined = true;
        self.proxy.until(QUARANTINED, &[("component", "hostile")], 1).await;
        assert_eq!(self.proxy.answer(&Request::upgrade(&format!("/{HOSTILE}"))).await.status, 503);
    }

    async fn candidates(&self) -> Vec<Value> {
        let reply = self.proxy.admin("GET", "/api/v1/candidates").await;
        serde_json::from_str::<Value>(&reply.body).unwrap().as_array().unwrap().clone()
    }

    async fn standing(&self, route: usize) -> Standing {
        let candidates = self.candidates().await;
        let shown = candidates.iter().find(|shown| shown["route"] == format!("r{route}")).unwrap();
        Standing::read(shown["standing"].as_str().unwrap())
    }

    /// Compares what the proxy says of itself with the model.
    async fn compare(&mut self) {
        let told = &self.told;
        let shown: BTreeSet<String> = self
            .candidates()
            .await
            .iter()
            .map(|shown| format!("{} {}", shown["route"].as_str().unwrap(), shown["standing"].as_str().unwrap()))
            .collect();
        let expected: BTreeSet<String> = (0..ROUTES)
            .filter_map(|route| self.model.candidate(route).map(|Candidate { standing, .. }| (route, standing)))
            .map(|(route, standing)| format!("r{route} {}", standing.label()))
            .collect();
        assert_eq!(shown, expected, "after {told:?}");
        for route in 0..ROUTES {
            self.proxy.until(ACTIVE, &[("route", &format!("r{route}"))], MEMBERS as u64).await;
        }
        let samples = self.proxy.metrics().await;
        let quarantined = samples.count(QUARANTINED, &[("component", "hostile")]);
        assert_eq!(quarantined, u64::from(self.model.quarantined), "after {told:?}");
        assert_eq!(samples.count(SWAPS, &[("outcome", "failed")]), 0, "after {told:?}");
        let generation = samples.count("tidegate_config_generation", &[]);
        assert!(generation >= self.generation, "{generation} < {} after {told:?}", self.generation);
        self.generation = generation;
        let served = samples.count(CONNECTIONS, &[("component", "counter")])
            + samples.count(CONNECTIONS, &[("component", "next")]);
        assert_eq!(served, (ROUTES * MEMBERS) as u64, "after {told:?}");
    }

    /// The resident memory of the process that serves, in bytes.
    fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Demands that a process ends with about the memory that it had when it had tried everything.
    fn has_kept_its_memory(&self) {
        let settled = self.resident.get(WARM_UP..).unwrap_or_default();
        if let [first, .., last] = *settled {
            assert!(last < first + first / 4, "resident memory grew: {:?} after {:?}", self.resident, self.told);
        }
    }

    /// Ends all connections: nothing of them is left.
    async fn finish(mut self) {
        self.tell("the end".to_owned());
        let messages = self.crowd.go_home().await;
        for route in 0..ROUTES {
            self.proxy.until(ACTIVE, &[("route", &format!("r{route}"))], 0).await;
        }
        let samples = self.proxy.metrics().await;
        assert_eq!(samples.count(CONNECTIONS, &[]), 0);
        assert_eq!(samples.count("tidegate_assembly_bytes", &[]), 0);
        self.has_kept_its_memory();
        #[expect(clippy::print_stdout, reason = "figures for whoever asks with --nocapture")]
        {
            println!("{} steps, {messages} messages, resident {:?}", self.steps, self.resident);
        }
    }
}

/// Waits until a process has ended.
async fn ended(pid: u32) {
    let mut ticks = interval(Duration::from_millis(5));
    let is_alive = || {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
    };
    while is_alive() {
        ticks.tick().await;
    }
}

fn scale(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
