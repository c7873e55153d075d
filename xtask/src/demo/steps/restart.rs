//! The datapath does not need the agent.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};
use tests::topology::addresses;

use super::{WEB, family, inward};
use crate::demo::{cast::NODES, scene::Scene, stage};

/// What curl is told to download in a second.
const BYTES_PER_SECOND: u64 = 8 << 20;
/// How much longer the transfer takes than the agent's return, which on a busy machine may take
/// half as long again as its first start.
const AROUND: Duration = Duration::from_secs(4);
/// How long it takes at most.
const LONGEST: Duration = Duration::from_secs(40);

pub(super) fn killed(scene: &mut Scene) -> Result<()> {
    let start = scene.stage.start_took();
    let seconds = (start + start / 2 + AROUND).min(LONGEST).as_secs();
    let bytes = seconds * BYTES_PER_SECOND;
    let mut transfer = scene.start(&format!(
        "ip netns exec default.client curl -sS --limit-rate 8M -o /dev/null \\\n        \
         -w '%{{size_download}} bytes in %{{time_total}} s\\n' http://10.96.45.123/{bytes}"
    ))?;
    thread::sleep(Duration::from_millis(700));
    let agent = scene.stage.agent(NODES[0])?.clone();
    let before = transfer.runs()?;
    scene.run(&format!("kill -9 {}", agent.pid()))?;
    let gone = agent.wait_for_end(Duration::from_secs(2));
    let status = scene.run("shunt status")?;
    let verdict = (|| {
        ensure!(before, "the transfer was over before");
        ensure!(gone && status.code != 0, "it still runs");
        ensure!(transfer.runs()?, "the transfer ended with it");
        Ok(())
    })();
    scene.proves("the agent is gone, and the transfer still runs", verdict);

    for address in WEB {
        let command = format!("ip netns exec default.client curl -sS 'http://{address}'");
        let answer = scene.run(&command)?;
        scene.proves(
            &format!("without an agent, new connections over {} work", family(address)),
            answer.seen().map(|_| ()),
        );
    }
    let [node, _] = addresses::node(0);
    scene.proves(
        "so does the way from outside through this node to a pod of the other",
        inward::ask(scene, node, inward::CLUSTER).map(|_| ()),
    );
    scene.printer.command(&format!("{} &", stage::agent_command(NODES[0])));
    scene.stage.start_agents(&NODES[..1])?;
    let still = transfer.runs()?;
    let answer = transfer.wait()?;
    scene.printer.output(&answer.text);
    let verdict = answer.succeeded().and_then(|answer| {
        ensure!(answer.text.starts_with(&format!("{bytes} bytes")), "{}", answer.text.trim());
        ensure!(still, "it ended before the agent was back: nothing is shown");
        Ok(())
    });
    scene.proves("the transfer came through the agent's death and its return, whole", verdict);
    let answer = scene.run("ip netns exec default.client curl -sS http://10.96.45.123")?;
    scene.proves("after its return, new connections work", answer.seen().map(|_| ()));
    Ok(())
}
