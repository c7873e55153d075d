//! The node and its pods: made by an agent, and then left to whoever is measured.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
};

use maps_schema::address::Family;
use serde_json::Value;

use crate::{
    agent::Agent,
    bpf_objects::files_below,
    manifests::{self, ManifestDir, ip},
    netns::NetNamespace,
    node::Node,
    oracle::world,
    process,
    sandbox::Sandbox,
    traffic::{Protocol, from_port, server::Server},
    wait,
};

const NODE: &str = "node1";
const POD_CIDRS: [&str; 2] = ["10.244.1.0/24", "fd00:10:244:1::/64"];
const NODE_ADDRESSES: [&str; 2] = ["172.30.1.2", "fd00:172:30:1::2"];

/// The port of every Service.
pub(super) const PORT: u16 = 80;
/// The port of endpoints.
const TARGET_PORT: u16 = 8080;
/// How many pods each Service has.
const BACKENDS: u8 = 3;
/// The last part of the client's addresses.
const CLIENT: u8 = 9;

/// A node, a client's pod, and the pods of all Services.
#[derive(Debug)]
pub(super) struct Stage {
    agent: Agent,
    node: Node,
    services: u32,
    objects: Vec<Value>,
}

impl Stage {
    /// Has an agent make it all, with so many Services, and stops the agent: what it has put in force
    /// stays.
    pub(super) fn make(sandbox: &Sandbox, services: u32) -> Self {
        let node = Node::new(sandbox, NODE);
        let folder = ManifestDir::create(&sandbox.root().join("manifests"));
        folder.write("node.yaml", &[manifests::node(NODE, &POD_CIDRS, &NODE_ADDRESSES)]);
        let pods: Vec<Value> = pods()
            .map(|(name, number)| manifests::pod(&name, NODE, "web", &texts(&addresses(number))))
            .collect();
        folder.write("pods.yaml", &pods);
        let objects: Vec<Value> = (0..services).flat_map(service).collect();
        folder.write("services.yaml", &objects);
        let mut agent = node.run_agent(&folder, &[]);
        agent.wait_ready();
        Self { agent, node, services, objects }
    }

    /// Stops the agent, so that nothing runs beside the packets.
    pub(super) fn stop_the_agent(&mut self) {
        self.agent.sigterm();
    }

    /// Detaches shunt's programs from everything, and has the node forward as one with a bridge plugin
    /// does.
    pub(super) fn leave_to_others(&self) {
        // Links end with their pins, and programs with their links.
        for pin in files_below(self.node.bpffs()) {
            fs::remove_file(&pin).expect("removing a pin");
        }
        process::must(process::mortal_command("modprobe").arg("br_netfilter"));
        world::set(
            self.netns(),
            &[
                ("ipv4/ip_forward".into(), "1"),
                ("ipv6/conf/all/forwarding".into(), "1"),
                ("ipv4/conf/all/rp_filter".into(), "0"),
                ("ipv4/conf/all/send_redirects".into(), "0"),
                ("ipv4/conf/cni0/send_redirects".into(), "0"),
            ],
        );
        self.rules_see_bridged_packets("0");
        self.remember_pods();
    }

    /// Has the node know the pods' hardware addresses for good: what drops packets at the pods drops
    /// its questions for them, too.
    fn remember_pods(&self) {
        for number in 1..=BACKENDS {
            let hardware = hardware_address(&Self::pod(&format!("web{number}")), "eth0");
            for address in addresses(number) {
                let neighbour = format!("{address} lladdr {hardware} dev cni0 nud permanent");
                self.netns().ip(&format!("neigh replace {neighbour}"));
            }
        }
    }

    /// Whether rules see what passes the bridge, as they must where answers pass it: "1" or "0".
    pub(super) fn rules_see_bridged_packets(&self, value: &'static str) {
        world::set(
            self.netns(),
            &[
                ("bridge/bridge-nf-call-iptables".into(), value),
                ("bridge/bridge-nf-call-ip6tables".into(), value),
            ],
        );
    }

    /// The node's namespace.
    pub(super) fn netns(&self) -> &NetNamespace {
        self.node.netns()
    }

    /// The client's namespace.
    pub(super) fn client() -> NetNamespace {
        Self::pod("client")
    }

    /// The client's address.
    pub(super) fn client_address(family: Family) -> IpAddr {
        addresses(CLIENT)[index(family)]
    }

    /// The address of the first pod behind Services.
    pub(super) fn pod_address(family: Family) -> IpAddr {
        addresses(1)[index(family)]
    }

    /// The address of the Service in the middle: where rules are in a row, half of them are before it.
    pub(super) fn service_address(&self, family: Family) -> IpAddr {
        cluster_ips(self.services / 2)[index(family)]
    }

    /// All Services with their addresses and endpoints, in a family.
    pub(super) fn services(
        &self,
        family: Family,
    ) -> impl Iterator<Item = (SocketAddr, Vec<SocketAddr>)> {
        (0..self.services).map(move |number| {
            let at = cluster_ips(number)[index(family)];
            let endpoints = (1..=BACKENDS)
                .map(|pod| SocketAddr::new(addresses(pod)[index(family)], TARGET_PORT))
                .collect();
            (SocketAddr::new(at, PORT), endpoints)
        })
    }

    /// The objects of all Services.
    pub(super) fn objects(&self) -> &[Value] {
        &self.objects
    }

    /// The hardware address that pods send to what is not their own.
    pub(super) fn gateway(&self) -> String {
        hardware_address(self.netns(), "cni0")
    }

    /// The hardware address of the first pod behind Services.
    pub(super) fn pod_hardware_address() -> String {
        hardware_address(&Self::pod("web1"), "eth0")
    }

    /// Has the client and a pod behind the Service exchange a datagram each, from this port.
    pub(super) fn establish(to: IpAddr, port: u16) {
        let servers: Vec<Server> = (1..=BACKENDS)
            .map(|number| {
                let name = format!("web{number}");
                Server::udp(&Self::pod(&name), &name, TARGET_PORT)
            })
            .collect();
        let target = SocketAddr::new(to, PORT);
        Self::client()
            .run(|| from_port::ask(Protocol::Udp, port, target))
            .unwrap_or_else(|error| panic!("{target} does not answer: {error}"));
        drop(servers);
    }

    /// Has pods drop what reaches them, before their stacks see it, and count it.
    pub(super) fn drop_at_pods() {
        for number in 1..=BACKENDS {
            drop_at(&Self::pod(&format!("web{number}")), "eth0");
        }
    }

    /// Undoes [`Self::drop_at_pods`].
    pub(super) fn let_pods_hear() {
        for number in 1..=BACKENDS {
            hear_at(&Self::pod(&format!("web{number}")), "eth0");
        }
    }

    /// How many packets pods have dropped since they were told to.
    pub(super) fn dropped() -> u64 {
        (1..=BACKENDS).map(|number| dropped_at(&Self::pod(&format!("web{number}")), "eth0")).sum()
    }

    /// The node's end of the client's interface.
    pub(super) fn client_port(&self) -> String {
        let link = Self::client().ip("-j link show eth0");
        let link: Value = serde_json::from_str(&link).expect("ip prints JSON");
        let index = link[0]["link_index"].as_u64().expect("a veth has a peer");
        let ports = self.netns().ip("-j link show");
        let ports: Value = serde_json::from_str(&ports).expect("ip prints JSON");
        let port = ports.as_array().into_iter().flatten().find(|port| port["ifindex"] == index);
        port.and_then(|port| port["ifname"].as_str()).expect("the peer is there").to_owned()
    }

    fn pod(name: &str) -> NetNamespace {
        let full = format!("default.{name}");
        wait::until(&format!("pod {full}"), wait::PATIENCE, || NetNamespace::open(&full)).0
    }
}

/// Has an interface drop what it receives.
pub(super) fn drop_at(netns: &NetNamespace, interface: &str) {
    let tc = |arguments: &str| {
        process::must(netns.command("tc").args(arguments.split_whitespace()));
    };
    tc(&format!("qdisc add dev {interface} clsact"));
    tc(&format!("filter add dev {interface} ingress matchall action drop"));
}

/// Undoes [`drop_at`].
pub(super) fn hear_at(netns: &NetNamespace, interface: &str) {
    process::must(netns.command("tc").args(["qdisc", "delete", "dev", interface, "clsact"]));
}

/// How many packets [`drop_at`] has dropped.
pub(super) fn dropped_at(netns: &NetNamespace, interface: &str) -> u64 {
    let printed = process::must(
        netns.command("tc").args(["-s", "-j", "filter", "show", "dev", interface, "ingress"]),
    );
    let filters: Value = serde_json::from_str(&printed).expect("tc prints JSON");
    let mut filters = filters.as_array().into_iter().flatten();
    filters
        .find_map(|filter| filter.pointer("/options/actions/0/stats/packets")?.as_u64())
        .unwrap_or_else(|| panic!("no count in {printed}"))
}

fn hardware_address(netns: &NetNamespace, interface: &str) -> String {
    let printed = netns.ip(&format!("-j link show {interface}"));
    let link: Value = serde_json::from_str(&printed).expect("ip prints JSON");
    link[0]["address"].as_str().expect("an interface has one").to_owned()
}

fn pods() -> impl Iterator<Item = (String, u8)> {
    (1..=BACKENDS)
        .map(|number| (format!("web{number}"), number))
        .chain([("client".to_owned(), CLIENT)])
}

fn service(number: u32) -> [Value; 3] {
    let name = format!("service-{number:05}");
    let ips = cluster_ips(number);
    let mut service = manifests::service(
        &name,
        &texts(&ips),
        &[("ask", "UDP", u32::from(PORT), u32::from(TARGET_PORT))],
    );
    // Its pods are those in its slices.
    service["spec"]["selector"] = Value::Null;
    let slice = |family: Family| {
        let all: Vec<IpAddr> = (1..=BACKENDS).map(|pod| addresses(pod)[index(family)]).collect();
        let label = format!("{name}-{}", index(family));
        manifests::slice(&label, &name, NODE, &texts(&all), &[("ask", "UDP", TARGET_PORT)])
    };
    [service, slice(Family::V4), slice(Family::V6)]
}

fn cluster_ips(number: u32) -> [IpAddr; 2] {
    let (high, low) = (number / 250, number % 250 + 1);
    [ip(&format!("10.96.{high}.{low}")), ip(&format!("fd00:10:96::{high:x}:{low:x}"))]
}

fn addresses(number: u8) -> [IpAddr; 2] {
    [ip(&format!("10.244.1.{}", number + 10)), ip(&format!("fd00:10:244:1::{:x}", number + 16))]
}

fn texts(addresses: &[IpAddr]) -> Vec<&'static str> {
    addresses.iter().map(|address| &*address.to_string().leak()).collect()
}

fn index(family: Family) -> usize {
    usize::from(family == Family::V6)
}
