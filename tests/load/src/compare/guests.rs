//! The components that this tool brings along, compiled with it and written where proxies can load them.

use std::path::{Path, PathBuf};

/// Reads every byte of every message both ways and changes nothing.
pub const READER: &str = "reader";
/// Replaces every message both ways by a copy of itself.
pub const REPLACER: &str = "replacer";
/// A proxy-wasm module for Envoy that reads every byte both ways.
pub const ENVOY_READ: &str = "envoy-read";
/// A dynamic module for Envoy, native code, that does the same.
pub const ENVOY_NATIVE: &str = "envoy-native";

/// Where [`place`] has put the guest of this name; `None` when there is no such guest.
pub fn path(directory: &Path, name: &str) -> Option<PathBuf> {
    GUESTS.iter().find(|(guest, ..)| *guest == name).map(|(_, file, _)| directory.join(file))
}

/// Writes all of them into `directory`.
pub fn place(directory: &Path) -> std::io::Result<()> {
    GUESTS.iter().try_for_each(|(_, file, bytes)| std::fs::write(directory.join(file), bytes))
}

/// Name, file and bytes.
const GUESTS: [(&str, &str, &[u8]); 4] = [
    (READER, "reader.wasm", include_bytes!(concat!(env!("OUT_DIR"), "/reader.wasm"))),
    (REPLACER, "replacer.wasm", include_bytes!(concat!(env!("OUT_DIR"), "/replacer.wasm"))),
    (ENVOY_READ, "envoy-read.wasm", include_bytes!(concat!(env!("OUT_DIR"), "/envoy-read.wasm"))),
    (ENVOY_NATIVE, "envoy-native.so", include_bytes!(concat!(env!("OUT_DIR"), "/envoy-native.so"))),
];
