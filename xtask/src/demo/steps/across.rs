//! Pods reach pods of their node and of the other one, and what makes it so.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::topology::addresses;

use super::{family_of, target};
use crate::demo::{
    cast::{NODES, Pod},
    scene::Scene,
    view::View,
};

pub(super) fn on_one_node(scene: &mut Scene) -> Result<()> {
    pod_to_pod(scene, [("client", "web-1")])
}

pub(super) fn between_nodes(scene: &mut Scene) -> Result<()> {
    pod_to_pod(scene, [("client", "web-3"), ("shop-1", "web-1")])
}

/// The first of each pair asks the second.
fn pod_to_pod<const N: usize>(scene: &mut Scene, pairs: [(&str, &str); N]) -> Result<()> {
    for (from, to) in pairs {
        let (from, to) = (Pod::named(from)?, Pod::named(to)?);
        for (own, address) in from.addresses().into_iter().zip(to.addresses()) {
            let verdict =
                View::ask(scene, &from.namespace(), target(to, address)).and_then(|view| {
                    view.answered_by(to.name)?;
                    view.client_is(own)?;
                    view.untouched()
                });
            scene.proves(
                &format!(
                    "{} ({}) and {} ({}) see each other's own {} addresses: no NAT",
                    from.name,
                    NODES[from.node],
                    to.name,
                    NODES[to.node],
                    family_of(address)
                ),
                verdict,
            );
        }
    }
    Ok(())
}

pub(super) fn overlay(scene: &mut Scene) -> Result<()> {
    scene
        .run("shunt get nodes -o wide | awk '{printf \"%-15s%-30s%-36s%s\\n\", $1, $6, $4, $5}'")?;
    scene.run("ip -n controlplane route; ip -n controlplane -6 route | grep -v fe80")?;
    let verdict = addresses::pod_segment(1).prefixes().iter().try_for_each(|prefix| {
        let device = device_of_route(scene, prefix)?;
        ensure!(device == "shunt-vxlan", "{prefix} leads to {device}");
        Ok(())
    });
    scene.proves("the other node's pods, in both families, are behind shunt-vxlan", verdict);

    scene.run("ip -n controlplane -d link show shunt-vxlan")?;
    let verdict = device(scene).and_then(|device| {
        let tunnel = &device["linkinfo"];
        ensure!(tunnel["info_kind"] == "vxlan", "it is a {}", tunnel["info_kind"]);
        ensure!(tunnel["info_data"]["external"] == true, "its tunnel is fixed");
        ensure!(device["mtu"] == 1450, "its MTU is {}", device["mtu"]);
        Ok(())
    });
    scene.proves(
        "it is a VXLAN device whose peer the programs choose per packet, with room for the outer \
         headers",
        verdict,
    );

    let before = packets(scene)?;
    let (from, to) = (Pod::named("client")?, Pod::named("web-3")?);
    let asked = scene.run("ip netns exec default.client curl -sS http://192.168.1.2:8080")?;
    let after = packets(scene)?;
    let (sent, received) = (after.0 - before.0, after.1 - before.1);
    scene.printer.output(&format!("packets of shunt-vxlan: {sent} sent, {received} received"));
    let verdict = asked.seen().and_then(|(server, _)| {
        ensure!(server == to.name, "{server} answered");
        // Three to open, one with the request, one to close; the answers likewise.
        ensure!(sent >= 4 && received >= 3, "fewer than a connection has");
        Ok(())
    });
    scene.proves(
        &format!("a connection from {} to {} passes it, there and back", from.name, to.name),
        verdict,
    );
    Ok(())
}

fn device_of_route(scene: &Scene, prefix: &str) -> Result<String> {
    let family = if prefix.contains(':') { "-6" } else { "-4" };
    let routes = scene.json(&format!("ip -n {} -j {family} route show {prefix}", NODES[0]))?;
    let device = routes.pointer("/0/dev").and_then(Value::as_str);
    device.map(str::to_owned).with_context(|| format!("no route to {prefix}"))
}

fn device(scene: &Scene) -> Result<Value> {
    let links = scene.json(&format!("ip -n {} -j -d -s link show shunt-vxlan", NODES[0]))?;
    links.get(0).cloned().context("ip shows no shunt-vxlan")
}

/// How many packets the overlay device of the first node has sent, and received.
fn packets(scene: &Scene) -> Result<(u64, u64)> {
    let device = device(scene)?;
    let count = |direction: &str| {
        let path = format!("/stats64/{direction}/packets");
        device.pointer(&path).and_then(Value::as_u64).context("no counter of packets")
    };
    Ok((count("tx")?, count("rx")?))
}
