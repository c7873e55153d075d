//! What measurements depend on beside the programs.

use std::fs;

/// The processor, the kernel, and what of it slows programs down or not.
pub(super) fn describe() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("a processor without a name", |(_, model)| model);
    let processors = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = word("/proc/sys/kernel/osrelease");
    let jit = match word("/proc/sys/net/core/bpf_jit_enable").as_str() {
        "0" => "interpreted",
        _ => "JIT",
    };
    let spectre = word("/sys/devices/system/cpu/vulnerabilities/spectre_v2");
    let load = word("/proc/loadavg");
    format!(
        "{model}, {processors} processors; Linux {kernel}, {jit}\nspectre v2: {spectre}\nload \
         before: {load}\n"
    )
}

fn word(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}
