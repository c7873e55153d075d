use super::*;

fn interface(index: u32, name: &str, addresses: &[&str]) -> Interface {
    let address = |text: &&str| InterfaceAddress {
        address: text.parse().unwrap(),
        global: true,
        deprecated: false,
        secondary: false,
    };
    Interface {
        name: name.to_owned(),
        loopback: name == "lo",
        ethernet: name != "wg0",
        link: Link { index, mtu: 1500, ..Link::default() },
        addresses: addresses.iter().map(address).collect(),
    }
}

fn node() -> Vec<Interface> {
    vec![
        interface(1, "lo", &["172.19.0.1/32"]),
        interface(2, "eth0", &["172.18.0.99/24", "172.18.0.11/24", "fd00:172:18::11/64"]),
        interface(3, "eth1", &["172.20.0.11/24"]),
        interface(4, "cni0", &["192.168.1.1/24"]),
        interface(5, "shunt-vxlan", &[]),
        interface(6, "wg0", &["172.21.0.11/24"]),
    ]
}

fn found(names: &[&str], internal_ips: &[&str]) -> Result<Vec<Uplink>, String> {
    let ips: Vec<IpAddr> = internal_ips.iter().map(|ip| ip.parse().unwrap()).collect();
    choose(&node(), &["cni0"], names, &ips).map_err(|error| error.to_string())
}

fn names(found: Result<Vec<Uplink>, String>) -> Vec<String> {
    found.unwrap().into_iter().map(|uplink| uplink.name).collect()
}

#[test]
fn an_interface_with_an_internal_ip_is_an_uplink() {
    let both = ["172.18.0.11", "fd00:172:18::11"];
    let uplinks = found(&[], &both).unwrap();
    assert_eq!(uplinks.len(), 1);
    assert_eq!(uplinks[0].name, "eth0");
    assert_eq!(uplinks[0].addresses.len(), 3);
    assert_eq!(uplinks[0].primary_v4, Some("172.18.0.11".parse().unwrap()));
    assert_eq!(uplinks[0].primary_v6, Some("fd00:172:18::11".parse().unwrap()));
}

#[test]
fn a_node_whose_internal_ips_are_nowhere_has_no_uplink() {
    assert!(found(&[], &["172.18.0.12"]).unwrap().is_empty());
    assert!(found(&[], &["172.19.0.1"]).unwrap().is_empty());
    assert!(found(&[], &["192.168.1.1"]).unwrap().is_empty());
    assert!(found(&[], &[]).unwrap().is_empty());
}

#[test]
fn names_are_taken_in_their_order_and_once() {
    assert_eq!(names(found(&["eth1", "eth0", "eth1"], &["172.18.0.11"])), ["eth1", "eth0"]);
}

#[test]
fn what_cannot_be_an_uplink_is_named_with_the_remedy() {
    assert_eq!(
        found(&["eth7"], &[]).unwrap_err(),
        "--uplink eth7: there is no interface of that name, only eth0, eth1, wg0; name one of \
         them, or leave --uplink out to take those that carry the Node's InternalIPs"
    );
    assert!(found(&["lo"], &[]).unwrap_err().starts_with("uplink lo is the node's own"));
    assert!(found(&["cni0"], &[]).is_err());
    assert!(found(&["shunt-vxlan"], &[]).is_err());
    assert_eq!(
        found(&[], &["172.21.0.11"]).unwrap_err(),
        "uplink wg0 carries no Ethernet frames; name the interfaces towards the other nodes \
         with --uplink"
    );
}

#[test]
fn a_port_is_refused_with_the_name_of_what_it_is_a_port_of() {
    let mut all = vec![interface(2, "eth0", &[]), interface(3, "bond0", &["172.18.0.11/24"])];
    all[0].link.controller = Some(3);
    all[1].link.kind = Some(InfoKind::Bond);
    let error = choose(&all, &[], &["eth0"], &[]).unwrap_err().to_string();
    assert!(error.contains("eth0 is a port of bond0"), "{error}");
    let uplinks = choose(&all, &[], &["bond0"], &[]).unwrap();
    assert_eq!(uplinks[0].driver, UplinkDriver::Virtual);
    all[1].link.kind = Some(InfoKind::Vrf);
    assert_eq!(choose(&all, &[], &["eth0"], &[]).unwrap()[0].driver, UplinkDriver::Card);
}

#[test]
fn masquerade_takes_the_first_global_address_that_is_not_deprecated_or_temporary() {
    let mut one = interface(2, "eth0", &["fd00:1::1/64", "fd00:1::2/64", "fd00:1::3/64"]);
    one.addresses[0].deprecated = true;
    one.addresses[1].secondary = true;
    let primary = |one: &Interface| uplink(one, &[]).primary_v6.map(|ip| ip.to_string());
    assert_eq!(primary(&one).as_deref(), Some("fd00:1::3"));
    one.addresses[2].global = false;
    assert_eq!(primary(&one).as_deref(), Some("fd00:1::2"));
    one.addresses[1].global = false;
    assert_eq!(primary(&one), None);
    assert_eq!(uplink(&one, &["fd00:1::3".parse().unwrap()]).primary_v6.unwrap().segments()[7], 3);
}
