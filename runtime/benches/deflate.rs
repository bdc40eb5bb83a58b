//! What inflating and deflating a message costs, with and without context takeover.

#![expect(clippy::expect_used, reason = "a bench that cannot be set up has nothing to measure")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidegate::ws::{Deflater, Growth, InflateLimits, Inflater, SlidingWindow};

const LIMITS: InflateLimits = InflateLimits { max_size: 16 << 20, max_ratio: Some(200) };

/// JSON of about this size, of which no two records are alike.
fn json(size: usize) -> Vec<u8> {
    let mut text = String::from("[");
    let mut seed = 1_u32;
    while text.len() < size.saturating_sub(1) {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (user, price) = (seed >> 20, seed >> 12);
        text.push_str(&format!("{{\"id\":{seed},\"type\":\"order\",\"user\":\"user-{user}\",\"price\":{price}.50}},"));
    }
    text.truncate(size.saturating_sub(1));
    text.push(']');
    text.into_bytes()
}

fn inflate(criterion: &mut Criterion) {
    for (name, takeover) in [("inflate", false), ("inflate with context takeover", true)] {
        let mut group = criterion.benchmark_group(name);
        for size in [64, 1 << 10, 16 << 10] {
            let mut compressed = Vec::new();
            Deflater::default().deflate(15, &json(size), true, &mut compressed);
            let mut inflater = Inflater::new(SlidingWindow::LARGEST);
            let mut plain = Vec::new();
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(size.to_string(), |bencher| {
                bencher.iter(|| {
                    plain.clear();
                    if !takeover {
                        inflater.reset();
                    }
                    let mut growth = Growth::new(LIMITS);
                    inflater.inflate(black_box(&compressed), &mut growth, &mut plain).expect("deflate data");
                    inflater.finish(&mut growth, &mut plain).expect("its end");
                });
            });
        }
        group.finish();
    }
}

fn deflate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("deflate");
    for size in [64, 1 << 10, 16 << 10] {
        let plain = json(size);
        let mut deflater = Deflater::default();
        let mut compressed = Vec::new();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(size.to_string(), |bencher| {
            bencher.iter(|| {
                compressed.clear();
                deflater.deflate(15, black_box(&plain), true, &mut compressed);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, inflate, deflate);
criterion_main!(benches);
