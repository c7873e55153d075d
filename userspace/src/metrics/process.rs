//! The agent's own process, by the names that every Prometheus client has for it.

use std::fs;

use nix::{
    sys::{
        resource::{Resource, UsageWho, getrlimit, getrusage},
        time::TimeVal,
    },
    unistd::{SysconfVar, sysconf},
};

/// What the kernel says of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// Time on processors, in seconds.
    pub cpu_seconds: f64,
    /// Memory that it holds, in bytes.
    pub resident_bytes: u64,
    /// Memory that it has addresses for, in bytes.
    pub virtual_bytes: u64,
    /// Open files.
    pub open_files: u64,
    /// How many there may be.
    pub max_files: u64,
    /// When it began, in seconds since 1970.
    pub start_seconds: f64,
}

impl Process {
    /// This process. What the kernel does not say is zero.
    pub fn read() -> Self {
        let usage = getrusage(UsageWho::RUSAGE_SELF);
        let cpu =
            usage.map_or(0.0, |usage| seconds(usage.user_time()) + seconds(usage.system_time()));
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        // The one that reads the folder is not there any more.
        let open_files = fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64 - 1);
        Self {
            cpu_seconds: cpu,
            resident_bytes: kibibytes(&status, "VmRSS:") * 1024,
            virtual_bytes: kibibytes(&status, "VmSize:") * 1024,
            open_files,
            max_files: getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft),
            start_seconds: start().unwrap_or_default(),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a process is not that old")]
fn seconds(time: TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}

fn kibibytes(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|size| size.trim().strip_suffix("kB")?.trim().parse().ok()).unwrap_or_default()
}

/// The start of the machine, and the ticks from there to the start of the process.
#[expect(clippy::cast_precision_loss, reason = "a machine is not that old")]
fn start() -> Option<f64> {
    let of_machine = fs::read_to_string("/proc/stat").ok()?;
    let booted: f64 =
        of_machine.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    let of_process = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field, in brackets, may hold blanks; the 22nd is the start.
    let (_, behind_name) = of_process.rsplit_once(')')?;
    let ticks: f64 = behind_name.split_whitespace().nth(19)?.parse().ok()?;
    let per_second = sysconf(SysconfVar::CLK_TCK).ok()??;
    Some(booted + ticks / per_second as f64)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn this_process_has_begun_and_holds_memory_and_files() {
        let before = Process::read();
        // Other tests open and close files meanwhile.
        let files: Vec<_> =
            (0..500).map(|_| fs::File::open("/proc/self/status").unwrap()).collect();
        let spun: u64 =
            (0..50_000_000_u64).fold(0, |sum, number| sum ^ number.wrapping_mul(sum | 7));
        let after = Process::read();
        assert!(spun != 1);
        assert!(after.open_files >= files.len() as u64, "{after:?}");
        assert!(after.cpu_seconds > before.cpu_seconds, "{before:?} {after:?}");
        assert!(after.resident_bytes > 100_000 && after.virtual_bytes >= after.resident_bytes);
        assert!(after.max_files >= after.open_files);
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970")]
        let now = Timestamp::now().as_second() as f64;
        assert!((now - 3600.0..=now + 2.0).contains(&after.start_seconds), "{after:?} {now}");
    }
}
