use std::{fs, time::Instant};

use futures_util::StreamExt;

use super::{
    super::{DesiredPod, LinkEvent, watch_links},
    *,
};

#[test]
fn a_restarted_agent_takes_pods_over_without_their_connections_noticing() {
    on_node(|node| async move {
        let a = node.pod("a", &["192.168.1.2", "fd10:1::2"]).await;
        let b = node.pod("b", &["192.168.1.3", "fd10:1::3"]).await;
        let mut held = connect(&a.netns, serve(&b.netns, "fd10:1::3"));
        assert_echoes(&mut held);
        let links = ip("link show");
        let pod_links = ip("-n default.a addr show");
        let record = node.run_dir().join("pods/default.a.json");
        let written = fs::metadata(&record).unwrap().modified().unwrap();

        let again = PodNet::open(&node.run_dir()).unwrap();
        let bridge = again.ensure_bridge("cni0", &gateways()).await.unwrap();
        assert_eq!(bridge, node.bridge);
        assert_eq!(again.ensure_pod(&bridge, &dns(), &a.pod, &a.addresses).await.unwrap(), a);

        assert_eq!(ip("link show"), links);
        assert_eq!(ip("-n default.a addr show"), pod_links);
        assert_eq!(fs::metadata(&record).unwrap().modified().unwrap(), written);
        assert_echoes(&mut held);
    });
}

#[test]
fn what_was_damaged_by_hand_is_repaired() {
    on_node(|node| async move {
        let both = ["192.168.1.2", "fd10:1::2"];
        let a = node.pod("a", &both).await;
        let b = node.pod("b", &["192.168.1.3", "fd10:1::3"]).await;
        let host = a.host_interface.clone();
        let damages = [
            format!("link del {host}"),
            format!("link set {host} nomaster"),
            format!("link set {host} down"),
            format!("link set {host} type bridge_slave hairpin off"),
            "-n default.a link del eth0".to_owned(),
            "-n default.a link set eth0 down".to_owned(),
            "-n default.a link set lo down".to_owned(),
            "-n default.a link set eth0 mtu 1300".to_owned(),
            "-n default.a addr flush dev eth0".to_owned(),
            "-n default.a route del default".to_owned(),
            "-n default.a -6 route del default".to_owned(),
            "netns del default.a".to_owned(),
        ];
        for damage in damages {
            run("ip", &damage.split(' ').collect::<Vec<_>>());
            let repaired = node.pod("a", &both).await;
            assert_eq!(repaired.link.mac, a.link.mac, "{damage}");
            let hosts = ip(&format!("-d link show dev {host}"));
            assert_eq!(hosts[0]["linkinfo"]["info_slave_data"]["hairpin"], true, "{damage}");
            let eth0 = ip("-n default.a addr show dev eth0");
            assert_eq!(eth0[0]["mtu"], node.bridge.mtu, "{damage}");
            for address in ["192.168.1.3", "fd10:1::3"] {
                assert_echoes(&mut connect("default.a", serve(&b.netns, address)));
            }
            for (family, gateway) in [("-4", "192.168.1.1"), ("-6", "fd10:1::1")] {
                let default = ip(&format!("-n default.a {family} route show default"));
                assert_eq!(default[0]["gateway"], gateway, "{damage}");
            }
            assert_echoes(&mut connect("default.a", serve("default.a", "127.0.0.1")));
        }
    });
}

#[test]
fn a_bridge_removed_by_hand_comes_back_with_its_ports() {
    on_node(|node| async move {
        let a = node.pod("a", &["192.168.1.2"]).await;
        run("ip", &["link", "del", "cni0"]);
        let bridge = node.podnet.ensure_bridge("cni0", &gateways()).await.unwrap();
        assert_eq!(bridge.mac, node.bridge.mac);
        node.podnet.ensure_pod(&bridge, &dns(), &a.pod, &a.addresses).await.unwrap();
        let from_node = TcpStream::connect_timeout(&serve(&a.netns, "192.168.1.2"), PATIENCE);
        assert_echoes(&mut from_node.unwrap());
    });
}

#[test]
fn the_bridge_keeps_its_address_whatever_ports_it_gets() {
    on_node(|node| async move {
        run("ip", &["link", "add", "low", "address", "02:00:00:00:00:01", "type", "veth"]);
        run("ip", &["link", "set", "low", "master", "cni0"]);
        let again = node.podnet.ensure_bridge("cni0", &gateways()).await.unwrap();
        assert_eq!(again.mac, node.bridge.mac);
    });
}

#[test]
fn a_changed_pod_cidr_moves_bridge_and_pods() {
    on_node(|node| async move {
        let a = node.pod("a", &["192.168.1.2", "fd10:1::2"]).await;
        let cidr: IpNet = "192.168.7.0/24".parse().unwrap();
        let gateway = gateway_of(cidr).unwrap();
        let bridge = node.podnet.ensure_bridge("cni0", &[gateway]).await.unwrap();
        let address = "192.168.7.2".parse().unwrap();
        node.podnet.ensure_pod(&bridge, &dns(), &a.pod, &[address]).await.unwrap();
        assert_eq!(global_addresses("addr show dev cni0"), ["192.168.7.1"]);
        assert_eq!(global_addresses("-n default.a addr show dev eth0"), ["192.168.7.2"]);
        assert_eq!(ip("-n default.a route show default")[0]["gateway"], "192.168.7.1");
        let from_node = TcpStream::connect_timeout(&serve(&a.netns, "192.168.7.2"), PATIENCE);
        assert_echoes(&mut from_node.unwrap());
    });
}

#[test]
fn a_pod_that_was_half_made_is_completed() {
    on_node(|node| async move {
        node.pod("a", &["192.168.1.2"]).await;
        // As if the agent had been killed between making the file and mounting the namespace on it.
        run("ip", &["netns", "del", "default.a"]);
        fs::write("/run/netns/default.a", "").unwrap();
        node.pod("a", &["192.168.1.2"]).await;
        assert_echoes(&mut connect("default.a", serve("default.a", "192.168.1.2")));
    });
}

#[test]
fn many_pods_are_made_quickly_and_a_broken_one_stops_no_other() {
    on_node(|node| async move {
        run("ip", &["netns", "add", "default.p7"]);
        let desired: Vec<DesiredPod> = (2..202)
            .map(|number| DesiredPod {
                pod: pod(&format!("p{number}")),
                addresses: vec![
                    format!("192.168.1.{number}").parse().unwrap(),
                    format!("fd10:1::{number}").parse().unwrap(),
                ],
            })
            .collect();
        let begun = Instant::now();
        let made = node.podnet.reconcile(&node.bridge, &dns(), &desired).await;
        let making = begun.elapsed();
        let failed: Vec<_> = made.pods.iter().filter(|(_, result)| result.is_err()).collect();
        assert_eq!(failed.len(), 1, "{failed:?}");
        assert_eq!(failed[0].0, pod("p7"));
        assert!(matches!(failed[0].1, Err(Error::NamespaceNotOurs { .. })));
        let begun = Instant::now();
        let again = node.podnet.reconcile(&node.bridge, &dns(), &desired).await;
        let repeating = begun.elapsed();
        assert!(again.removed.is_empty());
        assert_echoes(&mut connect("default.p2", serve("default.p201", "fd10:1::201")));

        let begun = Instant::now();
        let fewer = node.podnet.reconcile(&node.bridge, &dns(), &desired[..1]).await;
        let removing = begun.elapsed();
        assert_eq!(fewer.removed.len(), 198);
        assert!(fewer.removed.iter().all(|(_, result)| result.is_ok()));
        eprintln!("200 pods: made in {making:?}, checked in {repeating:?}, gone in {removing:?}");
        assert!(making < Duration::from_secs(20), "{making:?}");
        let names: Vec<String> = fs::read_dir("/run/netns")
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(names.len(), 2, "{names:?}");
    });
}

#[test]
fn a_vanished_interface_is_told() {
    on_node(|node| async move {
        let is_an_end = |event: &LinkEvent| {
            std::future::ready(matches!(event, LinkEvent::Vanished(_) | LinkEvent::Missed))
        };
        let mut events = watch_links().unwrap().filter(is_an_end);
        let a = node.pod("a", &["192.168.1.2"]).await;
        run("ip", &["link", "del", &a.host_interface]);
        let event = tokio::time::timeout(PATIENCE, events.next()).await.unwrap();
        assert_eq!(event, Some(LinkEvent::Vanished(a.host_interface)));
    });
}

#[test]
fn an_address_that_comes_or_goes_is_told_but_not_what_a_pod_brings() {
    on_node(|node| async move {
        let is_about_addresses = |event: &LinkEvent| {
            std::future::ready(matches!(event, LinkEvent::Addresses | LinkEvent::Missed))
        };
        let mut events = watch_links().unwrap().filter(is_about_addresses);
        // The bridge's own address is known to be nobody else's once the bridge has a port.
        node.pod("a", &["192.168.1.2", "fd10:1::2"]).await;
        let quiet = Duration::from_secs(2);
        while tokio::time::timeout(quiet, events.next()).await.is_ok() {}
        node.pod("b", &["192.168.1.3", "fd10:1::3"]).await;
        run("ip", &["link", "add", "card", "type", "veth", "peer", "name", "other"]);
        run("ip", &["link", "set", "other", "up"]);
        run("ip", &["link", "set", "card", "up"]);
        let none = tokio::time::timeout(quiet, events.next()).await;
        assert_eq!(none.ok().flatten(), None, "link-local ones are no news");
        for change in ["add", "del"] {
            for address in ["172.31.7.1/32", "fd00:172:31::7/128"] {
                run("ip", &["addr", change, address, "dev", "card"]);
                let event = tokio::time::timeout(PATIENCE, events.next()).await.unwrap();
                assert_eq!(event, Some(LinkEvent::Addresses), "{change} {address}");
                // IPv6 tells of a new address again when it is known to be nobody else's.
                let more = Duration::from_millis(100);
                while tokio::time::timeout(more, events.next()).await.is_ok() {}
            }
        }
    });
}

#[test]
fn a_lost_address_store_is_replaced_by_what_namespaces_have() {
    on_node(|node| async move {
        let a = node.pod("a", &["192.168.1.2", "fd10:1::2"]).await;
        assert_eq!(node.podnet.observed_addresses().await, [(a.pod, a.addresses)]);
    });
}
