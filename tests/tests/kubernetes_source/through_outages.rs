//! What an agent makes of a control plane that goes away and comes back, and what clients notice.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tests::{api_server::Fault, manifests, wait};

use crate::stage::{Stage, Traffic};

/// How long the server is away in the middle of traffic.
const OUTAGE: Duration = Duration::from_mins(1);

/// In force so soon after the server's return.
const SOON: Duration = Duration::from_secs(1);

fn other(name: &str, host: u8) -> Value {
    manifests::service(name, &[&format!("10.96.2.{host}")], &[("http", "TCP", 80, 8080)])
}

fn names(stage: &Stage) -> BTreeSet<String> {
    let services = stage.agent.get("services");
    let names = services.iter().filter_map(|service| service["name"].as_str());
    names.filter(|name| *name != "kubernetes").map(str::to_owned).collect()
}

fn wait_for_services<const N: usize>(stage: &Stage, expected: [&str; N]) {
    let expected = expected.map(str::to_owned).into();
    wait::until("the services", wait::PATIENCE, || {
        let names = names(stage);
        if names == expected { Ok(()) } else { Err(format!("{names:?}")) }
    });
}

#[test]
#[ignore = "needs root"]
fn an_outage_of_a_minute_costs_no_packet_and_what_has_changed_is_in_force_at_once_after_it() {
    let Some(mut stage) = Stage::start() else { return };
    stage.control_plane.apply(&[other("old", 1), other("stays", 2)]);
    wait_for_services(&stage, ["old", "stays", "web"]);
    let traffic = Traffic::start(&stage);
    let before = stage.last_sync();
    assert!(before.1, "the node is ready");

    stage.control_plane.stop();
    let begun = Instant::now();
    wait::until("errors", wait::PATIENCE, || {
        let errors = stage.agent.source_errors();
        if errors.len() == 4 { Ok(()) } else { Err(format!("{errors:?}")) }
    });
    stage.set_endpoints(&["c"]);
    stage.control_plane.delete(&[other("old", 1)]);
    stage.control_plane.apply(&[other("new", 3)]);
    while begun.elapsed() < OUTAGE {
        thread::sleep(Duration::from_secs(5));
        assert_eq!(stage.last_sync(), before, "nothing was put in force, and the node is ready");
        assert_eq!(stage.agent.source_errors().len(), 4);
        traffic.goes_on();
    }
    traffic.assert_flawless();

    let conversations = Traffic::start_conversations(&stage);
    let mut quickest = return_with(&mut stage, "c");
    // Services are watched beside slices, and may be told of a moment later.
    wait_for_services(&stage, ["new", "stays", "web"]);
    // The machine may be busy with other tests: one of a few must be in time.
    for server in ["b", "c", "a", "b"] {
        if quickest < SOON {
            break;
        }
        stage.control_plane.stop();
        thread::sleep(Duration::from_secs(2));
        stage.set_endpoints(&[server]);
        quickest = quickest.min(return_with(&mut stage, server));
    }
    eprintln!("in force {quickest:?} after the server's return");
    assert!(quickest < SOON, "{quickest:?}");
    conversations.goes_on();
    conversations.assert_flawless();
    wait::until("the end of the errors", Duration::from_secs(20), || {
        let errors = stage.agent.source_errors();
        if errors.is_empty() { Ok(()) } else { Err(format!("{errors:?}")) }
    });
}

/// Has the server return; how long it then takes until a pod answers.
fn return_with(stage: &mut Stage, server: &str) -> Duration {
    stage.control_plane.resume();
    let returned = Instant::now();
    stage.wait_for_server(server);
    returned.elapsed()
}

#[test]
#[ignore = "needs root"]
fn an_agent_that_starts_during_an_outage_leaves_the_datapath_as_it_is() {
    let Some(mut stage) = Stage::start() else { return };
    stage.control_plane.apply(&[other("old", 1)]);
    wait_for_services(&stage, ["old", "web"]);
    let traffic = Traffic::start(&stage);
    stage.agent.kill9();
    stage.control_plane.stop();
    stage.control_plane.delete(&[other("old", 1)]);
    stage.set_endpoints(&["c"]);
    stage.agent.start();
    wait::until("the word of the agent", wait::PATIENCE, || {
        let finished = stage.agent.shunt(&["status", "-o", "json"]);
        if finished.code == 1 && finished.stdout.contains("cannot be read") {
            Ok(())
        } else {
            Err(format!("{finished:?}"))
        }
    });
    let programs = stage.agent.status()["programs"].clone();
    assert_eq!(programs, serde_json::json!([]), "it has loaded nothing");
    thread::sleep(Duration::from_secs(3));
    traffic.goes_on();
    let (code, took) = stage.agent.sigterm();
    assert!(code == 0 && took < Duration::from_secs(3), "{code} after {took:?}");
    traffic.goes_on();
    // Nobody but `a` and `b` has answered.
    traffic.assert_flawless();

    let conversations = Traffic::start_conversations(&stage);
    stage.agent.start();
    thread::sleep(Duration::from_secs(1));
    stage.control_plane.resume();
    stage.agent.wait_ready();
    stage.wait_for_server("c");
    wait_for_services(&stage, ["web"]);
    conversations.goes_on();
    conversations.assert_flawless();
}

#[test]
#[ignore = "needs root"]
fn an_agent_that_starts_anew_and_lists_that_begin_anew_write_nothing() {
    let Some(mut stage) = Stage::start() else { return };
    let traffic = Traffic::start_conversations(&stage);
    let flows = flows(&stage);
    assert!(flows.len() >= 2, "{flows:?}");

    stage.agent.restart();
    let begun_anew = stage.last_sync();
    assert_eq!(begun_anew.0["changes"], 0, "{begun_anew:?}");
    for _ in 0..5 {
        // Real servers that start have no history either.
        if let Some(store) = stage.control_plane.double("a list that begins anew at will") {
            let lists = store.lists();
            // Watches begin anew at a version that is not remembered any more.
            store.fail(Fault::Status(500));
            thread::sleep(Duration::from_millis(200));
            store.apply(&[manifests::pod("unwatched", "node01", "none", &[])]);
            store.forget();
            store.fail(Fault::None);
            wait::until("four lists", wait::PATIENCE, || {
                let more = store.lists() - lists;
                if more >= 4 { Ok(()) } else { Err(format!("{more} lists")) }
            });
        } else {
            stage.control_plane.stop();
            stage.control_plane.resume();
        }
        thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(stage.last_sync(), begun_anew, "nothing is written that was there");
    traffic.goes_on();
    assert_eq!(self::flows(&stage), flows);
    traffic.assert_flawless();
}

/// The flows that packets have made: client, service and endpoint of each.
fn flows(stage: &Stage) -> BTreeSet<String> {
    let connections = stage.agent.get("connections");
    let flows = connections.iter().filter(|connection| connection["protocol"] == "TCP");
    flows.map(|it| format!("{} {} {}", it["source"], it["destination"], it["backend"])).collect()
}
