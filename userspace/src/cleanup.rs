//! `shunt cleanup`: removes every program, map, link, interface, route and namespace that shunt
//! made, and nothing else. A second run finds nothing to do.

use std::{
    fs, io,
    os::unix::net::UnixStream,
    path::Path,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use nix::{
    sys::{
        signal::{Signal, kill},
        socket::{getsockopt, sockopt::PeerCredentials},
    },
    unistd::Pid,
};

use crate::{
    api::socket_path,
    attachments::{Attachment, Attachments},
    cni::notes,
    ipam::Ipam,
    loader::{
        pins::{MOUNT_RECORD, Pins},
        remove_filters,
    },
    places::Places,
    podnet,
};

/// How long an agent may take to stop.
const PATIENCE: Duration = Duration::from_secs(5);

/// Stops the agent that serves this run directory, if one does, and removes everything.
pub fn run(run_dir: &Path, bpffs: &Path) -> anyhow::Result<ExitCode> {
    stop_agent(run_dir)?;
    let places = Places::read(run_dir);
    let mut errors: Vec<String> = Vec::new();
    // First, so that no container runtime asks for what is being removed.
    for file in &places.files {
        if let Err(error) = gone_is_fine(fs::remove_file(file)) {
            errors.push(format!("removing {}: {error}", file.display()));
        }
    }
    let attachments = attachments(&places, &mut errors);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let removed = runtime.block_on(podnet::cleanup(run_dir, &attachments));
    errors.extend(removed.iter().map(ToString::to_string));
    errors.extend(runtime.block_on(remove_filters(run_dir)));
    if let Err(error) = Pins::below(bpffs).remove(run_dir) {
        errors.push(format!("removing the pins below {}: {error}", bpffs.display()));
    }
    // What is known of that which could not be removed stays, for another try.
    let removed = if errors.is_empty() { remove_state(run_dir, &places) } else { Ok(()) };
    if let Err(error) = removed.and_then(|()| remove_run_dir(run_dir)) {
        errors.push(format!("{error:#}"));
    }
    if errors.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!("not all of it could be removed: {}", errors.join("; "))
}

/// An agent would make again what is removed.
fn stop_agent(run_dir: &Path) -> anyhow::Result<()> {
    let socket = socket_path(run_dir);
    let Ok(stream) = UnixStream::connect(&socket) else {
        return Ok(());
    };
    let pid = Pid::from_raw(getsockopt(&stream, PeerCredentials)?.pid());
    drop(stream);
    log::info!("stopping the agent, process {pid}");
    kill(pid, Signal::SIGTERM).with_context(|| format!("stopping the agent, process {pid}"))?;
    let begun = Instant::now();
    // A process that is gone but not yet waited for listens no more.
    while UnixStream::connect(&socket).is_ok() {
        if begun.elapsed() > PATIENCE {
            bail!("the agent, process {pid}, does not stop: end it, and run this again");
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The containers that the CNI plugin had attached.
fn attachments(places: &Places, errors: &mut Vec<String>) -> Vec<Attachment> {
    let mut all = Vec::new();
    for state_dir in &places.state_dirs {
        match Attachments::open(state_dir, state_dir) {
            Ok(opened) => {
                errors.extend(opened.damage.map(|damage| damage.to_string()));
                all.extend(opened.attachments.all().cloned());
            }
            Err(error) => {
                errors.push(format!("reading the attachments in {}: {error}", state_dir.display()));
            }
        }
    }
    all
}

/// Removes what the agent knows of pods and their addresses.
fn remove_state(run_dir: &Path, places: &Places) -> anyhow::Result<()> {
    for state_dir in &places.state_dirs {
        Attachments::remove_store(state_dir)
            .and_then(|()| Ipam::remove(state_dir))
            .with_context(|| format!("removing the addresses in {}", state_dir.display()))?;
        if state_dir != run_dir {
            // A directory that holds something of others stays.
            let _ = fs::remove_dir(state_dir);
        }
    }
    notes::remove(run_dir)
        .and_then(|()| Places::forget(run_dir))
        .with_context(|| format!("removing the notes in {}", run_dir.display()))
}

fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes what the agent keeps in its run directory, and the directory if nothing else is there.
fn remove_run_dir(run_dir: &Path) -> anyhow::Result<()> {
    let entries = match fs::read_dir(run_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("reading {}", run_dir.display()))?,
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if ["shunt.sock", MOUNT_RECORD].contains(&name) || name.starts_with("verifier-") {
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    // A directory that holds something of others stays.
    let _ = fs::remove_dir(run_dir);
    Ok(())
}
