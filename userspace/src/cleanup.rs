//! `shunt cleanup`: removes every program, map, link, interface, route and namespace that shunt
//! made, and nothing else. A second run finds nothing to do.

use std::{fs, io, path::Path, process::ExitCode};

use anyhow::{Context as _, bail};

use crate::{ipam::Ipam, loader::pins::Pins, podnet};

/// Removes everything. No agent may run with this run directory.
pub fn run(run_dir: &Path, bpffs: &Path) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut errors: Vec<String> = runtime
        .block_on(podnet::cleanup(run_dir))
        .iter()
        .map(ToString::to_string)
        .collect();
    if let Err(error) = Pins::below(bpffs).remove() {
        errors.push(format!("removing the pins below {}: {error}", bpffs.display()));
    }
    if let Err(error) = remove_run_dir(run_dir) {
        errors.push(format!("{error:#}"));
    }
    if errors.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!("not all of it could be removed: {}", errors.join("; "))
}

/// Removes what the agent keeps in its run directory, and the directory if nothing else is there.
fn remove_run_dir(run_dir: &Path) -> anyhow::Result<()> {
    Ipam::remove(run_dir).with_context(|| format!("removing the addresses in {}", run_dir.display()))?;
    let entries = match fs::read_dir(run_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("reading {}", run_dir.display()))?,
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name == "shunt.sock" || name.starts_with("verifier-") {
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    // A directory that holds something of others stays.
    let _ = fs::remove_dir(run_dir);
    Ok(())
}
