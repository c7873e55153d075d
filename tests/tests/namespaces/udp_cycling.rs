//! Clients that send 1000 datagrams a second to a Service whose endpoints change: each change costs
//! one of them at most. A connected socket of the node is ended by a change, and what is on its way
//! to it is lost with it: that client has one question at a time.

use serde_json::{Value, json};
use tests::{
    manifests,
    one_node::{TARGET_PORT, web, web_service},
    topology::{Layout, NODE_PORT, Pod, Topology, VXLAN, addresses},
    traffic::{
        constant::{ConstantSender, Style},
        server::Server,
    },
};

/// Another port that pods listen on.
const OTHER_PORT: u16 = 8081;

/// A family, by its place in pairs of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

/// A node with pods `a`, `b` and `client`.
struct Stage {
    topology: Topology,
    family: Family,
    pods: [Pod; 2],
    client: Pod,
}

fn pod(number: u8, name: &str) -> Pod {
    let addresses = addresses::pod_segment(0).host(number);
    Pod { name: name.to_owned(), node: 0, addresses }
}

impl Stage {
    /// `fill` writes what else there is.
    fn start(family: Family, fill: impl FnOnce(&Self)) -> Option<Self> {
        let mut topology = Topology::new(Layout::routed(2))?;
        let client = topology.add_pod("client", 0, "client");
        let pods = [pod(21, "a"), pod(22, "b")];
        topology.network.announce_pods();
        let mut stage = Self { topology, family, pods, client };
        stage.write_web(TARGET_PORT);
        fill(&stage);
        stage.topology.start_nodes(&[0], &VXLAN);
        Some(stage)
    }

    fn write_web(&self, target_port: u16) {
        let mut service = manifests::with_node_ports(web_service(), &[NODE_PORT, NODE_PORT]);
        for port in service["spec"]["ports"].as_array_mut().expect("ports") {
            port["targetPort"] = json!(target_port);
        }
        self.topology.manifests.write("web.yaml", &[service]);
    }

    /// A pod behind the Service, where the Service has no slices: an endpoint if it is ready.
    fn pod_manifest(&self, index: usize, is_ready: bool) -> Value {
        let Pod { name, addresses, .. } = &self.pods[index];
        let ips = addresses.map(|address| address.to_string());
        let node = self.topology.node(0).name();
        let mut object = manifests::pod(name, node, "web", &ips.each_ref().map(String::as_str));
        let status = if is_ready { "True" } else { "False" };
        object["status"]["conditions"] = json!([{"type": "Ready", "status": status}]);
        object
    }

    /// The Service's slices over some of the pods.
    fn slices(&self, indexes: &[usize]) -> [Value; 2] {
        let ports = [("http", "TCP", TARGET_PORT), ("ask", "UDP", TARGET_PORT)];
        [0, 1].map(|family| {
            let ips: Vec<String> = indexes
                .iter()
                .map(|&index| self.pods[index].addresses[family].to_string())
                .collect();
            let ips: Vec<&str> = ips.iter().map(String::as_str).collect();
            let name = format!("web-{family}");
            let node = self.topology.node(0).name();
            let mut slice = manifests::slice(&name, "web", node, &ips, &ports);
            slice["addressType"] = ["IPv4", "IPv6"][family].into();
            slice
        })
    }

    /// Writes pods and slices in one step.
    fn write(&self, pods: &[(usize, bool)], slices: Option<&[usize]>) {
        let mut objects: Vec<Value> =
            pods.iter().map(|&(index, is_ready)| self.pod_manifest(index, is_ready)).collect();
        objects.extend(slices.into_iter().flat_map(|indexes| self.slices(indexes)));
        self.topology.manifests.write("world.yaml", &objects);
    }

    fn serve(&self, index: usize) -> [Server; 2] {
        let pod = &self.pods[index];
        [TARGET_PORT, OTHER_PORT].map(|port| Server::udp(&pod.netns(), &pod.name, port))
    }

    /// A pod and the node's own processes ask the ClusterIP, the outside a NodePort.
    fn senders(&self) -> Senders {
        let family = self.family as usize;
        let (cluster_ip, node_port) = (web()[family], self.topology.node_port(0)[family]);
        let node = self.topology.node(0).netns();
        let outside = self.topology.network.outside();
        Senders {
            packets: [
                (
                    "a pod",
                    ConstantSender::start(&self.client.netns(), Style::Connected, cluster_ip),
                ),
                ("the outside", ConstantSender::start(outside, Style::Connected, node_port)),
                ("the node", ConstantSender::start(node, Style::Unconnected, cluster_ip)),
            ],
            connected: ConstantSender::start(node, Style::OneByOne, cluster_ip),
            changes: 0,
        }
    }
}

struct Senders {
    packets: [(&'static str, ConstantSender); 3],
    /// A socket of the node that has no peer while there is no endpoint.
    connected: ConstantSender,
    changes: u64,
}

impl Senders {
    /// Waits until everybody is answered by this server.
    fn have_come_to(&mut self, server: &str) {
        for (_, sender) in &self.packets {
            sender.wait_for_server(server);
        }
        self.connected.wait_for_server(server);
        self.changes += 1;
    }

    fn are_refused(&mut self) {
        for (_, sender) in &self.packets {
            sender.wait_for_refusals();
        }
        self.changes += 1;
    }

    fn assert_that_changes_cost_nothing(self) {
        let connected = ("the node, connected", self.connected);
        for (who, sender) in self.packets.into_iter().chain([connected]) {
            let report = sender.stop();
            let gaps = report.gaps();
            let (sent, lost, refused, ended) =
                (report.sent, report.lost(), report.refused, report.ended);
            let story = format!(
                "{who}: of {sent} {lost} lost, {refused} refused, {ended} times ended: {gaps:?}"
            );
            assert!(sent > 100 && lost <= self.changes, "{story} in {} changes", self.changes);
            if refused == 0 {
                assert!(gaps.iter().all(|(first, last)| first == last), "{story}");
            }
        }
    }
}

/// The slice says another pod, and both pods go on.
fn slices_change(family: Family) {
    let fill = |stage: &Stage| stage.write(&[(0, true), (1, true)], Some(&[0]));
    let Some(stage) = Stage::start(family, fill) else { return };
    let _servers = [stage.serve(0), stage.serve(1)];
    let mut senders = stage.senders();
    senders.have_come_to("a");
    for (index, name) in [(1, "b"), (0, "a"), (1, "b")] {
        stage.write(&[(0, true), (1, true)], Some(&[index]));
        senders.have_come_to(name);
    }
    senders.assert_that_changes_cost_nothing();
}

/// The slice says another pod, and its former pod goes, in one step.
fn pods_and_slices_change_together(family: Family) {
    let fill = |stage: &Stage| stage.write(&[(0, true), (1, true)], Some(&[0]));
    let Some(stage) = Stage::start(family, fill) else { return };
    let mut servers = [stage.serve(0), stage.serve(1)];
    let mut senders = stage.senders();
    senders.have_come_to("a");
    for (index, name, other) in [(1, "b", 0), (0, "a", 1), (1, "b", 0)] {
        stage.write(&[(index, true)], Some(&[index]));
        senders.have_come_to(name);
        stage.write(&[(0, true), (1, true)], Some(&[index]));
        servers[other] = stage.serve_anew(other);
    }
    senders.assert_that_changes_cost_nothing();
}

/// There are no slices: a pod's object goes, and another pod is ready.
fn pods_change(family: Family) {
    let fill = |stage: &Stage| stage.write(&[(0, true), (1, true)], None);
    let Some(stage) = Stage::start(family, fill) else { return };
    let mut servers = [stage.serve(0), stage.serve(1)];
    let mut senders = stage.senders();
    for (index, name, other) in [(1, "b", 0), (0, "a", 1), (1, "b", 0)] {
        stage.write(&[(index, true)], None);
        senders.have_come_to(name);
        stage.write(&[(index, true), (other, false)], None);
        servers[other] = stage.serve_anew(other);
        stage.write(&[(index, true), (other, true)], None);
    }
    senders.assert_that_changes_cost_nothing();
}

/// The Service sends to another port of its pod.
fn target_ports_change(family: Family) {
    let fill = |stage: &Stage| stage.write(&[(0, true)], None);
    let Some(stage) = Stage::start(family, fill) else { return };
    let netns = stage.pods[0].netns();
    let _servers = [(TARGET_PORT, "a"), (OTHER_PORT, "other")]
        .map(|(port, name)| Server::udp(&netns, name, port));
    let mut senders = stage.senders();
    senders.have_come_to("a");
    for (port, name) in [(OTHER_PORT, "other"), (TARGET_PORT, "a"), (OTHER_PORT, "other")] {
        stage.write_web(port);
        senders.have_come_to(name);
    }
    senders.assert_that_changes_cost_nothing();
}

/// The last endpoint goes, with its pod, and another comes.
fn the_last_endpoint_goes_and_another_comes(family: Family) {
    let fill = |stage: &Stage| stage.write(&[(0, true), (1, true)], Some(&[0]));
    let Some(stage) = Stage::start(family, fill) else { return };
    let _servers = [stage.serve(0), stage.serve(1)];
    let mut senders = stage.senders();
    senders.have_come_to("a");
    stage.write(&[(1, true)], Some(&[]));
    senders.are_refused();
    stage.write(&[(1, true)], Some(&[1]));
    senders.have_come_to("b");
    stage.write(&[(1, true)], Some(&[]));
    senders.are_refused();
    stage.write(&[(1, true)], Some(&[1]));
    senders.have_come_to("b");
    senders.assert_that_changes_cost_nothing();
}

impl Stage {
    /// Starts the servers of a pod that was made again.
    fn serve_anew(&self, index: usize) -> [Server; 2] {
        let ips = self.pods[index].addresses.map(|address| address.to_string());
        tests::wait::until("the pod", tests::wait::PATIENCE, || {
            let pods = self.topology.agent(0).get("pods");
            let is_there = pods
                .iter()
                .any(|pod| pod["podIPs"] == json!(ips) && pod["netns"].as_str().is_some());
            if is_there { Ok(()) } else { Err(format!("{pods:?}")) }
        });
        self.serve(index)
    }
}

macro_rules! for_both_families {
    ($($test:ident as $v4:ident, $v6:ident;)+) => {
        $(
            #[test]
            #[ignore = "needs root"]
            fn $v4() {
                $test(Family::V4);
            }

            #[test]
            #[ignore = "needs root"]
            fn $v6() {
                $test(Family::V6);
            }
        )+
    };
}

for_both_families! {
    slices_change as slices_change_v4, slices_change_v6;
    pods_and_slices_change_together as pods_and_slices_change_together_v4,
        pods_and_slices_change_together_v6;
    pods_change as pods_change_v4, pods_change_v6;
    target_ports_change as target_ports_change_v4, target_ports_change_v6;
    the_last_endpoint_goes_and_another_comes as the_last_endpoint_goes_and_another_comes_v4,
        the_last_endpoint_goes_and_another_comes_v6;
}
