//! The agent: one loop that takes changes from the source and makes the node equal to them.
//!
//! Packets need none of this: the agent may be stopped, killed or upgraded, and traffic goes on.

mod datapath;
mod doors;
mod health;
mod leftovers;
mod model;
mod network;
mod node;
mod observed;
mod pods;
mod scrape;
mod services;
mod views;
mod xdp;

use std::{process::ExitCode, sync::Arc};

use anyhow::{Context as _, bail};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use self::{node::NodeAgent, observed::Observed, views::Views};
use crate::{
    api::Listener,
    config::{AgentConfig, ObjectSource},
    host_names::resolve_without_modules,
    loader::probe::{Capabilities, Missing},
    podnet::watch_links,
    source::{Batch, kubernetes, manifests},
};

/// Runs the agent until it is told to stop. The datapath stays as it is then.
pub fn run(config: AgentConfig) -> anyhow::Result<ExitCode> {
    resolve_without_modules();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the agent's threads")?;
    let result = runtime.block_on(serve(config));
    // What still runs on a thread of its own, the watcher of files, need not end first.
    runtime.shutdown_background();
    result
}

async fn serve(config: AgentConfig) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // First of all: another agent with this run directory is found out before anything is touched.
    let listener = Listener::bind(&config.run_dir)?;
    let capabilities = Capabilities::probe()?;
    check(&capabilities, config.socket_lb.is_some())?;
    let observed = Observed::new(&config.operations);
    let views = Arc::new(Views::new(&config, &capabilities, Arc::clone(&observed.metrics)));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(listener.serve(Arc::clone(&views) as Arc<_>, async {
        let _ = stopped.await;
    }));
    let mut links = watch_links()?;
    let mut batches = watch(&config.source).await?;
    let (key, place) = (config.source.key(), config.source.place().display());
    log::info!("node={} {key}={place} started", config.node_name);
    let _doors = doors::open(&config, &observed, &views)?;
    let mut agent = NodeAgent::new(config, capabilities, Arc::clone(&views), observed)?;
    let work = async {
        loop {
            tokio::select! {
                batch = batches.recv() => match batch {
                    Some(batch) => agent.take(batch).await,
                    None => bail!("the watcher of the objects has ended"),
                },
                Some(event) = links.next() => {
                    // Whatever else happened at the same time is one repair with this.
                    let mut events = vec![event];
                    while let Some(Some(event)) = links.next().now_or_never() {
                        events.push(event);
                    }
                    agent.repair(&events).await;
                }
                () = agent.retry_due() => agent.retry().await,
            }
        }
    };
    // A signal does not wait for the work in hand: what is half done is found by the next agent, as
    // after a crash.
    let ended: anyhow::Result<()> = tokio::select! {
        ended = work => ended,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    ended?;
    log::info!("stopping; the datapath stays as it is");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    drop(stop);
    let _ = server.await;
    Ok(ExitCode::SUCCESS)
}

/// Watches the objects where they come from.
async fn watch(source: &ObjectSource) -> anyhow::Result<mpsc::Receiver<Batch>> {
    let (client, origin) = match source {
        ObjectSource::Manifests(folder) => return Ok(manifests::watch(folder)?),
        ObjectSource::Kubeconfig(file) => kubernetes::from_kubeconfig(file).await?,
        ObjectSource::InCluster => kubernetes::in_cluster().await?,
    };
    Ok(kubernetes::watch(&client, origin))
}

fn check(capabilities: &Capabilities, socket_lb: bool) -> anyhow::Result<()> {
    let missing: Vec<String> = capabilities
        .missing_for(socket_lb)
        .map(|Missing { what, why_needed, remedy, .. }| format!("{what} ({why_needed}): {remedy}"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!("this machine lacks what shunt needs: {}", missing.join("; "))
}
