//! Compiling guest crates to components, from a build script.
//!
//! ```no_run
//! # fn main() -> Result<(), tidegate_guest_build::BuildError> {
//! for component in tidegate_guest_build::build(["rate-limit", "access"])? {
//!     println!("{} exports {:?}: {}", component.name, component.exports, component.path.display());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! All guests of a call are built by one nested cargo, in the release profile with settings of its own, in a target
//! folder that every build script of the workspace shares. The guests must be members of the workspace whose
//! `Cargo.lock` is in force. WASI is not involved: guests are core modules for `wasm32-unknown-unknown` that become
//! components here, so that they import nothing but what the proxy lends.

mod component;
mod nested;
mod target;

use std::path::{Path, PathBuf};
use std::{env, fs, io};

pub use self::component::encode;

/// A guest that has become a component.
#[derive(Clone, Debug)]
pub struct Component {
    /// The name of the guest's folder.
    pub name: String,
    /// The component's file, in the build script's `OUT_DIR`; for `include_bytes!`.
    pub path: PathBuf,
    /// The interfaces it exports, such as `tidegate:edge/filtering@0.2.0`.
    pub exports: Vec<String>,
    /// The interfaces it imports.
    pub imports: Vec<String>,
    /// The size of the file in bytes.
    pub size: u64,
}

/// Why there is no component.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Not called from a build script.
    #[error("the variable {0} is not set; call this from a build script")]
    NotABuildScript(&'static str),
    /// The Rust target is neither installed nor installable.
    #[error("the Rust target {target} is not installed ({why}); install it with: {command}")]
    TargetMissing {
        /// The target triple.
        target: &'static str,
        /// What went wrong when it was to be installed.
        why: String,
        /// What to type.
        command: String,
    },
    /// A guest that the nested cargo would not know.
    #[error("{0} is no member of this workspace; add it to `members` in the Cargo.toml at the top")]
    NotAMember(PathBuf),
    /// The nested cargo ended with an error, which it has printed.
    #[error("the guests do not compile; cargo's words are above. The command was: {command}")]
    Compile {
        /// The command line, for trying it by hand.
        command: String,
    },
    /// A guest crate without the right kind of output.
    #[error("{0} has no WebAssembly output; it needs [lib] crate-type = [\"cdylib\"]")]
    NoModule(PathBuf),
    /// The core module does not make a component.
    #[error("{guest} is no component: {why}")]
    NoComponent {
        /// The guest's name.
        guest: String,
        /// The encoder's words.
        why: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// A program could not be run.
    #[error("cannot run {program}: {error}")]
    Run {
        /// Which.
        program: String,
        /// Why not.
        #[source]
        error: io::Error,
    },
}

/// Builds guest crates, given by their folders, absolute or relative to the crate whose build script this is. Answers
/// one component per folder, in the same order, and tells cargo what to watch.
pub fn build<P: AsRef<Path>>(crates: impl IntoIterator<Item = P>) -> Result<Vec<Component>, BuildError> {
    let manifest_folder = variable("CARGO_MANIFEST_DIR")?;
    let out = variable("OUT_DIR")?;
    let mut folders = Vec::new();
    for folder in crates {
        let folder = manifest_folder.join(folder);
        let folder = folder.canonicalize().map_err(|error| BuildError::File { path: folder, error })?;
        nested::watch(&folder.join("Cargo.toml"));
        nested::watch(&folder.join("src"));
        folders.push(folder);
    }
    if folders.is_empty() {
        return Ok(Vec::new());
    }
    target::ensure()?;
    let modules = nested::build(&folders, &shared_target(&out))?;
    folders.iter().zip(modules).map(|(folder, module)| component(folder, &module, &out)).collect()
}

fn component(folder: &Path, module: &Path, out: &Path) -> Result<Component, BuildError> {
    let name = folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let module = fs::read(module).map_err(|error| BuildError::File { path: module.to_owned(), error })?;
    let no_component = |why| BuildError::NoComponent { guest: name.clone(), why };
    let bytes = encode(&module).map_err(no_component)?;
    let (imports, exports) = component::interfaces(&bytes).map_err(no_component)?;
    let path = out.join(&name).with_extension("wasm");
    // An untouched file is one that whoever embeds it need not compile again.
    if fs::read(&path).is_ok_and(|present| present == bytes) {
        return Ok(Component { name, path, exports, imports, size: bytes.len() as u64 });
    }
    match fs::write(&path, &bytes) {
        Ok(()) => Ok(Component { name, path, exports, imports, size: bytes.len() as u64 }),
        Err(error) => Err(BuildError::File { path, error }),
    }
}

/// The folder `guests` in the target folder that holds `OUT_DIR`, which is `<target>/<profile>/build/<crate>/out`.
fn shared_target(out: &Path) -> PathBuf {
    out.ancestors().nth(4).unwrap_or(out).join("guests")
}

fn variable(name: &'static str) -> Result<PathBuf, BuildError> {
    env::var_os(name).map(PathBuf::from).ok_or(BuildError::NotABuildScript(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_build_scripts_share_one_target_folder() {
        let first = shared_target(Path::new("/project/target/debug/build/filters-1a/out"));
        let second = shared_target(Path::new("/project/target/release/build/tests-2b/out"));
        assert_eq!(first, Path::new("/project/target/guests"));
        assert_eq!(first, second);
    }

    #[test]
    fn a_module_without_a_component_type_is_no_component() {
        assert!(encode(b"\0asm\x01\0\0\0").is_ok_and(|bytes| component::interfaces(&bytes).is_ok()));
        assert!(encode(b"no module").is_err());
    }
}
