//! The components that this tool brings along, compiled with it and written where proxies can load them.

use std::path::{Path, PathBuf};

/// Reads every byte of every message both ways and changes nothing.
pub const READER: &str = "reader";
/// Replaces every message both ways by a copy of itself.
pub const REPLACER: &str = "replacer";
/// A proxy-wasm module for Envoy that reads every byte both ways.
pub const ENVOY_READ: &str = "envoy-read";

/// Where [`place`] has put the guest of this name; `None` when there is no such guest.
pub fn path(directory: &Path, name: &str) -> Option<PathBuf> {
    GUESTS.iter().any(|(guest, _)| *guest == name).then(|| directory.join(format!("{name}.wasm")))
}

/// Writes all of them into `directory`.
pub fn place(directory: &Path) -> std::io::Result<()> {
    GUESTS.iter().try_for_each(|(name, bytes)| std::fs::write(directory.join(format!("{name}.wasm")), bytes))
}

const GUESTS: [(&str, &[u8]); 3] = [
    (READER, include_bytes!(concat!(env!("OUT_DIR"), "/reader.wasm"))),
    (REPLACER, include_bytes!(concat!(env!("OUT_DIR"), "/replacer.wasm"))),
    (ENVOY_READ, include_bytes!(concat!(env!("OUT_DIR"), "/envoy-read.wasm"))),
];
