//! The hostile and helpful guests of `guests/`, compiled by the build script.

use std::path::PathBuf;

/// Where the component of a guest lies.
pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("OUT_DIR")).join(format!("{name}.wasm"))
}

/// The bytes of a guest's component built once more: a custom section of its own makes it another, which does the same.
pub fn rebuilt(name: &str, build: u8) -> Vec<u8> {
    const CUSTOM: u8 = 0;
    let mut bytes = bytes(name);
    // Its length, that of its name, the name, and what it says.
    bytes.extend([CUSTOM, 7, 5, b'b', b'u', b'i', b'l', b'd', build]);
    bytes
}

/// The bytes of a guest's component.
pub fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap_or_else(|error| panic!("{}: {error}", path(name).display()))
}
