//! The servers inside the demo's pods: those of the integration tests, in a process that outlives
//! the demo with `--keep`.

use std::{convert::Infallible, thread, time::Duration};

use anyhow::{Context, Result, anyhow};
use tests::{
    netns::{self, NetNamespace},
    traffic::server::Server,
};

/// Serves TCP and UDP on a port of a network namespace, calling itself `name`, until it is ended.
pub(super) fn serve(namespace: &str, name: &str, port: u16) -> Result<Infallible> {
    netns::remember_the_machine();
    let namespace = NetNamespace::open(namespace)
        .map_err(|reason| anyhow!(reason))
        .context("opening the pod's network namespace")?;
    let _servers = [Server::tcp(&namespace, name, port), Server::udp(&namespace, name, port)];
    loop {
        thread::sleep(Duration::from_hours(1));
    }
}
