//! The hostile and helpful guests of `guests/`, compiled by the build script.

use std::path::PathBuf;

/// Where the component of a guest lies.
pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("OUT_DIR")).join(format!("{name}.wasm"))
}

/// The bytes of a guest's component.
pub fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap_or_else(|error| panic!("{}: {error}", path(name).display()))
}
