//! What must hold for any bytes: the bodies of the fuzz targets in `fuzz/`.
//!
//! They are here so that ordinary tests run them too: on the seeds, and on every input that was once
//! found to fail (`tests/fixtures/fuzz/TARGET/`). A body panics where something does not hold.

mod bytes;
pub mod checksum;
pub mod decide;
mod frames;
pub mod manifest;
pub mod parse;
mod slow_parser;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is also that of its file in `fuzz/fuzz_targets/`.
    pub name: &'static str,
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Whether it needs the agent's own code (feature `agent`), which takes minutes to build.
    pub needs_agent: bool,
}

/// All of them.
pub const TARGETS: [Target; 4] = [
    Target { name: "parse", seeds: parse::seeds, needs_agent: false },
    Target { name: "decide", seeds: decide::seeds, needs_agent: false },
    Target { name: "checksum", seeds: checksum::seeds, needs_agent: false },
    Target { name: "manifest", seeds: manifest::seeds, needs_agent: true },
];

impl Target {
    /// Runs its body. Panics where something does not hold.
    #[cfg(feature = "agent")]
    pub fn check(&self, input: &[u8]) {
        match self.name {
            "parse" => parse::check(input),
            "decide" => decide::check(input),
            "checksum" => checksum::check(input),
            "manifest" => manifest::check(input),
            other => unreachable!("there is no target {other}"),
        }
    }

    /// Where the inputs are kept that once failed.
    pub fn fixtures(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/fuzz").join(self.name)
    }

    /// The inputs that once failed, with their files' names; none where there is no folder.
    pub fn found(&self) -> io::Result<Vec<(String, Vec<u8>)>> {
        let folder = self.fixtures();
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            found.push((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?));
        }
        found.sort();
        Ok(found)
    }
}
