//! The guide to the layers, held against a run of the demo.
#![expect(unused_crate_dependencies, reason = "they are those of the program under test")]

use std::{process::Command, time::Duration};

use tests::{process, sandbox::Sandbox};

/// How long the demo may take on a busy machine.
const LIMIT: Duration = Duration::from_mins(5);

#[test]
#[ignore = "needs root"]
fn the_guide_to_the_layers_tells_what_the_demo_shows() {
    let Some(_sandbox) = Sandbox::enter_for(LIMIT) else { return };
    let mut demo = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let finished = process::finish(demo.args(["demo", "--guide", "check"]), LIMIT);
    // Its last lines are its findings.
    let said: Vec<&str> = finished.stderr.lines().collect();
    let findings = said[said.len().saturating_sub(30)..].join("\n");
    assert!(finished.code == 0, "{findings}");
    assert!(finished.stdout.contains(" claims proven, 0 not"), "{findings}");
}
