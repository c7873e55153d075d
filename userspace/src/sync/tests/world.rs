//! What is wanted, in a form that tests can write down and compare with what packets meet.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use maps_schema::{
    address::{Family, IfIndex, Mac, PodLink, Protocol},
    service::WhenEmpty,
};

use super::fake::{Fake, Fate, tcp};
use crate::{
    cluster::model::ObjectName,
    compile::{CompiledPort, CompiledService, ServicePortName},
    sync::{Sync, SyncError, pool::GRACE, tables::FrontendAddress},
};

/// The services and the pods of one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub(super) services: BTreeMap<ObjectName, CompiledService>,
    pub(super) pods: HashMap<IpAddr, PodLink>,
}

pub(super) fn name(name: &str) -> ObjectName {
    ObjectName { namespace: "default".to_owned(), name: name.to_owned() }
}

pub(super) fn cluster_ip(number: u8) -> IpAddr {
    IpAddr::from([10, 96, 0, number])
}

/// An endpoint's address.
pub(super) fn endpoint(number: u8) -> IpAddr {
    IpAddr::from([192, 168, 0, number])
}

pub(super) fn link(number: u32) -> PodLink {
    PodLink {
        interface: IfIndex::new(number),
        mac: Mac::from_bytes([2, 0, 0, 0, 0, number.to_le_bytes()[0]]),
    }
}

/// A service at some cluster IPs; of each port its number and its endpoints.
pub(super) fn service(service: &str, ips: &[u8], ports: &[(u16, &[u8])]) -> CompiledService {
    let port = |&(number, backends): &(u16, &[u8])| CompiledPort {
        name: ServicePortName {
            service: name(service),
            port: format!("port{number}"),
            protocol: Protocol::TCP,
            family: Family::V4,
        },
        frontends: ips.iter().map(|&ip| SocketAddr::new(cluster_ip(ip), number)).collect(),
        backends: backends.iter().map(|&it| SocketAddr::new(endpoint(it), 8080)).collect(),
        when_empty: WhenEmpty::Refuse,
        endpoints: Box::default(),
    };
    CompiledService {
        addresses: ips.iter().copied().map(cluster_ip).collect(),
        ports: ports.iter().map(port).collect(),
    }
}

impl World {
    pub(super) fn with(
        services: impl IntoIterator<Item = (&'static str, CompiledService)>,
    ) -> Self {
        let services = services.into_iter().map(|(it, service)| (name(it), service)).collect();
        Self { services, pods: HashMap::new() }
    }

    /// What packets shall meet, at all the addresses and ports that tests use.
    pub(super) fn fates(&self) -> BTreeMap<FrontendAddress, Fate> {
        let addresses = (1..=5).map(cluster_ip).chain((1..=6).map(endpoint));
        let sockets =
            addresses.flat_map(|address| [80, 81, 82].map(|port| SocketAddr::new(address, port)));
        sockets.map(|socket| (tcp(socket), self.fate(socket))).collect()
    }

    fn fate(&self, socket: SocketAddr) -> Fate {
        let mut ports = self.services.values().flat_map(|service| &service.ports);
        if let Some(port) = ports.find(|port| port.frontends.contains(&socket)) {
            let mut backends: Vec<_> = port
                .backends
                .iter()
                .map(|&backend| {
                    (backend, self.pods.get(&backend.ip()).copied().unwrap_or_default())
                })
                .collect();
            backends.sort_unstable();
            return if backends.is_empty() {
                Fate::Empty(port.when_empty)
            } else {
                Fate::Backends(backends)
            };
        }
        if let Some(&link) = self.pods.get(&socket.ip()) {
            return Fate::Pod(link);
        }
        if self.services.values().any(|service| service.addresses.contains(&socket.ip())) {
            return Fate::NoSuchPort;
        }
        Fate::Unknown
    }
}

impl Sync<Fake> {
    pub(super) fn pass(&mut self, time: Duration) {
        self.tables.now += time;
    }

    /// Makes everything as in `world`, `former` services included, under the eyes of packets.
    pub(super) fn become_world(
        &mut self,
        former: &BTreeSet<ObjectName>,
        world: &World,
    ) -> BTreeMap<ObjectName, SyncError> {
        // As the agent does: pods that go are there until no service leads to them.
        let mut both = world.clone();
        both.pods = self.tables.pods();
        both.pods.extend(world.pods.clone());
        let failed = self.apply_world(former, &both);
        if failed.is_empty() { self.apply_world(former, world) } else { failed }
    }

    fn apply_world(
        &mut self,
        former: &BTreeSet<ObjectName>,
        world: &World,
    ) -> BTreeMap<ObjectName, SyncError> {
        self.tables.expect(&world.fates());
        if let Err(error) = self.set_pods(&world.pods) {
            return BTreeMap::from([(name("pods"), error.into())]);
        }
        let names: BTreeSet<&ObjectName> = former.iter().chain(world.services.keys()).collect();
        let batch: Vec<_> =
            names.into_iter().map(|name| (name, world.services.get(name))).collect();
        let now = self.tables.now;
        self.apply(batch.iter().copied(), now)
    }

    /// Starts again on the same tables.
    pub(super) fn restarted(self) -> Self {
        let mut tables = self.tables;
        tables.now += GRACE;
        (tables.crash_before, tables.fail_at) = (None, None);
        Self::new(tables).unwrap()
    }

    /// Starts again, takes over, and lets time pass: all that is wanted is there, and nothing else.
    pub(super) fn assert_settles(self, world: &World) -> Self {
        let mut sync = self.restarted();
        assert!(sync.become_world(&BTreeSet::new(), world).is_empty());
        sync.finish_recovery(sync.tables.now).unwrap();
        sync.assert_is(world);
        sync
    }

    /// Nothing else is there than what is wanted.
    pub(super) fn assert_is(&self, world: &World) {
        for (frontend, fate) in world.fates() {
            assert_eq!(self.tables.fate(frontend), fate, "{frontend:?}");
        }
        let ports = || world.services.values().flat_map(|service| &service.ports);
        let frontends: usize = ports().map(|port| port.frontends.len()).sum();
        assert_eq!(self.tables.frontends.len(), frontends);
        let own = world.services.values().flat_map(|service| &service.addresses);
        let addresses: BTreeSet<&IpAddr> = own.chain(world.pods.keys()).collect();
        assert_eq!(self.tables.addresses.len(), addresses.len());
        let slots: usize = ports().map(|port| port.backends.len()).sum();
        let backends: BTreeSet<SocketAddr> =
            ports().flat_map(|port| port.backends.iter().copied()).collect();
        let usage = self.usage();
        assert_eq!(usage.services, ports().count() as u64);
        assert_eq!(usage.slots, slots as u64);
        assert_eq!(usage.backends, backends.len() as u64);
    }
}

impl super::fake::Fake {
    pub(super) fn roomy() -> Self {
        Self::new(256, 2048, 1024)
    }
}

pub(super) fn names(world: &World) -> BTreeSet<ObjectName> {
    world.services.keys().cloned().collect()
}
