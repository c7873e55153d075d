//! Who plays: the nodes, their pods, and the namespaces around them.
//!
//! Addresses are those of the integration tests' topology. The manifests below `xtask/demo` say the
//! same to the agents.

use std::net::IpAddr;

use ::tests::topology::addresses;

/// The nodes by name, which is also that of their network namespace.
pub(super) const NODES: [&str; 2] = [addresses::NAMES[0], addresses::NAMES[1]];
/// The network namespace of what is no node.
pub(super) const OUTSIDE: &str = "outside";
/// The network namespace between the nodes and the outside.
pub(super) const ROUTER: &str = "router";
/// Where a server listens, in the outside and in a pod that serves HTTP.
pub(super) const HTTP: u16 = 8080;

/// The pods that are there from the start.
pub(super) const PODS: [Pod; 7] = [
    Pod { name: "client", node: 0, number: 2, port: None },
    Pod { name: "web-1", node: 0, number: 3, port: Some(HTTP) },
    Pod { name: "web-2", node: 0, number: 4, port: Some(HTTP) },
    Pod { name: "echo-1", node: 0, number: 5, port: Some(7007) },
    Pod { name: "solo", node: 0, number: 6, port: Some(HTTP) },
    Pod { name: "web-3", node: 1, number: 2, port: Some(HTTP) },
    Pod { name: "shop-1", node: 1, number: 3, port: Some(HTTP) },
];
/// The pod that is added later, to the first node.
pub(super) const ADDED: &str = "web-4";

/// The network namespace of the pod that answers names, on the first node.
pub(super) const NAMES: &str = "kube-system.coredns";

/// A pod of namespace `default`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pod {
    /// Its name.
    pub(super) name: &'static str,
    /// Its node, as an index of [`NODES`].
    pub(super) node: usize,
    /// Which host it is of its node's pod CIDRs.
    number: u8,
    /// The port that its server listens on, if it has one.
    pub(super) port: Option<u16>,
}

impl Pod {
    /// The pod of this name, which is one of [`PODS`].
    pub(super) fn named(name: &str) -> anyhow::Result<Self> {
        let pod = PODS.into_iter().find(|pod| pod.name == name);
        anyhow::Context::with_context(pod, || format!("the demo has no pod {name}"))
    }

    /// Its addresses, IPv4 first.
    pub(super) fn addresses(self) -> [IpAddr; 2] {
        addresses::pod_segment(self.node).host(self.number)
    }

    /// Its network namespace.
    pub(super) fn namespace(self) -> String {
        pod_namespace(self.name)
    }
}

/// The network namespace of a pod of namespace `default`.
pub(super) fn pod_namespace(pod: &str) -> String {
    format!("default.{pod}")
}

/// Every network namespace that agents make.
pub(super) fn pod_namespaces() -> Vec<String> {
    let pods = PODS.iter().map(|pod| pod.name).chain([ADDED]).map(pod_namespace);
    pods.chain([NAMES.to_owned()]).collect()
}

/// Every network namespace that the demo makes itself.
pub(super) fn own_namespaces() -> Vec<String> {
    NODES.into_iter().chain([ROUTER, OUTSIDE]).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifests_give_pods_the_addresses_that_the_demo_expects() {
        let manifests = include_str!("../../demo/manifests/pods.yaml");
        for pod in PODS {
            let name = format!("name: {}\n", pod.name);
            let object = manifests.split("---\n").find(|object| object.contains(&name)).unwrap();
            assert!(object.contains(&format!("nodeName: {}\n", NODES[pod.node])), "{object}");
            for address in pod.addresses() {
                assert!(object.contains(&format!("- ip: {address}\n")), "{address}: {object}");
            }
        }
    }

    #[test]
    fn the_manifests_give_nodes_the_addresses_that_the_topology_gives_them() {
        let manifests = include_str!("../../demo/manifests/nodes.yaml");
        for (object, node) in manifests.split("---\n").zip(0..NODES.len()) {
            assert!(object.contains(&format!("name: {}\n", NODES[node])), "{object}");
            for address in addresses::node(node) {
                assert!(object.contains(&format!("address: {address}\n")), "{address}: {object}");
            }
            for prefix in addresses::pod_segment(node).prefixes() {
                assert!(object.contains(&format!("- {prefix}\n")), "{prefix}: {object}");
            }
        }
    }
}
