//! What the agent built on the node.

use anyhow::{Context, Result, ensure};
use tests::topology::addresses;

use crate::demo::{
    cast::{NODES, PODS},
    scene::Scene,
};

pub(super) fn bridge(scene: &mut Scene) -> Result<()> {
    scene
        .run("shunt get pods -o wide | awk '{printf \"%-9s%-29s%-17s%s\\n\", $2, $10, $6, $7}'")?;
    scene.run("ip -n controlplane -brief link show master cni0")?;
    scene.run("ip -n controlplane -brief address show dev cni0")?;
    let bridges = (0..NODES.len()).try_for_each(|node| has_bridge(scene, node));
    scene.proves(
        "each pod's veth pair ends in a port of its node's bridge cni0, which has the gateways' \
         addresses",
        bridges,
    );
    Ok(())
}

pub(super) fn cluster_ip_is_nowhere(scene: &mut Scene) -> Result<()> {
    let everywhere = scene.run(
        "for n in $(ls /run/netns); do ip -n $n -oneline address; done \\\n        \
         | grep -c -e ' 10.96' -e :10:96:",
    )?;
    let verdict = (|| {
        ensure!(everywhere.text.trim() == "0", "found {}", everywhere.text);
        let all = scene.quietly(&format!("ip -n {} -oneline address", NODES[0]))?;
        // The listing that has no ClusterIP does have addresses.
        ensure!(all.succeeded()?.text.contains("192.168.0.1"), "{}", all.text);
        Ok(())
    })();
    scene.proves("no interface of the node or of a pod has a ClusterIP", verdict);
    let services = scene.run(
        "shunt get services -o wide | awk '{printf \"%-12s%-35s%-14s%s\\n\", $2, $13, $6, $9}'",
    )?;
    let verdict = services.succeeded().and_then(|answer| {
        let served = answer.text.contains("10.96.45.123,fd00:10:96::45:123");
        ensure!(served, "Service web is not listed");
        Ok(())
    });
    scene.proves("it is served all the same: the agent lists it with its endpoints", verdict);
    Ok(())
}

fn has_bridge(scene: &Scene, node: usize) -> Result<()> {
    let name = NODES[node];
    let listing = scene.json(&format!("ip -n {name} -j link show master cni0 type veth"))?;
    let ports = listing.as_array().context("ip printed no list")?;
    let up = ports.iter().filter(|port| port["operstate"] == "UP").count();
    // The pod that answers names is on the first one.
    let pods = PODS.iter().filter(|pod| pod.node == node).count() + usize::from(node == 0);
    ensure!(up == pods, "{name} has {up} ports for {pods} pods");
    let gateways = scene.addresses(name, "cni0")?;
    ensure!(gateways == addresses::pod_segment(node).host(1), "{name}'s cni0 has {gateways:?}");
    Ok(())
}
