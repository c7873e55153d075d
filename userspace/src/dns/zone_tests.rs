//! Which records the specification has at which names.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr as _,
};

use hickory_proto::rr::{Name, RData, RecordType};
use maps_schema::address::Protocol;
use proptest::prelude::*;

use super::*;
use crate::dns::{
    names::{Host, NamedPort},
    zone::{Found, TTL},
};

pub(super) fn object(namespace: &str, name: &str) -> ObjectName {
    ObjectName { namespace: namespace.to_owned(), name: name.to_owned() }
}

fn port(name: &str, protocol: Protocol, port: u16) -> NamedPort {
    NamedPort { name: name.to_owned(), protocol, port }
}

pub(super) fn cluster_ips(addresses: &[&str], ports: &[(&str, Protocol, u16)]) -> ServiceNames {
    ServiceNames::ClusterIps {
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        ports: ports.iter().map(|&(name, protocol, number)| port(name, protocol, number)).collect(),
    }
}

pub(super) fn hosts(hosts: &[(&str, &[&str])]) -> ServiceNames {
    let host = |addresses: &[&str]| Host {
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        ports: BTreeSet::from([port("https", Protocol::TCP, 8443)]),
    };
    ServiceNames::Hosts(
        hosts.iter().map(|(name, addresses)| ((*name).to_owned(), host(addresses))).collect(),
    )
}

/// The objects of the specification's examples, and some beside them.
pub(super) fn zone() -> Zone {
    let mut zone = Zone::new(&ClusterDomain::default(), 7);
    let https = ("https", Protocol::TCP, 443);
    for (name, names) in [
        (object("default", "kubernetes"), cluster_ips(&["10.3.0.1"], &[https])),
        (
            object("default", "headless"),
            hosts(&[
                ("my-pet", &["10.3.0.100", "fd00::64"]),
                ("my-pet-2", &["10.3.0.101"]),
                ("10-3-0-102", &["10.3.0.102"]),
            ]),
        ),
        (object("default", "foo"), ServiceNames::External("www.example.com".to_owned())),
        (object("default", "near"), ServiceNames::External(format!("kubernetes.{SVC}"))),
        (object("default", "empty"), ServiceNames::Hosts(BTreeMap::new())),
        (object("lonely", "empty"), ServiceNames::Hosts(BTreeMap::new())),
        (
            dns_service(),
            cluster_ips(
                &["10.96.0.10", "fd10::a"],
                &[("dns", Protocol::UDP, 53), ("dns-tcp", Protocol::TCP, 53)],
            ),
        ),
    ] {
        zone.set(&name, Some(names));
    }
    zone
}

const SVC: &str = "default.svc.cluster.local";

fn found(zone: &Zone, name: &str, asked: RecordType) -> String {
    let name = Name::from_ascii(format!("{name}.")).unwrap();
    match zone.find(&name, asked) {
        Found::Outside => "outside".to_owned(),
        Found::NoName => "no name".to_owned(),
        Found::Alias(target) => format!("alias {target}"),
        Found::Records { answers, .. } if answers.is_empty() => "no data".to_owned(),
        Found::Records { answers, .. } => {
            let mut texts: Vec<String> = answers.iter().map(RData::to_string).collect();
            texts.sort();
            texts.join(" + ")
        }
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn every_name_has_the_records_of_the_specification() {
    use RecordType::{A, AAAA, ANY, CNAME, MX, NS, PTR, SOA, SRV, TXT};
    let zone = zone();
    for (name, asked, expected) in [
        // 2.2
        ("dns-version.cluster.local", TXT, "1.1.0"),
        ("dns-version.cluster.local", A, "no data"),
        // 2.3.1, 2.3.2, 2.3.3
        ("kubernetes.default.svc.cluster.local", A, "10.3.0.1"),
        ("kubernetes.default.svc.cluster.local", AAAA, "no data"),
        ("kubernetes.default.svc.cluster.local", MX, "no data"),
        ("kubernetes.default.svc.cluster.local", SRV, "no data"),
        (
            "_https._tcp.kubernetes.default.svc.cluster.local",
            SRV,
            "0 100 443 kubernetes.default.svc.cluster.local.",
        ),
        ("_https._tcp.kubernetes.default.svc.cluster.local", A, "no data"),
        ("_tcp.kubernetes.default.svc.cluster.local", SRV, "no data"),
        ("_udp.kubernetes.default.svc.cluster.local", SRV, "no name"),
        ("_https._udp.kubernetes.default.svc.cluster.local", SRV, "no name"),
        ("https._tcp.kubernetes.default.svc.cluster.local", SRV, "no name"),
        ("_http._tcp.kubernetes.default.svc.cluster.local", SRV, "no name"),
        ("a._https._tcp.kubernetes.default.svc.cluster.local", SRV, "no name"),
        ("a.kubernetes.default.svc.cluster.local", A, "no name"),
        ("1.0.3.10.in-addr.arpa", PTR, "kubernetes.default.svc.cluster.local."),
        ("1.0.3.10.in-addr.arpa", A, "no data"),
        ("0.3.10.in-addr.arpa", PTR, "outside"),
        ("9.0.3.10.in-addr.arpa", PTR, "outside"),
        ("kube-dns.kube-system.svc.cluster.local", AAAA, "fd10::a"),
        (
            "_dns._udp.kube-dns.kube-system.svc.cluster.local",
            SRV,
            "0 100 53 kube-dns.kube-system.svc.cluster.local.",
        ),
        ("_dns._tcp.kube-dns.kube-system.svc.cluster.local", SRV, "no name"),
        (
            "a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.d.f.ip6.arpa",
            PTR,
            "kube-dns.kube-system.svc.cluster.local.",
        ),
        // 2.4.1, 2.4.2, 2.4.3
        ("headless.default.svc.cluster.local", A, "10.3.0.100 + 10.3.0.101 + 10.3.0.102"),
        ("headless.default.svc.cluster.local", AAAA, "fd00::64"),
        ("my-pet.headless.default.svc.cluster.local", A, "10.3.0.100"),
        ("my-pet.headless.default.svc.cluster.local", AAAA, "fd00::64"),
        ("my-pet-2.headless.default.svc.cluster.local", AAAA, "no data"),
        ("10-3-0-102.headless.default.svc.cluster.local", A, "10.3.0.102"),
        ("10-3-0-101.headless.default.svc.cluster.local", A, "no name"),
        (
            "_https._tcp.headless.default.svc.cluster.local",
            SRV,
            "0 33 8443 10-3-0-102.headless.default.svc.cluster.local. + \
             0 33 8443 my-pet-2.headless.default.svc.cluster.local. + \
             0 33 8443 my-pet.headless.default.svc.cluster.local.",
        ),
        ("_tcp.headless.default.svc.cluster.local", SRV, "no data"),
        ("_https._tcp.my-pet.headless.default.svc.cluster.local", SRV, "no name"),
        ("100.0.3.10.in-addr.arpa", PTR, "my-pet.headless.default.svc.cluster.local."),
        ("102.0.3.10.in-addr.arpa", PTR, "10-3-0-102.headless.default.svc.cluster.local."),
        ("empty.default.svc.cluster.local", A, "no name"),
        ("_tcp.empty.default.svc.cluster.local", SRV, "no name"),
        ("_https._tcp.empty.default.svc.cluster.local", SRV, "no name"),
        // 2.5
        ("foo.default.svc.cluster.local", A, "alias www.example.com."),
        ("foo.default.svc.cluster.local", CNAME, "alias www.example.com."),
        ("_tcp.foo.default.svc.cluster.local", SRV, "no name"),
        // 2.6
        ("10-244-0-5.default.pod.cluster.local", A, "10.244.0.5"),
        ("10-244-0-5.default.pod.cluster.local", AAAA, "no data"),
        ("fd00-10-244--5.default.pod.cluster.local", AAAA, "fd00:10:244::5"),
        ("10-244-0.default.pod.cluster.local", A, "no name"),
        ("10-244-0-5.nowhere.pod.cluster.local", A, "no name"),
        // What is between, and above.
        ("cluster.local", A, "no data"),
        ("cluster.local", NS, "ns.dns.cluster.local."),
        (
            "cluster.local",
            SOA,
            "ns.dns.cluster.local. hostmaster.cluster.local. 7 7200 1800 86400 5",
        ),
        ("dns.cluster.local", A, "no data"),
        ("ns.dns.cluster.local", A, "10.96.0.10"),
        ("ns.dns.cluster.local", AAAA, "fd10::a"),
        ("svc.cluster.local", A, "no data"),
        ("pod.cluster.local", A, "no data"),
        ("default.svc.cluster.local", A, "no data"),
        ("default.pod.cluster.local", ANY, "no data"),
        ("lonely.svc.cluster.local", A, "no data"),
        ("nowhere.svc.cluster.local", A, "no name"),
        ("kubernetes.nowhere.svc.cluster.local", A, "no name"),
        ("nothing.default.svc.cluster.local", A, "no name"),
        ("nothing.cluster.local", A, "no name"),
        ("www.example.com.default.svc.cluster.local", A, "no name"),
        ("local", A, "outside"),
        ("xcluster.local", A, "outside"),
        ("cluster.local.example.com", A, "outside"),
        ("www.example.com", A, "outside"),
        // In any case of letters.
        ("KUBERNETES.Default.SVC.Cluster.LOCAL", A, "10.3.0.1"),
        (
            "_HTTPS._TCP.kubernetes.default.svc.cluster.local",
            SRV,
            "0 100 443 kubernetes.default.svc.cluster.local.",
        ),
        ("1.0.3.10.IN-ADDR.ARPA", PTR, "kubernetes.default.svc.cluster.local."),
    ] {
        assert_eq!(found(&zone, name, asked), expected, "{name} {asked}");
    }
}

#[test]
fn srv_records_come_with_the_addresses_of_what_they_name() {
    let name = Name::from_str("_https._tcp.headless.default.svc.cluster.local.").unwrap();
    let Found::Records { answers, additionals } = zone().find(&name, RecordType::SRV) else {
        panic!("there are records")
    };
    assert_eq!((answers.len(), additionals.len()), (3, 4));
    assert!(additionals.iter().all(|record| record.ttl == TTL));
}

#[test]
fn another_domain_has_the_same_names() {
    let mut zone = Zone::new(&"k8s.example".parse().unwrap(), 1);
    zone.set(&object("a", "web"), Some(cluster_ips(&["10.3.0.1"], &[])));
    assert_eq!(found(&zone, "web.a.svc.k8s.example", RecordType::A), "10.3.0.1");
    assert_eq!(found(&zone, "web.a.svc.cluster.local", RecordType::A), "outside");
    assert_eq!(found(&zone, "1.0.3.10.in-addr.arpa", RecordType::PTR), "web.a.svc.k8s.example.");
}

#[test]
fn the_longest_name_fits() {
    let (name, domain) = ("a".repeat(63), format!("{}.b", "d".repeat(55)));
    let mut zone = Zone::new(&domain.parse().unwrap(), 1);
    zone.set(&object(&name, &name), Some(hosts(&[(&name, &["10.3.0.1"])])));
    let service = format!("{name}.{name}.svc.{domain}");
    let target = format!("0 100 8443 {name}.{service}.");
    assert_eq!(found(&zone, &format!("_https._tcp.{service}"), RecordType::SRV), target);
    assert_eq!(found(&zone, &format!("{name}.{service}"), RecordType::A), "10.3.0.1");
    assert_eq!(ClusterDomain::LONGEST, domain.len());
}

#[test]
fn what_is_not_text_is_no_name() {
    let labels: [&[u8]; 4] = [b"\xff\xfe", b"svc", b"cluster", b"local"];
    let name = Name::from_labels(labels).unwrap();
    assert_eq!(zone().find(&name, RecordType::A), Found::NoName);
}

fn names() -> impl Strategy<Value = Option<ServiceNames>> {
    let address = || prop::sample::select(vec!["10.3.0.1", "10.3.0.2", "fd00::1"]);
    prop_oneof![
        Just(None),
        prop::collection::vec(address(), 1..3)
            .prop_map(|it| Some(cluster_ips(&it, &[("a", Protocol::TCP, 1)]))),
        prop::collection::vec((prop::sample::select(vec!["x", "y"]), address()), 0..3).prop_map(
            |it| {
                let all: Vec<(&str, Vec<&str>)> =
                    it.into_iter().map(|(host, address)| (host, vec![address])).collect();
                let all: Vec<(&str, &[&str])> =
                    all.iter().map(|(host, addresses)| (*host, addresses.as_slice())).collect();
                Some(hosts(&all))
            }
        ),
        Just(Some(ServiceNames::External("example.com".to_owned()))),
    ]
}

proptest! {
    /// A zone is what its Services are now, and nothing of what they were.
    #[test]
    fn changes_leave_nothing_behind(
        changes in prop::collection::vec((0..2_usize, 0..2_usize, names()), 0..20)
    ) {
        let mut changed = Zone::new(&ClusterDomain::default(), 1);
        let mut last = BTreeMap::new();
        for (namespace, service, names) in changes {
            let name = object(["a", "b"][namespace], ["s", "t"][service]);
            changed.set(&name, names.clone());
            last.insert(name, names);
        }
        let mut fresh = Zone::new(&ClusterDomain::default(), 1);
        for (name, names) in last {
            fresh.set(&name, names);
        }
        prop_assert_eq!(format!("{:?}", sorted(&changed)), format!("{:?}", sorted(&fresh)));
    }
}

/// Every name that a zone of those could have, and what is there.
fn sorted(zone: &Zone) -> Vec<String> {
    let mut all = Vec::new();
    for namespace in ["a", "b"] {
        let below = format!("{namespace}.svc.cluster.local");
        all.push(found(zone, &below, RecordType::A));
        for service in ["s", "t"] {
            for rest in ["", "x.", "y.", "_tcp.", "_a._tcp.", "_https._tcp."] {
                for asked in [RecordType::A, RecordType::AAAA, RecordType::SRV] {
                    all.push(found(zone, &format!("{rest}{service}.{below}"), asked));
                }
            }
        }
    }
    let v6 = format!("1.{}0.0.d.f.ip6.arpa", "0.".repeat(27));
    for name in ["1.0.3.10.in-addr.arpa", "2.0.3.10.in-addr.arpa", &v6] {
        all.push(found(zone, name, RecordType::PTR));
    }
    all
}
