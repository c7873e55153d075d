//! shunt itself in kube-proxy's place: an agent that reads the same objects as manifests.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{
    cluster::name_of,
    places::{Places, written_in},
    run::Translator,
    world::World,
};
use crate::{
    agent::Agent,
    conformance::{
        Cast, Config, Proxy, Scenario,
        scenario::{DetectLocal, NodePortAddresses},
    },
    manifests::{self, ManifestDir},
    node::Node,
    one_node,
    sandbox::Sandbox,
};

/// Where the Service is that tells that all before it is in effect.
const SENTINEL: &str = "10.96.255.254";
/// Its endpoint, where nobody is.
const SENTINEL_ENDPOINT: &str = "10.244.1.250";

/// An agent, and what it reads.
#[derive(Debug)]
pub struct Shunt {
    agent: Agent,
    node: Node,
    cast: Cast,
    manifests: ManifestDir,
    /// The settings that it was started with.
    config: Config,
    /// How often objects were brought into effect.
    turn: usize,
}

impl Shunt {
    /// Starts an agent on a world's node, and has it make the node's pods.
    pub fn start(sandbox: &Sandbox, cast: &Cast, world: &mut World, places: &Places) -> Self {
        let node = Node::in_namespace(sandbox, world.node().clone());
        let manifests = ManifestDir::create(&sandbox.root().join("manifests"));
        let pods: BTreeMap<String, IpAddr> = places
            .pods()
            .enumerate()
            .map(|(number, address)| (format!("pod-{number}"), address))
            .collect();
        let objects: Vec<Value> = pods
            .iter()
            .map(|(name, address)| {
                manifests::pod(name, &cast.own_node, "none", &[&address.to_string()])
            })
            .collect();
        manifests.write("pods.yaml", &objects);
        manifests.write("scenario.yaml", &cast.nodes);
        let agent = node.run_agent(&manifests, &as_text(&arguments(&cast.config)));
        let mut shunt = Self {
            agent,
            node,
            cast: cast.clone(),
            manifests,
            config: cast.config.clone(),
            turn: 0,
        };
        shunt.agent.wait_ready();
        world.adopt_own_pods(
            pods.into_iter().map(|(name, address)| (address, one_node::pod("default", &name))),
        );
        shunt
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.agent.log()
    }
}

impl Translator for Shunt {
    fn proxy(&self) -> Option<Proxy> {
        None
    }

    fn refuses(&self, _scenario: &Scenario) -> Option<String> {
        None
    }

    fn begin(&mut self, config: &Config) {
        if *config != self.config {
            self.config = config.clone();
            self.agent.sigterm();
            self.agent = self.node.run_agent(&self.manifests, &as_text(&arguments(config)));
            self.agent.wait_ready();
        }
    }

    fn apply(&mut self, objects: &[Value]) {
        self.turn += 1;
        let name = format!("sentinel-{}", self.turn);
        let endpoint = written_in(self.cast.family, SENTINEL_ENDPOINT);
        let mut all = objects.to_vec();
        all.extend(sentinel(&self.cast, &name, &endpoint));
        self.manifests.write("scenario.yaml", &all);
        self.agent.wait_for_endpoints(&name, 9, "TCP", &[&endpoint]);
    }
}

/// A Service with an endpoint: once the agent shows it, what was written with it is in effect.
fn sentinel(cast: &Cast, name: &str, endpoint: &str) -> [Value; 2] {
    let ports = [("discard", "TCP", 9, 9)];
    let address = written_in(cast.family, SENTINEL);
    let mut service = manifests::service(name, &[&address], &ports);
    if let Some(spec) = service["spec"].as_object_mut() {
        spec.remove("selector");
    }
    let mut slice = manifests::slice(name, name, "node02", &[endpoint], &[("discard", "TCP", 9)]);
    slice["addressType"] = json!(name_of(cast.family));
    [service, slice]
}

fn as_text(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// The agent's arguments: pods keep their addresses wherever they go, as they do with kube-proxy,
/// which is no CNI.
fn arguments(config: &Config) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["--uplink", "eth0", "--routing", "direct", "--no-masquerade"].map(str::to_owned).into();
    let list =
        |ranges: &[IpNet]| ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    if config.masquerade_all {
        arguments.push("--masquerade-all".into());
    }
    if config.detect_local == DetectLocal::Off {
        arguments.extend(["--detect-local".into(), "off".into()]);
    }
    if config.localhost_node_ports {
        arguments.push("--localhost-node-ports".into());
    }
    if let NodePortAddresses::Within(ranges) = &config.node_port_addresses {
        arguments.extend(["--node-port-addresses".into(), list(ranges)]);
    }
    if !config.service_cidrs.is_empty() {
        arguments.extend(["--service-cidrs".into(), list(&config.service_cidrs)]);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_flags() {
        let config = Config {
            masquerade_all: true,
            detect_local: DetectLocal::Off,
            service_cidrs: vec!["10.96.0.0/16".parse().unwrap()],
            ..Config::default()
        };
        let text = arguments(&config).join(" ");
        assert!(text.ends_with(
            "--no-masquerade --masquerade-all --detect-local off --service-cidrs 10.96.0.0/16"
        ));
    }
}
