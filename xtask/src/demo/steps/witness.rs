//! Independent witnesses, and shunt's own counters.

use anyhow::{Context, Result, ensure};

use crate::{
    demo::{cast::NODES, scene::Scene, stage::run_dir},
    process::find_program,
};

/// How many refusals the step on refusals saw: six by TCP and UDP, and two pings.
const REFUSALS: u64 = 8;

pub(super) fn counters(scene: &mut Scene) -> Result<()> {
    no_foreign_rules(scene)?;
    scene.run(
        "shunt get services | awk '{printf \"%-12s%-18s%-11s%-13s%-9s%s\\n\", $2,$6,$8,$9,$10,$11}'",
    )?;
    let web = counter_of_web(scene);
    let verdict = web.and_then(|(connections, packets)| {
        ensure!(connections >= 300, "only {connections} connections");
        ensure!(packets >= 5 * connections, "only {packets} packets");
        Ok(())
    });
    scene.proves("the programs counted the connections and packets of each Service", verdict);

    scene.run("shunt get drops")?;
    let counted = super::dropped(scene, &["no-endpoints", "no-such-service-port"])?;
    let verdict = (|| {
        ensure!(counted >= REFUSALS, "{counted} counted, {REFUSALS} were seen");
        Ok(())
    })();
    scene.proves(
        "each refusal of what cannot be served was made by the programs, and counted by reason",
        verdict,
    );

    scene.printer.text("(RUNS counts only while the kernel's bpf_stats_enabled is set)");
    scene.run("shunt status | grep -e PROGRAM -e cni0 -e eth0 -e vxlan")?;
    for node in NODES {
        let status = format!("shunt status --run-dir {}", run_dir(node).display());
        scene.run(&format!("{status} | sed '/^$/,$d'"))?;
        let verdict = is_well(scene, &status);
        scene.proves(&format!("{node} is ready, and every object was understood"), verdict);
    }
    Ok(())
}

fn is_well(scene: &Scene, status: &str) -> Result<()> {
    scene.quietly(status)?.succeeded()?;
    let json = scene.json(&format!("{status} -o json"))?;
    let errors = json["source"]["errors"].as_array().context("no errors field")?;
    ensure!(errors.is_empty(), "{errors:?}");
    Ok(())
}

fn no_foreign_rules(scene: &mut Scene) -> Result<()> {
    for (program, arguments) in
        [("iptables-save", ""), ("ip6tables-save", ""), ("nft", " list ruleset")]
    {
        if find_program(program).is_none() {
            scene.printer.text(&format!("({program} is not installed)"));
            continue;
        }
        let answer = scene.run(&format!(
            "for n in controlplane node01; do nsenter --net=/run/netns/$n {program}{arguments}; done"
        ))?;
        let verdict = answer.succeeded().and_then(|answer| {
            ensure!(answer.text.trim().is_empty(), "{}", answer.text.trim());
            Ok(())
        });
        scene.proves(&format!("{program} finds nothing: not one rule on either node"), verdict);
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
