use maps_schema::address::Mac;

use super::*;
use crate::podnet::UplinkDriver;

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn direct(peers: &[(&[&str], &[&str])]) -> Vec<String> {
    let uplink = |index, addresses: &[&str]| Uplink {
        name: format!("eth{index}"),
        interface: IfIndex::new(index),
        mtu: 1500,
        driver: UplinkDriver::Card,
        addresses: nets(addresses),
        primary_v4: None,
        primary_v6: None,
    };
    let uplinks =
        [uplink(2, &["172.18.0.11/24", "fd00:172:18::11/64"]), uplink(3, &["172.20.0.11/24"])];
    shown(PeerRouting::Direct { uplinks: &uplinks }, peers)
}

fn overlay(gateways: &[&str], peers: &[(&[&str], &[&str])]) -> Vec<String> {
    let overlay = Overlay { interface: IfIndex::new(9), mac: Mac::default(), mtu: 1450 };
    let bridge = Bridge {
        name: "cni0".to_owned(),
        interface: IfIndex::new(4),
        mac: Mac::default(),
        mtu: 1450,
        gateways: nets(gateways),
    };
    shown(PeerRouting::Overlay { overlay: &overlay, bridge: &bridge }, peers)
}

fn shown(routing: PeerRouting<'_>, peers: &[(&[&str], &[&str])]) -> Vec<String> {
    let read: Vec<_> =
        peers.iter().map(|(addresses, cidrs)| (ips(addresses), nets(cidrs))).collect();
    let peers = read.iter().map(|(internal_ips, pod_cidrs)| Peer { internal_ips, pod_cidrs });
    let show = |route: PeerRoute| {
        let via = route.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
        let source = route.source.map(|source| format!(" src {source}")).unwrap_or_default();
        format!("{}{via} dev {}{source}", route.cidr, route.interface.get())
    };
    peer_routes(routing, peers).into_iter().map(show).collect()
}

#[test]
fn over_the_overlay_the_nodes_own_processes_send_from_the_bridge() {
    let peer: (&[&str], &[&str]) = (&["172.18.0.12"], &["192.168.2.0/24", "fd10:2::/64"]);
    assert_eq!(
        overlay(&["192.168.1.1/24", "fd10:1::1/64"], &[peer]),
        ["192.168.2.0/24 dev 9 src 192.168.1.1", "fd10:2::/64 dev 9 src fd10:1::1"]
    );
    assert_eq!(
        overlay(&["192.168.1.1/24"], &[peer]),
        ["192.168.2.0/24 dev 9 src 192.168.1.1", "fd10:2::/64 dev 9"]
    );
}

#[test]
fn direct_routes_lead_to_nodes_on_the_same_link() {
    assert_eq!(
        direct(&[
            (&["172.18.0.12", "fd00:172:18::12"], &["192.168.2.0/24", "fd10:2::/64"]),
            (&["172.21.0.13", "172.20.0.13"], &["192.168.3.0/24"]),
        ]),
        [
            "192.168.2.0/24 via 172.18.0.12 dev 2",
            "fd10:2::/64 via fd00:172:18::12 dev 2",
            "192.168.3.0/24 via 172.20.0.13 dev 3",
        ]
    );
}

#[test]
fn nodes_that_are_not_on_the_link_are_left_to_who_announces_them() {
    assert!(direct(&[(&["172.21.0.12"], &["192.168.2.0/24"])]).is_empty());
    assert!(direct(&[(&["172.18.0.12"], &["fd10:2::/64"])]).is_empty());
    assert!(direct(&[(&[], &["192.168.2.0/24"])]).is_empty());
    // The node's own address is no gateway.
    assert!(direct(&[(&["172.18.0.11"], &["192.168.2.0/24"])]).is_empty());
}

#[test]
fn of_two_peers_with_one_pod_cidr_the_first_has_it() {
    assert_eq!(
        direct(
            &[(&["172.18.0.12"], &["192.168.2.0/24"]), (&["172.18.0.13"], &["192.168.2.0/24"]),]
        ),
        ["192.168.2.0/24 via 172.18.0.12 dev 2"]
    );
}
