//! Taking the stage down, from what is on disk alone: the demo that set it may be long gone.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use nix::mount::{MntFlags, umount2};
use tests::bpf_objects::BpfObjects;

use super::{
    before::{NETNS, NETNS_FILES, State, names_in},
    cast::{NODES, own_namespaces, pod_namespaces},
    processes::Processes,
    stage::{ROOT, bpffs, path, run_dir},
};

/// How long the kernel may take to free what nobody holds any more.
const PATIENCE: Duration = Duration::from_secs(10);

/// Removes everything and returns a line for each thing that is left, or went wrong on the way.
/// Never stops half-way.
pub(super) fn remove(shunt: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    if !Path::new(ROOT).exists() {
        return problems;
    }
    problems.extend(Processes::at(path("processes")).stop_all());
    let objects = BpfObjects::pinned_below(&path("bpf"));
    problems.extend(NODES.iter().filter_map(|node| run_cleanup(shunt, node)));
    problems.extend(
        names_in(&path("bpf"))
            .iter()
            // The kernel itself puts `maps.debug` and `progs.debug` into every BPF file system.
            .filter(|name| !["maps.debug", "progs.debug"].contains(&name.as_str()))
            .map(|name| format!("shunt cleanup left {ROOT}/bpf/{name}")),
    );
    let pods = pod_namespaces();
    for name in own_namespaces().iter().chain(&pods) {
        if !Path::new(NETNS).join(name).exists() {
            continue;
        }
        if pods.contains(name) {
            problems.push(format!("shunt cleanup left network namespace {name}"));
        }
        problems.extend(quietly(Command::new("ip").args(["netns", "delete", name])));
    }
    let bpf = path("bpf");
    if State::now().mounts(&bpf) > 0 {
        problems.extend(
            umount2(&bpf, MntFlags::MNT_DETACH)
                .err()
                .map(|error| format!("unmounting {}: {error}", bpf.display())),
        );
    }
    problems.extend(still_loaded(&objects));

    let before = State::load(&path("before"));
    problems
        .extend(fs::remove_dir_all(ROOT).err().map(|error| format!("removing {ROOT}: {error}")));
    match before {
        Ok(before) => {
            restore_folders(&before);
            problems.extend(before.differences(&State::now()));
        }
        Err(error) => problems.push(format!("not compared with what was before: {error:#}")),
    }
    problems
}

fn run_cleanup(shunt: &Path, node: &str) -> Option<String> {
    let namespace = Path::new(NETNS).join(node);
    if !namespace.exists() {
        return None;
    }
    quietly(
        Command::new("nsenter")
            .arg(format!("--net={}", namespace.display()))
            .arg(shunt)
            .arg("cleanup")
            .arg("--run-dir")
            .arg(run_dir(node))
            .arg("--bpffs")
            .arg(bpffs(node)),
    )
}

/// Runs a command; what it said, if it failed.
fn quietly(command: &mut Command) -> Option<String> {
    let what = format!("{command:?}");
    // A second Ctrl-C is not for it.
    match command.process_group(0).output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!(
            "{what}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => Some(format!("{what}: {error}")),
    }
}

/// Waits until the kernel has freed the agent's maps and programs.
fn still_loaded(objects: &BpfObjects) -> Option<String> {
    let start = Instant::now();
    loop {
        let left = objects.still_loaded();
        if left == BpfObjects::default() {
            return None;
        }
        if start.elapsed() > PATIENCE {
            return Some(format!("left behind: {left:?}"));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Removes the folders of namespaces where they are empty and were not there before; the first
/// namespace of a machine brings a mount of its own.
fn restore_folders(before: &State) {
    let netns = Path::new(NETNS);
    if names_in(netns).is_empty() {
        while State::now().mounts(netns) > before.mounts(netns) {
            if umount2(netns, MntFlags::MNT_DETACH).is_err() {
                break;
            }
        }
    }
    for folder in [netns, Path::new(NETNS_FILES)] {
        if !before.has_folder(folder) {
            // Where it is not empty it is somebody else's by now, and the comparison shows it.
            let _ = fs::remove_dir(folder);
        }
    }
}
