//! Compiles every standard component, one folder with a `Cargo.toml` each, and writes the table that `lib.rs` includes.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

use anyhow::{Context as _, Result, bail};

fn main() -> Result<()> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(".")? {
        let path = entry?.path();
        if path.join("Cargo.toml").is_file() {
            folders.push(path);
        }
    }
    folders.sort();
    let mut table = String::from("[");
    for component in tidegate_guest_build::build(folders)? {
        let name = &component.name;
        let exports = |interface: &str| component.exports.iter().any(|export| export.starts_with(interface));
        let kind = match ["predicates", "balancing", "filtering"].map(|name| exports(&format!("tidegate:edge/{name}@")))
        {
            [true, false, false] => "predicate",
            [false, true, false] => "balancer",
            [false, false, true] => "filter",
            _ => bail!("{name} exports {:?}, which make no kind of component", component.exports),
        };
        let path = component.path;
        write!(table, "Standard {{ name: {name:?}, kind: {kind:?}, bytes: include_bytes!({path:?}) }}, ")?;
    }
    table.push(']');
    let out = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?);
    fs::write(out.join("standard.rs"), table)?;
    // A new component is a new folder; changes of those that exist are watched by the build library.
    println!("cargo::rerun-if-changed=.");
    Ok(())
}
