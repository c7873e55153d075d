//! The network below, which knows nothing of pods and Services.

use anyhow::{Result, ensure};
use tests::topology::addresses;

use super::refusal::is_refused;
use crate::demo::scene::Scene;

/// What every address of a pod or a Service begins with, and no other in the demo.
const INNER: [&str; 4] = ["192.168.", "10.96.", "fd00:10:244:", "fd00:10:96:"];

pub(super) fn nodes_and_outside(scene: &mut Scene) -> Result<()> {
    scene.run("ip netns | sort")?;
    scene.run(
        "for n in controlplane node01 outside; do ip -n $n -brief address show dev eth0; done",
    )?;
    let routes = scene.run("ip -n router route; ip -n router -6 route | grep -v fe80")?;
    let verdict = routes.succeeded().and_then(|routes| {
        // The listing that has no pods and no way out does have the nodes.
        for known in ["172.30.1.0/24", "fd00:172:30:2::/64", "172.31.0.0/24"] {
            ensure!(routes.text.contains(known), "no route to {known}");
        }
        for unknown in INNER.into_iter().chain(["default"]) {
            ensure!(!routes.text.contains(unknown), "it has a route to {unknown}");
        }
        Ok(())
    });
    scene.proves(
        "the router knows the nodes and the outside alone: it carries no packet to a pod's or a \
         Service's address, nor any to the machine that this runs on",
        verdict,
    );
    Ok(())
}

pub(super) fn own_addresses(scene: &mut Scene) -> Result<()> {
    scene.run("ip -n controlplane -brief address show dev lo")?;
    let answer = scene.run("nsenter --net=/run/netns/node01 curl -sS https://172.30.1.2:6443")?;
    let verdict = answer.seen().and_then(|(server, client)| {
        ensure!(server == "api", "{server} answered");
        ensure!(addresses::node(1).contains(&client.ip()), "it saw {client}");
        Ok(())
    });
    scene.proves(
        "node01 reaches a server of controlplane by that node's address, and is seen with its own",
        verdict,
    );
    let answer = scene.run("nsenter --net=/run/netns/node01 curl -sS https://localhost:6443")?;
    let verdict = is_refused(&answer);
    scene.proves("localhost is each node's own: on node01, nobody serves that port", verdict);
    Ok(())
}
