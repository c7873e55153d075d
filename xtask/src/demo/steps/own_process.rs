//! The node as a client.

use anyhow::{Result, ensure};

use super::{WEB, family};
use crate::demo::scene::Scene;

pub(super) fn to_cluster_ips(scene: &mut Scene) -> Result<()> {
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
    Ok(())
}
