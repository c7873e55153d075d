//! What a pod has for itself: its interfaces, its routes, its loopback; and the pair of interfaces
//! that is its only way out.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::refusal::is_refused;
use crate::demo::{
    cast::{PODS, Pod},
    scene::Scene,
};

const POD: &str = "web-1";

pub(super) fn own_network(scene: &mut Scene) -> Result<()> {
    scene.run("ip netns exec default.web-1 ip -brief address")?;
    scene.run("ip netns exec default.web-1 ip route")?;
    scene.run("ip netns exec default.web-1 ip -6 route show default")?;
    let pods = PODS.iter().try_for_each(|pod| has_interfaces(scene, *pod));
    scene.proves(
        "each pod has a namespace, a loopback of its own, and an eth0 with an address of both of \
         its node's pod CIDRs",
        pods,
    );
    let answer = scene.run("ip netns exec default.web-1 curl -sS http://localhost:8080")?;
    let verdict = answer.seen().and_then(|(server, client)| {
        ensure!(server == POD, "{server} answered");
        ensure!(client.ip().is_loopback(), "it saw {client}");
        Ok(())
    });
    scene.proves("a pod's localhost is the pod's: its own server answers", verdict);
    Ok(())
}

pub(super) fn loopbacks(scene: &mut Scene) -> Result<()> {
    let node = "nsenter --net=/run/netns/controlplane";
    let answer = scene.run(&format!("{node} curl -sS https://localhost:6443"))?;
    let verdict = answer.seen().and_then(|(server, client)| {
        ensure!(server == "api", "{server} answered");
        ensure!(client.ip().is_loopback(), "it saw {client}");
        Ok(())
    });
    scene.proves("on the node, localhost:6443 is the node's server", verdict);
    let answer = scene.run("ip netns exec default.web-1 curl -sS https://localhost:6443")?;
    let verdict = is_refused(&answer);
    scene.proves("in a pod of that node, localhost:6443 is refused: nobody is there", verdict);
    Ok(())
}

pub(super) fn pair(scene: &mut Scene) -> Result<()> {
    scene.run("ip -n default.web-1 -oneline link show dev eth0 | cut -d' ' -f-5")?;
    let pod = link(scene, "default.web-1", "eth0")?;
    let peer = index(&pod, "link_index")?;
    let command = format!("ip -n controlplane -oneline link | grep '^{peer}: ' | cut -d' ' -f-5");
    scene.run(&command)?;
    let verdict = (|| {
        let listing = scene.json("ip -n controlplane -j -d link show type veth")?;
        let ends = listing.as_array().context("ip printed no list")?;
        let end = ends.iter().find(|end| end["ifindex"] == peer).context("the node has no such")?;
        ensure!(index(end, "link_index")? == index(&pod, "ifindex")?, "it points elsewhere: {end}");
        ensure!(end["master"] == "cni0", "it is no port of cni0: {end}");
        Ok(())
    })();
    scene.proves(
        "the number behind eth0's @ is that of an interface of the node, whose own is eth0's: the \
         two ends of one pair",
        verdict,
    );
    Ok(())
}

fn link(scene: &Scene, namespace: &str, interface: &str) -> Result<Value> {
    let links = scene.json(&format!("ip -n {namespace} -j link show dev {interface}"))?;
    links.get(0).cloned().with_context(|| format!("{namespace} has no {interface}"))
}

fn index(link: &Value, field: &str) -> Result<u64> {
    link[field].as_u64().with_context(|| format!("no {field} in {link}"))
}

fn has_interfaces(scene: &Scene, pod: Pod) -> Result<()> {
    let namespace = pod.namespace();
    let addresses = scene.addresses(&namespace, "eth0")?;
    ensure!(addresses == pod.addresses(), "{} has {addresses:?}", pod.name);
    let loopback = scene.quietly(&format!("ip -n {namespace} address show dev lo up"))?;
    let text = loopback.text;
    ensure!(text.contains("127.0.0.1/8"), "{} has no loopback: {text}", pod.name);
    Ok(())
}
