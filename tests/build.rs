//! Compiles the guests of this suite: one folder of `guests/` each, or a core module in text.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

fn main() -> Result<()> {
    let mut folders = Vec::new();
    for entry in fs::read_dir("guests")? {
        let path = entry?.path();
        if path.join("Cargo.toml").is_file() {
            folders.push(path);
        } else if path.extension().is_some_and(|extension| extension == "wat") {
            assemble(&path)?;
        }
    }
    folders.sort();
    tidegate_guest_build::build(folders)?;
    println!("cargo::rerun-if-changed=guests");
    println!("cargo::rerun-if-changed=../wit");
    Ok(())
}

/// Makes a filter of a core module in text: one that says its component type, as the SDK leaves it.
fn assemble(text: &Path) -> Result<()> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir("../wit")?;
    let world = resolve.select_world(&[package], Some("full-filter"))?;
    let mut module = wat::parse_file(text)?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    let name = text.file_stem().context("a file without a name")?;
    let target = PathBuf::from(env::var("OUT_DIR")?).join(name).with_extension("wasm");
    fs::write(&target, module).with_context(|| target.display().to_string())
}
