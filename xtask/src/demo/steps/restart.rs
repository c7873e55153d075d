//! The datapath does not need the agent.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};

use super::{WEB, family};
use crate::demo::{scene::Scene, stage};

/// What the transfer downloads; at the pace that curl is told, it takes five seconds.
const BYTES: u64 = 48_000_000;

pub(super) fn killed(scene: &mut Scene) -> Result<()> {
    let mut transfer = scene.start(&format!(
        "ip netns exec default.client curl -sS --limit-rate 8M -o /dev/null \\\n        \
         -w '%{{size_download}} bytes in %{{time_total}} s\\n' http://10.96.45.123/{BYTES}"
    ))?;
    thread::sleep(Duration::from_millis(700));
    let agent = scene.stage.agent()?.clone();
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
    scene.printer.command(&format!("{} &", stage::agent_command()));
    scene.stage.start_agent()?;
    let still = transfer.runs()?;
    let answer = transfer.wait()?;
    scene.printer.output(&answer.text);
    let verdict = answer.succeeded().and_then(|answer| {
        ensure!(answer.text.starts_with(&format!("{BYTES} bytes")), "{}", answer.text.trim());
        ensure!(still, "it ended before the agent was back: nothing is shown");
        Ok(())
    });
    scene.proves("the transfer came through the agent's death and its return, whole", verdict);
    let answer = scene.run("ip netns exec default.client curl -sS http://10.96.45.123")?;
    scene.proves("after its return, new connections work", answer.seen().map(|_| ()));
    Ok(())
}
