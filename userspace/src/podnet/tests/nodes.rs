//! What ties a node to the others: uplinks, overlay, routes to peers, MTU.

use std::fs;

use super::{
    super::{
        OVERLAY_NAME, Overlay, OverlaySettings, Peer, PeerRoute, PeerRouting, UplinkDriver,
        cleanup, peer_routes, vtep_mac,
    },
    *,
};

const INTERNAL_IPS: [&str; 2] = ["172.18.0.11", "fd00:172:18::11"];

/// An uplink `eth0`, whose other end is in the network namespace `peer`.
fn add_uplink() {
    run("ip", &["netns", "add", "peer"]);
    run("ip", &["link", "add", "eth0", "type", "veth", "peer", "eth0", "netns", "peer"]);
    for (netns, last) in [(None, 11), (Some("peer"), 12)] {
        let inside = netns.map_or(String::new(), |netns| format!("-n {netns} "));
        for command in [
            format!("{inside}addr add 172.18.0.{last}/24 dev eth0"),
            format!("{inside}addr add fd00:172:18::{last}/64 dev eth0 nodad"),
            format!("{inside}link set eth0 up"),
        ] {
            run("ip", &command.split(' ').collect::<Vec<_>>());
        }
    }
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn wanted() -> OverlaySettings {
    OverlaySettings { port: 8472, underlay: ips(&INTERNAL_IPS)[0], uplink_mtu: 1500 }
}

fn setting(path: &str) -> String {
    fs::read_to_string(Path::new("/proc/sys/net").join(path)).unwrap().trim().to_owned()
}

fn set(path: &str, value: &str) {
    fs::write(Path::new("/proc/sys/net").join(path), value).unwrap();
}

fn overlay_routes(node: &Node, overlay: &Overlay, cidrs: &[&str]) -> Vec<PeerRoute> {
    let pod_cidrs: Vec<IpNet> = cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect();
    let peer = Peer { internal_ips: &[], pod_cidrs: &pod_cidrs };
    peer_routes(PeerRouting::Overlay { overlay, bridge: &node.bridge }, [peer])
}

/// The routes of shunt's protocol number, of both families.
fn our_routes() -> Vec<String> {
    let mut routes = Vec::new();
    for family in ["-4", "-6"] {
        for route in ip(&format!("{family} route show proto 115")).as_array().unwrap() {
            let text = |key: &str| route[key].as_str().unwrap_or("-").to_owned();
            let words = [text("dst"), text("gateway"), text("dev"), text("prefsrc")];
            routes.push(words.join(" "));
        }
    }
    routes
}

#[test]
fn the_interface_with_the_internal_ips_is_found() {
    on_node(|node| async move {
        add_uplink();
        run("ip", &["addr", "add", "172.18.0.99/24", "dev", "eth0"]);
        run("ip", &["link", "set", "eth0", "mtu", "1400"]);
        let internal_ips = ips(&INTERNAL_IPS);
        let uplinks = node.podnet.discover_uplinks(&[], &internal_ips).await.unwrap();
        assert_eq!(uplinks.len(), 1);
        let uplink = &uplinks[0];
        assert_eq!((uplink.name.as_str(), uplink.mtu), ("eth0", 1400));
        assert_eq!(uplink.driver, UplinkDriver::Veth);
        assert_eq!(Some(uplink.interface.get()), index("eth0"));
        assert_eq!(uplink.addresses.len(), 3, "{:?}", uplink.addresses);
        assert_eq!(uplink.primary_v4.map(IpAddr::from), Some(internal_ips[0]));
        assert_eq!(uplink.primary_v6.map(IpAddr::from), Some(internal_ips[1]));
        let named = node.podnet.discover_uplinks(&["eth0"], &[]).await.unwrap();
        assert_eq!(named, uplinks);
        let error = node.podnet.discover_uplinks(&["cni0"], &[]).await.unwrap_err().to_string();
        assert!(error.contains("--uplink"), "{error}");

        let own = node.podnet.node_addresses().await.unwrap();
        let all = ["172.18.0.11", "172.18.0.99", "192.168.1.1", "fd00:172:18::11", "fd10:1::1"];
        assert_eq!(own, ips(&all));
    });
}

fn index(name: &str) -> Option<u32> {
    ip(&format!("link show dev {name}"))[0]["ifindex"].as_u64()?.try_into().ok()
}

#[test]
fn the_overlay_is_made_and_is_not_touched_again() {
    on_node(|node| async move {
        let overlay = node.podnet.ensure_overlay(&wanted()).await.unwrap();
        assert_eq!(Some(overlay.interface.get()), index(OVERLAY_NAME));
        assert_eq!((overlay.mac, overlay.mtu), (vtep_mac(wanted().underlay), 1450));
        let shown = ip("-d link show dev shunt-vxlan");
        let data = &shown[0]["linkinfo"]["info_data"];
        assert_eq!((&data["external"], &data["port"]), (&true.into(), &8472.into()));
        assert_eq!(data["udp_zero_csum6_rx"], true);
        assert_eq!(data["learning"], false);
        assert_eq!(shown[0]["address"], "02:73:ac:12:00:0b");
        assert_eq!(shown[0]["mtu"], 1450);
        let flags = shown[0]["flags"].as_array().unwrap();
        assert!(flags.contains(&"UP".into()) && flags.contains(&"NOARP".into()), "{flags:?}");
        assert_eq!(ip("addr show dev shunt-vxlan")[0]["addr_info"], Value::Array(vec![]));

        let again = PodNet::open(&node.run_dir()).unwrap();
        assert_eq!(again.ensure_overlay(&wanted()).await.unwrap(), overlay);
        assert_eq!(ip("-d link show dev shunt-vxlan"), shown);
    });
}

#[test]
fn the_overlay_is_repaired_and_follows_its_settings() {
    on_node(|node| async move {
        let overlay = node.podnet.ensure_overlay(&wanted()).await.unwrap();
        for damage in [
            "link set shunt-vxlan down",
            "link set shunt-vxlan mtu 1300",
            "link set shunt-vxlan address 02:00:00:00:00:01",
            "link set shunt-vxlan arp on",
            "link del shunt-vxlan",
        ] {
            run("ip", &damage.split(' ').collect::<Vec<_>>());
            let repaired = node.podnet.ensure_overlay(&wanted()).await.unwrap();
            assert_eq!((repaired.mac, repaired.mtu), (overlay.mac, overlay.mtu));
            let shown = &ip("link show dev shunt-vxlan")[0];
            assert_eq!((&shown["mtu"], &shown["address"]), (&1450.into(), &MAC.into()), "{damage}");
            let flags = shown["flags"].as_array().unwrap();
            assert!(flags.contains(&"UP".into()) && flags.contains(&"NOARP".into()), "{damage}");
        }
        let v6 = OverlaySettings { port: 4789, underlay: ips(&INTERNAL_IPS)[1], uplink_mtu: 9000 };
        let other = node.podnet.ensure_overlay(&v6).await.unwrap();
        assert_eq!((other.mac, other.mtu), (vtep_mac(v6.underlay), 8930));
        let shown = ip("-d link show dev shunt-vxlan");
        assert_eq!(shown[0]["linkinfo"]["info_data"]["port"], 4789);
        node.podnet.remove_overlay().await.unwrap();
        node.podnet.remove_overlay().await.unwrap();
        assert!(!has_link(OVERLAY_NAME));
    });
}

const MAC: &str = "02:73:ac:12:00:0b";

fn has_link(name: &str) -> bool {
    ip("link show").as_array().unwrap().iter().any(|link| link["ifname"] == name)
}

#[test]
fn a_foreign_device_in_the_overlays_place_is_refused_and_stays() {
    on_node(|node| async move {
        run("ip", &["link", "add", OVERLAY_NAME, "type", "vxlan", "external", "dstport", "8472"]);
        let error = node.podnet.ensure_overlay(&wanted()).await.unwrap_err();
        assert!(matches!(error, Error::OverlayNotOurs { .. }), "{error}");
        node.podnet.remove_overlay().await.unwrap();
        assert!(cleanup(&node.run_dir(), &[]).await.is_empty());
        assert!(has_link(OVERLAY_NAME));
    });
}

#[test]
fn a_port_that_another_vxlan_device_has_is_named() {
    on_node(|node| async move {
        run("ip", &["link", "add", "other", "type", "vxlan", "id", "5", "dstport", "8472"]);
        run("ip", &["link", "set", "other", "up"]);
        let error = node.podnet.ensure_overlay(&wanted()).await.unwrap_err().to_string();
        assert!(error.contains("UDP port 8472 is taken"), "{error}");
        assert!(error.contains("--vxlan-port"), "{error}");
        run("ip", &["link", "del", "other"]);
        node.podnet.ensure_overlay(&wanted()).await.unwrap();
    });
}

#[test]
fn routes_over_the_overlay_follow_the_peers() {
    on_node(|node| async move {
        let overlay = node.podnet.ensure_overlay(&wanted()).await.unwrap();
        let both = overlay_routes(&node, &overlay, &["192.168.2.0/24", "fd10:2::/64"]);
        let done = node.podnet.reconcile_peers(&both).await.unwrap();
        assert!(done.errors.is_empty(), "{:?}", done.errors);
        assert_eq!(done.made, both);
        let shown =
            ["192.168.2.0/24 - shunt-vxlan 192.168.1.1", "fd10:2::/64 - shunt-vxlan fd10:1::1"];
        assert_eq!(our_routes(), shown);
        let settled = node.podnet.reconcile_peers(&both).await.unwrap();
        assert!(settled.made.is_empty() && settled.removed.is_empty(), "{settled:?}");

        for damage in
            ["route del 192.168.2.0/24", "-6 route del fd10:2::/64", "link set shunt-vxlan down"]
        {
            run("ip", &damage.split(' ').collect::<Vec<_>>());
            node.podnet.ensure_overlay(&wanted()).await.unwrap();
            node.podnet.reconcile_peers(&both).await.unwrap();
            assert_eq!(our_routes(), shown, "{damage}");
        }
        let other = overlay_routes(&node, &overlay, &["192.168.3.0/24"]);
        // As a former agent's: another one, that has nothing in mind.
        let again = PodNet::open(&node.run_dir()).unwrap();
        let done = again.reconcile_peers(&other).await.unwrap();
        assert_eq!((done.made.len(), done.removed.len()), (1, 2), "{done:?}");
        assert_eq!(our_routes(), ["192.168.3.0/24 - shunt-vxlan 192.168.1.1"]);
    });
}

#[test]
fn routes_change_in_place_between_overlay_and_direct() {
    on_node(|node| async move {
        add_uplink();
        let cidrs: Vec<IpNet> =
            ["192.168.2.0/24", "fd10:2::/64"].map(|c| c.parse().unwrap()).into();
        let overlay = node.podnet.ensure_overlay(&wanted()).await.unwrap();
        let tunnelled = overlay_routes(&node, &overlay, &["192.168.2.0/24", "fd10:2::/64"]);
        let uplinks = node.podnet.discover_uplinks(&["eth0"], &[]).await.unwrap();
        let peer_ips = ips(&["172.18.0.12", "fd00:172:18::12"]);
        let peer = Peer { internal_ips: &peer_ips, pod_cidrs: &cidrs };
        let direct = peer_routes(PeerRouting::Direct { uplinks: &uplinks }, [peer]);
        for _ in 0..2 {
            let done = node.podnet.reconcile_peers(&tunnelled).await.unwrap();
            assert!(done.errors.is_empty() && done.removed.is_empty(), "{done:?}");
            assert_eq!(our_routes().len(), 2);
            let done = node.podnet.reconcile_peers(&direct).await.unwrap();
            assert!(done.errors.is_empty() && done.removed.is_empty(), "{done:?}");
            let shown = ["192.168.2.0/24 172.18.0.12 eth0 -", "fd10:2::/64 fd00:172:18::12 eth0 -"];
            assert_eq!(our_routes(), shown);
        }
        let moved = PeerRoute { gateway: Some("172.18.0.13".parse().unwrap()), ..direct[0] };
        node.podnet.reconcile_peers(&[moved]).await.unwrap();
        assert_eq!(our_routes(), ["192.168.2.0/24 172.18.0.13 eth0 -"]);
    });
}

#[test]
fn a_foreign_route_to_the_same_pods_is_left_alone_and_takes_the_place_of_ours() {
    on_node(|node| async move {
        add_uplink();
        let overlay = node.podnet.ensure_overlay(&wanted()).await.unwrap();
        let routes = overlay_routes(&node, &overlay, &["192.168.2.0/24", "fd10:2::/64"]);
        for foreign in
            ["route add 192.168.2.0/24 via 172.18.0.9", "-6 route add unreachable fd10:2::/64"]
        {
            run("ip", &foreign.split(' ').collect::<Vec<_>>());
        }
        let before = (ip("-4 route show"), ip("-6 route show"));
        let done = node.podnet.reconcile_peers(&routes).await.unwrap();
        assert_eq!(done.left_to_others.len(), 2, "{done:?}");
        assert_eq!((ip("-4 route show"), ip("-6 route show")), before);

        run("ip", &["-4", "route", "del", "192.168.2.0/24"]);
        node.podnet.reconcile_peers(&routes).await.unwrap();
        assert_eq!(our_routes().len(), 1);
        run("ip", &["route", "add", "192.168.2.0/24", "via", "172.18.0.9", "metric", "20"]);
        let done = node.podnet.reconcile_peers(&routes).await.unwrap();
        assert_eq!(done.removed.len(), 1, "{done:?}");
        assert!(our_routes().is_empty());
        assert_eq!(ip("route show 192.168.2.0/24")[0]["gateway"], "172.18.0.9");
    });
}

#[test]
fn an_mtu_that_changes_reaches_pods_that_run() {
    on_node(|node| async move {
        let a = node.pod("a", &["192.168.1.2", "fd10:1::2"]).await;
        let b = node.pod("b", &["192.168.1.3", "fd10:1::3"]).await;
        let mut held = connect(&a.netns, serve(&b.netns, "fd10:1::3"));
        let mut bridge = node.bridge.clone();
        for mtu in [1450, 9000, 1300] {
            bridge = node.podnet.ensure_bridge("cni0", &gateways()).await.unwrap();
            bridge = node.podnet.ensure_pod_mtu(bridge, mtu).await.unwrap();
            assert_eq!(bridge.mtu, mtu);
            for pod in [&a, &b] {
                node.podnet.ensure_pod(&bridge, &dns(), &pod.pod, &pod.addresses).await.unwrap();
                assert_eq!(mtu_of(&format!("dev {}", pod.host_interface), ""), mtu);
                assert_eq!(mtu_of("dev eth0", &format!("-n {}", pod.netns)), mtu);
            }
            assert_eq!(mtu_of("dev cni0", ""), mtu);
            assert_echoes(&mut held);
        }
        let again = node.podnet.ensure_bridge("cni0", &gateways()).await.unwrap();
        assert_eq!(again, bridge);
    });
}

fn mtu_of(interface: &str, netns: &str) -> u32 {
    let shown = ip(&format!("{netns} link show {interface}"));
    shown[0]["mtu"].as_u64().unwrap().try_into().unwrap()
}

#[test]
fn uplinks_get_the_settings_that_other_nodes_traffic_needs_and_lose_them_at_cleanup() {
    on_node(|node| async move {
        assert!(cleanup(&node.run_dir(), &[]).await.is_empty());
        add_uplink();
        set("ipv4/conf/all/rp_filter", "1");
        set("ipv6/conf/eth0/accept_ra", "1");
        let paths = [
            "ipv4/conf/eth0/rp_filter",
            "ipv4/conf/eth0/forwarding",
            "ipv6/conf/eth0/accept_ra",
            "ipv6/conf/eth0/forwarding",
        ];
        let former = paths.map(setting);
        let uplinks = node.podnet.discover_uplinks(&["eth0"], &[]).await.unwrap();
        let only_v4: Vec<IpNet> = vec!["192.168.1.0/24".parse().unwrap()];
        node.podnet.prepare_uplinks(&uplinks, &only_v4).await.unwrap();
        assert_eq!(paths.map(setting), ["2", "1", "1", "0"]);
        node.podnet.prepare_uplinks(&uplinks, &gateways()).await.unwrap();
        node.podnet.ensure_bridge("cni0", &gateways()).await.unwrap();
        assert_eq!(paths.map(setting), ["2", "1", "2", "1"]);
        assert!(cleanup(&node.run_dir(), &[]).await.is_empty());
        assert_eq!(paths.map(setting), former);
        assert_eq!(setting("ipv4/conf/all/rp_filter"), "1");
    });
}

#[test]
fn a_default_route_from_a_router_advertisement_outlives_forwarding() {
    on_node(|node| async move {
        assert!(cleanup(&node.run_dir(), &[]).await.is_empty());
        add_uplink();
        set("ipv6/conf/eth0/accept_ra", "1");
        let advertised = "-6 route add default via fe80::1 dev eth0 proto ra expires 600";
        run("ip", &advertised.split(' ').collect::<Vec<_>>());
        let uplinks = node.podnet.discover_uplinks(&["eth0"], &[]).await.unwrap();
        node.podnet.prepare_uplinks(&uplinks, &gateways()).await.unwrap();
        node.podnet.ensure_bridge("cni0", &gateways()).await.unwrap();
        assert_eq!(ip("-6 route show default")[0]["protocol"], "ra");
    });
}

#[test]
fn cleanup_takes_overlay_and_routes_and_gives_a_foreign_bridge_its_mtu_back() {
    on_node(|node| async move {
        assert!(cleanup(&node.run_dir(), &[]).await.is_empty());
        add_uplink();
        run("ip", &["link", "add", "br7", "mtu", "1400", "type", "bridge"]);
        run("ip", &["link", "set", "br7", "up"]);
        run("ip", &["route", "add", "192.168.9.0/24", "via", "172.18.0.9"]);
        let look = || (ip("addr show"), ip("route show table all"), ip("-6 route show table all"));
        let before = look();
        let uplinks = node.podnet.discover_uplinks(&["eth0"], &[]).await.unwrap();
        node.podnet.prepare_uplinks(&uplinks, &gateways()).await.unwrap();
        let bridge = node.podnet.ensure_bridge("br7", &gateways()).await.unwrap();
        let overlay = node.podnet.ensure_overlay(&wanted()).await.unwrap();
        let bridge = node.podnet.ensure_pod_mtu(bridge, overlay.mtu).await.unwrap();
        let node = Node { bridge, ..node };
        let routes = overlay_routes(&node, &overlay, &["192.168.2.0/24", "fd10:2::/64"]);
        let done = node.podnet.reconcile_peers(&routes).await.unwrap();
        assert_eq!(done.made.len(), 2, "{done:?}");
        assert_eq!(mtu_of("dev br7", ""), 1450);
        for _ in 0..2 {
            let errors = cleanup(&node.run_dir(), &[]).await;
            assert!(errors.is_empty(), "{errors:?}");
            assert_eq!(look(), before);
            assert!(!node.run_dir().join("podnet.json").exists());
        }
    });
}
