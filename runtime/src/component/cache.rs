//! Compiled components on disk, so that a start and a reload compile only what is new.
//!
//! An entry is native code that this process runs, so all its safety lies in who can write it: the directory and each
//! entry belong to the user of the process, and nobody else may write to them. The digest in an entry tells damage, not
//! malice. Nothing about the cache fails a load: what cannot be read is compiled, what cannot be written is not kept.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use thiserror::Error;
use wasmtime::Engine;
use wasmtime::component::Component as Compiled;

/// A directory for compiled components that nobody else can put code into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheDirectory(PathBuf);

/// A directory that cannot hold compiled components.
#[derive(Debug, Error)]
pub enum CacheError {
    /// Something else has this name.
    #[error("{} is no directory", .0.display())]
    NotADirectory(PathBuf),
    /// Its owner could put code there for this process to run.
    #[error("{} belongs to another user, who could put code there that this process would run", .0.display())]
    Foreign(PathBuf),
    /// Others could put code there for this process to run.
    #[error("{} is writable by others, who could put code there that this process would run", .0.display())]
    Writable(PathBuf),
    /// It cannot be made or looked at. There is nothing unsafe about that: the process can do without.
    #[error("{}: {error}", .path.display())]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl CacheDirectory {
    /// Takes a directory, and makes it first where there is none, for its owner alone (mode 0700).
    ///
    /// # Errors
    /// It is unsafe or unusable.
    pub fn open(path: &Path) -> Result<Self, CacheError> {
        let unusable = |error| CacheError::Unusable { path: path.to_owned(), error };
        if !Self::check(path)? {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
            // Somebody else may have been faster.
            Self::check(path)?;
        }
        Ok(Self(path.to_owned()))
    }

    /// Whether there is such a directory, safe to use. Writes nothing.
    ///
    /// # Errors
    /// There is something, and it is unsafe or unusable.
    pub fn check(path: &Path) -> Result<bool, CacheError> {
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(CacheError::Unusable { path: path.to_owned(), error }),
        };
        if !metadata.is_dir() {
            return Err(CacheError::NotADirectory(path.to_owned()));
        }
        match distrust(&metadata) {
            None => Ok(true),
            Some(Distrust::Foreign) => Err(CacheError::Foreign(path.to_owned())),
            Some(Distrust::Writable) => Err(CacheError::Writable(path.to_owned())),
        }
    }
}

/// The cache of one engine.
#[derive(Debug)]
pub(super) struct Cache {
    directory: CacheDirectory,
    /// What all its keys begin with: the engine, and what else decides about the code.
    compiler: Sha256,
    /// Whether the operator knows that nothing can be written.
    complained: AtomicBool,
}

/// Names an entry: the digest of the component's bytes and of everything that decides how they are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key([u8; 32]);

impl Cache {
    pub(super) fn new(directory: CacheDirectory, engine: &Engine) -> Self {
        let mut compiler = Hashing(Sha256::new());
        (FORMAT, env!("CARGO_PKG_VERSION")).hash(&mut compiler);
        engine.precompile_compatibility_hash().hash(&mut compiler);
        Self { directory, compiler: compiler.0, complained: AtomicBool::new(false) }
    }

    /// The key of a component's bytes.
    pub(super) fn key(&self, bytes: &[u8]) -> Key {
        Key(self.compiler.clone().chain_update(bytes).finalize().into())
    }

    /// What is kept under a key; `None` if there is nothing, or nothing that is whole. `name` is the component's.
    pub(super) fn get(&self, key: Key, engine: &Engine, name: &str) -> Option<Compiled> {
        let path = self.path(key);
        match read(&path, key).and_then(|entry| entry.map(|entry| compiled(engine, &entry)).transpose()) {
            Ok(found) => {
                found.is_some().then(|| touch(&path));
                found
            }
            Err(defect) => {
                tracing::warn!(component = name, entry = %path.display(), %defect, "a cache entry is made anew");
                None
            }
        }
    }

    /// Keeps a component under a key. When it cannot, the operator hears of it once.
    pub(super) fn put(&self, key: Key, compiled: &Compiled) {
        let written = compiled.serialize().map_err(|error| io::Error::other(format!("{error:#}")));
        let written = written.and_then(|artifact| write(&self.path(key), key, &artifact));
        if let Err(error) = written
            && !self.complained.swap(true, Ordering::Relaxed)
        {
            let directory = self.directory.0.display();
            tracing::warn!(%directory, %error, "compiled components cannot be kept; the next start compiles them again");
        }
    }

    /// Removes what was not used for [`MAX_AGE`], and the entries that were not used for longest where all together
    /// have more than [`MAX_BYTES`]. Those of `live` count as used now.
    pub(super) fn sweep(&self, live: impl Iterator<Item = Key>, now: SystemTime) {
        live.for_each(|key| touch(&self.path(key)));
        // Who cannot list the directory has put nothing there.
        let Ok(files) = std::fs::read_dir(&self.directory.0) else { return };
        let mut entries: Vec<(SystemTime, u64, PathBuf)> = files
            .filter_map(|file| {
                let file = file.ok().filter(|file| is_ours(&file.file_name()))?;
                let metadata = file.metadata().ok()?;
                Some((metadata.modified().ok()?, metadata.len(), file.path()))
            })
            .collect();
        entries.sort_unstable_by(|one, other| other.cmp(one));
        let mut total = 0_u64;
        for (used, length, path) in entries {
            total = total.saturating_add(length);
            let is_old = now.duration_since(used).is_ok_and(|age| age > MAX_AGE);
            if is_old || total > MAX_BYTES {
                // Another process may have removed it.
                let _ = std::fs::remove_file(path);
            }
        }
    }

    fn path(&self, key: Key) -> PathBuf {
        let name: String = key.0.iter().map(|byte| format!("{byte:02x}")).collect();
        self.directory.0.join(name + SUFFIX)
    }
}

/// Why an entry is not used.
#[derive(Debug, Error)]
enum Defect {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it belongs to another user")]
    Foreign,
    #[error("it is writable by others")]
    Writable,
    #[error("it is no entry of this cache")]
    Format,
    #[error("its length is not the one it says")]
    Length,
    #[error("its digest is not the one it says")]
    Digest,
    #[error("the engine refuses it: {0}")]
    Engine(String),
}

/// The artifact of an entry; `None` if there is no such file.
fn read(path: &Path, key: Key) -> Result<Option<Vec<u8>>, Defect> {
    // Neither another file by a link, nor a pipe that never answers.
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let metadata = file.metadata()?;
    match distrust(&metadata) {
        Some(Distrust::Foreign) => return Err(Defect::Foreign),
        Some(Distrust::Writable) => return Err(Defect::Writable),
        None if !metadata.is_file() || metadata.len() > MAX_BYTES => return Err(Defect::Format),
        None => {}
    }
    let mut header = [0; HEADER];
    let mut file = file.take(metadata.len());
    file.read_exact(&mut header).map_err(|_| Defect::Length)?;
    let mut artifact = Vec::new();
    file.read_to_end(&mut artifact)?;
    let expected = self::header(key, &artifact);
    if header == expected {
        return Ok(Some(artifact));
    }
    let same = |range: std::ops::Range<usize>| header.get(range.clone()) == expected.get(range);
    Err(match () {
        () if !same(0..12) => Defect::Format,
        () if !same(12..20) => Defect::Length,
        () => Defect::Digest,
    })
}

#[expect(unsafe_code, reason = "what the compiler has written can only be taken at its word")]
fn compiled(engine: &Engine, artifact: &[u8]) -> Result<Compiled, Defect> {
    // SAFETY: the bytes have to be what `Component::serialize` gave for an engine like this one. The digest before them
    // is right, so they are what `put` wrote, undamaged, unless somebody forged an entry. For that one has to write to
    // a file as this process's own user: `read` takes no entry, and `CacheDirectory` no directory, that belongs to
    // another user or that others may write to; and who is this user can do already whatever this process can. That
    // the engine is a like one, the key says, which the digest covers, and wasmtime checks it once more.
    let compiled = unsafe { Compiled::deserialize(engine, artifact) };
    compiled.map_err(|error| Defect::Engine(format!("{error:#}")))
}

/// Writes an entry beside its place and renames it, so that a reader sees all of it or nothing.
fn write(path: &Path, key: Key, artifact: &[u8]) -> io::Result<()> {
    let draft = path.with_extension(format!("{:016x}", rand::random::<u64>()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    // Not synchronised to the disk: what a crash leaves of it, the digest tells.
    let written = file.write_all(&header(key, artifact)).and_then(|()| file.write_all(artifact));
    let written = written.and_then(|()| std::fs::rename(&draft, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    written
}

/// What stands before an artifact: what this is, how long the artifact is, and the digest of key and artifact.
fn header(key: Key, artifact: &[u8]) -> [u8; HEADER] {
    let digest = Sha256::new().chain_update(key.0).chain_update(artifact).finalize();
    let fields = [&MAGIC[..], &FORMAT.to_le_bytes(), &(artifact.len() as u64).to_le_bytes(), &digest];
    let mut header = [0; HEADER];
    for (byte, field) in header.iter_mut().zip(fields.into_iter().flatten()) {
        *byte = *field;
    }
    header
}

enum Distrust {
    Foreign,
    Writable,
}

/// Whether somebody else could have written this.
fn distrust(metadata: &Metadata) -> Option<Distrust> {
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        Some(Distrust::Foreign)
    } else if metadata.mode() & 0o022 != 0 {
        Some(Distrust::Writable)
    } else {
        None
    }
}

/// Marks an entry as used now. One that cannot be marked is compiled again in a month.
fn touch(path: &Path) {
    let _ = File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
}

/// Whether a file is an entry, or a draft of one that was left behind.
fn is_ours(name: &std::ffi::OsStr) -> bool {
    let Some((stem, _)) = name.to_str().and_then(|name| name.split_once('.')) else { return false };
    stem.len() == 64 && stem.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Feeds what hashes itself to a digest, of which the name of a file can be made.
struct Hashing(Sha256);

impl Hasher for Hashing {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

const MAGIC: [u8; 8] = *b"tidegate";
/// Another one for every change of the header, or of what is done to a component before it is compiled.
const FORMAT: u32 = 1;
/// Magic, format, length, digest.
const HEADER: usize = 8 + 4 + 8 + 32;
const SUFFIX: &str = ".compiled";
/// A component that comes back after a month may as well be compiled.
const MAX_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Thousands of filters in Rust, or ten embedded interpreters; also the most that one entry may have.
const MAX_BYTES: u64 = 1 << 30;

#[cfg(test)]
mod tests;
