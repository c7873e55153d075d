//! A private world for one test: mounts and a network namespace that the machine never sees.
//!
//! Nothing needs to be undone. When the last process and thread of the test is gone, however it
//! went, the kernel takes back the mount namespace, and with it the named network namespaces, their
//! links, and everything pinned in its BPF file system.
//!
//! Namespaces belong to threads: `unshare` moves the calling thread, and what it starts from then
//! on inherits that. So tests are safe beside each other both under nextest (a process each) and as
//! threads of one process.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    unistd::geteuid,
};

use crate::{netns, wait::patiently};

/// How long one test may take before its process is ended, where it asks for no other time.
const DEADLINE: Duration = Duration::from_mins(3);

/// Log files to show when the deadline passes.
static LOGS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Proof that the calling thread is in a private world.
#[derive(Debug)]
pub struct Sandbox {
    root: PathBuf,
    bpffs: PathBuf,
    /// Gone with the sandbox: the watch over its deadline ends then.
    _alive: Arc<()>,
}

impl Sandbox {
    /// Takes the calling thread, and all that it starts from now on, into a private world:
    ///
    /// - mounts of its own, with empty `/run` and `/run/netns`, a writable copy-on-write `/etc`
    ///   without `/etc/netns`, and a BPF file system of its own;
    /// - an empty network namespace, so that nothing can reach the machine's by mistake.
    ///
    /// Without root it says so on stderr and returns none. Panics if the isolation cannot be had.
    pub fn enter() -> Option<Self> {
        Self::enter_for(DEADLINE)
    }

    /// The same for a test that may take so long.
    pub fn enter_for(deadline: Duration) -> Option<Self> {
        if !geteuid().is_root() {
            eprintln!("SKIPPED: needs root, for network namespaces and BPF programs");
            return None;
        }
        netns::remember_the_machine();
        netns::require_the_machine();
        let machine = mount_namespace("/proc/thread-self/ns/mnt");
        unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
            .expect("leaving the machine's namespaces");
        let own = mount_namespace("/proc/thread-self/ns/mnt");
        assert!(
            own != machine && own != mount_namespace("/proc/1/ns/mnt"),
            "still in the machine's mount namespace"
        );
        netns::refuse_the_machine();

        let nothing: Option<&str> = None;
        mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)
            .expect("making all mounts private");
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), nothing)
            .expect("mounting an empty /run");
        for folder in ["netns", "etc/upper", "etc/work", "bpf", "test"] {
            fs::create_dir_all(Path::new("/run").join(folder))
                .expect("making folders in an empty /run");
        }
        mount(
            Some("overlay"),
            "/etc",
            Some("overlay"),
            MsFlags::empty(),
            Some("lowerdir=/etc,upperdir=/run/etc/upper,workdir=/run/etc/work"),
        )
        .expect("mounting a copy-on-write /etc");
        mount(Some("bpf"), "/run/bpf", Some("bpf"), MsFlags::empty(), nothing)
            .expect("mounting a BPF file system");
        // A machine may have named namespaces of its own; nobody here may take them for a test's.
        if Path::new("/etc/netns").exists() {
            fs::remove_dir_all("/etc/netns").expect("emptying the private /etc/netns");
        }
        let alive = Arc::new(());
        let watched = Arc::downgrade(&alive);
        thread::spawn(move || end_after(deadline, &watched));
        Some(Self {
            root: PathBuf::from("/run/test"),
            bpffs: PathBuf::from("/run/bpf"),
            _alive: alive,
        })
    }

    /// An empty folder for the test's files.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The private BPF file system.
    pub fn bpffs(&self) -> &Path {
        &self.bpffs
    }

    /// Has a log file shown if the test runs into its deadline.
    pub fn show_at_deadline(log: &Path) {
        LOGS.lock().unwrap_or_else(PoisonError::into_inner).push(log.to_owned());
    }
}

fn mount_namespace(path: &str) -> Option<netns::Identity> {
    netns::identity(Path::new(path))
}

fn end_after(deadline: Duration, watched: &Weak<()>) {
    // This thread keeps the sandbox's mounts alive, and with them what is pinned there: it ends with
    // the test.
    let deadline = patiently(deadline);
    let started = Instant::now();
    while started.elapsed() < deadline {
        if watched.strong_count() == 0 {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    eprintln!("the test is not done after {deadline:?}: ending its process");
    for log in LOGS.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        eprintln!("--- {}\n{}", log.display(), fs::read_to_string(log).unwrap_or_default());
    }
    process::abort();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{finish, mortal_command};

    #[test]
    #[ignore = "needs root"]
    fn the_machine_sees_nothing_that_is_made_inside() {
        if !geteuid().is_root() {
            return;
        }
        let name = "seen-by-nobody";
        thread::spawn(move || {
            let _sandbox = Sandbox::enter().expect("root");
            fs::create_dir_all("/etc/netns/x").expect("/etc is writable inside");
            netns::NetNamespace::create(name);
            assert!(netns::NetNamespace::path(name).exists());
            fs::create_dir("/run/bpf/folder").expect("the BPF file system is writable inside");
        })
        .join()
        .expect("the thread inside ends well");
        assert!(!netns::NetNamespace::path(name).exists());
        assert!(!Path::new("/etc/netns/x").exists());
        assert!(!Path::new("/run/bpf/folder").exists());
    }

    #[test]
    #[ignore = "needs root"]
    fn children_inherit_the_private_world() {
        let Some(_sandbox) = Sandbox::enter() else {
            return;
        };
        fs::write("/run/test/file", "x").expect("writing inside");
        let listed = finish(mortal_command("ls").arg("/run/test"), Duration::from_secs(5));
        assert_eq!(listed.stdout, "file\n");
        let links = finish(mortal_command("ip").args(["-o", "link"]), Duration::from_secs(5));
        assert_eq!(links.stdout.lines().count(), 1, "only lo: {}", links.stdout);
    }
}
