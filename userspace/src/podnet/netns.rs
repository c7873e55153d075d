//! Network namespaces: made, entered and removed, each on a thread that ends with the work, because
//! a thread of the runtime that changed its namespace would carry every other task with it.
//!
//! rtnetlink's own `NetworkNamespace` forks, which a program of many threads must not.

use std::{
    fs::{self, File, OpenOptions},
    future::Future,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use nix::{
    fcntl::{Flock, FlockArg},
    getsockopt_impl,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sockopt_impl,
    sys::socket::{AddressFamily, GetSockOpt, SockFlag, SockType, socket},
};
use tokio::sync::oneshot;

use super::Error;

sockopt_impl!(
    /// `SO_NETNS_COOKIE`, Linux 5.14 and later: a number that no other namespace has until the next
    /// boot.
    NetnsCookie,
    GetOnly,
    libc::SOL_SOCKET,
    libc::SO_NETNS_COOKIE,
    u64
);

/// A network namespace that is held open.
#[derive(Clone, Debug)]
pub(super) struct Netns {
    handle: Arc<OwnedFd>,
    pub(super) cookie: u64,
}

impl Netns {
    /// The descriptor, for netlink messages that name the namespace.
    pub(super) fn raw_fd(&self) -> RawFd {
        self.handle.as_raw_fd()
    }

    /// Runs `work` inside of the namespace, with a netlink connection of its own.
    pub(super) async fn run<T, W, F>(&self, action: String, work: W) -> Result<T, Error>
    where
        T: Send + 'static,
        W: FnOnce(rtnetlink::Handle) -> F + Send + 'static,
        F: Future<Output = Result<T, Error>>,
    {
        let netns = self.clone();
        let told = action.clone();
        on_own_thread(action, move || {
            setns(netns.handle.as_fd(), CloneFlags::CLONE_NEWNET)
                .map_err(Error::kernel(told.clone()))?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build()
                .map_err(Error::kernel(told.clone()))?;
            runtime.block_on(async {
                let (connection, handle, _) =
                    rtnetlink::new_connection().map_err(Error::kernel(told))?;
                tokio::spawn(connection);
                work(handle).await
            })
        })
        .await
    }
}

/// The cookie of the calling thread's namespace.
pub(super) fn current_cookie() -> Result<u64, Error> {
    let action = "reading the cookie of the network namespace (SO_NETNS_COOKIE, Linux 5.14)";
    let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .map_err(Error::kernel(action))?;
    NetnsCookie.get(&socket).map_err(Error::kernel(action))
}

/// Opens the namespace at `path`: `None` where nothing is there, or a file that is no namespace.
pub(super) async fn open(path: PathBuf) -> Result<Option<Netns>, Error> {
    let action = format!("opening network namespace {}", path.display());
    let file = match File::open(&path) {
        Ok(file) => OwnedFd::from(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::kernel(action)(error)),
    };
    let told = action.clone();
    on_own_thread(action, move || match setns(file.as_fd(), CloneFlags::CLONE_NEWNET) {
        Ok(()) => Ok(Some(Netns { handle: Arc::new(file), cookie: current_cookie()? })),
        Err(nix::errno::Errno::EINVAL) => Ok(None),
        Err(error) => Err(Error::kernel(told)(error)),
    })
    .await
}

/// Takes the calling thread, which ends with its work, into the namespace at `path`, if that is the
/// one that is meant.
pub fn enter(path: &Path, cookie: u64) -> Result<(), Error> {
    let action = || format!("entering network namespace {}", path.display());
    let file = File::open(path).map_err(Error::kernel(action()))?;
    setns(&file, CloneFlags::CLONE_NEWNET).map_err(Error::kernel(action()))?;
    if current_cookie()? == cookie {
        Ok(())
    } else {
        let another = io::Error::other("another one is there now");
        Err(Error::kernel(action())(another))
    }
}

/// Makes a namespace and mounts it at `path`, which must not exist. `before_mount` is told the new
/// namespace's cookie while nobody else can see it; where it fails, or the path exists, nothing is
/// left.
///
/// # Errors
/// `AlreadyExists` from the kernel where the path exists.
pub(super) async fn create<B>(path: PathBuf, before_mount: B) -> Result<Netns, Error>
where
    B: FnOnce(u64) -> Result<(), Error> + Send + 'static,
{
    let action = format!("making network namespace {}", path.display());
    let told = action.clone();
    on_own_thread(action, move || {
        let failed = || Error::kernel::<io::Error>(told.clone());
        let own = "/proc/thread-self/ns/net";
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| failed()(errno.into()))?;
        let handle = Arc::new(OwnedFd::from(File::open(own).map_err(failed())?));
        let cookie = current_cookie()?;
        before_mount(cookie)?;
        OpenOptions::new().write(true).create_new(true).open(&path).map_err(failed())?;
        let mounted = mount(Some(own), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>);
        mounted.map_err(|errno| {
            // The error that matters is the mount's.
            let _ = fs::remove_file(&path);
            failed()(errno.into())
        })?;
        Ok(Netns { handle, cookie })
    })
    .await
}

/// Takes the namespace at `path` down; it lives on while a process is in it.
pub(super) fn unmount(path: &Path) -> Result<(), Error> {
    let action = || format!("removing network namespace {}", path.display());
    match umount2(path, MntFlags::MNT_DETACH) {
        // Nothing there, or a file on which nothing was mounted yet.
        Ok(()) | Err(nix::errno::Errno::ENOENT | nix::errno::Errno::EINVAL) => {}
        Err(error) => return Err(Error::kernel(action())(error)),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::kernel(action())(error))
        }
        _ => Ok(()),
    }
}

/// Makes the folder of the namespaces' mounts, shared with other mount namespaces as iproute2 does,
/// so that a namespace removed here does not live on in another. Agents and `ip netns add` do this
/// one at a time, under iproute2's lock.
pub(super) fn prepare_folder(folder: &Path) -> Result<(), Error> {
    let failed = || Error::kernel::<io::Error>(format!("preparing {}", folder.display()));
    fs::create_dir_all(folder).map_err(failed())?;
    let lock = Flock::lock(File::open(folder).map_err(failed())?, FlockArg::LockExclusive)
        .map_err(|(_, errno)| failed()(errno.into()))?;
    let nothing = None::<&str>;
    let share = MsFlags::MS_SHARED | MsFlags::MS_REC;
    if mount(nothing, folder, nothing, share, nothing).is_err() {
        let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(folder), folder, nothing, bind, nothing)
            .and_then(|()| mount(nothing, folder, nothing, share, nothing))
            .map_err(|errno| failed()(errno.into()))?;
    }
    drop(lock);
    Ok(())
}

async fn on_own_thread<T, W>(action: String, work: W) -> Result<T, Error>
where
    T: Send + 'static,
    W: FnOnce() -> Result<T, Error> + Send + 'static,
{
    let (answer, answered) = oneshot::channel();
    thread::Builder::new()
        .name("shunt-netns".to_owned())
        .spawn(move || {
            // Nobody waits any more where the receiver is gone.
            let _ = answer.send(work());
        })
        .map_err(Error::kernel(action.clone()))?;
    answered.await.unwrap_or(Err(Error::ThreadLost { action }))
}
