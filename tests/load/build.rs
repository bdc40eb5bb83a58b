//! Compiles what `compare` puts into proxies: filters for Tidegate, as every component of this workspace is compiled, and
//! two modules for Envoy.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

fn main() -> Result<()> {
    // This also sees to it that the target is there.
    tidegate_guest_build::build(["../guests/reader", "../guests/replacer"])?;
    envoy_read()?;
    envoy_native()
}

/// A core module for Envoy's own interface, with nothing for cargo to resolve.
fn envoy_read() -> Result<()> {
    let source = "guests/envoy-read.rs";
    println!("cargo::rerun-if-changed={source}");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").context("OUT_DIR is not set")?);
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.args(["--edition", "2024", "--crate-type", "cdylib", "--target", "wasm32-unknown-unknown"]);
    command.args(["-Copt-level=3", "-Ctarget-feature=+simd128", "-Cpanic=abort", "-Cstrip=debuginfo", source, "-o"]);
    command.arg(out.join("envoy-read.wasm"));
    let status = command.status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{source} does not compile; the command was {command:?}");
    Ok(())
}

/// A library for the machine that this tool runs on, with nothing for cargo to resolve either.
fn envoy_native() -> Result<()> {
    let source = "guests/envoy-native.rs";
    println!("cargo::rerun-if-changed={source}");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").context("OUT_DIR is not set")?);
    let target = std::env::var("TARGET").context("TARGET is not set")?;
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.args(["--edition", "2024", "--crate-type", "cdylib", "--target", &target]);
    command.args(["-Copt-level=3", "-Cpanic=abort", "-Cstrip=symbols", source, "-o"]).arg(out.join("envoy-native.so"));
    let status = command.status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{source} does not compile; the command was {command:?}");
    Ok(())
}
