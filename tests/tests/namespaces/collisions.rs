//! Flows of the outside that get the node's address and the port that a process of the node has,
//! to the same backend: to the backend both look the same, unless one of them gives way.

use std::net::{SocketAddr, TcpStream};

use tests::{
    netns::NetNamespace,
    topology::{DIRECT, Layout, Topology, VXLAN, vips::exposed},
    traffic::from_port,
};

fn stream(from: &NetNamespace, port: u16, target: SocketAddr) -> TcpStream {
    from.run(|| from_port::stream(port, target))
        .unwrap_or_else(|error| panic!("{} from port {port} to {target}: {error}", from.name()))
}

fn ask(from: &NetNamespace, stream: &TcpStream) {
    let answer = from_port::ask_on_stream(stream);
    let answer = answer.unwrap_or_else(|error| panic!("{}: {error}", from.name()));
    assert_eq!(answer.server, "a");
}

/// Connects from one port of both, in this order, with the first connection kept or ended before.
fn assert_both_work(routing: [&str; 2]) {
    let Some(mut stage) = Topology::new(Layout::routed(2)) else { return };
    let a = stage.add_pod("a", 1, "web");
    let _client = stage.add_pod("client", 0, "client");
    stage.write_web(exposed);
    stage.network.announce_pods();
    stage.start(&routing);
    stage.wait_for_web(&a.addresses);
    let _servers = a.serve();
    let (node, outside) = (stage.node(0).netns(), stage.network.outside());
    let mut port = 33_000;
    for target in stage.node_port(0) {
        for (first, second) in [(outside, node), (node, outside)] {
            for is_kept in [true, false] {
                port += 1;
                let former = stream(first, port, target);
                ask(first, &former);
                let former = is_kept.then_some(former);
                let latter = stream(second, port, target);
                ask(second, &latter);
                if let Some(former) = former {
                    ask(first, &former);
                }
                ask(second, &latter);
            }
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_process_of_the_node_and_a_client_outside_share_a_port_with_the_overlay() {
    assert_both_work(VXLAN);
}

#[test]
#[ignore = "needs root"]
fn a_process_of_the_node_and_a_client_outside_share_a_port_with_direct_routes() {
    assert_both_work(DIRECT);
}
