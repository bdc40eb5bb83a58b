//! The Rust target of guests: there, or added, or asked for.

use std::env;
use std::path::Path;
use std::process::Command;

use crate::BuildError;

/// What guests are compiled for.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Sees to it that the target is installed in the toolchain at work.
pub(crate) fn ensure() -> Result<(), BuildError> {
    if is_installed()? {
        return Ok(());
    }
    // rustup hands its choice of toolchain down in this variable, and obeys it itself.
    let toolchain = env::var("RUSTUP_TOOLCHAIN").map_or_else(|_| String::new(), |name| format!(" --toolchain {name}"));
    let missing = |why| BuildError::TargetMissing {
        target: TARGET,
        why,
        command: format!("rustup target add {TARGET}{toolchain}"),
    };
    let output = Command::new("rustup")
        .args(["target", "add", TARGET])
        .output()
        .map_err(|error| missing(format!("rustup does not run: {error}")))?;
    if !output.status.success() {
        return Err(missing(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    match is_installed()? {
        true => Ok(()),
        false => Err(missing("rustup has added it to another toolchain".into())),
    }
}

fn is_installed() -> Result<bool, BuildError> {
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let output = Command::new(&rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .map_err(|error| BuildError::Run { program: rustc, error })?;
    let folder = String::from_utf8_lossy(&output.stdout);
    Ok(output.status.success() && Path::new(folder.trim()).is_dir())
}
