//! Network namespaces, and the refusal to touch the machine's own.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
    thread,
};

use nix::sched::{CloneFlags, setns};

use crate::process;

/// Which namespace a file of `/proc/*/ns` or `/run/netns` stands for: device and inode.
pub type Identity = (u64, u64);

/// The network namespace that this process was started in; set once, before any thread leaves it.
static AT_START: OnceLock<Identity> = OnceLock::new();

/// The namespace behind a file; none where it cannot be told.
pub fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Remembers the caller's network namespace as the machine's, unless that was done before.
///
/// [`crate::sandbox::Sandbox::enter`] calls it before it leaves that namespace.
pub fn remember_the_machine() {
    AT_START.get_or_init(current);
}

/// Panics if the calling thread is in the machine's own network namespace: that of process 1, or
/// that which this process was started in. Every client and server of the harness calls it before
/// its first packet.
pub fn refuse_the_machine() {
    let current = current();
    let of_init = identity(Path::new("/proc/1/ns/net"));
    let at_start = AT_START.get();
    assert!(
        at_start.is_some() && at_start != Some(&current) && of_init != Some(current),
        "this would send packets in the machine's own network namespace: enter a sandbox first"
    );
}

/// Panics if the calling thread has left the network namespace that this process was started in:
/// private worlds are not made inside each other.
pub fn require_the_machine() {
    assert!(
        AT_START.get() == Some(&current()),
        "this thread is in a sandbox already: one test enters one"
    );
}

fn current() -> Identity {
    identity(Path::new("/proc/thread-self/ns/net")).expect("/proc is mounted")
}

/// A named network namespace, as `ip netns` shows it.
///
/// It is held open: work can go on in it after its name is gone, as in a container that outlives
/// its pod object.
#[derive(Clone, Debug)]
pub struct NetNamespace {
    name: String,
    file: Arc<File>,
}

impl NetNamespace {
    /// Makes a namespace with `lo` up.
    pub fn create(name: &str) -> Self {
        refuse_the_machine();
        process::must(process::mortal_command("ip").args(["netns", "add", name]));
        let namespace = Self::open(name).expect("a namespace that was just made has a name");
        namespace.ip("link set lo up");
        namespace
    }

    /// Opens a namespace that is there.
    pub fn open(name: &str) -> Result<Self, String> {
        let path = Self::path(name);
        let file = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let namespace = Self { name: name.to_owned(), file: Arc::new(file) };
        // `ip netns add` makes the file first and mounts the namespace on it afterwards; until then
        // nobody can enter.
        namespace.try_run(|| ()).map(|()| namespace.clone())
    }

    /// Where the name of a namespace is found.
    pub fn path(name: &str) -> PathBuf {
        Path::new("/run/netns").join(name)
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` on a thread inside the namespace, and returns what it returns.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.try_run(work).unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// Starts `work` on a thread inside the namespace.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        let namespace = self.clone();
        thread::spawn(move || {
            namespace.enter().unwrap_or_else(|reason| panic!("{reason}"));
            work()
        })
    }

    /// A command that runs inside the namespace, keeps the caller's mounts, and dies with the
    /// caller.
    pub fn command(&self, program: &str) -> Command {
        let mut command = process::mortal_command("nsenter");
        command.arg(format!("--net={}", Self::path(&self.name).display())).arg("--").arg(program);
        command
    }

    /// Runs `ip` inside with arguments separated by blanks, and returns what it printed.
    pub fn ip(&self, arguments: &str) -> String {
        process::must(self.command("ip").args(arguments.split_whitespace()))
    }

    /// Bytes and packets that an interface of the namespace has received and sent.
    pub fn counters(&self, interface: &str) -> Counters {
        let text = self.ip(&format!("-j -s link show dev {interface}"));
        let value: serde_json::Value = serde_json::from_str(&text).expect("ip prints JSON");
        let read = |direction: &str, what: &str| {
            value
                .pointer(&format!("/0/stats64/{direction}/{what}"))
                .and_then(serde_json::Value::as_u64)
                .unwrap_or_else(|| panic!("no {direction} {what} in {value}"))
        };
        Counters {
            received_bytes: read("rx", "bytes"),
            received_packets: read("rx", "packets"),
            sent_bytes: read("tx", "bytes"),
            sent_packets: read("tx", "packets"),
        }
    }

    fn try_run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, String> {
        thread::scope(|scope| {
            scope
                .spawn(|| self.enter().map(|()| work()))
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Moves the calling thread into the namespace, for good.
    fn enter(&self) -> Result<(), String> {
        setns(self.file.as_ref(), CloneFlags::CLONE_NEWNET)
            .map_err(|error| format!("entering network namespace {}: {error}", self.name))?;
        refuse_the_machine();
        Ok(())
    }
}

/// What passed an interface, seen from its namespace.
#[derive(Clone, Copy, Debug)]
pub struct Counters {
    /// Bytes in.
    pub received_bytes: u64,
    /// Packets in; a segment that is still to be cut counts once.
    pub received_packets: u64,
    /// Bytes out.
    pub sent_bytes: u64,
    /// Packets out; a segment that is still to be cut counts once.
    pub sent_packets: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Sandbox;

    #[test]
    #[should_panic(expected = "the machine's own network namespace")]
    fn the_machines_namespace_is_refused() {
        remember_the_machine();
        refuse_the_machine();
    }

    #[test]
    #[ignore = "needs root"]
    fn work_runs_inside_the_namespace_and_leaves_the_caller_outside() {
        let Some(_sandbox) = Sandbox::enter() else {
            return;
        };
        let before = current();
        let namespace = NetNamespace::create("inside");
        let inside = namespace.run(current);
        assert_eq!(Some(inside), identity(&NetNamespace::path("inside")));
        assert_ne!(inside, before);
        assert_eq!(current(), before);
    }

    #[test]
    #[ignore = "needs root"]
    fn a_namespace_is_usable_after_its_name_is_gone() {
        let Some(_sandbox) = Sandbox::enter() else {
            return;
        };
        let namespace = NetNamespace::create("gone");
        process::must(process::mortal_command("ip").args(["netns", "delete", "gone"]));
        assert!(NetNamespace::open("gone").is_err());
        namespace.run(refuse_the_machine);
    }
}
