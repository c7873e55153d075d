//! The path from objects to tables by itself, stage by stage, for measuring: once over all that a
//! folder of manifests holds, then over the change of one file.
//!
//! ```text
//! control-path FOLDER CHANGED [BPFFS]
//! ```
//!
//! `CHANGED` is a file that takes the place of the one of its name in the folder. Without `BPFFS` the
//! tables are plain memory, and nothing but the processor's work is left: what it does is counted, by
//! `cargo xtask bench counts`. With it the programs are loaded there, on maps of the kernel's.
//!
//! Each stage is a function `stage_…` of its own that is not inlined and calls no other one, so that
//! what counts can tell them apart. How long each took is printed as JSON.
#![expect(unused_crate_dependencies, reason = "the library uses them")]
#![expect(clippy::print_stdout, reason = "the times are data")]

mod memory;
mod stages;

use std::{env, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use userspace::maps::ServiceMaps;

use self::{memory::MemoryTables, stages::Manifests};

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let usage = "control-path FOLDER CHANGED [BPFFS]";
    let folder = arguments.next().context(usage)?;
    let changed = arguments.next().context(usage)?;
    let manifests = Manifests::load(&folder, &changed)?;
    let times = match arguments.next() {
        None => stages::run(manifests, MemoryTables::default())?,
        Some(bpffs) => {
            let pins = stages::load_programs(&bpffs)?;
            stages::run(manifests, ServiceMaps::open(&pins)?)?
        }
    };
    println!("{}", serde_json::to_string(&times)?);
    Ok(ExitCode::SUCCESS)
}
