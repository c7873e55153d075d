//! What must hold for any bytes: the bodies of the fuzz targets in `fuzz/`.
//!
//! They are here so that ordinary tests run them too: on the seeds, and on every input that was once
//! found to fail (`tests/fixtures/fuzz/TARGET/`). A body panics where something does not hold.

mod bytes;
mod checksum;
mod decide;
mod frames;
mod manifest;
mod parse;
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
    /// What must hold.
    pub check: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 4] = [
    Target { name: "parse", check: parse::check, seeds: parse::seeds },
    Target { name: "decide", check: decide::check, seeds: decide::seeds },
    Target { name: "checksum", check: checksum::check, seeds: checksum::seeds },
    Target { name: "manifest", check: manifest::check, seeds: manifest::seeds },
];

/// Runs the body of the target of this name. Panics where something does not hold, or there is no
/// such target.
pub fn check(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target's name");
    (target.check)(input);
}

impl Target {
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
