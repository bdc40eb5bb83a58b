//! What a frame costs before anybody looks inside: reading and writing its header, masking and unmasking its payload.

#![expect(clippy::expect_used, reason = "a bench that cannot be set up has nothing to measure")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tidegate::ws::{FrameHeader, Opcode, apply_mask, extend_masked};

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// One payload for each form of a length, and for each size that the bars speak of.
const SIZES: [usize; 3] = [64, 1 << 10, 64 << 10];

fn header(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("header");
    for size in SIZES {
        let header = FrameHeader { mask: Some(KEY), ..FrameHeader::new(Opcode::Text, size as u64) };
        let mut wire = Vec::new();
        header.encode(&mut wire);
        group.bench_function(format!("parse {size}"), |bencher| {
            bencher.iter(|| FrameHeader::parse(black_box(&wire)).expect("a header").expect("a whole one"));
        });
        group.bench_function(format!("encode {size}"), |bencher| {
            let mut wire = Vec::with_capacity(FrameHeader::MAX_LEN);
            bencher.iter(|| {
                wire.clear();
                black_box(header).encode(&mut wire);
            });
        });
    }
    group.finish();
}

fn mask(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mask");
    for size in SIZES {
        let payload: Vec<u8> = (0..=u8::MAX).cycle().take(size).collect();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("in place {size}"), |bencher| {
            let mut payload = payload.clone();
            bencher.iter(|| apply_mask(black_box(&mut payload), KEY));
        });
        group.bench_function(format!("byte by byte {size}"), |bencher| {
            let mut payload = payload.clone();
            bencher.iter(|| mask_bytes(black_box(&mut payload), KEY));
        });
        group.bench_function(format!("append {size}"), |bencher| {
            let mut target = Vec::with_capacity(size);
            bencher.iter(|| {
                target.clear();
                extend_masked(&mut target, black_box(&payload), KEY);
            });
        });
    }
    group.finish();
}

/// The alternative: as RFC 6455 section 5.3 writes it.
fn mask_bytes(payload: &mut [u8], key: [u8; 4]) {
    for (byte, key) in payload.iter_mut().zip(key.into_iter().cycle()) {
        *byte ^= key;
    }
}

/// Frames as a pipelining client sends them, one after the other in what one read brought.
fn walk(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("walk");
    for (size, count) in [(64usize, 16u64), (1 << 10, 16)] {
        let mut read = Vec::new();
        for _ in 0..count {
            FrameHeader { mask: Some(KEY), ..FrameHeader::new(Opcode::Text, size as u64) }.encode(&mut read);
            extend_masked(&mut read, &vec![b'x'; size], KEY);
        }
        group.throughput(Throughput::Elements(count));
        group.bench_function(format!("{count} of {size}, unmasked"), |bencher| {
            bencher.iter_batched_ref(|| read.clone(), |read| unmask_all(read), BatchSize::SmallInput);
        });
    }
    group.finish();
}

fn unmask_all(mut read: &mut [u8]) -> u64 {
    let mut frames = 0;
    while let Some((header, length)) = FrameHeader::parse(read).expect("a header") {
        let end = length + usize::try_from(header.payload_len).expect("a length");
        let (frame, rest) = std::mem::take(&mut read).split_at_mut_checked(end).expect("a whole frame");
        apply_mask(frame.get_mut(length..).expect("a payload"), header.mask.expect("a mask"));
        frames += 1;
        read = rest;
    }
    frames
}

criterion_group!(benches, header, mask, walk);
criterion_main!(benches);
