//! The overlay device against a plain Linux VXLAN peer. What the programs do is done by routes with
//! a tunnel key (`encap ip`) and by neighbours.

use super::{
    super::{OverlaySettings, vtep_mac},
    *,
};

const PEER_MAC: &str = "02:73:ac:12:00:0c";

fn ip_all(commands: &[&str]) {
    for command in commands {
        run("ip", &command.split_whitespace().collect::<Vec<_>>());
    }
}

/// Makes the peer: `vx` in the namespace `peer`, in a tunnel to this node.
fn add_peer(key: &str) {
    ip_all(&[
        "netns add peer",
        "link add eth0 type veth peer eth0 netns peer",
        "addr add 172.18.0.11/24 dev eth0",
        "link set eth0 up",
        "-n peer addr add 172.18.0.12/24 dev eth0",
        "-n peer link set eth0 up",
        "-n peer link set lo up",
        &format!("-n peer link add vx address {PEER_MAC} mtu 1450 type vxlan {key}"),
        "-n peer link set vx up",
        "-n peer addr add 192.168.2.1/24 dev lo",
        "-n peer addr add fd10:2::1/64 dev lo nodad",
        "-n peer route add 192.168.1.0/24 dev vx src 192.168.2.1",
        "-n peer -6 route add fd10:1::/64 dev vx src fd10:2::1",
    ]);
}

#[test]
fn a_plain_linux_vxlan_peer_and_the_node_reach_each_other() {
    on_node(|node| async move {
        add_peer("id 1 local 172.18.0.12 remote 172.18.0.11 dstport 8472");
        std::fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "1").unwrap();
        let underlay = "172.18.0.11".parse().unwrap();
        let settings = OverlaySettings { port: 8472, underlay, uplink_mtu: 1500 };
        node.podnet.ensure_overlay(&settings).await.unwrap();
        let mac = vtep_mac(underlay).bytes().map(|byte| format!("{byte:02x}")).join(":");
        let pairs = [
            ("192.168.1.1", "192.168.2.0/24", "192.168.2.1"),
            ("fd10:1::1", "fd10:2::/64", "fd10:2::1"),
        ];
        for (own, cidr, far) in pairs {
            let key = "encap ip id 1 dst 172.18.0.12";
            ip_all(&[
                &format!("route add {cidr} {key} dev shunt-vxlan src {own}"),
                &format!("neigh replace {far} lladdr {PEER_MAC} dev shunt-vxlan"),
                &format!("-n peer neigh replace {own} lladdr {mac} dev vx"),
            ]);
            let there = serve("peer", far);
            let mut connection = TcpStream::connect_timeout(&there, PATIENCE).unwrap();
            assert_eq!(connection.local_addr().unwrap().ip().to_string(), own);
            connection.set_read_timeout(Some(PATIENCE)).unwrap();
            assert_echoes(&mut connection);
            assert_echoes(&mut connect("peer", serve_here(own)));
        }
    });
}

/// A server of the node's own.
fn serve_here(address: &str) -> SocketAddr {
    serve_on(TcpListener::bind((address, 0)).unwrap())
}
