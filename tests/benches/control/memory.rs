//! What the agent has in memory, and what the maps have.

use std::{collections::BTreeMap, fs};

use tests::agent::Agent;

use crate::result::Measured;

/// After the start.
pub(crate) fn measure(agent: &Agent, measured: &mut Measured) {
    let of_process = |field| status(agent.pid(), field);
    measured.kibibytes("agent's memory (RSS)", of_process("VmRSS:"));
    measured.kibibytes("  of that, its own (anonymous)", of_process("RssAnon:"));
    measured
        .kibibytes("  of that, files and maps", of_process("RssFile:") + of_process("RssShmem:"));
    measured.kibibytes("  at most (peak)", of_process("VmHWM:"));
    measured.kibibytes("maps' memory", maps(agent.pid()));
}

/// After all changes.
pub(crate) fn measure_in_the_end(agent: &Agent, measured: &mut Measured) {
    measured.kibibytes("agent's memory after all changes", status(agent.pid(), "VmRSS:"));
}

/// A field of `/proc/PID/status`, in KiB.
fn status(pid: u32, field: &str) -> u64 {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(path).expect("what the kernel knows of the agent");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a field");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The memory of all maps that the agent has open, each counted once, in KiB.
fn maps(pid: u32) -> u64 {
    let mut maps = BTreeMap::new();
    let folder = format!("/proc/{pid}/fdinfo");
    for entry in fs::read_dir(folder).expect("the agent's files").flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name))?;
            value.trim().parse::<u64>().ok()
        };
        if let (Some(id), Some(bytes)) = (field("map_id:"), field("memlock:")) {
            maps.insert(id, bytes);
        }
    }
    maps.values().sum::<u64>() / 1024
}
