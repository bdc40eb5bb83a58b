//! The cargo that a build script runs to compile guests.
//!
//! It has a target folder of its own, because the outer cargo holds the lock of the usual one, and inherits none of
//! the outer one's compiler flags, because those are meant for another machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use serde::Deserialize;

use crate::BuildError;
use crate::target::TARGET;

/// Compiles the crates in `folders` and answers their core modules in the same order.
pub(crate) fn build(folders: &[PathBuf], target_folder: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let packages = packages(folders)?;
    let mut command = command(&packages, target_folder);
    let output = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).output();
    let output = output
        .map_err(|error| BuildError::Run { program: command.get_program().to_string_lossy().into_owned(), error })?;
    if !output.status.success() {
        return Err(BuildError::Compile { command: format!("{command:?}") });
    }
    let stdout = String::from_utf8_lossy(&output.stdout);
    let artifacts: Vec<Artifact> = stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    folders.iter().map(|folder| module(folder, &artifacts)).collect()
}

/// Tells cargo to run this build script again when a file, or a file in a folder, has changed.
#[expect(clippy::print_stdout, reason = "this is how a build script talks to cargo")]
pub(crate) fn watch(path: &Path) {
    println!("cargo::rerun-if-changed={}", path.display());
}

/// The names of the packages in `folders`, in the same order.
fn packages(folders: &[PathBuf]) -> Result<Vec<String>, BuildError> {
    let mut command = cargo();
    command.args(["metadata", "--no-deps", "--format-version=1"]);
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| BuildError::Run { program: "cargo metadata".into(), error })?;
    let metadata: Metadata = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let name = |folder: &PathBuf| {
        let manifest = folder.join("Cargo.toml");
        let package = metadata.packages.iter().find(|package| package.manifest_path == manifest);
        package.map(|package| package.name.clone()).ok_or_else(|| BuildError::NotAMember(folder.clone()))
    };
    folders.iter().map(name).collect()
}

#[derive(Default, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
}

fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn command(packages: &[String], target_folder: &Path) -> Command {
    let mut command = cargo();
    command.args(["build", "--release", "--locked", "--target", TARGET, "--message-format=json-render-diagnostics"]);
    command.arg("--target-dir").arg(target_folder);
    command.args(packages.iter().flat_map(|package| ["--package", package]));
    for inherited in INHERITED {
        command.env_remove(inherited);
    }
    command.envs(PROFILE.iter().copied());
    command.env("CARGO_ENCODED_RUSTFLAGS", flags().join("\x1f"));
    command
}

/// What cargo, and tools that wrap it, set for the outer build.
const INHERITED: [&str; 10] = [
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_INCREMENTAL",
    "CARGO_MAKEFLAGS",
    "CARGO_TARGET_DIR",
    "MAKEFLAGS",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
];

/// Small code, because it is compiled again when the proxy starts; what scans bytes has a setting of its own in the
/// workspace's release profile. No debug information, but the names of functions.
const PROFILE: [(&str, &str); 7] = [
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "false"),
    ("CARGO_PROFILE_RELEASE_INCREMENTAL", "false"),
    ("CARGO_PROFILE_RELEASE_LTO", "fat"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
    ("CARGO_PROFILE_RELEASE_STRIP", "debuginfo"),
];

/// Vector instructions make scans of bytes many times faster. The names of folders of this machine end up in the texts
/// of panics, so they are shortened to what is the same everywhere.
fn flags() -> Vec<String> {
    let mut flags = vec!["-Ctarget-feature=+simd128".to_owned()];
    let home = env::var("CARGO_HOME").or_else(|_| env::var("HOME").map(|home| format!("{home}/.cargo")));
    if let Ok(home) = home {
        flags.push(format!("--remap-path-prefix={home}/registry/src=registry"));
    }
    flags
}

/// A line of cargo's output that tells of a finished crate; other lines lack one of these fields.
#[derive(Deserialize)]
struct Artifact {
    manifest_path: PathBuf,
    filenames: Vec<PathBuf>,
}

fn module(folder: &Path, artifacts: &[Artifact]) -> Result<PathBuf, BuildError> {
    let manifest = folder.join("Cargo.toml");
    let module = artifacts
        .iter()
        .filter(|artifact| artifact.manifest_path == manifest)
        .flat_map(|artifact| &artifact.filenames)
        .find(|file| file.extension().is_some_and(|extension| extension == "wasm"))
        .ok_or_else(|| BuildError::NoModule(folder.to_owned()))?;
    watch_sources(module);
    Ok(module.clone())
}

/// Watches every file of the workspace that went into a module, the SDK's and the WIT's among them: cargo lists them in
/// a makefile beside it.
fn watch_sources(module: &Path) {
    let Ok(rules) = fs::read_to_string(module.with_extension("d")) else {
        return;
    };
    let sources = rules.split_once(": ").map_or("", |(_, sources)| sources);
    for source in sources.replace("\\ ", "\0").split_whitespace() {
        watch(Path::new(&source.replace('\0', " ")));
    }
}
