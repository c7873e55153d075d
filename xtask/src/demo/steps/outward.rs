//! Pods reach the outside, which sees their node.

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::{Error, Result, ensure};
use nix::sys::socket::AddressFamily;
use tests::{
    netns::NetNamespace,
    topology::addresses,
    traffic::icmp::{EchoOutcome, echo, sources_of_requests},
};

use super::family_of;
use crate::demo::{
    cast::{HTTP, NODES, OUTSIDE, Pod},
    scene::Scene,
    view::View,
};

/// Who asks, one pod of each node.
const CLIENTS: [&str; 2] = ["client", "web-3"];

pub(super) fn masquerade(scene: &mut Scene) -> Result<()> {
    for client in CLIENTS {
        let pod = Pod::named(client)?;
        let nodes = addresses::node(pod.node);
        for ((target, own), node) in
            addresses::outside().into_iter().zip(pod.addresses()).zip(nodes)
        {
            let view = View::ask(scene, &pod.namespace(), (target, HTTP).into());
            let verdict = view.and_then(|view| {
                view.answered_by(OUTSIDE)?;
                view.client_is(own)?;
                view.seen_as(node)
            });
            scene.proves(
                &format!("the outside sees {node}, {}'s address, not {own}", NODES[pod.node]),
                verdict,
            );
        }
    }
    let pod = Pod::named(CLIENTS[0])?;
    let nodes = addresses::node(pod.node);
    for (target, node) in addresses::outside().into_iter().zip(nodes) {
        let verdict = ping(scene, pod, target, node);
        scene.proves(
            &format!("an {} echo is answered, and came from {node} too", protocol(target)),
            verdict,
        );
    }
    scene.run(
        "shunt get connections | grep -e PROTOCOL -e 172.31.0.2 \\\n        \
         | awk '{printf \"%-10s%-21s%-18s%-17s%s\\n\", $1, $2, $3, $4, $5}'",
    )?;
    Ok(())
}

/// Sends an echo request from a pod; the outside notes where it comes from.
fn ping(scene: &Scene, pod: Pod, target: IpAddr, node: IpAddr) -> Result<()> {
    let (from, outside) = (open(&pod.namespace())?, open(OUTSIDE)?);
    let family = if target.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let mut outcome = EchoOutcome::Silence;
    let sources = sources_of_requests(&outside, family, || outcome = from.run(|| echo(target)));
    let listed: Vec<String> = sources.iter().map(ToString::to_string).collect();
    scene.printer.text(&format!(
        "(the demo sends an {} echo request from {} to {target} itself, and notes there who sent it)",
        protocol(target),
        pod.namespace()
    ));
    scene.printer.output(&format!("{outcome:?}; the request came from {}", listed.join(", ")));
    ensure!(outcome == EchoOutcome::Reply, "{outcome:?}");
    ensure!(sources == BTreeSet::from([node]), "it came from {sources:?}");
    Ok(())
}

fn open(namespace: &str) -> Result<NetNamespace> {
    NetNamespace::open(namespace).map_err(Error::msg)
}

fn protocol(target: IpAddr) -> &'static str {
    if family_of(target) == "IPv4" { "ICMP" } else { "ICMPv6" }
}
