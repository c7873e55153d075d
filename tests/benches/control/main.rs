//! What a cluster costs an agent: its start with everything, its memory, one change, and what the
//! first packet of a flow pays for so many services.
//!
//! `cargo xtask bench control` runs it. Objects come from a folder of manifests, or from a control
//! plane: a double, or a real one where `SHUNT_CONTROL_PLANE` names the folder of its programs. The
//! clients and the servers that they are sent to are in the outside: what is measured last ends with
//! a packet that came by the uplink and left by it, translated. Each size that is done is a line of
//! JSON on stdout, so that what was measured is there even where the next size is interrupted.
#![expect(clippy::expect_used, reason = "what cannot be measured fails by panicking")]
#![expect(clippy::print_stdout, reason = "the results are data")]
#![expect(
    unused_crate_dependencies,
    reason = "the library beside this measurement uses more than it does"
)]

mod change;
mod first_packet;
mod memory;
mod objects;
mod path;
mod result;
mod stage;
mod start;

use std::{env, thread};

use self::{result::Measured, stage::Stage};

/// How much is measured of each size.
#[derive(Clone, Copy, Debug)]
struct Plan {
    changes: u32,
    packets: u32,
    source: Source,
}

/// Where the agent's objects come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Manifests,
    ApiServer,
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    let is_quick = has("--quick");
    let plan = Plan {
        changes: if is_quick { 30 } else { 300 },
        packets: if is_quick { 2_000 } else { 20_000 },
        source: if has("--api-server") { Source::ApiServer } else { Source::Manifests },
    };
    for services in arguments.iter().filter_map(|argument| argument.parse().ok()) {
        let measured = thread::spawn(move || measure(services, plan)).join().expect("measuring");
        println!("{}", serde_json::to_string(&measured).expect("numbers are JSON"));
    }
}

/// Measures a cluster of so many Services.
fn measure(services: u32, plan: Plan) -> Measured {
    let mut measured = Measured::of(services, plan.source);
    let Some(mut stage) = Stage::build(services, plan.source) else { return measured };
    start::measure(&mut stage, &mut measured);
    change::measure(&stage, plan.changes, &mut measured);
    memory::measure_in_the_end(stage.agent(), &mut measured);
    first_packet::measure(&stage, plan.packets, &mut measured);
    if plan.source == Source::Manifests {
        path::measure(stage, &mut measured);
    }
    measured
}
