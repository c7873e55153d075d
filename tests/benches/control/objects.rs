//! The cluster's objects.

use serde_json::Value;
use tests::{
    large_cluster,
    manifests::{self, ManifestDir},
    topology::{NODE_PORT, addresses},
};

/// The ports of the servers that the Service which is changed leads to, in turns.
pub(crate) const PORTS: [u16; 2] = [8081, 8082];
/// How many Services the outside asks for the price of a first packet; less in a small cluster.
const ASKED: u32 = 200;
/// The node port of the first of them.
const FIRST_NODE_PORT: u32 = 30100;
/// How many objects a file holds.
const OBJECTS_OF_A_FILE: usize = 500;
/// The file of the slice that is changed.
const CHANGED_FILE: &str = "changed.yaml";

/// Which of the Services are asked and changed, and which are only there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cluster {
    /// All.
    pub(crate) services: u32,
    /// Those that the outside asks.
    pub(crate) asked: u32,
}

impl Cluster {
    pub(crate) fn of(services: u32) -> Self {
        Self { services, asked: ASKED.min(services - 1) }
    }

    /// The Services that are only there.
    fn others(self) -> std::ops::Range<u32> {
        0..self.services - self.asked - 1
    }

    /// The node ports of those that are asked.
    pub(crate) fn node_ports(self) -> Vec<u16> {
        (0..self.asked).map(node_port).collect()
    }

    /// Writes them to a folder: many to a file, and the slice that is changed to one of its own.
    pub(crate) fn write(self, folder: &ManifestDir) {
        let nodes: Vec<Value> = (0..large_cluster::NODES).map(large_cluster::node).collect();
        folder.write("nodes.yaml", &nodes);
        let numbers: Vec<u32> = self.others().collect();
        for (file, numbers) in numbers.chunks(OBJECTS_OF_A_FILE).enumerate() {
            let services: Vec<String> =
                numbers.iter().map(|&number| large_cluster::service(number)).collect();
            let slices: Vec<String> = numbers
                .iter()
                .map(|&number| large_cluster::slice(number, large_cluster::ENDPOINTS))
                .collect();
            let write = |name: &str, objects: &[String]| {
                folder.write_text(&format!("{name}-{file}.yaml"), &large_cluster::list(objects));
            };
            write("services", &services);
            write("slices", &slices);
        }
        folder.write("asked.yaml", &self.asked_objects());
        folder.write("changed-service.yaml", &[changed_service()]);
        folder.write(CHANGED_FILE, &[changed_slice(PORTS[0])]);
    }

    /// All of them.
    pub(crate) fn objects(self) -> Vec<Value> {
        let mut objects: Vec<Value> = (0..large_cluster::NODES).map(large_cluster::node).collect();
        let parse = |text: String| serde_yaml_ng::from_str::<Value>(&text).expect("it is YAML");
        for number in self.others() {
            objects.push(parse(large_cluster::service(number)));
            objects.push(parse(large_cluster::slice(number, large_cluster::ENDPOINTS)));
        }
        objects.extend(self.asked_objects());
        objects.extend([changed_service(), changed_slice(PORTS[0])]);
        objects
    }

    /// Those that are asked, each with its slice.
    fn asked_objects(self) -> Vec<Value> {
        let pair = |number: u32| {
            let name = format!("asked-{number}");
            let address = format!("10.96.2.{number}");
            let service = manifests::service(&name, &[&address], &[("ask", "UDP", 80, 8080)]);
            let service = manifests::with_node_ports(service, &[node_port(number)]);
            [service, slice(&name, PORTS[0])]
        };
        (0..self.asked).flat_map(pair).collect()
    }
}

/// Lets the changed Service lead to the server at a port.
pub(crate) fn write_change(folder: &ManifestDir, port: u16) {
    folder.write(CHANGED_FILE, &[changed_slice(port)]);
}

/// The last Service by its name, and so the last to be programmed.
fn changed_service() -> Value {
    let service = manifests::service("zz-changed", &["10.96.1.10"], &[("ask", "UDP", 80, 8080)]);
    manifests::with_node_ports(service, &[NODE_PORT])
}

pub(crate) fn changed_slice(port: u16) -> Value {
    slice("zz-changed", port)
}

/// A slice whose one endpoint is a server in the outside.
fn slice(service: &str, port: u16) -> Value {
    let outside = addresses::outside()[0].to_string();
    let ports = [("ask", "UDP", port)];
    manifests::slice(&format!("{service}-1"), service, "outside", &[&outside], &ports)
}

fn node_port(number: u32) -> u16 {
    u16::try_from(FIRST_NODE_PORT + number).expect("a port")
}
