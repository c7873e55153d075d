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
    address::{Address, PodLink},
    clock::CoarseTime,
    connection::{Connection, Direction, FlowKey},
    reap::ReapRequest,
};
use nix::time::{ClockId, clock_gettime};

use super::{
    judge::{Endpoints, EndpointsUpdate, Pair, Removal, may_be_over},
    peers::PeerKeeper,
};
use crate::{
    loader::Programs,
    maps::{ConnectionMaps, FamilyConnections, MapsError, SocketPeers},
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
pub struct Reaper([Sender<EndpointsUpdate>; 2]);

impl Reaper {
    /// Starts the threads. `links` are the ways to pods that are in force already. Sockets are
    /// looked for in the calling thread's network namespace. Nothing is judged before the first
    /// endpoints are known.
    pub fn start(
        maps: Arc<ConnectionMaps>,
        programs: Arc<Mutex<Programs>>,
        peers: SocketPeers,
        links: HashMap<IpAddr, PodLink>,
    ) -> Self {
        let mut keeper = PeerKeeper::new(peers, links);
        let sockets = move |endpoints: &Endpoints| {
            if let Err(error) = keeper.look(endpoints) {
                log::warn!("sockets are not led away from backends that are gone: {error}");
            }
        };
        let flows = move |endpoints: &Endpoints| {
            let reaped = reap(&maps.v4, &programs, endpoints)
                .and_then(|reaped| Ok(reaped + reap(&maps.v6, &programs, endpoints)?));
            match reaped {
                Ok(0) => {}
                Ok(reaped) => log::debug!("flows={reaped} removed from the connection tables"),
                Err(error) => log::warn!("connections are not cleaned up: {error}"),
            }
        };
        Self([start(sockets), start(flows)])
    }

    /// Says which endpoints there are now, and has all entries judged by them.
    pub fn judge_by(&self, update: &EndpointsUpdate) {
        for thread in &self.0 {
            // A thread ends only with this, or where a lock is poisoned: then the agent ends too.
            let _ = thread.send(update.clone());
        }
    }
}

fn start(look: impl FnMut(&Endpoints) + Send + 'static) -> Sender<EndpointsUpdate> {
    let (sender, updates) = mpsc::channel();
    thread::spawn(move || run(&updates, look));
    sender
}

fn run(updates: &Receiver<EndpointsUpdate>, mut look: impl FnMut(&Endpoints)) {
    let mut known = Endpoints::default();
    let Ok(first) = updates.recv() else { return };
    known.update(first);
    loop {
        for update in updates.try_iter() {
            known.update(update);
        }
        let begun = Instant::now();
        look(&known);
        let pause = INTERVAL.max(begun.elapsed() * IDLE_PER_WORK);
        match updates.recv_timeout(pause) {
            Ok(update) => known.update(update),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn reap<A: Address>(
    connections: &FamilyConnections<A>,
    programs: &Mutex<Programs>,
    endpoints: &Endpoints,
) -> Result<usize, MapsError>
where
    FlowKey<A>: Pod,
    Connection<A>: Pod,
{
    let mut reaped = 0;
    let mut over = Vec::new();
    connections
        .for_each(|&(flow, entry)| over.extend(judge(connections, flow, entry, endpoints)))?;
    for _ in 0..ATTEMPTS {
        if over.is_empty() {
            break;
        }
        let requests: Vec<ReapRequest> =
            over.iter().map(|condemned| request(connections, condemned)).collect();
        reaped += carry_out(programs, &requests);
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
