//! What `wit-bindgen c` and `wasm-tools component embed` do, in the versions that the proxy is built with: C bindings for a
//! world, and a core module that says its component type.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result, bail};
use wit_bindgen_core::Files;
use wit_component::{StringEncoding, embed_component_metadata};
use wit_bindgen_core::wit_parser::{Resolve, WorldId};

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["c", wit, world, folder] => bindings(wit.as_ref(), world, folder.as_ref()),
        ["embed", wit, world, module] => embed(wit.as_ref(), world, module.as_ref()),
        _ => bail!("usage: c WIT WORLD FOLDER | embed WIT WORLD MODULE"),
    }
}

fn resolve(wit: &Path, world: &str) -> Result<(Resolve, WorldId)> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit)?;
    let world = resolve.select_world(&[package], Some(world))?;
    Ok((resolve, world))
}

/// Writes the bindings into the folder.
fn bindings(wit: &Path, world: &str, folder: &Path) -> Result<()> {
    let (mut resolve, world) = resolve(wit, world)?;
    let mut files = Files::default();
    wit_bindgen_c::Opts::default().build().generate(&mut resolve, world, &mut files)?;
    for (name, bytes) in files.iter() {
        let file: PathBuf = folder.join(name);
        fs::write(&file, bytes).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// Puts the component type into the module.
fn embed(wit: &Path, world: &str, module: &Path) -> Result<()> {
    let (resolve, world) = resolve(wit, world)?;
    let mut bytes = fs::read(module).with_context(|| module.display().to_string())?;
    embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8)?;
    fs::write(module, bytes).with_context(|| module.display().to_string())
}
