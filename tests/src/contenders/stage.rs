//! How a contender's namespaces are made, and what is started in them.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    Contender, Nodes, Routing, Setup, kube_proxy, plain,
    services::{ENDPOINTS, Pods, Services, Side, TARGET_PORT},
};
use crate::{
    load::{opening, request_response, server::Server},
    manifests::ManifestDir,
    netns::NetNamespace,
    oracle::cluster::Transport,
    sandbox::Sandbox,
    topology::{DIRECT, Layout, Pod, Topology, VXLAN, addresses},
    wait,
};

/// The client's pod.
const CLIENT: &str = "client";
/// The pods' MTU with VXLAN around their packets.
const MTU_IN_VXLAN: u32 = 1450;
/// The same without.
const MTU: u32 = 1500;
/// How long it may take until every Service answers.
const PATIENCE: Duration = Duration::from_mins(3);

/// What stands.
#[derive(Debug)]
pub(super) enum Stage {
    /// A veth pair alone.
    Wire { _sandbox: Sandbox },
    /// Nodes and an outside.
    Nodes { _topology: Box<Topology> },
}

/// What measurements need of a stage.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) pod: NetNamespace,
    /// The address of the client's pod.
    pub(super) client: IpAddr,
    pub(super) node: NetNamespace,
    pub(super) outside: NetNamespace,
    pub(super) near: Vec<Server>,
    pub(super) far: Vec<Server>,
    pub(super) services: Option<Services>,
    pub(super) took: Duration,
}

impl Stage {
    /// Makes everything, and sees that every Service answers.
    pub(super) fn set(sandbox: Sandbox, setup: Setup) -> (Self, Parts) {
        match setup.contender {
            Contender::Raw => Self::wire(sandbox),
            _ => Self::nodes(sandbox, setup),
        }
    }

    fn wire(sandbox: Sandbox) -> (Self, Parts) {
        let (client, server) = plain::wire();
        let [from, to] = plain::WIRE_HOSTS.map(|host| addresses::pod_segment(0).host(host)[0]);
        let at = SocketAddr::new(to, TARGET_PORT);
        plain::prepare_client(&client);
        plain::prepare_end(&server);
        let parts = Parts {
            pod: client.clone(),
            client: from,
            node: client.clone(),
            outside: client,
            near: vec![Server::start(&server, at)],
            far: Vec::new(),
            services: None,
            took: Duration::ZERO,
        };
        (Self::Wire { _sandbox: sandbox }, parts)
    }

    fn nodes(sandbox: Sandbox, setup: Setup) -> (Self, Parts) {
        let count = match setup.nodes {
            Nodes::One => 1,
            Nodes::Two(_) => 2,
        };
        let mut topology = Topology::in_sandbox(sandbox, Layout::one_link(count));
        let client = topology.add_pod(CLIENT, 0, CLIENT);
        let near = add_pods(&mut topology, Side::Near);
        let far = if count == 2 { add_pods(&mut topology, Side::Far) } else { Vec::new() };
        let ips = |pods: &[Pod]| pods.iter().map(|pod| pod.addresses[0]).collect();
        let services = Services::make(setup.services, &Pods { near: ips(&near), far: ips(&far) });

        let took = if setup.contender == Contender::Shunt {
            start_agents(&mut topology, setup, &services)
        } else {
            let all: Vec<Pod> = [&client].into_iter().chain(&near).chain(&far).cloned().collect();
            lay_plain_nodes(&topology, setup, &all, &services)
        };
        topology.network.announce_pods();
        let start = |pods: &[Pod]| -> Vec<Server> {
            let start = |pod: &Pod| {
                plain::prepare_end(&pod.netns());
                Server::start(&pod.netns(), pod.at(TARGET_PORT)[0])
            };
            pods.iter().map(start).collect()
        };
        let parts = Parts {
            pod: client.netns(),
            client: client.addresses[0],
            node: topology.node(0).netns().clone(),
            outside: topology.network.outside().clone(),
            near: start(&near),
            far: start(&far),
            services: setup.contender.has_services().then_some(services),
            took,
        };
        for netns in [&parts.pod, &parts.node, &parts.outside] {
            plain::prepare_client(netns);
        }
        parts.wait_for_answers();
        (Self::Nodes { _topology: Box::new(topology) }, parts)
    }
}

impl Parts {
    fn wait_for_answers(&self) {
        let Some(services) = &self.services else { return };
        for side in [Side::Near, Side::Far] {
            let [tcp, udp] =
                [Transport::Tcp, Transport::Udp].map(|it| services.addresses(side, it));
            let ask = || -> io::Result<()> {
                // Once for each.
                let no_time = Duration::ZERO;
                if !tcp.is_empty() {
                    opening::open(&tcp, no_time)?;
                }
                udp.iter().try_for_each(|at| request_response::over_udp(*at, no_time).map(|_| ()))
            };
            wait::until(&format!("answers of {side:?} Services"), PATIENCE, || {
                self.pod.run(ask).map_err(|error| error.to_string())
            });
        }
    }
}

fn add_pods(topology: &mut Topology, side: Side) -> Vec<Pod> {
    let names = (0..ENDPOINTS).map(|number| format!("{side:?}-{number}").to_lowercase());
    names.map(|name| topology.add_pod(&name, side.node(), "backend")).collect()
}

/// How long it took until all agents were ready, everything included.
fn start_agents(topology: &mut Topology, setup: Setup, services: &Services) -> Duration {
    write(&topology.manifests, services);
    let routing = match setup.nodes {
        Nodes::Two(Routing::Vxlan) => VXLAN,
        Nodes::One | Nodes::Two(Routing::Direct) => DIRECT,
    };
    // At sockets every agent's program looks at each call of every process of the machine, whoever
    // is measured. Only the world whose processes are measured has one.
    let sockets = match setup.nodes {
        Nodes::One if setup.services <= 10 => "host",
        _ => "off",
    };
    let begun = Instant::now();
    topology.start(&[&routing[..], &["--socket-lb", sockets]].concat());
    begun.elapsed()
}

fn write(manifests: &ManifestDir, services: &Services) {
    let objects = services.objects(addresses::NAMES[0], addresses::NAMES[1]);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    manifests.write_text("services.json", &list.to_string());
}

/// How long loading rules took, on the node where it took longer.
fn lay_plain_nodes(
    topology: &Topology,
    setup: Setup,
    pods: &[Pod],
    services: &Services,
) -> Duration {
    let (sides, mtu) = match setup.nodes {
        Nodes::One => (&[Side::Near][..], MTU),
        Nodes::Two(Routing::Direct) => (&[Side::Near, Side::Far][..], MTU),
        Nodes::Two(Routing::Vxlan) => (&[Side::Near, Side::Far][..], MTU_IN_VXLAN),
    };
    for side in sides {
        plain::add_pods(topology, side.node(), pods, mtu);
    }
    if let Nodes::Two(routing) = setup.nodes {
        plain::join(topology, routing);
    }
    let load = |side: &Side| {
        let netns = topology.node(side.node()).netns();
        plain::filter_what_is_bridged(netns, setup.contender);
        kube_proxy::load(setup.contender, netns, *side, services)
    };
    sides.iter().filter_map(load).max().unwrap_or_default()
}
