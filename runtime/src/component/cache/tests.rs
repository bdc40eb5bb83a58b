//! Entries that come back, entries that do not, and what they may not be.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::component::tests::guests::{FILTER, module};
use crate::component::{Component, Host, Limits};
use crate::metrics::CompileSource;

/// A cache in a directory of its own.
struct Bed {
    root: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    fn directory(&self) -> PathBuf {
        self.root.path().join("compiled")
    }

    /// A component loaded by another process, as far as the cache can tell.
    fn load(&self, bytes: &[u8]) -> Component {
        let directory = CacheDirectory::open(&self.directory()).unwrap();
        let host = Host::with(1, Some(directory), None, Default::default()).unwrap();
        host.load("filter", bytes, Limits::default()).unwrap()
    }

    fn source(&self, bytes: &[u8]) -> CompileSource {
        self.load(bytes).compile_source()
    }

    fn entries(&self) -> Vec<PathBuf> {
        let mut entries: Vec<_> = fs::read_dir(self.directory()).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        entries
    }

    fn only_entry(&self) -> PathBuf {
        let [entry] = <[_; 1]>::try_from(self.entries()).unwrap();
        entry
    }

    fn cache(&self) -> Cache {
        let engine = Engine::default();
        Cache::new(CacheDirectory::open(&self.directory()).unwrap(), &engine)
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[test]
fn what_was_compiled_once_comes_from_the_cache_and_is_the_same() {
    let bed = Bed::new();
    for bytes in [module(FILTER, "filter"), tidegate_filters::find("rate-limit").unwrap().bytes.to_vec()] {
        let compiled = bed.load(&bytes);
        let cached = bed.load(&bytes);
        assert_eq!(compiled.compile_source(), CompileSource::Compiler);
        assert_eq!(cached.compile_source(), CompileSource::Cache);
        assert_eq!(cached.kind(), compiled.kind());
        assert_eq!(cached.imports(), compiled.imports());
        assert_eq!(cached.size(), compiled.size());
    }
    assert_eq!(bed.entries().len(), 2);
}

#[test]
fn every_standard_component_is_the_same_from_the_cache() {
    let bed = Bed::new();
    for standard in tidegate_filters::all() {
        let (compiled, cached) = (bed.load(standard.bytes), bed.load(standard.bytes));
        assert_eq!(cached.compile_source(), CompileSource::Cache, "{}", standard.name);
        assert_eq!((cached.kind(), cached.imports()), (compiled.kind(), compiled.imports()), "{}", standard.name);
    }
}

#[test]
fn an_entry_that_is_damaged_is_compiled_and_written_anew() {
    let bed = Bed::new();
    let bytes = module(FILTER, "filter");
    bed.load(&bytes);
    let entry = bed.only_entry();
    let whole = fs::read(&entry).unwrap();
    let flipped = |index: usize| {
        let mut bytes = whole.clone();
        bytes[index] ^= 1;
        bytes
    };
    let longer = [&whole[..], b"more"].concat();
    for damaged in [
        Vec::new(),
        whole[..HEADER - 1].to_vec(),
        whole[..HEADER].to_vec(),
        whole[..whole.len() / 2].to_vec(),
        longer,
        flipped(0),
        flipped(8),
        flipped(12),
        flipped(20),
        flipped(HEADER),
        flipped(whole.len() - 1),
    ] {
        fs::write(&entry, damaged).unwrap();
        assert_eq!(bed.source(&bytes), CompileSource::Compiler);
        assert_eq!(fs::read(&entry).unwrap().len(), whole.len());
        assert_eq!(bed.source(&bytes), CompileSource::Cache);
    }
}

#[test]
fn an_entry_under_the_name_of_another_is_not_used() {
    let bed = Bed::new();
    let [one, other] = ["conditions", "rate-limit"].map(|name| tidegate_filters::find(name).unwrap().bytes);
    bed.load(one);
    let entry_of_one = bed.only_entry();
    bed.load(other);
    let entry_of_other = bed.entries().into_iter().find(|entry| *entry != entry_of_one).unwrap();
    fs::rename(entry_of_other, &entry_of_one).unwrap();
    assert_eq!(bed.source(one), CompileSource::Compiler);
}

#[test]
fn what_the_engine_refuses_is_compiled() {
    let bed = Bed::new();
    let bytes = module(FILTER, "filter");
    bed.load(&bytes);
    let entry = bed.only_entry();
    let name = entry.file_stem().unwrap().to_str().unwrap();
    let digits = (0..64).step_by(2).map(|at| u8::from_str_radix(&name[at..at + 2], 16).unwrap());
    let key = Key(digits.collect::<Vec<_>>().try_into().unwrap());
    // Whole, under the right name, and no artifact.
    fs::remove_file(&entry).unwrap();
    write(&entry, key, b"not compiled").unwrap();
    assert_eq!(bed.source(&bytes), CompileSource::Compiler);
    assert_eq!(bed.source(&bytes), CompileSource::Cache);
}

#[test]
fn an_entry_that_others_could_have_written_is_not_used() {
    let bed = Bed::new();
    let bytes = module(FILTER, "filter");
    bed.load(&bytes);
    let entry = bed.only_entry();
    fs::set_permissions(&entry, Permissions::from_mode(0o620)).unwrap();
    assert_eq!(bed.source(&bytes), CompileSource::Compiler);
    assert_eq!(mode(&entry), 0o600);
    let elsewhere = bed.root.path().join("elsewhere");
    fs::rename(&entry, &elsewhere).unwrap();
    symlink(&elsewhere, &entry).unwrap();
    assert_eq!(bed.source(&bytes), CompileSource::Compiler);
    assert!(!fs::symlink_metadata(&entry).unwrap().is_symlink());
}

#[test]
fn a_directory_that_is_made_is_for_its_owner_alone_and_so_are_its_entries() {
    let bed = Bed::new();
    bed.load(&module(FILTER, "filter"));
    assert_eq!((mode(&bed.directory()), mode(&bed.only_entry())), (0o700, 0o600));
}

#[test]
fn a_directory_that_is_not_safe_is_refused_and_looking_at_it_makes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("cache");
    assert!(!CacheDirectory::check(&path).unwrap());
    assert!(!path.exists());
    fs::create_dir(&path).unwrap();
    for mode in [0o777, 0o770, 0o702] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        assert!(matches!(CacheDirectory::open(&path), Err(CacheError::Writable(_))), "{mode:o}");
    }
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    assert!(CacheDirectory::open(&path).is_ok());
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(CacheDirectory::open(&file), Err(CacheError::NotADirectory(_))));
    assert!(matches!(CacheDirectory::open(&file.join("cache")), Err(CacheError::Unusable { .. })));
}

#[test]
fn a_directory_of_another_user_is_refused() {
    // Whoever runs the tests: one of the two belongs to somebody else.
    let is_root = rustix::process::geteuid().is_root();
    let root = tempfile::tempdir().unwrap();
    let foreign = if is_root { root.path() } else { Path::new("/") };
    if is_root {
        std::os::unix::fs::chown(foreign, Some(65_534), None).unwrap();
    }
    assert!(matches!(CacheDirectory::open(foreign), Err(CacheError::Foreign(_))));
}

#[test]
fn a_cache_that_cannot_be_written_is_none() {
    let bed = Bed::new();
    let bytes = module(FILTER, "filter");
    let directory = CacheDirectory::open(&bed.directory()).unwrap();
    let host = Host::with(1, Some(directory), None, Default::default()).unwrap();
    fs::remove_dir(bed.directory()).unwrap();
    for _ in 0..2 {
        let component = host.load("filter", &bytes, Limits::default()).unwrap();
        assert_eq!(component.compile_source(), CompileSource::Compiler);
    }
}

#[test]
fn what_was_not_used_for_a_month_is_removed_unless_it_is_in_force() {
    let bed = Bed::new();
    let cache = bed.cache();
    let keys = [1, 2, 3].map(|digit| Key([digit; 32]));
    let [in_force, recent, old] = keys;
    let now = SystemTime::now();
    for (key, age) in [(in_force, MAX_AGE * 2), (recent, MAX_AGE / 2), (old, MAX_AGE * 2)] {
        write(&cache.path(key), key, b"artifact").unwrap();
        File::open(cache.path(key)).unwrap().set_modified(now - age).unwrap();
    }
    let draft = cache.path(old).with_extension("0123456789abcdef");
    let stranger = bed.directory().join("README");
    for path in [&draft, &stranger] {
        fs::write(path, "").unwrap();
        File::open(path).unwrap().set_modified(now - MAX_AGE * 2).unwrap();
    }
    cache.sweep([in_force].into_iter(), now);
    let mut left = vec![stranger, cache.path(in_force), cache.path(recent)];
    left.sort();
    assert_eq!(bed.entries(), left);
}

#[test]
fn beyond_the_size_what_was_not_used_for_longest_is_removed() {
    let bed = Bed::new();
    let cache = bed.cache();
    let now = SystemTime::now();
    let keys = [1, 2, 3].map(|digit| Key([digit; 32]));
    for (key, hours) in keys.into_iter().zip(1..) {
        // Holes take no place on the disk and count in full.
        let file = File::create(cache.path(key)).unwrap();
        file.set_len(MAX_BYTES / 2).unwrap();
        file.set_modified(now - Duration::from_secs(hours * 3600)).unwrap();
    }
    cache.sweep([].into_iter(), now);
    assert_eq!(bed.entries(), [cache.path(keys[0]), cache.path(keys[1])]);
}
