//! kube-proxy's part, played by its rules alone.

use std::{fs, net::IpAddr};

use maps_schema::address::Family;
use serde_json::Value;

use super::{
    cluster::{Cluster, NodeView, Options},
    iptables, nftables,
    run::Translator,
};
use crate::{
    conformance::{
        Cast, Config, Proxy, Scenario,
        scenario::{DetectLocal, NodePortAddresses},
    },
    netns::NetNamespace,
    process,
};

/// Rules in a node's namespace.
#[derive(Debug)]
pub struct KubeProxy {
    proxy: Proxy,
    cast: Cast,
    node: NetNamespace,
    config: Config,
}

impl KubeProxy {
    /// A mode of kube-proxy on a node that has no rules yet.
    pub fn new(proxy: Proxy, cast: &Cast, node: &NetNamespace) -> Self {
        Self { proxy, cast: cast.clone(), node: node.clone(), config: cast.config.clone() }
    }

    fn load(&self, rules: &str) {
        let path = format!("/run/test/{}.rules", self.node.name());
        fs::write(&path, rules).expect("writing rules");
        let mut command = match self.proxy {
            Proxy::Iptables => self.node.command(restore(self.cast.family)),
            Proxy::Nftables => {
                let mut command = self.node.command("nft");
                command.arg("-f");
                command
            }
        };
        let finished = process::finish(command.arg(&path), std::time::Duration::from_secs(20));
        assert_eq!(finished.code, 0, "{}\n{rules}", finished.stderr);
    }

    fn options(&self) -> Options {
        let local_pods = match self.config.detect_local {
            DetectLocal::Pods => vec![self.cast.pod_cidr],
            DetectLocal::Off => Vec::new(),
        };
        Options {
            masquerade_all: self.config.masquerade_all,
            local_pods,
            // What is not set is left to the mode's own default.
            node_port_addresses: match &self.config.node_port_addresses {
                NodePortAddresses::Primary => None,
                NodePortAddresses::Within(ranges) => Some(ranges.clone()),
            },
            localhost_node_ports: self.config.localhost_node_ports,
            service_cidrs: self.config.service_cidrs.clone(),
        }
    }

    fn node(&self, objects: &[Value]) -> NodeView {
        let own = objects.iter().find(|object| {
            object["kind"] == "Node" && object["metadata"]["name"] == self.cast.own_node.as_str()
        });
        let zone = own.and_then(|node| {
            node["metadata"]["labels"]["topology.kubernetes.io/zone"].as_str().map(str::to_owned)
        });
        let loopback: IpAddr = match self.cast.family {
            Family::V4 => std::net::Ipv4Addr::LOCALHOST.into(),
            Family::V6 => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        let addresses = self.cast.own_addresses().into_iter().chain([loopback]).collect();
        NodeView { name: self.cast.own_node.clone(), zone, addresses }
    }
}

impl Translator for KubeProxy {
    fn proxy(&self) -> Option<Proxy> {
        Some(self.proxy)
    }

    fn refuses(&self, _scenario: &Scenario) -> Option<String> {
        None
    }

    fn begin(&mut self, config: &Config) {
        self.config = config.clone();
        self.load(match (self.proxy, self.cast.family) {
            (Proxy::Iptables, _) => "*filter\nCOMMIT\n*nat\nCOMMIT\n",
            (Proxy::Nftables, Family::V4) => {
                "add table ip kube-proxy\ndelete table ip kube-proxy\n"
            }
            (Proxy::Nftables, Family::V6) => {
                "add table ip6 kube-proxy\ndelete table ip6 kube-proxy\n"
            }
        });
        let to_loopback = self.proxy == Proxy::Iptables && config.localhost_node_ports;
        let value = if to_loopback { "1" } else { "0" };
        super::world::set(&self.node, &[("ipv4/conf/all/route_localnet".into(), value)]);
    }

    fn apply(&mut self, objects: &[Value]) {
        let node = self.node(objects);
        let cluster = Cluster::read(self.cast.family, &node, &self.options(), objects);
        self.load(&match self.proxy {
            Proxy::Iptables => iptables::rules(&cluster),
            Proxy::Nftables => nftables::rules(&cluster),
        });
    }
}

/// The program that restores a family's rules: of the legacy back end where it is installed, which
/// needs no help of nftables in the kernel.
fn restore(family: Family) -> &'static str {
    let (legacy, any) = match family {
        Family::V4 => ("iptables-legacy-restore", "iptables-restore"),
        Family::V6 => ("ip6tables-legacy-restore", "ip6tables-restore"),
    };
    if process::installed(legacy) { legacy } else { any }
}
