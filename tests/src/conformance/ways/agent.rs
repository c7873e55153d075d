//! The agent without a kernel: objects are read, compiled and written into tables by its own code.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    path::Path,
    sync::Arc,
    time::Instant,
};

use ipnet::IpNet;
use maps_schema::{
    address::{AddressPair, IfIndex, Ipv4Wire, Ipv6Wire, Mac, PodLink},
    way::{Node as PeerNode, Way},
};
use serde_json::Value;
use userspace::{
    cluster::{
        Cluster,
        model::{Kind, ObjectName},
    },
    compile::{
        self, CompileOptions, CompiledService, LocalTraffic, Owner, compile, compile_host_ports,
    },
    source::{
        Change, Origin,
        manifests::documents::{File, Item, read_file},
    },
    sync::Sync,
};

use super::tables::SharedTables;
use crate::conformance::{
    Cast, Config,
    scenario::{DetectLocal, NodePortAddresses, ObjectRef},
};

/// The interface of the uplink.
pub const UPLINK: IfIndex = IfIndex::new(900);
/// The interface of the overlay.
pub const OVERLAY: IfIndex = IfIndex::new(901);

/// How many pods this node has: the addresses of its network from the second on.
const PODS: u8 = 60;

/// The agent's core.
#[derive(Debug)]
pub struct Agent {
    cast: Cast,
    config: Config,
    cluster: Cluster,
    sync: Sync<SharedTables>,
}

/// The way to a pod of this node.
pub fn link(pod: u8) -> PodLink {
    let interface = IfIndex::new(1000 + u32::from(pod));
    PodLink { interface, mac: Mac::from_bytes(pod_mac(pod)) }
}

/// The Ethernet address of a pod.
pub const fn pod_mac(pod: u8) -> [u8; 6] {
    [2, 0, 0, 0, 1, pod]
}

/// Which pod of this node has an address: the last byte of it.
pub fn pod_number(address: IpAddr) -> u8 {
    let [.., last] = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    last
}

/// Every pod of this node, whether an object speaks of it or not.
pub fn pods(cast: &Cast) -> impl Iterator<Item = (u8, IpAddr)> {
    let bridge = pod_number(cast.bridge);
    (2..PODS).filter(move |number| *number != bridge).map(|number| {
        let address = match cast.pod_cidr.addr() {
            IpAddr::V4(network) => {
                let [a, b, c, _] = network.octets();
                IpAddr::from([a, b, c, number])
            }
            IpAddr::V6(network) => {
                let mut octets = network.octets();
                octets[15] = number;
                IpAddr::from(octets)
            }
        };
        (number, address)
    })
}

impl Agent {
    /// The agent of a node without objects, which knows what is around it.
    pub fn new(cast: &Cast, config: &Config, tables: SharedTables) -> Self {
        let mut agent = Self {
            cast: cast.clone(),
            config: config.clone(),
            cluster: Cluster::new(&cast.own_node).with_service_cidrs(&config.service_cidrs),
            sync: Sync::new(tables).expect("tables in memory can be read"),
        };
        agent.announce();
        agent
    }

    /// Tells the tables of pods, nodes, networks and uplinks.
    fn announce(&mut self) {
        let (cast, sync) = (&self.cast, &mut self.sync);
        let failed = "tables in memory can be written";
        let links: HashMap<IpAddr, PodLink> = cast
            .families()
            .flat_map(pods)
            .map(|(number, address)| (address, link(number)))
            .collect();
        sync.set_pods(&links).expect(failed);
        let own: BTreeSet<IpAddr> = cast.own_addresses().into_iter().collect();
        let pod_cidrs: Vec<IpNet> = cast.families().map(|cast| cast.pod_cidr).collect();
        sync.set_node_addresses(&own, &pod_cidrs).expect(failed);
        self.cluster.set_own_addresses(&own);
        let mut pair = AddressPair::default();
        for cast in cast.families() {
            match cast.address {
                IpAddr::V4(address) => pair.v4 = address.into(),
                IpAddr::V6(address) => pair.v6 = address.into(),
            }
        }
        sync.set_uplinks(&BTreeMap::from([(UPLINK, pair)])).expect(failed);
        sync.set_primary_addresses(pair).expect(failed);
        self.announce_networks();
    }

    /// Tells the tables of networks, which ServiceCIDRs are among.
    fn announce_networks(&mut self) {
        let (cast, sync) = (&self.cast, &mut self.sync);
        let failed = "tables in memory can be written";
        let peers = BTreeMap::from([("node02".to_owned(), peer(cast))]);
        let ids = sync.set_nodes(&peers, Instant::now()).expect(failed);
        let mut networks = BTreeMap::new();
        for cast in cast.families() {
            let all = IpNet::new(cast.pod_cidr.addr(), 0).expect("no bits are enough");
            networks.insert(all.trunc(), Way::Outside);
            networks.insert(cast.pod_cidr, Way::Stack);
            networks.insert(cast.other_pod_cidr, Way::Tunnel(ids["node02"]));
        }
        let service_ranges = self.cluster.service_ranges();
        networks.extend(service_ranges.into_iter().map(|range| (range, Way::Nowhere)));
        let others = self.cluster.others_cluster_ips();
        networks.extend(others.map(|address| (IpNet::from(address), Way::Stack)));
        sync.set_networks(&networks).expect(failed);
    }

    /// Reads objects as manifests are read, forgets others, and puts in force what follows.
    ///
    /// # Panics
    ///
    /// An object is refused, or is in conflict with another.
    pub fn change(&mut self, set: &[Value], remove: &[ObjectRef]) {
        for name in remove {
            self.cluster.apply(removal(name));
        }
        for change in changes(set) {
            self.cluster.apply(change);
        }
        let conflicts = self.cluster.conflicts();
        assert!(conflicts.is_empty(), "objects are in conflict: {conflicts:#?}");
        self.announce_networks();
        // Nodes and networks concern services, too: all are looked at.
        let mut owners = self.cluster.take_dirty().owners();
        let services = self.cluster.services().map(|service| service.name.clone());
        owners.extend(services.map(Owner::Service));
        let options = self.options();
        let compiled: Vec<(Owner, Option<CompiledService>)> = owners
            .into_iter()
            .map(|owner| {
                let compiled = match &owner {
                    Owner::Service(name) => {
                        compile(&self.cluster, &self.cast.own_node, &options, name)
                    }
                    Owner::HostPorts(pod) => compile_host_ports(&self.cluster, pod),
                };
                (owner, compiled)
            })
            .collect();
        let all = compiled.iter().map(|(owner, compiled)| (owner, compiled.as_ref()));
        let failed = self.sync.apply(all, Instant::now());
        assert!(failed.is_empty(), "services are not in force: {failed:#?}");
    }

    fn loopback_node_ports(&self) -> Vec<IpAddr> {
        match &self.config.node_port_addresses {
            _ if !self.config.localhost_node_ports => Vec::new(),
            NodePortAddresses::Primary => compile::loopback_within(&[]),
            NodePortAddresses::Within(networks) => compile::loopback_within(networks),
        }
    }

    fn options(&self) -> CompileOptions {
        let own: BTreeSet<IpAddr> = self.cast.own_addresses().into_iter().collect();
        CompileOptions {
            node_ports: match &self.config.node_port_addresses {
                NodePortAddresses::Primary => compile::NodePortAddresses::Primary,
                NodePortAddresses::Within(networks) => {
                    compile::NodePortAddresses::within(&own, networks)
                }
            },
            masquerade_all: self.config.masquerade_all,
            local_traffic: match self.config.detect_local {
                DetectLocal::Pods => LocalTraffic::Pods,
                DetectLocal::Off => LocalTraffic::Off,
            },
            loopback_node_ports: self.loopback_node_ports(),
            ..CompileOptions::default()
        }
    }
}

/// The other node, as an end of the overlay.
fn peer(cast: &Cast) -> PeerNode {
    let mac = Mac::from_bytes([2, 0x73, 0, 0, 0, 3]);
    match cast.other_node {
        IpAddr::V4(address) => PeerNode::new(Ipv4Wire::from(address), mac, OVERLAY),
        IpAddr::V6(address) => PeerNode::new(Ipv6Wire::from(address), mac, OVERLAY),
    }
}

fn changes(objects: &[Value]) -> Vec<Change> {
    let documents: Vec<String> = objects
        .iter()
        .map(|object| serde_yaml_ng::to_string(object).expect("JSON is YAML"))
        .collect();
    let path = Path::new("scenario.yaml");
    let text = documents.join("---\n");
    let file = read_file(path, text.as_bytes(), &File::default())
        .unwrap_or_else(|error| panic!("{error:#?}"));
    let origin = Origin { file: Arc::from(path), document: Some(1) };
    let mut changes = Vec::new();
    for document in file.documents {
        for item in document.items {
            match item {
                Item::Valid(object) => changes.push(Change::Set(object, origin.clone())),
                Item::Refused(refusal) => panic!("an object is refused: {refusal:#?}"),
                Item::Skipped(_) => {}
            }
        }
    }
    changes
}

fn removal(name: &ObjectRef) -> Change {
    let kind = match name.kind.as_str() {
        "Node" => Kind::Node,
        "Pod" => Kind::Pod,
        "Service" => Kind::Service,
        "EndpointSlice" => Kind::EndpointSlice,
        "ServiceCIDR" => Kind::ServiceCidr,
        other => panic!("no such kind: {other}"),
    };
    let ObjectRef { namespace, name, .. } = name.clone();
    Change::Removed(kind, ObjectName { namespace, name })
}
