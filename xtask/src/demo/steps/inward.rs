//! The outside reaches a Service by NodePorts.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use tests::topology::{addresses, bridge};

use super::family_of;
use crate::demo::{
    cast::{NODES, OUTSIDE},
    scene::Scene,
    view::View,
};

/// The node port of Service `shop`, of policy Cluster.
pub(super) const CLUSTER: u16 = 30080;
/// The node port of Service `shop-local`, of policy Local, with the same pod.
const LOCAL: u16 = 30081;
/// The Services' only pod, on the second node.
const BACKEND: &str = "shop-1";
const WITH_BACKEND: usize = 1;
const WITHOUT_BACKEND: usize = 0;
/// What curl's exit code is when nobody answers in time.
const TIMED_OUT: i32 = 28;

pub(super) fn node_ports(scene: &mut Scene) -> Result<()> {
    scene.run(
        "shunt get services | awk '/NAME|shop/ {printf \"%-12s%-10s%-14s%s\\n\", $2, $3, $6, $8}'",
    )?;
    for (node, has) in [(WITH_BACKEND, "has the backend"), (WITHOUT_BACKEND, "has none")] {
        for (address, gateway) in addresses::node(node).into_iter().zip(bridge(node)) {
            let verdict = ask(scene, address, CLUSTER).and_then(|view| view.seen_as(gateway));
            scene.proves(
                &format!(
                    "policy Cluster, through {}, which {has}: {BACKEND} answers over {}, and sees \
                     that node's {gateway}",
                    NODES[node],
                    family_of(address)
                ),
                verdict,
            );
        }
    }
    for address in addresses::node(WITH_BACKEND) {
        let verdict = ask(scene, address, LOCAL).and_then(|view| view.untouched());
        scene.proves(
            &format!(
                "policy Local, through {}, which has the backend: it sees the client's own {} \
                 address",
                NODES[WITH_BACKEND],
                family_of(address)
            ),
            verdict,
        );
    }
    for address in addresses::node(WITHOUT_BACKEND) {
        let before = dropped(scene)?;
        let target = SocketAddr::new(address, LOCAL);
        let answer = scene.run(&format!(
            "ip netns exec {OUTSIDE} curl -sS -m 1 'http://{target}'; \\\n        \
             shunt get drops | grep no-local"
        ))?;
        let verdict = (|| {
            ensure!(answer.text.contains(&format!("curl: ({TIMED_OUT})")), "curl was answered");
            ensure!(dropped(scene)? > before, "it was not counted");
            Ok(())
        })();
        scene.proves(
            &format!(
                "policy Local, through {}, which has none: {} packets are dropped, and counted",
                NODES[WITHOUT_BACKEND],
                family_of(address)
            ),
            verdict,
        );
    }
    Ok(())
}

/// Asks a node port from the outside; only the Services' pod may answer, and only the outside ask.
pub(super) fn ask(scene: &Scene, node: IpAddr, port: u16) -> Result<View> {
    let view = View::ask(scene, OUTSIDE, (node, port).into())?;
    view.answered_by(BACKEND)?;
    view.client_is(addresses::of_family(addresses::outside(), node))?;
    Ok(view)
}

fn dropped(scene: &Scene) -> Result<u64> {
    super::dropped(scene, &["no-local-endpoints"])
}
