//! Clients in pods reach servers in pods.

use anyhow::{Result, ensure};

use super::{WEB, family};
use crate::demo::scene::{Answer, Scene};

pub(super) fn http(scene: &mut Scene) -> Result<()> {
    let own = scene.addresses("default.client", "eth0")?;
    for address in WEB {
        let command = format!("ip netns exec default.client curl -sS 'http://{address}'");
        let answer = scene.run(&command)?;
        let verdict = answer.seen().and_then(|(server, client)| {
            ensure!(server.starts_with("web-"), "{server} answered");
            ensure!(own.contains(&client.ip()), "the server saw {client}");
            Ok(())
        });
        scene.proves(
            &format!(
                "a ClusterIP leads to a pod over {}, and the server sees the client's own address",
                family(address)
            ),
            verdict,
        );
    }
    Ok(())
}

pub(super) fn udp(scene: &mut Scene) -> Result<()> {
    let own = scene.addresses("default.client", "eth0")?;
    scene.printer.command(ASK);
    for address in ["10.96.5.5", "fd00:10:96::5:5"] {
        let answer = ask(scene, "default.client", address, 7)?;
        let verdict = answer.seen().and_then(|(server, client)| {
            ensure!(server == "echo-1", "{server} answered");
            ensure!(own.contains(&client.ip()), "the server saw {client}");
            ensure!(answer.text.contains("hello"), "not the answer to `hello`");
            Ok(())
        });
        scene.proves(
            &format!(
                "a datagram and its reply pass the ClusterIP over {}, port 7 to 7007, the client \
                 untouched",
                family(address)
            ),
            verdict,
        );
    }
    Ok(())
}

pub(super) fn hairpin(scene: &mut Scene) -> Result<()> {
    let gateways = scene.addresses("controlplane", "cni0")?;
    for address in ["10.96.7.7", "[fd00:10:96::7:7]"] {
        let command = format!("ip netns exec default.solo curl -sS 'http://{address}'");
        let answer = scene.run(&command)?;
        let verdict = answer.seen().and_then(|(server, client)| {
            ensure!(server == "solo", "{server} answered");
            ensure!(gateways.contains(&client.ip()), "it saw {client}");
            Ok(())
        });
        scene.proves(
            &format!(
                "it reaches itself by ClusterIP over {}, and takes its gateway for the client",
                family(address)
            ),
            verdict,
        );
    }
    Ok(())
}

/// What asks one question over a connected UDP socket.
pub(super) const ASK: &str =
    "ask='exec 3<>/dev/udp/$0/$1 && echo hello >&3 && timeout 2 head -n 1 <&3'";

/// Shows and runs one question over UDP; [`ASK`] has to be shown before.
pub(super) fn ask(scene: &Scene, namespace: &str, address: &str, port: u16) -> Result<Answer> {
    let command = format!("ip netns exec {namespace} bash -c \"$ask\" {address} {port}");
    scene.printer.command(&command);
    let answer = scene.quietly(&format!("{ASK}; {command}"))?;
    scene.printer.output(&answer.text);
    Ok(answer)
}
