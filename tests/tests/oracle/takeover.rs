//! A node of kube-proxy and the bridge CNI plugin gets shunt beside it, loses kube-proxy, and gets it
//! back: what becomes, at each step, of connections that are there and of new ones. The guide
//! docs/replace-kube-proxy.md says the same in words.

use std::{
    fs,
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr, TcpStream},
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

/// The numbers of pods that the bridge plugin has made, in their node's CIDR.
const CLIENT: u8 = 2;
const SERVER: u8 = 3;
/// How long an answer is waited for where silence may be expected.
const PATIENCE: Duration = Duration::from_millis(700);

/// A node with kube-proxy and pods of the bridge plugin: a client, and a backend of Service `web`.
struct Former {
    number: usize,
    node: NetNamespace,
    client: NetNamespace,
    _server: Server,
}

impl Former {
    fn new(topology: &Topology, number: usize) -> Self {
        let node = topology.node(number).netns().clone();
        let bridge = address(number, 1);
        node.ip("link add cni0 type bridge");
        node.ip(&format!("address add {bridge}/24 dev cni0"));
        node.ip("link set cni0 up");
        // kubelet's installers ask for both.
        for setting in ["ipv4/ip_forward", "bridge/bridge-nf-call-iptables"] {
            let path = format!("/proc/sys/net/{setting}");
            node.run(|| fs::write(&path, "1")).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
        let [client, server] =
            [("old-client", CLIENT), ("old-server", SERVER)].map(|(name, pod)| {
                let netns = NetNamespace::create(name);
                node.ip(&format!("link add v-{name} type veth peer name eth0 netns {name}"));
                node.ip(&format!("link set v-{name} master cni0 up"));
                netns.ip(&format!("address add {}/24 dev eth0", address(number, pod)));
                netns.ip("link set eth0 up");
                netns.ip(&format!("route add default via {bridge}"));
                netns
            });
        let server = Server::tcp(&server, "old", TARGET_PORT);
        Self { number, node, client, _server: server }
    }

    fn name(&self) -> &str {
        self.node.name()
    }

    /// Its backend, as EndpointSlices have it.
    fn endpoint(&self) -> Endpoint {
        Endpoint::at(addresses::pod_segment(self.number).host(SERVER), Some(self.name()))
    }

    /// Loads kube-proxy's rules for Service `web` with an endpoint on some node.
    fn load_kube_proxys_rules(&self, endpoint: IpAddr, on: &str) {
        let options = Options {
            masquerade_all: false,
            local_pods: vec!["192.168.0.0/16".parse().expect("a network")],
            node_port_addresses: None,
            localhost_node_ports: false,
            service_cidrs: Vec::new(),
        };
        let own = [addresses::node(self.number)[0], address(self.number, 1), ip("127.0.0.1")];
        let node = NodeView { name: self.name().to_owned(), zone: None, addresses: own.into() };
        let ports = [("http", "TCP", TARGET_PORT), ("ask", "UDP", TARGET_PORT)];
        let objects: [Value; 2] = [
            with_node_port(one_node::web_service()),
            manifests::slice("web-1", "web", on, &[&endpoint.to_string()], &ports),
        ];
        let cluster = Cluster::read(Family::V4, &node, &options, &objects);
        let rules = iptables::rules(&cluster);
        assert!(rules.contains("*nat\n"), "{rules}");
        self.restore(&rules.replace("*nat\n", &format!("*nat\n{}", self.plugins_rules())));
    }

    /// What `kube-proxy --cleanup` leaves: everybody else's rules.
    fn remove_kube_proxys_rules(&self) {
        self.restore(&format!("*filter\nCOMMIT\n*nat\n{}COMMIT\n", self.plugins_rules()));
    }

    /// The masquerade of the bridge plugin (`ipMasq`).
    fn plugins_rules(&self) -> String {
        let [pods, _] = addresses::pod_segment(self.number).prefixes();
        format!(
            ":CNI-MASQ - [0:0]\n\
             -A POSTROUTING -s {pods} -j CNI-MASQ\n\
             -A CNI-MASQ -d 192.168.0.0/16 -j ACCEPT\n\
             -A CNI-MASQ ! -d 224.0.0.0/4 -j MASQUERADE\n"
        )
    }

    fn restore(&self, rules: &str) {
        let path = "/run/test/takeover.rules";
        fs::write(path, rules).expect("writing rules");
        let legacy = "iptables-legacy-restore";
        let program = if process::installed(legacy) { legacy } else { "iptables-restore" };
        process::must(self.node.command(program).arg(path));
    }
}

fn address(node: usize, pod: u8) -> IpAddr {
    addresses::pod_segment(node).host(pod)[0]
}

fn with_node_port(service: Value) -> Value {
    manifests::with_node_ports(service, &[NODE_PORT, NODE_PORT])
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

fn node_port(node: usize) -> Target {
    Target("a NodePort", SocketAddr::new(addresses::node(node)[0], NODE_PORT))
}

fn pod(node: usize, number: u8) -> Target {
    Target("a pod", SocketAddr::new(address(node, number), TARGET_PORT))
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

/// Makes a pod the one backend of Service `web`.
fn lead_web_to(topology: &Topology, pod: &Pod) {
    let node = topology.node(pod.node).name().to_owned();
    topology.write_endpoints_of("web", &[Endpoint::at(pod.addresses, Some(&node))]);
    topology.wait_for_web(&pod.addresses);
}

#[test]
#[ignore = "needs root"]
fn a_node_is_taken_over_from_kube_proxy_and_given_back() {
    let Some(mut topology) = Topology::new(Layout::one_link(1)) else { return };
    let former = Former::new(&topology, 0);
    topology.write_web(with_node_port);
    topology.write_endpoints_of("web", &[former.endpoint()]);
    let world = topology.network.outside().clone();
    let _world = Server::tcp(&world, "outside", TARGET_PORT);
    let (old, node) = (former.client.clone(), former.node.clone());

    let step = "kube-proxy alone";
    former.load_kube_proxys_rules(address(0, SERVER), former.name());
    let stays = [
        Established::open("an old pod to the ClusterIP", &old, 40001, cluster_ip()),
        Established::open("the node to the ClusterIP", &node, 40002, cluster_ip()),
        Established::open("an old pod to the outside", &old, 40003, outside()),
        Established::open("an old pod to the NodePort", &old, 40004, node_port(0)),
    ];
    let from_outside = Established::open("outside to the NodePort", &world, 40005, node_port(0));
    expect(step, &world, node_port(0), Fate::By("old"));

    let step = "shunt beside kube-proxy";
    let shunts = topology.add_pod("new", 0, "web");
    topology.start(&DIRECT);
    let new = shunts.netns();
    for flow in &stays {
        flow.assert_lives(step);
    }
    // The uplink's program does not know it, and kube-proxy's rules do not see it any more.
    let error = from_outside.say().expect_err("the connection is not known to shunt");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    for target in [cluster_ip(), node_port(0)] {
        expect(step, &old, target, Fate::By("old"));
        // The answers of pods of the plugin pass no program of shunt's.
        expect(step, &new, target, Fate::Silence);
    }
    expect(step, &new, pod(0, SERVER), Fate::By("old"));
    expect(step, &world, node_port(0), Fate::Silence);
    expect(step, &node, cluster_ip(), Fate::By("old"));
    for from in [&old, &new, &node] {
        expect(step, from, outside(), Fate::By("outside"));
    }

    let step = "the backend is a pod of shunt's";
    let _server = Server::tcp(&new, "new", TARGET_PORT);
    lead_web_to(&topology, &shunts);
    former.load_kube_proxys_rules(shunts.addresses[0], former.name());
    for flow in &stays {
        flow.assert_lives(step);
    }
    for from in [&old, &new, &node] {
        expect(step, from, cluster_ip(), Fate::By("new"));
    }
    for from in [&old, &new, &world] {
        expect(step, from, node_port(0), Fate::By("new"));
    }

    let step = "shunt alone";
    let by_shunt = Established::open("outside, by shunt", &world, 40006, node_port(0));
    former.remove_kube_proxys_rules();
    // The kernel goes on to translate the connections that it knows.
    for flow in &stays {
        flow.assert_lives(step);
    }
    by_shunt.assert_lives(step);
    expect(step, &new, cluster_ip(), Fate::By("new"));
    expect(step, &node, cluster_ip(), Fate::By("new"));
    expect(step, &world, node_port(0), Fate::By("new"));
    // Nobody serves pods of the plugin any more.
    expect(step, &old, cluster_ip(), Fate::Refused);
    expect(step, &old, node_port(0), Fate::Refused);
    expect(step, &old, outside(), Fate::By("outside"));

    let step = "back to kube-proxy";
    let cleaned = topology.agent(0).shunt(&["cleanup"]);
    assert_eq!(cleaned.code, 0, "{}", cleaned.stderr);
    former.load_kube_proxys_rules(address(0, SERVER), former.name());
    for flow in &stays {
        flow.assert_lives(step);
    }
    by_shunt.say().expect_err("its entries went with shunt");
    expect(step, &old, cluster_ip(), Fate::By("old"));
    expect(step, &node, cluster_ip(), Fate::By("old"));
    expect(step, &world, node_port(0), Fate::By("old"));
}

#[test]
#[ignore = "needs root"]
fn nodes_of_shunt_and_of_kube_proxy_reach_each_others_pods_and_services() {
    let Some(mut topology) = Topology::new(Layout::one_link(2)) else { return };
    let former = Former::new(&topology, 1);
    // Somebody's routes, as a cluster with the bridge plugin has them.
    let [pods, _] = addresses::pod_segment(0).prefixes();
    former.node.ip(&format!("route add {pods} via {}", addresses::node(0)[0]));
    topology.write_web(with_node_port);
    topology.write_endpoints_of("web", &[former.endpoint()]);
    let shunts = topology.add_pod("new", 0, "web");
    topology.start_nodes(&[0], &DIRECT);
    let (old, new) = (former.client.clone(), shunts.netns());
    let world = topology.network.outside().clone();
    let node = topology.node(0).netns().clone();

    let step = "the backend is a pod of the plugin's";
    former.load_kube_proxys_rules(address(1, SERVER), former.name());
    for from in [&new, &node, &old] {
        expect(step, from, cluster_ip(), Fate::By("old"));
        expect(step, from, pod(1, SERVER), Fate::By("old"));
    }
    for number in [0, 1] {
        expect(step, &world, node_port(number), Fate::By("old"));
    }

    let step = "the backend is a pod of shunt's";
    let _server = Server::tcp(&new, "new", TARGET_PORT);
    lead_web_to(&topology, &shunts);
    former.load_kube_proxys_rules(shunts.addresses[0], "controlplane");
    for from in [&new, &node, &old, &former.node] {
        expect(step, from, cluster_ip(), Fate::By("new"));
        expect(step, from, Target("a pod of shunt's", shunts.at(TARGET_PORT)[0]), Fate::By("new"));
    }
    for number in [0, 1] {
        expect(step, &world, node_port(number), Fate::By("new"));
    }
}
