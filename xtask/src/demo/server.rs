//! The servers inside the demo's pods: those of the integration tests, in a process that outlives
//! the demo with `--keep`.

use std::{convert::Infallible, path::Path, thread, time::Duration};

use anyhow::{Context, Result, anyhow};
use tests::{
    netns::{self, NetNamespace},
    traffic::{server::Server, tls::Identity},
};

/// Serves TCP and UDP on a port of a network namespace, calling itself `name`, until it is ended.
/// Over TCP it speaks TLS where a folder has a certificate for that.
pub(super) fn serve(
    namespace: &str,
    name: &str,
    port: u16,
    identity: Option<&Path>,
) -> Result<Infallible> {
    netns::remember_the_machine();
    let namespace = NetNamespace::open(namespace)
        .map_err(|reason| anyhow!(reason))
        .context("opening the pod's network namespace")?;
    let tcp = match identity {
        Some(folder) => Server::tls(&namespace, name, port, &Identity::at(folder)),
        None => Server::tcp(&namespace, name, port),
    };
    let _servers = [tcp, Server::udp(&namespace, name, port)];
    loop {
        thread::sleep(Duration::from_hours(1));
    }
}
