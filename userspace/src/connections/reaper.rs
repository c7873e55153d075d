//! Removing the entries of flows that are over: now and then, and at once when a pod or an endpoint
//! has gone.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use aya::Pod;
use maps_schema::{
    address::{Address, Family, PodLink},
    clock::CoarseTime,
    connection::{Connection, Direction, FlowKey},
    reap::ReapRequest,
};
use nix::time::{ClockId, clock_gettime};
use tokio::sync::oneshot;

use super::{
    judge::{Endpoints, EndpointsUpdate, Pair, Removal, may_be_over},
    peers::PeerKeeper,
};
use crate::{
    loader::Programs,
    maps::{ConnectionMaps, FamilyConnections, MapsError, SocketPeers},
    metrics::Metrics,
};

/// How often all entries are looked at, at most.
const INTERVAL: Duration = Duration::from_secs(5);

/// How many times as long as looking took is waited before looking again.
const IDLE_PER_WORK: u32 = 20;

/// How often a flow is judged again that was seen between its judgement and its removal.
const ATTEMPTS: usize = 3;

/// The threads that remove entries: one for flows, and one for translated sockets, which are not to
/// wait until a large table of flows is gone through. They end when this is dropped.
#[derive(Debug)]
pub struct Reaper([Sender<Order>; 2]);

/// An order to look at all entries.
#[derive(Debug)]
struct Order {
    update: EndpointsUpdate,
    /// Told when it is carried out.
    done: oneshot::Sender<()>,
}

impl Reaper {
    /// Starts the threads. `links` are the ways to pods that are in force already. Sockets are
    /// looked for in the calling thread's network namespace. Nothing is judged before the first
    /// endpoints are known.
    pub fn start(
        maps: Arc<ConnectionMaps>,
        programs: Arc<Mutex<Programs>>,
        peers: SocketPeers,
        links: HashMap<IpAddr, PodLink>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let mut keeper = PeerKeeper::new(peers, links);
        let sockets = move |endpoints: &Endpoints| {
            if let Err(error) = keeper.look(endpoints) {
                log::warn!("sockets are not led away from backends that are gone: {error}");
            }
        };
        let flows = move |endpoints: &Endpoints| {
            let of_both = [
                (Family::V4, measured(|| reap(&maps.v4, &programs, endpoints))),
                (Family::V6, measured(|| reap(&maps.v6, &programs, endpoints))),
            ];
            for (family, (took, reaped)) in of_both {
                match reaped {
                    Ok(Reaped { entries, flows }) => {
                        metrics.reaped(family, took, entries as u64, flows as u64);
                        if flows > 0 {
                            log::debug!("flows={flows} removed from the connection table");
                        }
                    }
                    Err(error) => log::warn!("connections are not cleaned up: {error}"),
                }
            }
        };
        Self([start(sockets), start(flows)])
    }

    /// Says which endpoints there are now, and has all entries judged by them. What is returned
    /// ends when they were; nobody need wait for it.
    pub fn judge_by(&self, update: &EndpointsUpdate) -> impl Future<Output = ()> + use<> {
        let judged = self.0.each_ref().map(|thread| {
            let (done, judged) = oneshot::channel();
            // A thread ends only with this, or where a lock is poisoned: then the agent ends too.
            let _ = thread.send(Order { update: update.clone(), done });
            judged
        });
        async {
            for thread in judged {
                let _ = thread.await;
            }
        }
    }
}

fn start(look: impl FnMut(&Endpoints) + Send + 'static) -> Sender<Order> {
    let (sender, orders) = mpsc::channel();
    thread::spawn(move || run(&orders, look));
    sender
}

fn run(orders: &Receiver<Order>, mut look: impl FnMut(&Endpoints)) {
    let mut known = Endpoints::default();
    let Ok(first) = orders.recv() else { return };
    let mut next = Some(first);
    let mut due = Instant::now();
    loop {
        let mut waiting = Vec::new();
        let mut is_news = false;
        for Order { update, done } in next.into_iter().chain(orders.try_iter()) {
            is_news |= known.update(update);
            waiting.push(done);
        }
        let begun = Instant::now();
        // Most changes of Services concern no flow that there is: entries were judged by the same.
        if is_news || begun >= due {
            look(&known);
            due = Instant::now() + INTERVAL.max(begun.elapsed() * IDLE_PER_WORK);
        }
        for done in waiting {
            // Whoever has not waited does not want to know.
            let _ = done.send(());
        }
        next = match orders.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(order) => Some(order),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
    }
}

/// What was found in a table.
struct Reaped {
    entries: usize,
    /// Those that were removed.
    flows: usize,
}

fn measured<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let begun = Instant::now();
    let done = work();
    (begun.elapsed(), done)
}

fn reap<A: Address>(
    connections: &FamilyConnections<A>,
    programs: &Mutex<Programs>,
    endpoints: &Endpoints,
) -> Result<Reaped, MapsError>
where
    FlowKey<A>: Pod,
    Connection<A>: Pod,
{
    let mut reaped = Reaped { entries: 0, flows: 0 };
    let mut over = Vec::new();
    connections.for_each(|&(flow, entry)| {
        reaped.entries += 1;
        over.extend(judge(connections, flow, entry, endpoints));
    })?;
    for _ in 0..ATTEMPTS {
        if over.is_empty() {
            break;
        }
        let requests: Vec<ReapRequest> =
            over.iter().map(|condemned| request(connections, condemned)).collect();
        reaped.flows += carry_out(programs, &requests);
        // Those that a packet has reached meanwhile are judged by what they are now.
        over = over
            .into_iter()
            .filter_map(|Condemned { flow, .. }| Some((flow, connections.get(&flow)?)))
            .filter_map(|(flow, entry)| judge(connections, flow, entry, endpoints))
            .collect();
    }
    Ok(reaped)
}

/// An entry that is to be removed.
struct Condemned<A> {
    flow: FlowKey<A>,
    entry: Connection<A>,
    removal: Removal,
}

/// The entry, if it is to be removed.
fn judge<A: Address>(
    connections: &FamilyConnections<A>,
    flow: FlowKey<A>,
    entry: Connection<A>,
    endpoints: &Endpoints,
) -> Option<Condemned<A>>
where
    FlowKey<A>: Pod,
    Connection<A>: Pod,
{
    let now = now();
    if !may_be_over(&flow, &entry, now, endpoints) {
        return None;
    }
    let pair = Pair::new(flow, entry, |flow| connections.get(flow));
    let removal = pair.removal(now, endpoints)?;
    let spared = removal == Removal::Forward && entry.direction() == Direction::Reply;
    (!spared).then_some(Condemned { flow, entry, removal })
}

fn request<A: Address>(
    connections: &FamilyConnections<A>,
    &Condemned { flow, entry, removal }: &Condemned<A>,
) -> ReapRequest
where
    FlowKey<A>: Pod,
    Connection<A>: Pod,
{
    let mate = connections.get(&entry.rewritten(flow.protocol()).reverse());
    let scope = match removal {
        Removal::Both => ReapRequest::BOTH,
        Removal::Forward => ReapRequest::ONE,
    };
    ReapRequest::new(&flow, &entry, mate.as_ref(), scope)
}

fn carry_out(programs: &Mutex<Programs>, requests: &[ReapRequest]) -> usize {
    let Ok(mut programs) = programs.lock() else {
        return 0;
    };
    match programs.reap(requests) {
        Ok(reaped) => reaped,
        Err(error) => {
            log::warn!("flows={} not removed: {error}", requests.len());
            0
        }
    }
}

/// Now, by the clock of the entries.
pub(super) fn now() -> CoarseTime {
    // The clock exists on every Linux; reading it does not fail.
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map_or(Duration::ZERO, Duration::from);
    CoarseTime::from_nanoseconds(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn who_waits_is_told_after_all_threads_have_looked_at_what_they_were_told() {
        let looks = Arc::new(AtomicUsize::new(0));
        let slowly = |pause: u64| {
            let looks = Arc::clone(&looks);
            move |endpoints: &Endpoints| {
                thread::sleep(Duration::from_millis(pause));
                looks.fetch_add(endpoints.pod_namespaces.len(), Ordering::SeqCst);
            }
        };
        let reaper = Reaper([start(slowly(0)), start(slowly(50))]);
        let update = EndpointsUpdate { pod_namespaces: vec!["a".into()], ..Default::default() };
        reaper.judge_by(&update).await;
        assert_eq!(looks.load(Ordering::SeqCst), 2);
        // Of two orders in a row, the first one is not waited for.
        drop(reaper.judge_by(&update));
        reaper.judge_by(&EndpointsUpdate::default()).await;
        assert!(looks.load(Ordering::SeqCst) <= 4);
    }

    #[tokio::test]
    async fn nobody_waits_for_threads_that_have_ended() {
        let reaper = Reaper([start(|_| panic!("as meant")), start(|_| {})]);
        reaper.judge_by(&EndpointsUpdate::default()).await;
    }
}
