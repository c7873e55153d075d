//! The network below: the topology of the integration tests, in namespaces that `ip netns` shows.

use std::{
    collections::BTreeMap,
    panic::{self, AssertUnwindSafe},
    process::Command,
};

use anyhow::{Context, Result, anyhow, bail};
use tests::{
    netns::NetNamespace,
    topology::{Layout, Network},
};

use super::cast::{NODES, own_namespaces};
use crate::{interrupt, process::run};

/// Makes the nodes, each in its own subnet behind the router, and the outside.
pub(super) fn lay() -> Result<()> {
    let spaces = own_namespaces()
        .into_iter()
        .map(|name| Ok((name.clone(), make(&name)?)))
        .collect::<Result<BTreeMap<String, NetNamespace>>>()?;
    let laid = panic::catch_unwind(AssertUnwindSafe(|| {
        Network::lay(Layout::routed(NODES.len()), |name| spaces[name].clone())
    }));
    // A signal also breaks what was under way.
    interrupt::check()?;
    if laid.is_err() {
        bail!("the wires between nodes and router could not be laid; the message is above");
    }
    Ok(())
}

fn make(name: &str) -> Result<NetNamespace> {
    interrupt::check()?;
    run(Command::new("ip").args(["netns", "add", name]))?;
    run(Command::new("ip").args(["-n", name, "link", "set", "lo", "up"]))?;
    NetNamespace::open(name)
        .map_err(|reason| anyhow!(reason))
        .with_context(|| format!("opening network namespace {name}"))
}
