//! Kubernetes objects, and the folder that an agent reads them from.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

/// A folder of manifests. Files appear, change and go in one step, as with any careful writer.
#[derive(Clone, Debug)]
pub struct ManifestDir {
    path: PathBuf,
}

impl ManifestDir {
    /// Makes the folder.
    pub fn create(path: &Path) -> Self {
        fs::create_dir_all(path).expect("making the folder of manifests");
        Self { path: path.to_owned() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes objects into a file, one YAML document each, in place of what it held.
    pub fn write(&self, file: &str, objects: &[Value]) {
        let documents: Vec<String> = objects
            .iter()
            .map(|object| serde_yaml_ng::to_string(object).expect("JSON is YAML"))
            .collect();
        self.write_text(file, &documents.join("---\n"));
    }

    /// Writes a file with any text.
    pub fn write_text(&self, file: &str, text: &str) {
        let temporary = self.path.join(format!(".{file}.new"));
        fs::write(&temporary, text).expect("writing a manifest");
        fs::rename(&temporary, self.path.join(file)).expect("putting a manifest in its place");
    }

    /// Removes a file.
    pub fn remove(&self, file: &str) {
        fs::remove_file(self.path.join(file)).expect("removing a manifest");
    }
}

/// A Node with its pod CIDRs and internal addresses.
pub fn node(name: &str, pod_cidrs: &[&str], addresses: &[&str]) -> Value {
    let addresses: Vec<Value> =
        addresses.iter().map(|address| json!({"type": "InternalIP", "address": address})).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": "zone1"}},
        "spec": {"podCIDR": pod_cidrs.first(), "podCIDRs": pod_cidrs},
        "status": {"addresses": addresses},
    })
}

/// A Pod in namespace `default`, labelled `app: APP`. With no addresses, the agent gives it some.
pub fn pod(name: &str, node: &str, app: &str, addresses: &[&str]) -> Value {
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": "default", "name": name, "labels": {"app": app}},
        "spec": {"nodeName": node, "containers": [{"name": "main", "image": "none"}]},
    });
    if !addresses.is_empty() {
        let ips: Vec<Value> = addresses.iter().map(|address| json!({"ip": address})).collect();
        object["status"] = json!({"podIP": addresses.first(), "podIPs": ips});
    }
    object
}

/// A Pod on the network of its node, whose addresses it has.
pub fn on_the_host(mut pod: Value) -> Value {
    pod["spec"]["hostNetwork"] = json!(true);
    pod
}

/// A Pod whose container has these ports of its node, as they stand in its `ports`.
pub fn with_host_ports(mut pod: Value, ports: Value) -> Value {
    pod["spec"]["containers"][0]["ports"] = ports;
    pod
}

/// A Node that is no shunt, but a plain VXLAN endpoint with this hardware address.
pub fn with_vtep(mut node: Value, mac: &str) -> Value {
    node["metadata"]["annotations"]["shunt.dev/vtep-mac"] = json!(mac);
    node
}

/// A Pod that is on its way out, as the API server shows it before it is gone.
pub fn terminating(mut pod: Value) -> Value {
    pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    pod["status"]["conditions"] = json!([{"type": "Ready", "status": "False"}]);
    pod
}

/// A ClusterIP Service in namespace `default` for the Pods labelled `app: NAME`. `ports` are name,
/// protocol, port and target port.
pub fn service(name: &str, cluster_ips: &[&str], ports: &[(&str, &str, u32, u32)]) -> Value {
    let families: Vec<&str> =
        cluster_ips.iter().map(|ip| if ip.contains(':') { "IPv6" } else { "IPv4" }).collect();
    let ports: Vec<Value> = ports
        .iter()
        .map(|(name, protocol, port, target)| {
            json!({"name": name, "protocol": protocol, "port": port, "targetPort": target})
        })
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "namespace": "default",
            "name": name,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": cluster_ips.first(),
            "clusterIPs": cluster_ips,
            "ipFamilies": families,
            "ipFamilyPolicy": if cluster_ips.len() > 1 { "PreferDualStack" } else { "SingleStack" },
            "selector": {"app": name},
            "ports": ports,
            "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster",
        },
    })
}

/// A Service with a node port for each of its ports, the first for the first.
pub fn with_node_ports(mut service: Value, node_ports: &[u16]) -> Value {
    service["spec"]["type"] = json!("NodePort");
    for (index, node_port) in node_ports.iter().enumerate() {
        service["spec"]["ports"][index]["nodePort"] = json!(node_port);
    }
    service
}

/// A Service that a load balancer has given addresses.
pub fn with_load_balancer(mut service: Value, addresses: &[&str]) -> Value {
    let ingress: Vec<Value> = addresses.iter().map(|address| json!({"ip": address})).collect();
    service["spec"]["type"] = json!("LoadBalancer");
    if service.pointer("/spec/ports/0/nodePort").is_none() {
        service["spec"]["allocateLoadBalancerNodePorts"] = json!(false);
    }
    service["status"] = json!({"loadBalancer": {"ingress": ingress}});
    service
}

/// A Service with external addresses.
pub fn with_external_ips(mut service: Value, addresses: &[&str]) -> Value {
    service["spec"]["externalIPs"] = json!(addresses);
    service
}

/// A Service whose clients from outside reach only pods of the node that they come to.
pub fn with_local_external_policy(mut service: Value) -> Value {
    service["spec"]["externalTrafficPolicy"] = json!("Local");
    service
}

/// A Service whose clients inside reach only pods of their own node.
pub fn with_local_internal_policy(mut service: Value) -> Value {
    service["spec"]["internalTrafficPolicy"] = json!("Local");
    service
}

/// An object with a label more.
pub fn with_label(mut object: Value, key: &str, value: &str) -> Value {
    object["metadata"]["labels"][key] = json!(value);
    object
}

/// A Service whose load balancer asks every node on this port for local endpoints.
pub fn with_health_check(service: Value, port: u16) -> Value {
    let mut service = with_local_external_policy(service);
    service["spec"]["healthCheckNodePort"] = json!(port);
    service
}

/// An EndpointSlice for a Service of namespace `default`: ready endpoints on `node`, of the family
/// of the first. `ports` are name, protocol and port.
pub fn slice(
    name: &str,
    service: &str,
    node: &str,
    addresses: &[&str],
    ports: &[(&str, &str, u16)],
) -> Value {
    let is_v6 = addresses.first().is_some_and(|address| address.contains(':'));
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|address| {
            json!({
                "addresses": [address],
                "nodeName": node,
                "conditions": {"ready": true, "serving": true, "terminating": false},
            })
        })
        .collect();
    let ports: Vec<Value> = ports
        .iter()
        .map(|(name, protocol, port)| json!({"name": name, "protocol": protocol, "port": port}))
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": "default",
            "name": name,
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": if is_v6 { "IPv6" } else { "IPv4" },
        "endpoints": endpoints,
        "ports": ports,
    })
}

/// An address from text that a test wrote.
pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}
