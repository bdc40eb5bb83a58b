//! What the host adds to each call of a component: the guest does nearly nothing.

#![expect(clippy::expect_used, reason = "a bench that cannot be set up has nothing to measure")]

use std::hint::black_box;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidegate::component::{
    EndpointFacts, Handshake, Host, Limits, Message, OnFailure, Opened, PickEndpoint, PickSet, Pool, Session, Verdicts,
};
use tidegate::metrics::{Metrics, WorkerIndex};
use tidegate::peer::{MessageKind, Side};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const FILTER: &str = include_str!("../src/component/tests/filter.wat");
const BALANCER: &str = include_str!("../src/component/tests/balancer.wat");

fn module(text: &str, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
    let (package, _) = resolve.push_dir(wit).expect("the interfaces");
    let world = resolve.select_world(&[package], Some(world)).expect("the world");
    let mut module = wat::parse_str(text).expect("a guest");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("a component type");
    module
}

fn message(payload: &[u8]) -> Message<'_> {
    Message { origin: Side::Client, kind: MessageKind::Text, size: payload.len() as u64, payload }
}

fn handshake() -> Handshake {
    let text = str::to_owned;
    Handshake {
        method: text("GET"),
        scheme: "ws",
        authority: text("chat.example.com"),
        path: text("/"),
        http_version: "1.1",
        headers: (0..10).map(|field| (format!("x-field-{field}"), [b'v'; 30])).collect(),
        client_address: text("127.0.0.1"),
        connection_id: text("3f1c8a8e-0000-4000-8000-000000000001"),
        route: text("chat"),
        ..Handshake::default()
    }
}

fn filter(criterion: &mut Criterion) {
    let host = Host::new(1).expect("a host");
    let metrics = Metrics::new(1);
    let component = host.load("filter", &module(FILTER, "full-filter"), Limits::default()).expect("a component");
    let filter = component.filter("chat", "{}", OnFailure::Close, 1, &metrics).expect("a filter");
    let pool: Pool = host.pool(WorkerIndex(0));
    let handshake = Rc::new(handshake());
    // The guest gives no memory back that a handshake took; when it has none left, another instance takes its place.
    let open = || -> Session {
        loop {
            if let Ok(Opened::Admitted(admission)) = pool.open(&filter, &handshake) {
                return admission.session;
            }
        }
    };
    let mut session = open();

    let mut group = criterion.benchmark_group("on_message");
    for size in [0, 64, 1 << 10, 16 << 10, 64 << 10] {
        let payload = vec![b'x'; size];
        group.bench_function(size.to_string(), |bencher| {
            bencher.iter(|| session.on_message(black_box(message(&payload))))
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("on_messages");
    for size in [64, 1 << 10] {
        let payload = vec![b'x'; size];
        let messages = [message(&payload); 16];
        group.throughput(Throughput::Elements(16));
        group.bench_function(format!("16 of {size}"), |bencher| {
            let mut verdicts = Verdicts::default();
            bencher.iter(|| {
                verdicts.clear();
                session.on_messages(black_box(&messages).iter().copied(), &mut verdicts)
            });
        });
    }
    group.finish();

    criterion.bench_function("open and drop", |bencher| bencher.iter(&open));
    criterion.bench_function("trap and start anew", |bencher| {
        bencher.iter(|| open().on_message(black_box(message(b"trap"))));
    });
}

/// What a standard predicate that looks at one field costs a handshake.
fn predicate(criterion: &mut Criterion) {
    const ASKED: &str = r#"{"all":[{"header":"x-field-7","op":"=","value":"gold"}]}"#;
    let (host, metrics) = (Host::new(1).expect("a host"), Metrics::new(1));
    let standard = tidegate_filters::find("conditions").expect("a standard component");
    let component = host.load(standard.name, standard.bytes, Limits::default()).expect("a component");
    let predicate = component.predicate("chat", ASKED, &metrics).expect("a predicate");
    let (pool, handshake) = (host.pool(WorkerIndex(0)), handshake());
    criterion.bench_function("matches", |bencher| bencher.iter(|| pool.matches(&predicate, black_box(&handshake))));
}

fn balancer(criterion: &mut Criterion) {
    let host = Host::new(1).expect("a host");
    let metrics = Metrics::new(1);
    let component = host.load("balancer", &module(BALANCER, "balancer"), Limits::default()).expect("a component");
    let balancer = component.balancer("chat", "{}", &metrics).expect("a balancer");
    let pool = host.pool(WorkerIndex(0));
    let about = |id: u32| EndpointFacts { url: format!("ws://10.0.0.{id}"), ..EndpointFacts::default() };
    let endpoints = (0..10).map(|id| PickEndpoint { id, weight: 1, about: Arc::new(about(id)) });
    let endpoints = Arc::new(PickSet::new(endpoints.collect()));
    let handshake = handshake();
    criterion.bench_function("pick", |bencher| {
        bencher.iter(|| pool.pick(&balancer, &endpoints, black_box(&handshake), &[]));
    });
}

/// What a change of one weight costs each worker at its next pick, beside the pick itself.
fn many_endpoints(criterion: &mut Criterion) {
    let (host, metrics) = (Host::new(1).expect("a host"), Metrics::new(1));
    let standard = tidegate_filters::find("random").expect("a standard component");
    let component = host.load(standard.name, standard.bytes, Limits::default()).expect("a component");
    let (balancer, pool) = (component.balancer("chat", "{}", &metrics).expect("a balancer"), host.pool(WorkerIndex(0)));
    let about = |id: u32| EndpointFacts { url: format!("ws://10.0.0.{id}"), ..EndpointFacts::default() };
    let endpoints = (0..10_000).map(|id| PickEndpoint { id, weight: 1, about: Arc::new(about(id)) });
    let first = PickSet::new(endpoints.collect());
    let sets = [first.reweighed(&[(17, 2)]), first].map(Arc::new);
    let handshake = handshake();
    criterion.bench_function("pick among 10,000", |bencher| {
        bencher.iter(|| pool.pick(&balancer, &sets[0], black_box(&handshake), &[]));
    });
    criterion.bench_function("pick among 10,000 of which one has another weight", |bencher| {
        let mut turns = sets.iter().cycle();
        bencher.iter(|| pool.pick(&balancer, turns.next().expect("a set"), black_box(&handshake), &[]));
    });
}

criterion_group!(benches, filter, predicate, balancer, many_endpoints);
criterion_main!(benches);
