//! From a pod to a Service's ClusterIP, whose endpoints are pods of the same node: made by an agent, and
//! then left to whoever is measured.

use std::net::{IpAddr, SocketAddr};

use maps_schema::address::Family;
use serde_json::Value;

use super::{
    Contender, Way,
    place::{
        self, NODE, NODE_ADDRESSES, POD_CIDRS, PORT, Place, TARGET_PORT, cluster_ips,
        hardware_address, index, remember, texts,
    },
};
use crate::{
    manifests::{self, ManifestDir, ip},
    netns::NetNamespace,
    node::Node,
    oracle::world,
    process,
    sandbox::Sandbox,
    traffic::{Protocol, from_port, server::Server},
    wait,
};

/// How many pods each Service has.
const BACKENDS: u8 = 3;
/// The last part of the client's addresses.
const CLIENT: u8 = 9;

/// A node, a client's pod, and the pods of all Services.
#[derive(Debug)]
pub(super) struct Pods {
    node: Node,
    services: u32,
    objects: Vec<Value>,
}

impl Pods {
    /// Has an agent make it all, with so many Services, and stops the agent, so that nothing runs
    /// beside the packets: what it has put in force stays.
    pub(super) fn make(sandbox: &Sandbox, services: u32) -> Self {
        let node = Node::new(sandbox, NODE);
        let folder = ManifestDir::create(&sandbox.root().join("manifests"));
        folder.write("node.yaml", &[manifests::node(NODE, &POD_CIDRS, &NODE_ADDRESSES)]);
        let pods: Vec<Value> = pods()
            .map(|(name, number)| manifests::pod(&name, NODE, "web", &texts(&addresses(number))))
            .collect();
        folder.write("pods.yaml", &pods);
        let endpoints = [Family::V4, Family::V6].map(backends);
        let objects: Vec<Value> =
            (0..services).flat_map(|number| place::service(number, NODE, &endpoints)).collect();
        folder.write("services.yaml", &objects);
        let mut agent = node.run_agent(&folder, &[]);
        agent.wait_ready();
        agent.sigterm();
        Self { node, services, objects }
    }

    /// Leaves packets to others than shunt.
    pub(super) fn leave_to_others(&self) {
        place::leave_to_others(&self.node);
        process::must(process::mortal_command("modprobe").arg("br_netfilter"));
        world::set(self.netns(), &[("ipv4/conf/cni0/send_redirects".into(), "0")]);
        self.rules_see_bridged_packets("0");
        // What drops packets at the pods drops questions for their hardware addresses, too.
        for number in 1..=BACKENDS {
            let hardware = hardware_address(&pod(&web(number)), "eth0");
            for address in addresses(number) {
                remember(self.netns(), address, &hardware, "cni0");
            }
        }
    }
}

impl Place for Pods {
    fn way(&self) -> Way {
        Way::ClusterIp
    }

    fn netns(&self) -> &NetNamespace {
        self.node.netns()
    }

    fn arrival(&self) -> String {
        let link = self.sender().ip("-j link show eth0");
        let link: Value = serde_json::from_str(&link).expect("ip prints JSON");
        let index = link[0]["link_index"].as_u64().expect("a veth has a peer");
        let ports = self.netns().ip("-j link show");
        let ports: Value = serde_json::from_str(&ports).expect("ip prints JSON");
        let port = ports.as_array().into_iter().flatten().find(|port| port["ifindex"] == index);
        port.and_then(|port| port["ifname"].as_str()).expect("the peer is there").to_owned()
    }

    fn objects(&self) -> &[Value] {
        &self.objects
    }

    fn services(&self, family: Family) -> Vec<(SocketAddr, Vec<SocketAddr>)> {
        let service = |number| {
            let at = cluster_ips(number)[index(family)];
            let endpoint = |address| SocketAddr::new(address, TARGET_PORT);
            (SocketAddr::new(at, PORT), backends(family).into_iter().map(endpoint).collect())
        };
        (0..self.services).map(service).collect()
    }

    fn sender(&self) -> NetNamespace {
        pod("client")
    }

    fn source(&self, family: Family) -> IpAddr {
        addresses(CLIENT)[index(family)]
    }

    fn service(&self, family: Family) -> SocketAddr {
        SocketAddr::new(cluster_ips(self.services / 2)[index(family)], PORT)
    }

    fn endpoint(&self, family: Family) -> IpAddr {
        addresses(1)[index(family)]
    }

    fn next_hop(&self, contender: Contender) -> String {
        match contender {
            Contender::Bridge => hardware_address(&pod(&web(1)), "eth0"),
            _ => hardware_address(self.netns(), "cni0"),
        }
    }

    fn establish(&self, to: SocketAddr, port: u16) {
        let servers: Vec<Server> = (1..=BACKENDS)
            .map(|number| Server::udp(&pod(&web(number)), &web(number), TARGET_PORT))
            .collect();
        self.sender()
            .run(|| from_port::ask(Protocol::Udp, port, to))
            .unwrap_or_else(|error| panic!("{to} does not answer: {error}"));
        drop(servers);
    }

    fn ends(&self) -> Vec<(NetNamespace, &'static str)> {
        (1..=BACKENDS).map(|number| (pod(&web(number)), "eth0")).collect()
    }

    fn rules_see_bridged_packets(&self, value: &'static str) {
        world::set(
            self.netns(),
            &[
                ("bridge/bridge-nf-call-iptables".into(), value),
                ("bridge/bridge-nf-call-ip6tables".into(), value),
            ],
        );
    }
}

fn pod(name: &str) -> NetNamespace {
    let full = format!("default.{name}");
    wait::until(&format!("pod {full}"), wait::PATIENCE, || NetNamespace::open(&full)).0
}

fn web(number: u8) -> String {
    format!("web{number}")
}

fn pods() -> impl Iterator<Item = (String, u8)> {
    (1..=BACKENDS).map(|number| (web(number), number)).chain([("client".to_owned(), CLIENT)])
}

fn addresses(number: u8) -> [IpAddr; 2] {
    [ip(&format!("10.244.1.{}", number + 10)), ip(&format!("fd00:10:244:1::{:x}", number + 16))]
}

/// The addresses of the pods behind Services.
fn backends(family: Family) -> Vec<IpAddr> {
    (1..=BACKENDS).map(|number| addresses(number)[index(family)]).collect()
}
