//! The committed seeds, among them what fuzzing has found.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

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
