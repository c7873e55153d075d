//! Independent witnesses, and shunt's own counters.

use anyhow::{Context, Result, ensure};

use crate::{demo::scene::Scene, process::find_program};

/// How many refusals the step on refusals saw: six by TCP and UDP, and two pings.
const REFUSALS: u64 = 8;

pub(super) fn counters(scene: &mut Scene) -> Result<()> {
    no_foreign_rules(scene)?;
    scene.run(
        "shunt get services | awk '{printf \"%-12s%-18s%-11s%-13s%-9s%s\\n\", $2,$6,$7,$8,$9,$10}'",
    )?;
    let web = counter_of_web(scene);
    let verdict = web.and_then(|(connections, packets)| {
        ensure!(connections >= 300, "only {connections} connections");
        ensure!(packets >= 5 * connections, "only {packets} packets");
        Ok(())
    });
    scene.proves("the programs counted the connections and packets of each Service", verdict);

    scene.run("shunt get drops")?;
    let drops = scene.json("shunt get drops -o json")?;
    let counted: u64 =
        drops.as_array().into_iter().flatten().filter_map(|drop| drop["count"].as_u64()).sum();
    let verdict = (|| {
        ensure!(counted >= REFUSALS, "{counted} counted, {REFUSALS} were seen");
        Ok(())
    })();
    scene.proves("each refusal of step 8 was made by the programs, and counted by reason", verdict);

    scene.printer.text("(RUNS counts only while the kernel's bpf_stats_enabled is set)");
    let status = scene.run("shunt status")?;
    let verdict = (|| {
        let json = scene.json("shunt status -o json")?;
        let errors = json["source"]["errors"].as_array().context("no errors field")?;
        ensure!(status.code == 0, "exit code {}", status.code);
        ensure!(errors.is_empty(), "{errors:?}");
        Ok(())
    })();
    scene.proves("the node is ready and every object was understood", verdict);
    Ok(())
}

fn no_foreign_rules(scene: &mut Scene) -> Result<()> {
    let node = "nsenter --net=/run/netns/controlplane";
    for (program, arguments) in
        [("iptables-save", ""), ("ip6tables-save", ""), ("nft", " list ruleset")]
    {
        if find_program(program).is_none() {
            scene.printer.text(&format!("({program} is not installed)"));
            continue;
        }
        let answer = scene.run(&format!("{node} {program}{arguments}"))?;
        let verdict = answer.succeeded().and_then(|answer| {
            ensure!(answer.text.trim().is_empty(), "{}", answer.text.trim());
            Ok(())
        });
        scene.proves(&format!("{program} finds nothing: not one rule on the node"), verdict);
    }
    Ok(())
}

fn counter_of_web(scene: &Scene) -> Result<(u64, u64)> {
    let services = scene.json("shunt get services -o json")?;
    let web = services
        .as_array()
        .into_iter()
        .flatten()
        .find(|service| service["name"] == "web")
        .context("Service web is not listed")?;
    let count = |field: &str| web["ports"][0][field].as_u64().context("no counter");
    Ok((count("connections")?, count("packets")?))
}
