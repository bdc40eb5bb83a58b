//! Compiles the guests of this suite, one folder of `guests/` each.

use std::fs;

use anyhow::Result;

fn main() -> Result<()> {
    let mut folders = Vec::new();
    for entry in fs::read_dir("guests")? {
        let path = entry?.path();
        if path.join("Cargo.toml").is_file() {
            folders.push(path);
        }
    }
    folders.sort();
    tidegate_guest_build::build(folders)?;
    println!("cargo::rerun-if-changed=guests");
    Ok(())
}
