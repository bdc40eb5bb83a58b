//! The committed seeds, among them what fuzzing has found.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::{TARGETS, check};

fn seeds() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn no_seed_breaks_a_promise_or_costs_more_than_its_bytes_may() {
    for (target, run) in TARGETS {
        let folder = seeds().join(target);
        let names = names(&folder);
        assert!(!names.is_empty(), "{target} has no seed");
        for name in names {
            let seed = fs::read(folder.join(&name)).unwrap();
            let outcome = std::panic::catch_unwind(|| check(run, &seed));
            assert!(outcome.is_ok(), "{target}/{name}");
        }
    }
}

#[test]
fn each_target_has_a_binary_and_each_folder_a_target() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&seeds()), targets);
    let binaries = names(&seeds().join("../targets"));
    assert_eq!(binaries, targets.iter().map(|name| format!("{name}.rs")).collect());
}

/// For each target; `TIDEGATE_FUZZ_RUNS` asks for more.
const RUNS: u64 = 30;

/// What fuzzing does, without its eyes: it sees no coverage, and needs no other toolchain.
#[test]
fn seeds_that_are_changed_at_random_break_no_promise() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (runs, first) = (number("TIDEGATE_FUZZ_RUNS").unwrap_or(RUNS), number("TIDEGATE_FUZZ_SEED").unwrap_or(0));
    for (target, run) in TARGETS {
        let folder = seeds().join(target);
        let seeds: Vec<_> = names(&folder).iter().map(|name| fs::read(folder.join(name)).unwrap()).collect();
        for seed in first..first + runs {
            let data = changed(&seeds, &mut StdRng::seed_from_u64(seed));
            let outcome = std::panic::catch_unwind(|| check(run, &data));
            assert!(outcome.is_ok(), "{target}: TIDEGATE_FUZZ_SEED={seed} shows it again, with {data:?}");
        }
    }
}

/// One of the seeds after a few accidents.
fn changed(seeds: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    let mut data = seeds.choose(random).unwrap().clone();
    for _ in 0..random.random_range(1..8) {
        let from = random.random_range(0..=data.len());
        let to = random.random_range(from..=data.len().min(from + 64));
        match random.random_range(0..5) {
            0 => data[from..to].iter_mut().for_each(|byte| *byte = random.random()),
            1 => data[from..to].iter_mut().for_each(|byte| *byte ^= 1 << random.random_range(0..8)),
            2 => drop(data.drain(from..to)),
            3 => {
                let twice = data[from..to].to_vec();
                data.splice(to..to, twice);
            }
            _ => {
                let other = seeds.choose(random).unwrap();
                let start = random.random_range(0..=other.len());
                data.splice(from..to, other[start..].iter().take(64).copied());
            }
        }
    }
    data
}
