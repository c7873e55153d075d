//! Names: a pod asks a Service, which leads to the pod that answers.

use anyhow::{Result, ensure};

use crate::demo::scene::Scene;

/// What is asked, of which type, what the answer has in one of its lines, and what that shows.
const RECORDS: [(&str, &str, &str, &str); 6] = [
    ("web.default.svc.cluster.local", "A", "10.96.45.123", "a Service's IPv4 ClusterIP"),
    ("web.default.svc.cluster.local", "AAAA", "fd00:10:96::45:123", "its IPv6 ClusterIP"),
    (
        "_http._tcp.web.default.svc.cluster.local",
        "SRV",
        "80 web.default.svc.cluster.local.",
        "the number of a port by its name",
    ),
    (
        "123.45.96.10.in-addr.arpa",
        "PTR",
        "web.default.svc.cluster.local.",
        "a Service's name by its address",
    ),
    ("kubernetes.default.svc.cluster.local", "A", "10.96.0.1", "the API server's address"),
    ("dns-version.cluster.local", "TXT", "\"1.1.0\"", "the version of the specification"),
];

pub(super) fn short_name(scene: &mut Scene) -> Result<()> {
    let answer = scene.run("ip netns exec default.client cat /etc/resolv.conf")?;
    let verdict = answer.succeeded().and_then(|answer| {
        for expected in ["nameserver 10.96.0.10", "default.svc.cluster.local", "ndots:5"] {
            ensure!(answer.text.contains(expected), "no {expected}");
        }
        Ok(())
    });
    scene.proves("a pod asks the Service kube-dns, and looks in its own namespace first", verdict);
    let answer = scene.run("ip netns exec default.client getent ahosts web | grep STREAM")?;
    let verdict = answer.succeeded().and_then(|answer| {
        for expected in ["10.96.45.123", "fd00:10:96::45:123"] {
            ensure!(answer.text.contains(expected), "no {expected}");
        }
        Ok(())
    });
    scene.proves("the short name `web` is the Service's addresses of both families", verdict);
    let own = scene.addresses("default.client", "eth0")?;
    for (flag, family) in [("-4", "IPv4"), ("-6", "IPv6")] {
        let answer =
            scene.run(&format!("ip netns exec default.client curl {flag} -sS http://web"))?;
        let verdict = answer.seen().and_then(|(server, client)| {
            ensure!(server.starts_with("web-"), "{server} answered");
            ensure!(own.contains(&client.ip()), "the server saw {client}");
            ensure!(client.is_ipv4() == (family == "IPv4"), "the server saw {client}");
            Ok(())
        });
        scene.proves(&format!("http://web is one of its pods, over {family}"), verdict);
    }
    Ok(())
}

pub(super) fn records(scene: &mut Scene) -> Result<()> {
    let before = questions(scene)?;
    for (name, kind, expected, what) in RECORDS {
        let answer =
            scene.run(&format!("ip netns exec default.client dig +short {kind} {name}"))?;
        let verdict = answer.succeeded().and_then(|answer| {
            ensure!(answer.text.lines().any(|line| line.ends_with(expected)), "{}", answer.text);
            Ok(())
        });
        scene.proves(&format!("{kind}: {what}"), verdict);
    }
    let answer = scene
        .run("ip netns exec default.client dig nobody.default.svc.cluster.local | grep status")?;
    let verdict = answer.succeeded().and_then(|answer| {
        ensure!(answer.text.contains("NXDOMAIN"), "{}", answer.text.trim());
        Ok(())
    });
    scene.proves("a Service that is not there has no name", verdict);
    let counted = questions(scene)? - before;
    let verdict = (|| {
        ensure!(counted > RECORDS.len() as u64, "{counted} of {}", RECORDS.len() + 1);
        Ok(())
    })();
    scene.proves("each question crossed the datapath to kube-dns, and was counted there", verdict);
    Ok(())
}

/// How many connections the first node has counted at the Service that answers names.
fn questions(scene: &Scene) -> Result<u64> {
    let services = scene.json("shunt get services -o json")?;
    let all = services.as_array().into_iter().flatten();
    let dns = all.filter(|service| service["name"] == "kube-dns");
    let ports = dns.filter_map(|service| service["ports"].as_array()).flatten();
    Ok(ports.filter_map(|port| port["connections"].as_u64()).sum())
}
