//! The agent: one loop that takes changes from the source and makes the node equal to them.
//!
//! Packets need none of this: the agent may be stopped, killed or upgraded, and traffic goes on.

mod announce;
mod attachments;
mod cni_orders;
mod datapath;
mod dns;
mod doors;
mod health;
mod installation;
mod leftovers;
mod model;
mod network;
mod node;
mod observed;
mod pods;
mod reconcile;
mod report;
mod scrape;
mod service_manager;
mod services;
mod views;
mod xdp;

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use self::{
    announce::Announcer, node::NodeAgent, observed::Observed, service_manager::SignsOfLife,
    views::Views,
};
use crate::{
    api::{Listener, MOST_ORDERS},
    config::{AgentConfig, ObjectSource},
    events,
    host_names::resolve_without_modules,
    loader::probe::{Capabilities, Missing},
    podnet::watch_links,
    source::{Batch, kubernetes, manifests},
};

/// How long an agent that ends because it cannot answer waits for the event about that.
const LAST_WORDS: Duration = Duration::from_secs(2);

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
    let (orders, mut ordered) = mpsc::channel(MOST_ORDERS);
    let metrics = Arc::clone(&observed.metrics);
    let views = Arc::new(Views::new(&config, &capabilities, metrics, orders));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(listener.serve(Arc::clone(&views) as Arc<_>, async {
        let _ = stopped.await;
    }));
    let mut links = watch_links()?;
    let Watched { mut batches, client } = watch(&config.source).await?;
    let (key, place) = (config.source.key(), config.source.place().display());
    log::info!("node={} {key}={place} started", config.node_name);
    let posting = client.map(|client| events::start(client, &config.node_name, &observed.metrics));
    let (events, poster) = posting.unzip();
    let announcer = Announcer::new(&config.node_name, events);
    let _doors = match doors::open(&config, &observed, &views) {
        Ok(doors) => doors,
        Err(error) => {
            announcer.no_door(&error);
            drop(announcer);
            if let Some(poster) = poster {
                poster.finish(LAST_WORDS).await;
            }
            return Err(error.into());
        }
    };
    announcer.starting();
    let mut agent = NodeAgent::new(config, capabilities, Arc::clone(&views), observed, announcer)?;
    agent.resume_name_server().await;
    let mut signs_of_life = SignsOfLife::wanted();
    let work = async {
        agent.take_up_attachments().await;
        loop {
            tokio::select! {
                () = signs_of_life.give() => {}
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
                Some(order) = ordered.recv() => {
                    // So is what a runtime asks for many pods at once.
                    let mut orders = vec![order];
                    while let Ok(order) = ordered.try_recv() {
                        orders.push(order);
                    }
                    agent.carry_out(orders).await;
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
    service_manager::stopping();
    drop(stop);
    let _ = server.await;
    Ok(ExitCode::SUCCESS)
}

/// Where objects come from.
struct Watched {
    batches: mpsc::Receiver<Batch>,
    /// The API server, if that is where.
    client: Option<kube::Client>,
}

/// Watches the objects where they come from.
async fn watch(source: &ObjectSource) -> anyhow::Result<Watched> {
    let (client, origin) = match source {
        ObjectSource::Manifests(folder) => {
            return Ok(Watched { batches: manifests::watch(folder)?, client: None });
        }
        ObjectSource::Kubeconfig(file) => kubernetes::from_kubeconfig(file).await?,
        ObjectSource::InCluster => kubernetes::in_cluster().await?,
    };
    Ok(Watched { batches: kubernetes::watch(&client, origin), client: Some(client) })
}

fn check(capabilities: &Capabilities, socket_lb: bool) -> anyhow::Result<()> {
    let missing: Vec<String> =
        capabilities.missing_for(socket_lb).map(Missing::to_string).collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!("this machine lacks what shunt needs: {}", missing.join("; "))
}
