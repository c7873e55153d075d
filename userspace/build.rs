//! Hands the eBPF object to `loader::object`, which embeds it.
//!
//! `cargo xtask build` leaves the object at `target/shunt-ebpf.o`, or where `SHUNT_EBPF_OBJECT`
//! says. Where it was never built, an empty file stands in, so that `cargo check`, `clippy` and
//! most tests work on any machine; the agent refuses to start with it.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SHUNT_EBPF_OBJECT");
    let object = object_path()?;
    if !object.exists() {
        // The file must be there for cargo to see it change: a path that does not exist would make
        // cargo run this, and build the crate again, every time. Where it cannot be written, that
        // is all that happens.
        let _ = write_empty(&object);
    }
    println!("cargo::rerun-if-changed={}", object.display());
    let content = if object.exists() { fs::read(&object)? } else { Vec::new() };
    fs::write(folder("OUT_DIR")?.join("shunt-ebpf.o"), content)
}

fn object_path() -> io::Result<PathBuf> {
    match env::var_os("SHUNT_EBPF_OBJECT") {
        Some(path) => Ok(path.into()),
        None => Ok(folder("CARGO_MANIFEST_DIR")?.join("../target/shunt-ebpf.o")),
    }
}

fn write_empty(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, [])
}

/// A folder that cargo names to every build script.
fn folder(variable: &str) -> io::Result<PathBuf> {
    env::var_os(variable)
        .map(PathBuf::from)
        .ok_or_else(|| io::Error::other(format!("{variable} is not set; run this through cargo")))
}
