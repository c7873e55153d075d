//! What a client sees where nobody serves.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{
    WEB, family,
    reach::{ASK, ask},
};
use crate::demo::scene::{Answer, Scene};

/// A refusal that takes longer has not come at once. A client that is not refused waits for seconds.
const AT_ONCE: Duration = Duration::from_millis(900);

pub(super) fn all(scene: &mut Scene) -> Result<()> {
    let nobody = ["10.96.9.9", "[fd00:10:96::9:9]"].map(|address| (address, 80));
    let wrong_port = WEB.map(|address| (address, 81));
    for (targets, what) in
        [(nobody, "a Service without endpoints"), (wrong_port, "a port that is not in the Service")]
    {
        for (address, port) in targets {
            let answer = scene.run(&format!(
                "ip netns exec default.client curl -sv 'http://{address}:{port}' 2>&1 | grep refused"
            ))?;
            scene.proves(
                &format!(
                    "{what} refuses TCP over {}; it took {} ms",
                    family(address),
                    answer.took.as_millis()
                ),
                refused(&answer),
            );
        }
    }
    scene.printer.command(ASK);
    for address in ["10.96.9.9", "fd00:10:96::9:9"] {
        let answer = ask(scene, "default.client", address, 80)?;
        scene.proves(
            &format!(
                "a Service without endpoints answers UDP over {} with an ICMP port unreachable",
                family(address)
            ),
            refused(&answer),
        );
    }
    for address in WEB {
        let address = address.trim_matches(['[', ']']);
        let answer =
            scene.run(&format!("ip netns exec default.client ping -c 1 -W 2 {address}"))?;
        let told = answer.text.to_lowercase().contains("unreachable");
        let verdict = (|| {
            ensure!(answer.code != 0 && told, "{}", answer.text.trim());
            Ok(())
        })();
        scene.proves(
            &format!(
                "a ping of a ClusterIP is told that it is unreachable, over {}",
                family(address)
            ),
            verdict,
        );
    }
    Ok(())
}

/// Fails unless a command was told that nobody listens: curl's words, or bash's.
pub(super) fn is_refused(answer: &Answer) -> Result<()> {
    let text = answer.text.trim();
    let is_told = ["Connection refused", "Couldn't connect", "Failed to connect"];
    ensure!(is_told.iter().any(|words| text.contains(words)), "{text:?}");
    Ok(())
}

fn refused(answer: &Answer) -> Result<()> {
    ensure!(answer.text.contains("Connection refused"), "{:?}", answer.text.trim());
    ensure!(answer.took < AT_ONCE, "it took {:?}", answer.took);
    Ok(())
}
