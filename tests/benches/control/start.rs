//! From the agent's start until all is served.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    memory,
    objects::PORTS,
    result::Measured,
    stage::{Stage, ask},
};

/// How long a start may take.
const LONGEST: Duration = Duration::from_mins(3);
/// How long one answer is waited for.
const ANSWER: Duration = Duration::from_millis(20);

/// Starts the agent twice: on nothing, and on what the first one has left.
pub(crate) fn measure(stage: &mut Stage, measured: &mut Measured) {
    for (what, sync) in [
        ("first start: all served after", "  of that, programs and maps"),
        ("start on what is there: ready after", "  of that, programs and maps"),
    ] {
        let begun = Instant::now();
        stage.agent_mut().start();
        let target = stage.changed();
        stage.outside().run(|| until_answered(target, begun));
        let is_first = what.starts_with("first");
        if is_first {
            measured.time(what, begun.elapsed());
        }
        stage.agent_mut().wait_ready_within(LONGEST);
        if !is_first {
            measured.time(what, begun.elapsed());
        }
        let status = stage.agent().status();
        assert_all_served(&status, stage.clusters[0].services);
        let micros = status["lastSync"]["durationMicros"].as_u64().expect("a duration");
        measured.time(sync, Duration::from_micros(micros));
        if is_first {
            // What reading took is given back by now.
            thread::sleep(Duration::from_secs(1));
            memory::measure(stage.agent(), measured);
            stage.agent_mut().sigterm();
        }
    }
}

/// The Service that is asked is the last one by name, and so the last that is programmed.
fn until_answered(target: SocketAddr, begun: Instant) {
    while ask(target, ANSWER).ok() != Some(PORTS[0]) {
        assert!(begun.elapsed() < LONGEST, "{target} is not served");
        thread::sleep(Duration::from_millis(1));
    }
}

fn assert_all_served(status: &Value, services: u32) {
    assert_eq!(status["source"]["errors"], json!([]), "all is in force");
    let maps = status["maps"].as_array().expect("a list of maps");
    let records = maps.iter().find(|map| map["name"] == "SERVICES").expect("the map of services");
    assert_eq!(records["entries"], json!(services), "each has its record");
}
