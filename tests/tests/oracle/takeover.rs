//! A node of kube-proxy and the bridge CNI plugin gets shunt beside it, loses kube-proxy, and gets it
//! back: what becomes, at each step, of connections that are there and of new ones. The guide
//! docs/replace-kube-proxy.md says the same in words.

use std::{
    fs,
    io::{self, ErrorKind},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use maps_schema::address::Family;
use serde_json::Value;
use tests::{
    manifests::{self, ip},
    netns::NetNamespace,
    one_node::{self, TARGET_PORT, WEB, WEB_PORT},
    oracle::{
        cluster::{Cluster, NodeView, Options},
        iptables,
    },
    process,
    topology::{DIRECT, Endpoint, Layout, NODE_PORT, Pod, Topology, addresses},
    traffic::{Protocol, client, from_port, server::Server},
};

const NODE: &str = "controlplane";
const BRIDGE: &str = "192.168.0.1";
/// Pods that the bridge plugin has made: a client and the first backend of Service `web`.
const OLD_CLIENT: &str = "192.168.0.2";
const OLD_SERVER: [&str; 2] = ["192.168.0.3", "fd00:10:244::3"];
/// How long an answer is waited for where silence may be expected.
const PATIENCE: Duration = Duration::from_millis(700);

/// The masquerade of the bridge plugin (`ipMasq`).
const PLUGINS_RULES: &str = ":CNI-MASQ - [0:0]\n\
    -A POSTROUTING -s 192.168.0.0/24 -j CNI-MASQ\n\
    -A CNI-MASQ -d 192.168.0.0/24 -j ACCEPT\n\
    -A CNI-MASQ ! -d 224.0.0.0/4 -j MASQUERADE\n";

/// A node with pods of the bridge plugin, an outside, and Service `web` with a node port.
struct Stage {
    topology: Topology,
    old_client: NetNamespace,
    _servers: [Server; 2],
}

impl Stage {
    fn new() -> Option<Self> {
        let topology = Topology::new(Layout::one_link(1))?;
        let node = topology.node(0).netns();
        node.ip("link add cni0 type bridge");
        node.ip(&format!("address add {BRIDGE}/24 dev cni0"));
        node.ip("link set cni0 up");
        // kubelet's installers ask for both.
        for setting in ["ipv4/ip_forward", "bridge/bridge-nf-call-iptables"] {
            let path = format!("/proc/sys/net/{setting}");
            node.run(|| fs::write(&path, "1")).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
        let [old_client, old_server] = [("old-client", OLD_CLIENT), ("old-server", OLD_SERVER[0])]
            .map(|(name, address)| plugins_pod(node, name, address));
        topology.write_web(with_node_port);
        topology.write_endpoints_of("web", &[old_endpoint()]);
        let servers = [
            Server::tcp(&old_server, "old", TARGET_PORT),
            Server::tcp(topology.network.outside(), "outside", TARGET_PORT),
        ];
        Some(Self { topology, old_client, _servers: servers })
    }

    /// kube-proxy's rules for Service `web` with this endpoint, and the plugin's.
    fn load_kube_proxys_rules(&self, endpoint: &str) {
        let options = Options {
            masquerade_all: false,
            local_pods: vec!["192.168.0.0/16".parse().expect("a network")],
            node_port_addresses: None,
            localhost_node_ports: false,
            service_cidrs: Vec::new(),
        };
        let own = [addresses::node(0)[0], ip(BRIDGE), ip("127.0.0.1")];
        let node = NodeView { name: NODE.to_owned(), zone: None, addresses: own.into() };
        let ports = [("http", "TCP", TARGET_PORT), ("ask", "UDP", TARGET_PORT)];
        let objects: [Value; 2] = [
            with_node_port(one_node::web_service()),
            manifests::slice("web-1", "web", NODE, &[endpoint], &ports),
        ];
        let cluster = Cluster::read(Family::V4, &node, &options, &objects);
        let rules = iptables::rules(&cluster);
        assert!(rules.contains("*nat\n"), "{rules}");
        self.restore(&rules.replace("*nat\n", &format!("*nat\n{PLUGINS_RULES}")));
    }

    /// What `kube-proxy --cleanup` leaves: everybody else's rules.
    fn remove_kube_proxys_rules(&self) {
        self.restore(&format!("*filter\nCOMMIT\n*nat\n{PLUGINS_RULES}COMMIT\n"));
    }

    fn restore(&self, rules: &str) {
        let path = "/run/test/takeover.rules";
        fs::write(path, rules).expect("writing rules");
        let legacy = "iptables-legacy-restore";
        let program = if process::installed(legacy) { legacy } else { "iptables-restore" };
        process::must(self.topology.node(0).netns().command(program).arg(path));
    }
}

/// A pod as the bridge plugin makes it: shunt knows nothing of its interface.
fn plugins_pod(node: &NetNamespace, name: &str, address: &str) -> NetNamespace {
    let pod = NetNamespace::create(name);
    node.ip(&format!("link add v-{name} type veth peer name eth0 netns {name}"));
    node.ip(&format!("link set v-{name} master cni0 up"));
    pod.ip(&format!("address add {address}/24 dev eth0"));
    pod.ip("link set eth0 up");
    pod.ip(&format!("route add default via {BRIDGE}"));
    pod
}

fn with_node_port(service: Value) -> Value {
    manifests::with_node_ports(service, &[NODE_PORT, NODE_PORT])
}

fn old_endpoint() -> Endpoint {
    Endpoint::at(OLD_SERVER.map(ip), Some(NODE))
}

/// What became of a client's new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// This server answered.
    By(&'static str),
    /// It is told at once that there is nothing.
    Refused,
    /// Nothing came back.
    Silence,
}

/// Where clients connect to.
#[derive(Clone, Copy, Debug)]
struct Target(&'static str, SocketAddr);

fn cluster_ip() -> Target {
    Target("the ClusterIP", SocketAddr::new(ip(WEB[0]), WEB_PORT))
}

fn node_port() -> Target {
    Target("the NodePort", SocketAddr::new(addresses::node(0)[0], NODE_PORT))
}

fn outside() -> Target {
    Target("the outside", SocketAddr::new(addresses::outside()[0], TARGET_PORT))
}

/// Connects anew, and compares what becomes of it.
fn expect(step: &str, from: &NetNamespace, Target(to, address): Target, expected: Fate) {
    let answer = from.run(|| client::ask_within(Protocol::Tcp, address, PATIENCE));
    let found = match (&answer, expected) {
        (Ok(answer), Fate::By(name)) if answer.server == name => expected,
        (Ok(answer), _) => panic!("{step}: {} to {to}: {answer:?}", from.name()),
        (Err(error), _) if error.kind() == ErrorKind::TimedOut => Fate::Silence,
        (Err(_), _) => Fate::Refused,
    };
    assert_eq!(found, expected, "{step}: {} to {to}: {answer:?}", from.name());
}

/// A connection that stays open.
struct Established {
    what: &'static str,
    stream: TcpStream,
}

impl Established {
    fn open(what: &'static str, from: &NetNamespace, port: u16, target: Target) -> Self {
        let stream = from.run(|| from_port::stream(port, target.1));
        let one = Self { what, stream: stream.unwrap_or_else(|error| panic!("{what}: {error}")) };
        one.assert_lives("at its beginning");
        one
    }

    fn say(&self) -> io::Result<()> {
        from_port::ask_on_stream(&self.stream).map(|_| ())
    }

    fn assert_lives(&self, step: &str) {
        self.say().unwrap_or_else(|error| panic!("{step}: {}: {error}", self.what));
    }
}

/// A pod of shunt's, as the second backend of Service `web`.
fn lead_web_to(stage: &Stage, pod: &Pod) {
    stage.topology.write_endpoints_of("web", &[Endpoint::at(pod.addresses, Some(NODE))]);
    stage.topology.wait_for_web(&pod.addresses);
}

#[test]
#[ignore = "needs root"]
fn a_node_is_taken_over_from_kube_proxy_and_given_back() {
    let Some(mut stage) = Stage::new() else { return };
    let node = stage.topology.node(0).netns().clone();
    let world = stage.topology.network.outside().clone();
    let old = stage.old_client.clone();

    let step = "kube-proxy alone";
    stage.load_kube_proxys_rules(OLD_SERVER[0]);
    let stays = [
        Established::open("an old pod to the ClusterIP", &old, 40001, cluster_ip()),
        Established::open("the node to the ClusterIP", &node, 40002, cluster_ip()),
        Established::open("an old pod to the outside", &old, 40003, outside()),
        Established::open("an old pod to the NodePort", &old, 40004, node_port()),
    ];
    let from_outside = Established::open("outside to the NodePort", &world, 40005, node_port());
    expect(step, &world, node_port(), Fate::By("old"));

    let step = "shunt beside kube-proxy";
    let pod = stage.topology.add_pod("new", 0, "web");
    stage.topology.start(&DIRECT);
    let new = pod.netns();
    stays.iter().for_each(|flow| flow.assert_lives(step));
    // The uplink's program does not know it, and kube-proxy's rules do not see it any more.
    let error = from_outside.say().expect_err("the connection is not known to shunt");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    for target in [cluster_ip(), node_port()] {
        expect(step, &old, target, Fate::By("old"));
        // The answers of pods of the plugin pass no program of shunt's.
        expect(step, &new, target, Fate::Silence);
    }
    expect(step, &world, node_port(), Fate::Silence);
    expect(step, &node, cluster_ip(), Fate::By("old"));
    for from in [&old, &new, &node] {
        expect(step, from, outside(), Fate::By("outside"));
    }

    let step = "the backend is a pod of shunt's";
    let _server = Server::tcp(&new, "new", TARGET_PORT);
    lead_web_to(&stage, &pod);
    stage.load_kube_proxys_rules(&pod.addresses[0].to_string());
    stays.iter().for_each(|flow| flow.assert_lives(step));
    for from in [&old, &new, &node] {
        expect(step, from, cluster_ip(), Fate::By("new"));
    }
    for from in [&old, &new, &world] {
        expect(step, from, node_port(), Fate::By("new"));
    }

    let step = "shunt alone";
    let by_shunt = Established::open("outside, by shunt", &world, 40006, node_port());
    stage.remove_kube_proxys_rules();
    // The kernel goes on to translate the connections that it knows.
    stays.iter().for_each(|flow| flow.assert_lives(step));
    by_shunt.assert_lives(step);
    expect(step, &new, cluster_ip(), Fate::By("new"));
    expect(step, &node, cluster_ip(), Fate::By("new"));
    expect(step, &world, node_port(), Fate::By("new"));
    // Nobody serves pods of the plugin any more.
    expect(step, &old, cluster_ip(), Fate::Refused);
    expect(step, &old, node_port(), Fate::Refused);
    expect(step, &old, outside(), Fate::By("outside"));

    let step = "back to kube-proxy";
    let cleaned = stage.topology.agent(0).shunt(&["cleanup"]);
    assert_eq!(cleaned.code, 0, "{}", cleaned.stderr);
    stage.load_kube_proxys_rules(OLD_SERVER[0]);
    stays.iter().for_each(|flow| flow.assert_lives(step));
    by_shunt.say().expect_err("its entries went with shunt");
    expect(step, &old, cluster_ip(), Fate::By("old"));
    expect(step, &node, cluster_ip(), Fate::By("old"));
    expect(step, &world, node_port(), Fate::By("old"));
}
