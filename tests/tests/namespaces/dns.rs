//! Cluster DNS: which names lead where, as `dig` and `getent` see it in pods.

use std::time::{Duration, Instant};

use serde_json::json;
use tests::{
    dns::{self, RecordType, dig, external_name, headless, in_namespace, in_pod, kube_dns},
    manifests::{self, ManifestDir},
    netns::NetNamespace,
    one_node::{self, NODE, OneNode, WEB, addresses_at},
    process, wait,
};

/// A node that serves DNS, with Service `web` over the pod `a`, and a pod `client`.
fn stage(fill: impl FnOnce(&ManifestDir), arguments: &[&str]) -> Option<OneNode> {
    let mut stage = OneNode::prepare(|manifests| {
        manifests.write("kube-dns.yaml", &[kube_dns()]);
        one_node::write_web(manifests, &["a"]);
        fill(manifests);
    })?;
    let arguments = [&["--dns"], arguments].concat();
    stage.agent = stage.node.run_agent(&stage.manifests, &arguments);
    stage.agent.wait_ready();
    Some(stage)
}

const CLIENT: &str = "default.client";
const WEB_NAME: &str = "web.default.svc.cluster.local";

fn answers(name: &str, kind: &str) -> Vec<String> {
    dig(CLIENT, &[name, kind]).answers
}

/// A pod of a headless Service, with a name for its host.
fn pet(name: &str, number: u8, hostname: &str) -> serde_json::Value {
    let addresses = addresses_at(number);
    let mut pod = manifests::pod(name, NODE, "pets", &addresses.each_ref().map(String::as_str));
    pod["spec"]["hostname"] = json!(hostname);
    pod["spec"]["subdomain"] = json!("pets");
    pod
}

/// Names, types, and the answers.
const RECORDS: &[(&str, &str, &[&str])] = &[
    ("dns-version.cluster.local", "TXT", &["dns-version.cluster.local. IN TXT \"1.1.0\""]),
    (WEB_NAME, "A", &["web.default.svc.cluster.local. IN A 10.96.1.10"]),
    (WEB_NAME, "AAAA", &["web.default.svc.cluster.local. IN AAAA fd00:10:96::1:10"]),
    (
        "_http._tcp.web.default.svc.cluster.local",
        "SRV",
        &["_http._tcp.web.default.svc.cluster.local. IN SRV 0 100 80 \
             web.default.svc.cluster.local."],
    ),
    (
        "_dns._udp.kube-dns.kube-system.svc.cluster.local",
        "SRV",
        &["_dns._udp.kube-dns.kube-system.svc.cluster.local. IN SRV 0 100 53 \
           kube-dns.kube-system.svc.cluster.local."],
    ),
    (
        "10.1.96.10.in-addr.arpa",
        "PTR",
        &["10.1.96.10.in-addr.arpa. IN PTR web.default.svc.cluster.local."],
    ),
    (
        "pets.default.svc.cluster.local",
        "A",
        &[
            "pets.default.svc.cluster.local. IN A 10.244.1.21",
            "pets.default.svc.cluster.local. IN A 10.244.1.22",
            "pets.default.svc.cluster.local. IN A 10.244.1.23",
        ],
    ),
    (
        "my-pet.pets.default.svc.cluster.local",
        "AAAA",
        &["my-pet.pets.default.svc.cluster.local. IN AAAA fd00:10:244:1::21"],
    ),
    (
        "10-244-1-23.pets.default.svc.cluster.local",
        "A",
        &["10-244-1-23.pets.default.svc.cluster.local. IN A 10.244.1.23"],
    ),
    (
        "22.1.244.10.in-addr.arpa",
        "PTR",
        &["22.1.244.10.in-addr.arpa. IN PTR my-pet-2.pets.default.svc.cluster.local."],
    ),
    (
        "_https._tcp.pets.default.svc.cluster.local",
        "SRV",
        &[
            "_https._tcp.pets.default.svc.cluster.local. IN SRV 0 33 8443 \
             10-244-1-23.pets.default.svc.cluster.local.",
            "_https._tcp.pets.default.svc.cluster.local. IN SRV 0 33 8443 \
             my-pet-2.pets.default.svc.cluster.local.",
            "_https._tcp.pets.default.svc.cluster.local. IN SRV 0 33 8443 \
             my-pet.pets.default.svc.cluster.local.",
        ],
    ),
    (
        "outward.default.svc.cluster.local",
        "A",
        &["outward.default.svc.cluster.local. IN CNAME www.example.com."],
    ),
    (
        "inward.default.svc.cluster.local",
        "A",
        &[
            "inward.default.svc.cluster.local. IN CNAME web.default.svc.cluster.local.",
            "web.default.svc.cluster.local. IN A 10.96.1.10",
        ],
    ),
    ("WEB.Default.SVC.cluster.LOCAL", "A", &["WEB.Default.SVC.cluster.LOCAL. IN A 10.96.1.10"]),
    ("cluster.local", "NS", &["cluster.local. IN NS ns.dns.cluster.local."]),
    ("ns.dns.cluster.local", "A", &["ns.dns.cluster.local. IN A 10.96.0.10"]),
    (WEB_NAME, "ANY", &["web.default.svc.cluster.local. IN HINFO \"RFC8482\" \"\""]),
];

/// Names, types, and why there are no answers.
const NOTHING: &[(&str, &str, &str)] = &[
    ("nothing.default.svc.cluster.local", "A", "NXDOMAIN"),
    ("web.nowhere.svc.cluster.local", "A", "NXDOMAIN"),
    ("nowhere.svc.cluster.local", "A", "NXDOMAIN"),
    ("nobody.default.svc.cluster.local", "A", "NXDOMAIN"),
    ("_http._udp.web.default.svc.cluster.local", "SRV", "NXDOMAIN"),
    ("pet-a.pets.default.svc.cluster.local", "A", "NXDOMAIN"),
    ("web.default.svc.cluster.local", "MX", "NOERROR"),
    ("default.svc.cluster.local", "A", "NOERROR"),
    ("svc.cluster.local", "A", "NOERROR"),
    ("_tcp.web.default.svc.cluster.local", "SRV", "NOERROR"),
];

/// What the names of the tables lead to.
fn write_pets(manifests: &ManifestDir) {
    manifests.write(
        "pets.yaml",
        &[
            headless("pets", &[("https", "TCP", 443, 8443)]),
            pet("pet-a", 21, "my-pet"),
            pet("pet-b", 22, "my-pet-2"),
            manifests::pod("pet-c", NODE, "pets", &["10.244.1.23"]),
            headless("nobody", &[("https", "TCP", 443, 8443)]),
            external_name("inward", "web.default.svc.cluster.local"),
            external_name("outward", "www.example.com"),
        ],
    );
}

#[test]
#[ignore = "needs root"]
fn dig_finds_every_record_of_the_specification() {
    let Some(_stage) = stage(write_pets, &[]) else { return };
    for (name, kind, expected) in RECORDS {
        for server in ["@10.96.0.10", "@fd00:10:96::a"] {
            for transport in ["+notcp", "+tcp"] {
                let dug = dig(CLIENT, &[server, transport, name, kind]);
                let what = format!("{name} {kind} {server} {transport}\n{}", dug.text);
                assert_eq!(dug.answers, *expected, "{what}");
                assert!(dug.flags.contains("aa") && !dug.flags.contains("tc"), "{what}");
                assert!(dug.ttls.iter().all(|ttl| (5..=30).contains(ttl)), "{what}");
            }
        }
    }
    // `dig -x` writes the name of an address as it has to be.
    for (address, name) in [
        (WEB[1], "web.default.svc.cluster.local."),
        ("fd00:10:244:1::21", "my-pet.pets.default.svc.cluster.local."),
    ] {
        let dug = dig(CLIENT, &["-x", address]);
        assert!(dug.answers[0].ends_with(&format!("IN PTR {name}")), "{}", dug.text);
    }
}

#[test]
#[ignore = "needs root"]
fn dig_is_told_whether_there_is_no_such_name_or_no_such_record() {
    let Some(_stage) = stage(write_pets, &[]) else { return };
    for (name, kind, status) in NOTHING {
        let dug = dig(CLIENT, &[name, kind]);
        assert_eq!((dug.status.as_str(), dug.answers.len()), (*status, 0), "{name}\n{}", dug.text);
        assert!(dug.text.contains("SOA"), "{}", dug.text);
        assert!(dug.ttls.iter().all(|ttl| (5..=30).contains(ttl)), "{}", dug.text);
    }
    for arguments in
        [&["www.example.com", "A"][..], &["version.bind", "TXT", "CH"], &["cluster.local", "AXFR"]]
    {
        let begun = Instant::now();
        let finished = in_pod(CLIENT, &[&["dig", "+tries=1"], arguments].concat());
        let is_refused = finished.stdout.contains("status: REFUSED")
            || finished.stdout.contains("Transfer failed");
        assert!(is_refused, "{finished:?}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
}

/// The addresses that a name has for programs in a pod: `getent` goes by `/etc/resolv.conf`.
fn getent(pod: &str, name: &str) -> Vec<String> {
    let finished = in_pod(pod, &["getent", "ahosts", name]);
    let mut addresses: Vec<String> = finished
        .stdout
        .lines()
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

#[test]
#[ignore = "needs root"]
fn short_names_are_found_by_the_search_path_of_the_pods_namespace() {
    let fill = |manifests: &ManifestDir| {
        let shop = |object| in_namespace(object, "shop");
        manifests.write(
            "shop.yaml",
            &[
                shop(manifests::pod("client", NODE, "client", &[])),
                shop(manifests::service("cart", &["10.96.1.20"], &[("http", "TCP", 80, 8080)])),
            ],
        );
    };
    let Some(stage) = stage(fill, &[]) else { return };
    let _servers = stage.serve(&["a"]);
    let (web, cart) = (vec![WEB[0].to_owned(), WEB[1].to_owned()], vec!["10.96.1.20".to_owned()]);
    for (pod, name, expected) in [
        (CLIENT, "web", &web),
        (CLIENT, "web.default", &web),
        (CLIENT, "web.default.svc", &web),
        (CLIENT, "web.default.svc.cluster.local", &web),
        (CLIENT, "web.default.svc.cluster.local.", &web),
        (CLIENT, "cart", &Vec::new()),
        (CLIENT, "cart.shop", &cart),
        ("shop.client", "cart", &cart),
        ("shop.client", "web", &Vec::new()),
        ("shop.client", "web.default", &web),
        ("shop.client", "nothing", &Vec::new()),
    ] {
        assert_eq!(getent(pod, name), *expected, "{pod} {name}");
    }
    let resolv_conf = in_pod("shop.client", &["cat", "/etc/resolv.conf"]).stdout;
    assert_eq!(
        resolv_conf,
        "nameserver 10.96.0.10\nnameserver fd00:10:96::a\n\
         search shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
    );
    // The name is all that a client needs.
    let finished = in_pod(CLIENT, &["curl", "-sS", "-m", "5", "http://web"]);
    assert!(finished.stdout.starts_with("a "), "{finished:?}");
}

#[test]
#[ignore = "needs root"]
fn what_does_not_fit_into_a_datagram_is_asked_for_by_tcp() {
    let addresses: Vec<String> = (1..=120).map(|number| format!("10.244.7.{number}")).collect();
    let fill = |manifests: &ManifestDir| {
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let ports = [("http", "TCP", 8080)];
        manifests.write(
            "crowd.yaml",
            &[
                headless("crowd", &[("http", "TCP", 80, 8080)]),
                manifests::slice("crowd-1", "crowd", "node9", &addresses, &ports),
            ],
        );
    };
    let Some(_stage) = stage(fill, &[]) else { return };
    let name = "crowd.default.svc.cluster.local";
    for (arguments, least) in
        [(&["+noedns"][..], 25), (&["+bufsize=512"], 25), (&["+bufsize=4096"], 70)]
    {
        let cut = dig(CLIENT, &[arguments, &["+ignore", name]].concat());
        assert!(cut.flags.contains("tc"), "{}", cut.text);
        assert!((least..120).contains(&cut.answers.len()), "{}", cut.text);
        assert_eq!(cut.text.contains("OPT PSEUDOSECTION"), arguments != ["+noedns"]);
        let whole = dig(CLIENT, &[arguments, &[name]].concat());
        assert!(!whole.flags.contains("tc"), "{}", whole.text);
        assert_eq!(whole.answers.len(), 120, "{}", whole.text);
    }
    let mut expected = addresses.clone();
    expected.sort();
    assert_eq!(getent(CLIENT, "crowd"), expected);
}

#[test]
#[ignore = "needs root"]
fn a_service_has_its_name_within_a_second_and_no_longer_than_it_is_there() {
    let Some(stage) = stage(|_| (), &[]) else { return };
    let _servers = stage.serve(&["a"]);
    let client = stage.pod("client");
    let name = "new.default.svc.cluster.local";
    let ask = || client.run(|| dns::ask(dns::servers()[0], name, RecordType::A));
    let mut slowest = Duration::ZERO;
    for round in 0..5 {
        assert_eq!(ask().unwrap().code, 3, "round {round}");
        let mut service = manifests::service("new", &["10.96.1.30"], &[("http", "TCP", 80, 8080)]);
        service["spec"]["selector"] = json!({"app": "web"});
        stage.manifests.write("new.yaml", &[service]);
        let ((), took) = wait::until("the new name", wait::PATIENCE, || match ask() {
            Ok(found) if !found.addresses.is_empty() => Ok(()),
            other => Err(format!("{other:?}")),
        });
        // The name leads somewhere as soon as it is there.
        let finished = in_pod(CLIENT, &["curl", "-sS", "-m", "2", "http://new"]);
        assert!(finished.stdout.starts_with("a "), "round {round}: {finished:?}");
        stage.manifests.remove("new.yaml");
        let ((), gone) = wait::until("the name is gone", wait::PATIENCE, || match ask() {
            Ok(found) if found.code == 3 => Ok(()),
            other => Err(format!("{other:?}")),
        });
        slowest = slowest.max(took).max(gone);
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

#[test]
#[ignore = "needs root"]
fn the_server_follows_its_pod() {
    let Some(mut stage) = stage(|_| (), &[]) else { return };
    let name = "web.default.svc.cluster.local";
    let web = vec![format!("{name}. IN A {}", WEB[0])];
    assert_eq!(answers(name, "A"), web);
    let found = |stage: &OneNode| {
        let client = stage.pod("client");
        wait::until("names are answered", wait::PATIENCE, || {
            match client.run(|| dns::ask(dns::servers()[0], name, RecordType::A)) {
                Ok(found) if found.code == 0 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    };
    // Its namespace was taken away by hand; something else makes the agent look.
    let before = tests::netns::identity(&NetNamespace::path("kube-system.coredns"));
    process::must(process::mortal_command("ip").args(["netns", "delete", "kube-system.coredns"]));
    stage.manifests.write("b.yaml", &[manifests::pod("b", NODE, "web", &[])]);
    wait::until("the pod is made anew", wait::PATIENCE, || {
        let now = tests::netns::identity(&NetNamespace::path("kube-system.coredns"));
        if now.is_some() && now != before { Ok(()) } else { Err(format!("{now:?}")) }
    });
    found(&stage);
    // A Pod object of the same name decides where it is, and with which address.
    let mut pod = manifests::pod("coredns", NODE, "x", &["10.244.1.99"]);
    pod["metadata"]["labels"] = json!({"k8s-app": "kube-dns"});
    stage.manifests.write("coredns.yaml", &[in_namespace(pod.clone(), "kube-system")]);
    wait::until("the pod has the address of its object", wait::PATIENCE, || {
        let pods = stage.agent.get("pods");
        let ips = pods.iter().find(|pod| pod["name"] == "coredns").map(|pod| &pod["podIPs"]);
        if ips == Some(&json!(["10.244.1.99"])) { Ok(()) } else { Err(format!("{ips:?}")) }
    });
    found(&stage);
    assert_eq!(dig(CLIENT, &["@10.244.1.99", name, "A"]).answers, web);
    // On another node there is none here.
    pod["spec"]["nodeName"] = json!("node2");
    stage.manifests.write("coredns.yaml", &[in_namespace(pod, "kube-system")]);
    wait::until("the pod is gone", wait::PATIENCE, || {
        match NetNamespace::open("kube-system.coredns") {
            Err(_) => Ok(()),
            Ok(_) => Err("it is there".to_owned()),
        }
    });
    stage.manifests.remove("coredns.yaml");
    found(&stage);
    // The agent is gone, and with it the names; with the next one they are there again.
    stage.agent.kill9();
    stage.agent.start();
    stage.agent.wait_ready();
    assert_eq!(answers(name, "A"), web);
    assert!(stage.agent.source_errors().is_empty(), "{:?}", stage.agent.source_errors());
}

#[test]
#[ignore = "needs root"]
fn without_the_service_that_pods_ask_the_status_says_what_to_add() {
    let Some(stage) = stage(|_| (), &[]) else { return };
    let errors = |count: usize| {
        wait::until("errors", wait::PATIENCE, || {
            let errors = stage.agent.source_errors();
            if errors.len() == count { Ok(errors) } else { Err(format!("{errors:?}")) }
        })
        .0
    };
    errors(0);
    stage.manifests.remove("kube-dns.yaml");
    let [error] = &errors(1)[..] else { unreachable!() };
    assert_eq!((&error["kind"], &error["name"]), (&json!("Service"), &json!("kube-dns")));
    assert!(error["message"].as_str().unwrap().contains("docs/dns.md"), "{error}");
    let mut wrong = kube_dns();
    wrong["spec"]["selector"] = json!({"app": "dns"});
    stage.manifests.write("kube-dns.yaml", &[wrong]);
    wait::until("another error", wait::PATIENCE, || {
        let errors = stage.agent.source_errors();
        let is_told = errors.iter().any(|error| error["field"] == "spec.selector");
        if is_told { Ok(()) } else { Err(format!("{errors:?}")) }
    });
    stage.manifests.write("kube-dns.yaml", &[kube_dns()]);
    errors(0);
    assert_eq!(answers("web.default.svc.cluster.local", "A").len(), 1);
}

#[test]
#[ignore = "needs root"]
fn another_domain_is_searched_and_served() {
    let Some(stage) = stage(|_| (), &["--dns-zone", "K8s.Example"]) else { return };
    let _servers = stage.serve(&["a"]);
    assert_eq!(getent(CLIENT, "web"), [WEB[0], WEB[1]]);
    assert_eq!(answers("web.default.svc.k8s.example", "A").len(), 1);
    assert_eq!(dig(CLIENT, &["web.default.svc.cluster.local"]).status, "REFUSED");
    let resolv_conf = in_pod(CLIENT, &["cat", "/etc/resolv.conf"]).stdout;
    assert!(resolv_conf.contains("search default.svc.k8s.example svc.k8s.example k8s.example\n"));
}
