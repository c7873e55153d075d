use std::{net::TcpStream, os::fd::AsRawFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recv, sendto,
    setsockopt, socket, sockopt::ReceiveTimeout,
};

use super::*;

/// One echo request and its reply, through the kernel's ping sockets.
fn ping(netns: &str, to: &str) {
    let to: IpAddr = to.parse().unwrap();
    let answer = inside(netns, move || {
        std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").unwrap();
        let (family, protocol, request, reply) = match to {
            IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, 8, 0),
            IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, 128, 129),
        };
        let socket = socket(family, SockType::Datagram, SockFlag::empty(), protocol).unwrap();
        let patience = nix::sys::time::TimeVal::new(5, 0);
        setsockopt(&socket, ReceiveTimeout, &patience).unwrap();
        let message = [request, 0, 0, 0, 0, 0, 0, 1, b'h', b'i'];
        let to = SockaddrStorage::from(SocketAddr::new(to, 0));
        sendto(socket.as_raw_fd(), &message, &to, MsgFlags::empty()).unwrap();
        let mut buffer = [0; 64];
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty());
        (length.map(|length| buffer[..length].to_vec()), reply)
    });
    let (message, reply) = answer;
    let message = message.unwrap_or_else(|error| panic!("no reply from {to}: {error}"));
    assert_eq!(message[0], reply);
    assert_eq!(&message[8..], b"hi");
}

#[test]
fn pods_and_gateway_reach_each_other_over_both_families() {
    on_node(|node| async move {
        let a = node.pod("a", &["192.168.1.2", "fd10:1::2"]).await;
        let b = node.pod("b", &["192.168.1.3", "fd10:1::3"]).await;
        for to in ["192.168.1.3", "fd10:1::3", "192.168.1.1", "fd10:1::1", "127.0.0.1", "::1"] {
            ping(&a.netns, to);
        }
        for address in ["192.168.1.3", "fd10:1::3"] {
            assert_echoes(&mut connect(&a.netns, serve(&b.netns, address)));
            let from_node = TcpStream::connect_timeout(&serve(&b.netns, address), PATIENCE);
            assert_echoes(&mut from_node.unwrap());
        }
    });
}

#[test]
fn ip_sees_what_was_reported() {
    on_node(|node| async move {
        let a = node.pod("a", &["192.168.1.2", "fd10:1::2"]).await;
        assert_eq!(a.netns, "default.a");
        assert_eq!(ip("netns list")[0]["name"], "default.a");

        let host = &ip(&format!("-d link show dev {}", a.host_interface))[0];
        assert_eq!(host["ifindex"], a.link.interface.get());
        assert_eq!(host["master"], "cni0");
        assert_eq!(host["linkinfo"]["info_slave_data"]["hairpin"], true);
        assert!(host["flags"].as_array().unwrap().contains(&Value::from("LOWER_UP")));

        let eth0 = &ip("-n default.a addr show dev eth0")[0];
        let mac = a.link.mac.bytes().map(|byte| format!("{byte:02x}")).join(":");
        assert_eq!(eth0["address"], mac.as_str());
        assert_eq!(eth0["mtu"], node.bridge.mtu);
        let addresses = eth0["addr_info"].as_array().unwrap();
        let of = |local: &str| addresses.iter().find(|address| address["local"] == local).unwrap();
        assert_eq!(of("192.168.1.2")["prefixlen"], 24);
        assert_eq!(of("fd10:1::2")["prefixlen"], 64);
        assert!(addresses.iter().all(|address| address["tentative"].is_null()));
        let lo = &ip("-n default.a link show dev lo")[0];
        assert!(lo["flags"].as_array().unwrap().contains(&Value::from("UP")));
        assert_eq!(ip("-n default.a route show default")[0]["gateway"], "192.168.1.1");
        assert_eq!(ip("-n default.a -6 route show default")[0]["gateway"], "fd10:1::1");

        let cookie = inside("default.a", || super::super::node_netns_cookie().unwrap());
        assert_eq!(a.netns_cookie, cookie);
        assert_ne!(super::super::node_netns_cookie().unwrap(), cookie);
        let resolv = std::fs::read_to_string("/etc/netns/default.a/resolv.conf").unwrap();
        assert!(resolv.starts_with("nameserver 10.96.0.10\nsearch default.svc.cluster.local "));
    });
}

#[test]
fn an_address_outside_of_the_cidr_is_reached_by_pods_and_by_the_node() {
    on_node(|node| async move {
        let far_routes = || [ip("route show 172.16.9.9"), ip("-6 route show fd00:172::9")];
        let a = node.pod("a", &["192.168.1.2", "fd10:1::2"]).await;
        let far = node.pod("far", &["172.16.9.9", "fd00:172::9"]).await;
        for address in ["172.16.9.9", "fd00:172::9"] {
            assert_echoes(&mut connect(&a.netns, serve(&far.netns, address)));
            let from_node = TcpStream::connect_timeout(&serve(&far.netns, address), PATIENCE);
            assert_echoes(&mut from_node.unwrap());
        }
        for address in ["192.168.1.2", "fd10:1::2"] {
            assert_echoes(&mut connect(&far.netns, serve(&a.netns, address)));
        }
        assert!(far_routes().iter().all(|routes| routes[0]["dev"] == "cni0"));
        // Another address now: the routes to the old ones go.
        node.pod("far", &["192.168.1.9"]).await;
        assert!(far_routes().iter().all(|routes| routes.as_array().unwrap().is_empty()));
        assert_echoes(&mut connect(&a.netns, serve(&far.netns, "192.168.1.9")));
    });
}

#[test]
fn a_pod_gets_its_own_frames_back_from_the_bridge() {
    on_node(|node| async move {
        node.pod("a", &["192.168.1.2"]).await;
        // Duplicate address detection would see its own probes: the link-local address must not
        // care.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let eth0 = &ip("-n default.a addr show dev eth0")[0];
        let addresses = eth0["addr_info"].as_array().unwrap();
        let link_local = addresses.iter().find(|address| address["scope"] == "link").unwrap();
        assert!(link_local["dadfailed"].is_null() && link_local["tentative"].is_null());
    });
}
