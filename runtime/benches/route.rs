//! What finding a route costs, beside going through all of them.

#![expect(clippy::expect_used, reason = "a bench that cannot be set up has nothing to measure")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use tidegate::route::{Matcher, PathPattern, RouteTable};

fn lookup(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route");
    for count in [10, 1_000, 10_000] {
        let prefixes: Vec<String> = (0..count).map(|route| format!("/ws/tenant-{route}")).collect();
        let path = format!("/ws/tenant-{}/room/7", count / 2);
        let routes = prefixes.iter().enumerate().map(|(route, prefix)| {
            let path = PathPattern::prefix(prefix).expect("a path");
            (Matcher { path, ..Matcher::default() }, route)
        });
        let table = RouteTable::new(routes.collect());
        group.bench_function(format!("one of {count}"), |bencher| {
            bencher.iter(|| table.candidates("chat.example.com", black_box(&path)).next().map(|found| *found.route));
        });
        group.bench_function(format!("one of {count}, one by one"), |bencher| {
            bencher.iter(|| prefixes.iter().position(|prefix| is_below(black_box(&path), prefix)));
        });
    }
    group.finish();
}

/// Whether a path begins with these segments, whole.
fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

criterion_group!(benches, lookup);
criterion_main!(benches);
