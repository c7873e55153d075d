//! What can only be found out by doing it, in a network namespace that nobody else sees and that
//! goes with the thread that made it.

use std::{io, thread};

use aya::programs::tc::qdisc_add_clsact;
use nix::sched::{CloneFlags, unshare};
use rtnetlink::{LinkBridge, LinkVeth};

use super::{ProbeError, raw};

/// The index of `lo` in a new network namespace.
const LOOPBACK: u32 = 1;

/// What worked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one answer per trial")]
pub(super) struct Trials {
    /// Making a network namespace.
    pub(super) namespace: bool,
    /// Attaching a classifier by a tcx link.
    pub(super) tcx: bool,
    /// Making a clsact qdisc.
    pub(super) clsact: bool,
    /// Making a bridge.
    pub(super) bridge: bool,
    /// Making a veth pair.
    pub(super) veth: bool,
}

/// Tries it all.
pub(super) fn try_in_new_namespace() -> Result<Trials, ProbeError> {
    thread::Builder::new()
        .name("probe".to_owned())
        .spawn(|| {
            // Without CONFIG_NET_NS: EINVAL.
            if unshare(CloneFlags::CLONE_NEWNET).is_err() {
                return Ok(Trials::default());
            }
            trials()
        })
        .and_then(|thread| {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the probing thread panicked")))
        })
        .map_err(|source| ProbeError::Failed { doing: "trying in a network namespace", source })
}

fn trials() -> io::Result<Trials> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (bridge, veth) = runtime.block_on(links())?;
    let tcx = raw::load_classifier()
        .and_then(|classifier| raw::link_tcx_ingress(&classifier, LOOPBACK))
        .is_ok();
    let clsact = qdisc_add_clsact("lo").is_ok();
    Ok(Trials { namespace: true, tcx, clsact, bridge, veth })
}

/// Tries to make a bridge and a veth pair.
async fn links() -> io::Result<(bool, bool)> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    let connection = tokio::spawn(connection);
    let bridge = handle.link().add(LinkBridge::new("probe-bridge").build()).execute().await;
    let veth = handle.link().add(LinkVeth::new("probe-a", "probe-b").build()).execute().await;
    for (what, result) in [("bridge", &bridge), ("veth pair", &veth)] {
        if let Err(error) = result {
            log::debug!("probing: making a {what}: {error}");
        }
    }
    connection.abort();
    Ok((bridge.is_ok(), veth.is_ok()))
}
