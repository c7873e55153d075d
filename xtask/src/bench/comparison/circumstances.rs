//! When and where a run took place: what its figures depend on beside the contenders.

use std::{collections::BTreeMap, fs};

use crate::{process::answer, repository::Repository};

/// The time in UTC.
pub(super) fn now() -> String {
    first_line(answer("date", ["-u", "+%Y-%m-%d %H:%M"]))
}

/// Everything else, by what it is.
pub(super) fn machine(repository: &Repository) -> BTreeMap<String, String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let processors = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let is_virtual = cpuinfo
        .lines()
        .find(|line| line.starts_with("flags"))
        .is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor"));
    let memory = word("/proc/meminfo");
    let memory = memory.lines().next().and_then(|line| line.split_whitespace().nth(1));
    let gibibytes = memory.and_then(|kibibytes| kibibytes.parse::<u64>().ok()).unwrap_or(0) >> 20;
    let root = repository.root().display().to_string();
    let git = |arguments: &[&str]| {
        first_line(answer("git", ["-C", &root].iter().chain(arguments).copied()))
    };
    let changed = match git(&["status", "--porcelain", "--untracked-files=no"]).as_str() {
        "unknown" => "",
        _ => ", with changes",
    };
    let entries = [
        (
            "processor",
            format!(
                "{}, {processors} of them{}",
                model.map_or("without a name", |(_, model)| model.trim()),
                if is_virtual { ", in a virtual machine" } else { "" }
            ),
        ),
        ("memory", format!("{gibibytes} GiB")),
        ("kernel", format!("Linux {}", word("/proc/sys/kernel/osrelease"))),
        ("spectre v2", word("/sys/devices/system/cpu/vulnerabilities/spectre_v2")),
        ("clock", word("/sys/devices/system/clocksource/clocksource0/current_clocksource")),
        ("load before", word("/proc/loadavg")),
        ("iptables, legacy", first_line(answer("iptables-legacy", ["--version"]))),
        ("iptables, nft", first_line(answer("iptables-nft", ["--version"]))),
        ("nftables", first_line(answer("nft", ["--version"]))),
        ("conntrack entries at most", word("/proc/sys/net/netfilter/nf_conntrack_max")),
        ("shunt", format!("{}{changed}", git(&["rev-parse", "--short", "HEAD"]))),
    ];
    entries.map(|(what, value)| (what.to_owned(), value)).into()
}

/// The same for a terminal.
pub(super) fn in_lines(machine: &BTreeMap<String, String>) -> String {
    let lines: Vec<String> =
        machine.iter().map(|(what, value)| format!("{what}: {value}")).collect();
    lines.join("\n") + "\n"
}

fn first_line(text: Option<String>) -> String {
    text.and_then(|text| text.lines().next().map(|line| line.trim().to_owned()))
        .unwrap_or_else(|| "unknown".to_owned())
}

fn word(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}
