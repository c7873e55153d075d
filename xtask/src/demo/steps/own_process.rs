//! The node as a client, and as a server.

use anyhow::{Result, ensure};

use super::{WEB, family};
use crate::demo::scene::Scene;

pub(super) fn both_ways(scene: &mut Scene) -> Result<()> {
    let route = scene.run("ip -n controlplane route get 10.96.45.123")?;
    let verdict = route.succeeded().and_then(|answer| {
        ensure!(answer.text.contains("via 172.30.1.1 dev eth0"), "{}", answer.text.trim());
        Ok(())
    });
    scene.proves("the node has no route to ClusterIPs but the one to its router", verdict);
    for address in WEB {
        let command = format!("nsenter --net=/run/netns/controlplane curl -sS 'http://{address}'");
        let answer = scene.run(&command)?;
        let verdict = answer.seen().and_then(|(server, _)| {
            ensure!(server.starts_with("web-"), "{server} answered");
            Ok(())
        });
        scene.proves(
            &format!(
                "a process of the node itself reaches a pod by ClusterIP over {}",
                family(address)
            ),
            verdict,
        );
    }
    let own = scene.addresses("default.client", "eth0")?;
    let answer = scene.run("ip netns exec default.client curl -sS http://10.96.0.1:443")?;
    let verdict = answer.seen().and_then(|(server, client)| {
        ensure!(server == "api", "{server} answered");
        ensure!(own.contains(&client.ip()), "the server saw {client}");
        Ok(())
    });
    scene.proves(
        "a pod reaches a server on the node's own address, 172.30.1.2:6443, by ClusterIP",
        verdict,
    );
    Ok(())
}
