//! Clusters that are large: everything is served, and what that costs is printed.
//!
//! `SHUNT_SCALE_SERVICES` sets the number of Services (1,000 where it is not set), each with ten
//! endpoints, and `SHUNT_SCALE_LAYOUT` the form of the files: `list`, as `kubectl get -o yaml`
//! prints them; `documents`, with a marker between objects; or `json`. What is measured is printed
//! and never judged: `--no-capture` shows it.

use std::{
    env, fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use aya::maps::{Array, Map, MapData};
use tests::{
    bpf_objects::files_below,
    large_cluster::{ENDPOINTS, list, service, slice},
    manifests::ManifestDir,
    one_node::{NODE, OneNode},
    wait,
};

/// A large cluster is read and programmed well within this, by a slow machine too.
const PATIENCE: Duration = Duration::from_mins(1);

/// How a file holds many objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    List,
    Documents,
    Json,
}

impl Layout {
    fn from_environment() -> Self {
        match env::var("SHUNT_SCALE_LAYOUT").as_deref() {
            Ok("documents") => Self::Documents,
            Ok("json") => Self::Json,
            _ => Self::List,
        }
    }

    fn file(self, name: &str) -> String {
        let extension = if self == Self::Json { "json" } else { "yaml" };
        format!("{name}.{extension}")
    }

    /// Puts objects, each the text of a YAML mapping, into one file's text.
    fn join(self, objects: &[String]) -> String {
        let mut text = String::new();
        match self {
            Self::Documents => {
                for object in objects {
                    text.push_str("---\n");
                    text.push_str(object);
                }
            }
            Self::List => text.push_str(&list(objects)),
            Self::Json => {
                text.push_str("{\"apiVersion\": \"v1\", \"items\": [\n");
                let objects: Vec<String> = objects
                    .iter()
                    .map(|object| {
                        let value: serde_json::Value = serde_yaml_ng::from_str(object).unwrap();
                        value.to_string()
                    })
                    .collect();
                text.push_str(&objects.join(",\n"));
                text.push_str("], \"kind\": \"List\"}\n");
            }
        }
        text
    }
}

/// The files of a cluster; the last Service's slice is in a file of its own.
fn write(manifests: &ManifestDir, layout: Layout, services: u32) {
    let objects: Vec<String> = (0..services).map(service).collect();
    manifests.write_text(&layout.file("services"), &layout.join(&objects));
    write_slices(manifests, layout, services, ENDPOINTS);
    write_last_slice(manifests, services, ENDPOINTS);
}

/// The large file of slices, in which the first Service has `endpoints`.
fn write_slices(manifests: &ManifestDir, layout: Layout, services: u32, endpoints: u32) {
    let mut objects: Vec<String> =
        (0..services - 1).map(|number| slice(number, ENDPOINTS)).collect();
    objects[0] = slice(0, endpoints);
    manifests.write_text(&layout.file("slices"), &layout.join(&objects));
}

fn write_last_slice(manifests: &ManifestDir, services: u32, endpoints: u32) {
    manifests.write_text("last.yaml", &slice(services - 1, endpoints));
}

/// The records of services, as programs see them.
struct Records(Array<MapData, u64>);

impl Records {
    fn open(bpffs: &Path) -> Self {
        let pin = files_below(bpffs)
            .into_iter()
            .find(|path| path.ends_with("SERVICES"))
            .expect("the map of services is pinned");
        let map = Map::Array(MapData::from_pin(pin).unwrap());
        Self(map.try_into().unwrap())
    }

    fn get(&self, index: u32) -> u64 {
        self.0.get(&index, 0).unwrap()
    }

    fn all(&self) -> Vec<u64> {
        (0..self.0.len()).map(|index| self.get(index)).collect()
    }

    /// Makes a change twice, and says how long the second took until programs saw it: the first
    /// shows where to look.
    fn time(&self, what: &str, mut change: impl FnMut(u32)) {
        let before = self.all();
        change(ENDPOINTS - 1);
        let index = wait::until(what, PATIENCE, || {
            let now = self.all();
            let index = (0..).zip(before.iter().zip(&now)).find(|(_, (one, other))| one != other);
            index.map(|(index, _)| index).ok_or_else(|| "no record has changed".to_owned())
        })
        .0;
        let mut times = Vec::new();
        for endpoints in [ENDPOINTS, ENDPOINTS - 2, ENDPOINTS] {
            let before = self.get(index);
            change(endpoints);
            let start = Instant::now();
            while self.get(index) == before {
                assert!(start.elapsed() < PATIENCE, "{what}: no record has changed");
                thread::sleep(Duration::from_millis(1));
            }
            times.push(start.elapsed());
        }
        eprintln!("{what}: {times:.1?}");
    }
}

fn print_memory(pid: u32) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let wanted = ["VmHWM", "VmRSS", "RssAnon", "RssFile", "RssShmem"];
    let lines = status.lines().filter(|line| wanted.iter().any(|key| line.starts_with(key)));
    let text: Vec<String> =
        lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    eprintln!("memory: {}", text.join(", "));
}

#[test]
#[ignore = "needs root"]
fn a_large_cluster_is_served_and_followed() {
    let services: u32 =
        env::var("SHUNT_SCALE_SERVICES").map_or(1000, |number| number.parse().unwrap());
    let layout = Layout::from_environment();
    let fill = |manifests: &ManifestDir| write(manifests, layout, services);
    let Some(mut stage) = OneNode::prepare(fill) else {
        return;
    };
    let start = Instant::now();
    stage.agent.start();
    stage.agent.wait_ready();
    eprintln!("{services} services, {layout:?}: ready after {:.1?}", start.elapsed());
    let status = stage.agent.status();
    assert_eq!(status["source"]["errors"].as_array().map(Vec::len), Some(0), "{status}");
    eprintln!("last sync: {}", status["lastSync"]);
    let entries = |name: &str| {
        let maps = status["maps"].as_array().unwrap();
        let map = maps.iter().find(|map| map["name"] == name).unwrap();
        map["entries"].as_u64().unwrap()
    };
    assert_eq!(entries("SERVICES"), u64::from(services));
    // One for those within, one for the outside.
    assert_eq!(entries("FRONTENDS_V4"), 2 * u64::from(services));
    assert_eq!(entries("SLOTS"), u64::from(services * ENDPOINTS));
    let pid = stage.agent.pid();
    print_memory(pid);
    thread::sleep(Duration::from_millis(1500));
    print_memory(pid);
    let records = Records::open(stage.node.bpffs());
    records.time("edit of a small file", |endpoints| {
        write_last_slice(&stage.manifests, services, endpoints);
    });
    records.time("edit of a large file", |endpoints| {
        write_slices(&stage.manifests, layout, services, endpoints);
    });
    print_memory(pid);
}

#[test]
#[ignore = "needs root"]
fn many_services_that_appear_at_once_are_served_at_once() {
    let Some(stage) = OneNode::start(|_| {}) else {
        return;
    };
    let services = 1000;
    let mut objects: Vec<String> = (0..services).map(service).collect();
    objects.extend((0..services).map(|number| slice(number, ENDPOINTS)));
    let start = Instant::now();
    stage.manifests.write_text("all.yaml", &Layout::List.join(&objects));
    let records = Records::open(stage.node.bpffs());
    let served = usize::try_from(services).unwrap();
    wait::until("all services", PATIENCE, || {
        let found = records.all().iter().filter(|record| **record != 0).count();
        if found == served { Ok(()) } else { Err(format!("{found} of {served}")) }
    });
    eprintln!("{services} services at once: {:.1?}", start.elapsed());
    assert_eq!(stage.agent.source_errors(), Vec::<serde_json::Value>::new());
    let listed = stage.agent.get("services");
    assert_eq!(listed.len(), served);
    assert!(
        listed.iter().all(|service| {
            service["ports"][0]["endpoints"].as_array().map(Vec::len) == Some(10)
        })
    );
    assert!(stage.agent.get("nodes").iter().any(|node| node["name"] == NODE));
}
