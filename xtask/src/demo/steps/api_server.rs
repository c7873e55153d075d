//! The API server: a server on the node's own address, behind a ClusterIP with a name.

use anyhow::{Result, ensure};
use tests::topology::addresses;

use crate::demo::{cast::NODES, scene::Scene};

pub(super) fn by_name(scene: &mut Scene) -> Result<()> {
    let own = scene.addresses("default.client", "eth0")?;
    let clients = [
        ("default.client", own, "of its node reaches the server that has this name's certificate"),
        ("default.web-3", addresses::node(1).to_vec(), "of node01 too, with that node's address"),
    ];
    for (pod, seen_as, what) in clients {
        let answer = scene.run(&format!(
            "ip netns exec {pod} curl -sS https://kubernetes.default.svc.cluster.local"
        ))?;
        let verdict = answer.seen().and_then(|(server, client)| {
            ensure!(server == "api", "{server} answered");
            ensure!(seen_as.contains(&client.ip()), "the server saw {client}");
            Ok(())
        });
        scene.proves(&format!("a pod {what}"), verdict);
    }
    let answer = scene.run("shunt get connections | grep 10.96.0.1:443")?;
    let verdict = answer.succeeded().and_then(|answer| {
        ensure!(answer.text.contains("172.30.1.2:6443"), "{}", answer.text.trim());
        Ok(())
    });
    scene.proves("10.96.0.1:443 has led to the node's own address and port", verdict);
    for node in NODES {
        let answer =
            scene.run(&format!("nsenter --net=/run/netns/{node} curl -sS https://10.96.0.1"))?;
        let verdict = answer.seen().and_then(|(server, _)| {
            ensure!(server == "api", "{server} answered");
            Ok(())
        });
        scene.proves(&format!("so do the processes of {node}"), verdict);
    }
    Ok(())
}
