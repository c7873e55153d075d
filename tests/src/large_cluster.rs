//! The objects of a large cluster, as `kubectl get -o yaml` prints them: Services of ten endpoints
//! each, whose pods are on the nodes in turns. What has a number has the same text on every run.

use std::fmt::Write as _;

use serde_json::Value;

use crate::manifests;

/// How many endpoints a Service has.
pub const ENDPOINTS: u32 = 10;
/// How many nodes there are, beside those of a test's own.
pub const NODES: u32 = 125;

/// How many pods a node has. Those that are more than fit are other ports of the same pods.
const PODS_OF_A_NODE: u32 = 4000;
/// The first pod CIDR, 10.240.0.0/20; one of them, 10.244.0.0/20, is left to tests' own nodes.
const FIRST_POD_CIDR: u32 = 0x0af0_0000;
const POD_CIDR_LENGTH: u32 = 20;
const LEFT_TO_TESTS: u32 = 64;
/// The first cluster IP, 10.97.0.1.
const FIRST_CLUSTER_IP: u32 = 0x0a61_0001;

/// The Node of this number.
pub fn node(number: u32) -> Value {
    let cidr = format!("{}/{POD_CIDR_LENGTH}", dotted(pod_cidr(number)));
    let [.., c, d] = number.to_be_bytes();
    manifests::node(&node_name(number), &[&cidr], &[&format!("172.29.{c}.{}", d + 1)])
}

/// The Service of this number, with one cluster IP and one port.
pub fn service(number: u32) -> String {
    let address = dotted(FIRST_CLUSTER_IP + number);
    format!(
        "apiVersion: v1
kind: Service
metadata:
  creationTimestamp: \"2026-01-01T00:00:00Z\"
  name: service-{number}
  namespace: default
  resourceVersion: \"{number}\"
  uid: 00000000-0000-0000-0000-{number:012}
spec:
  clusterIP: {address}
  clusterIPs:
  - {address}
  internalTrafficPolicy: Cluster
  ipFamilies:
  - IPv4
  ipFamilyPolicy: SingleStack
  ports:
  - name: http
    port: 80
    protocol: TCP
    targetPort: 8080
  selector:
    app: service-{number}
  sessionAffinity: None
  type: ClusterIP
status:
  loadBalancer: {{}}
"
    )
}

/// A slice of the first so many endpoints of the Service of this number.
pub fn slice(number: u32, endpoints: u32) -> String {
    let mut text = "addressType: IPv4
apiVersion: discovery.k8s.io/v1
endpoints:
"
    .to_owned();
    for endpoint in number * ENDPOINTS..number * ENDPOINTS + endpoints {
        // A string takes whatever is written.
        let _ = write!(
            text,
            "- addresses:
  - {}
  conditions:
    ready: true
    serving: true
    terminating: false
  nodeName: {}
  targetRef:
    kind: Pod
    name: service-{number}-{endpoint}
    namespace: default
    uid: 00000000-0000-0000-0000-{endpoint:012}
",
            dotted(pod(endpoint)),
            node_name(endpoint % NODES)
        );
    }
    let port = 8080 + number * ENDPOINTS / (NODES * PODS_OF_A_NODE);
    let _ = write!(
        text,
        "kind: EndpointSlice
metadata:
  creationTimestamp: \"2026-01-01T00:00:00Z\"
  generateName: service-{number}-
  generation: 1
  labels:
    endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io
    kubernetes.io/service-name: service-{number}
  name: service-{number}-abcde
  namespace: default
  uid: 00000000-0000-0000-0001-{number:012}
ports:
- appProtocol: http
  name: http
  port: {port}
  protocol: TCP
"
    );
    text
}

/// Objects as one `List`.
pub fn list(objects: &[String]) -> String {
    let mut text = "apiVersion: v1\nitems:\n".to_owned();
    for object in objects {
        for (number, line) in object.lines().enumerate() {
            text.push_str(if number == 0 { "- " } else { "  " });
            text.push_str(line);
            text.push('\n');
        }
    }
    text.push_str("kind: List\nmetadata:\n  resourceVersion: \"\"\n");
    text
}

fn node_name(number: u32) -> String {
    format!("worker-{number}.example.com")
}

fn pod_cidr(node: u32) -> u32 {
    let place = if node < LEFT_TO_TESTS { node } else { node + 1 };
    FIRST_POD_CIDR + (place << (32 - POD_CIDR_LENGTH))
}

/// The address of an endpoint.
fn pod(endpoint: u32) -> u32 {
    pod_cidr(endpoint % NODES) + 2 + endpoint / NODES % PODS_OF_A_NODE
}

fn dotted(address: u32) -> String {
    std::net::Ipv4Addr::from(address).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn endpoints_are_pods_of_their_nodes_each_of_another_address_and_port() {
        let mut seen = BTreeSet::new();
        for number in [0, 1, 49_999, 50_000, 99_999] {
            let slice: Value = serde_yaml_ng::from_str(&slice(number, ENDPOINTS)).unwrap();
            for endpoint in slice["endpoints"].as_array().unwrap() {
                let address = endpoint["addresses"][0].as_str().unwrap();
                let name = endpoint["nodeName"].as_str().unwrap();
                let home = (0..NODES).map(node).find(|node| node["metadata"]["name"] == name);
                let cidr = home.unwrap()["spec"]["podCIDR"].as_str().unwrap().to_owned();
                let cidr: ipnet::IpNet = cidr.parse().unwrap();
                assert!(cidr.contains(&address.parse::<std::net::IpAddr>().unwrap()), "{address}");
                assert!(seen.insert((address.to_owned(), slice["ports"][0]["port"].as_u64())));
            }
        }
    }

    #[test]
    fn a_list_holds_its_objects() {
        let text = list(&[service(0), slice(0, 2)]);
        let value: Value = serde_yaml_ng::from_str(&text).unwrap();
        assert_eq!(value["items"][0]["spec"]["clusterIP"], "10.97.0.1");
        assert_eq!(value["items"][1]["endpoints"].as_array().unwrap().len(), 2);
    }
}
