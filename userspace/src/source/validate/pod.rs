//! Pods.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, Pod as KubernetesPod, PodSpec, PodStatus,
};
use maps_schema::address::Protocol;

use crate::{
    cluster::model::{HostPort, ObjectName, Pod},
    source::{
        address::parse_ip,
        validate::{
            FieldError,
            field::{address, one_per_family, port, protocol},
            metadata::{LONGEST_FILE_NAME, created, host_label, object_name, subdomain},
        },
    },
};

/// Reads a Pod.
pub fn pod(pod: &KubernetesPod) -> Result<Pod, FieldError> {
    let name = object_name(&pod.metadata)?;
    check_netns_name(&name)?;
    let no_spec = PodSpec::default();
    let no_status = PodStatus::default();
    let spec = pod.spec.as_ref().unwrap_or(&no_spec);
    let status = pod.status.as_ref().unwrap_or(&no_status);
    let finished = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    Ok(Pod {
        created: created(&pod.metadata),
        labels: pod.metadata.labels.clone().unwrap_or_default(),
        node: node_name(spec)?,
        host_network: spec.host_network.unwrap_or(false),
        hostname: host_label("spec.hostname", spec.hostname.as_deref())?,
        subdomain: host_label("spec.subdomain", spec.subdomain.as_deref())?,
        addresses: addresses(status)?,
        ready: !finished && is_ready(status),
        terminating: pod.metadata.deletion_timestamp.is_some(),
        finished,
        named_ports: named_ports(spec)?,
        host_ports: host_ports(spec)?,
        name,
    })
}

fn check_netns_name(name: &ObjectName) -> Result<(), FieldError> {
    let length = name.namespace.len() + 1 + name.name.len();
    if length <= LONGEST_FILE_NAME {
        return Ok(());
    }
    Err(FieldError::new(
        "metadata.name",
        format!(
            "{:?} is too long: the network namespace <namespace>.<name> would have {length} \
             characters, and {LONGEST_FILE_NAME} are allowed",
            name.name
        ),
    ))
}

fn node_name(spec: &PodSpec) -> Result<Option<String>, FieldError> {
    let Some(name) = spec.node_name.as_deref().filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let name = name.to_ascii_lowercase();
    subdomain("spec.nodeName", &name)?;
    Ok(Some(name))
}

fn addresses(status: &PodStatus) -> Result<Vec<IpAddr>, FieldError> {
    let mut addresses = Vec::new();
    for (index, entry) in status.pod_ips.iter().flatten().enumerate() {
        if entry.ip.is_empty() {
            continue;
        }
        let field = || format!("status.podIPs[{index}].ip");
        let address = address(field, &entry.ip)?;
        one_per_family(field, &addresses, address)?;
        addresses.push(address);
    }
    if let Some(text) = status.pod_ip.as_deref().filter(|text| !text.is_empty()) {
        let address = address(|| "status.podIP".to_owned(), text)?;
        match addresses.first() {
            None => addresses.push(address),
            Some(first) if *first == address => {}
            Some(first) => {
                return Err(FieldError::new(
                    "status.podIP",
                    format!("{address} is not the first of status.podIPs, {first}"),
                ));
            }
        }
    }
    Ok(addresses)
}

fn is_ready(status: &PodStatus) -> bool {
    status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "Ready")
        .is_none_or(|condition| condition.status == "True")
}

/// The first container that has a port of a name and protocol decides, as in Kubernetes; init
/// containers count where they keep running.
fn named_ports(spec: &PodSpec) -> Result<BTreeMap<(String, Protocol), u16>, FieldError> {
    let mut ports = BTreeMap::new();
    for (path, container) in lasting_containers(spec) {
        add_named_ports(&path, container, &mut ports)?;
    }
    Ok(ports)
}

/// The containers that run as long as the pod does, with their paths.
fn lasting_containers(spec: &PodSpec) -> impl Iterator<Item = (String, &Container)> {
    let containers = spec.containers.iter().enumerate();
    let init_containers = spec.init_containers.iter().flatten().enumerate();
    let keeps_running =
        |container: &Container| container.restart_policy.as_deref() == Some("Always");
    containers.map(|(index, it)| (format!("spec.containers[{index}]"), it)).chain(
        init_containers
            .filter(move |(_, it)| keeps_running(it))
            .map(|(index, it)| (format!("spec.initContainers[{index}]"), it)),
    )
}

fn add_named_ports(
    path: &str,
    container: &Container,
    ports: &mut BTreeMap<(String, Protocol), u16>,
) -> Result<(), FieldError> {
    for (index, entry) in container.ports.iter().flatten().enumerate() {
        let number = port(|| format!("{path}.ports[{index}].containerPort"), entry.container_port)?;
        let protocol =
            protocol(|| format!("{path}.ports[{index}].protocol"), entry.protocol.as_deref())?;
        if let Some(name) = entry.name.as_ref().filter(|name| !name.is_empty()) {
            ports.entry((name.clone(), protocol)).or_insert(number);
        }
    }
    Ok(())
}

/// The ports of the node that lead to containers. In the host's network a container has its own
/// port there anyway, which `hostPort` only repeats.
fn host_ports(spec: &PodSpec) -> Result<Vec<HostPort>, FieldError> {
    let mut ports = Vec::new();
    for (path, container) in lasting_containers(spec) {
        for (index, entry) in container.ports.iter().flatten().enumerate() {
            let path = format!("{path}.ports[{index}]");
            let Some(found) = host_port(&path, entry)? else { continue };
            let is_twin = |other: &&HostPort| {
                (other.host_ip, other.host_port, other.protocol)
                    == (found.host_ip, found.host_port, found.protocol)
            };
            if let Some(twin) = ports.iter().find(is_twin) {
                return Err(FieldError::new(
                    format!("{path}.hostPort"),
                    format!(
                        "{} leads to port {} of the pod already: each hostPort of one hostIP and \
                         protocol can be there once",
                        twin.host_port, twin.container_port
                    ),
                ));
            }
            ports.push(found);
        }
    }
    Ok(if spec.host_network == Some(true) { Vec::new() } else { ports })
}

fn host_port(path: &str, entry: &ContainerPort) -> Result<Option<HostPort>, FieldError> {
    let Some(number) = entry.host_port.filter(|number| *number != 0) else {
        return Ok(None);
    };
    let host_ip = entry.host_ip.as_deref().filter(|text| !text.is_empty());
    Ok(Some(HostPort {
        host_ip: host_ip.map(|text| host_ip_of(&format!("{path}.hostIP"), text)).transpose()?,
        host_port: port(|| format!("{path}.hostPort"), number)?,
        container_port: port(|| format!("{path}.containerPort"), entry.container_port)?,
        protocol: protocol(|| format!("{path}.protocol"), entry.protocol.as_deref())?,
    }))
}

/// A host may have loopback addresses, and others that are of meaning on one link only.
fn host_ip_of(field: &str, text: &str) -> Result<IpAddr, FieldError> {
    parse_ip(text).filter(|address| !address.is_multicast()).ok_or_else(|| {
        FieldError::new(
            field,
            format!(
                "{text:?} is no IPv4 or IPv6 address of a node: write one of the node's, or leave \
                 hostIP out for all of them"
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<Pod, FieldError> {
        pod(&serde_yaml_ng::from_str(yaml).unwrap())
    }

    #[test]
    fn a_pod_is_read() {
        let pod = read(
            "{metadata: {name: a, labels: {app: web}, deletionTimestamp: '2026-01-01T00:00:00Z'},
              spec: {nodeName: Node1, hostNetwork: true, hostname: web-0, subdomain: web,
                containers: [{name: x, ports: [{name: http, containerPort: 80},
                  {name: http, containerPort: 81}, {containerPort: 82}]}],
                initContainers: [{name: y, ports: [{name: init, containerPort: 1}]},
                  {name: z, restartPolicy: Always,
                    ports: [{name: side, protocol: UDP, containerPort: 2}]}]},
              status: {phase: Running, podIP: 10.0.0.1,
                podIPs: [{ip: 10.0.0.01}, {ip: 'fd00::1'}]}}",
        )
        .unwrap();
        assert_eq!(pod.name.to_string(), "default/a");
        assert_eq!(pod.node.as_deref(), Some("node1"));
        assert_eq!(
            (pod.hostname.as_deref(), pod.subdomain.as_deref()),
            (Some("web-0"), Some("web"))
        );
        assert_eq!(pod.addresses.len(), 2);
        assert!(pod.host_network && pod.ready && pod.terminating && !pod.finished);
        assert_eq!(
            pod.named_ports,
            BTreeMap::from([
                (("http".to_owned(), Protocol::TCP), 80),
                (("side".to_owned(), Protocol::UDP), 2),
            ])
        );
    }

    #[test]
    fn host_ports_are_read() {
        let spec = "containers: [{name: x, ports: [{containerPort: 80, hostPort: 8080},
              {containerPort: 81, hostPort: 0}, {containerPort: 53, hostPort: 8080, protocol: UDP,
               hostIP: 127.0.0.01}]}],
            initContainers: [{name: y, ports: [{containerPort: 1, hostPort: 1}]},
              {name: z, restartPolicy: Always,
               ports: [{containerPort: 2, hostPort: 8080, hostIP: '::', protocol: SCTP}]}]";
        let read = |rest: &str| {
            read(&format!("{{metadata: {{name: a}}, spec: {{{spec}{rest}}}}}")).unwrap().host_ports
        };
        let port = |host_ip: Option<&str>, container_port, protocol| HostPort {
            host_ip: host_ip.map(|text| text.parse().unwrap()),
            host_port: 8080,
            container_port,
            protocol,
        };
        assert_eq!(
            read(""),
            [
                port(None, 80, Protocol::TCP),
                port(Some("127.0.0.1"), 53, Protocol::UDP),
                port(Some("::"), 2, Protocol::SCTP),
            ]
        );
        assert_eq!(read(", hostNetwork: true"), []);
    }

    #[test]
    fn a_pod_is_ready_unless_something_says_otherwise() {
        for (status, ready, finished) in [
            ("null", true, false),
            ("{phase: Pending}", true, false),
            ("{conditions: [{type: Ready, status: 'True'}]}", true, false),
            ("{conditions: [{type: Ready, status: 'False'}]}", false, false),
            ("{conditions: [{type: Ready, status: Unknown}]}", false, false),
            ("{conditions: [{type: Initialized, status: 'False'}]}", true, false),
            ("{phase: Succeeded}", false, true),
            ("{phase: Failed}", false, true),
        ] {
            let pod = read(&format!("{{metadata: {{name: a}}, status: {status}}}")).unwrap();
            assert_eq!((pod.ready, pod.finished), (ready, finished), "{status}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let long =
            format!("{{metadata: {{namespace: {}, name: {}}}}}", "n".repeat(63), "a".repeat(253));
        for (yaml, field) in [
            (long.as_str(), "metadata.name"),
            ("{metadata: {name: ../x}}", "metadata.name"),
            ("{metadata: {name: x, namespace: a.b}}", "metadata.namespace"),
            ("{metadata: {name: x}, spec: {nodeName: a/b}}", "spec.nodeName"),
            ("{metadata: {name: x}, spec: {hostname: a.b}}", "spec.hostname"),
            ("{metadata: {name: x}, spec: {subdomain: A}}", "spec.subdomain"),
            ("{metadata: {name: x}, status: {podIP: 10.0.0}}", "status.podIP"),
            ("{metadata: {name: x}, status: {podIP: 127.0.0.1}}", "status.podIP"),
            (
                "{metadata: {name: x}, status: {podIPs: [{ip: 10.0.0.1}, {ip: 10.0.0.2}]}}",
                "status.podIPs[1].ip",
            ),
            (
                "{metadata: {name: x}, status: {podIP: 10.0.0.3, podIPs: [{ip: 10.0.0.1}]}}",
                "status.podIP",
            ),
            (
                "{metadata: {name: x}, spec: {containers: [{ports: [{containerPort: 70000}]}]}}",
                "spec.containers[0].ports[0].containerPort",
            ),
            (
                "{metadata: {name: x}, spec: {hostNetwork: true, containers: [{ports: \
                 [{containerPort: 70, hostPort: 70000}]}]}}",
                "spec.containers[0].ports[0].hostPort",
            ),
            (
                "{metadata: {name: x}, spec: {initContainers: [{restartPolicy: Always, ports: \
                 [{containerPort: 70, hostPort: 70, hostIP: node1}]}]}}",
                "spec.initContainers[0].ports[0].hostIP",
            ),
            (
                "{metadata: {name: x}, spec: {containers: [{}, {ports: [{containerPort: 70, \
                 hostPort: 70}, {containerPort: 71, hostPort: 70, protocol: TCP}]}]}}",
                "spec.containers[1].ports[1].hostPort",
            ),
        ] {
            assert_eq!(read(yaml).unwrap_err().field, field, "{yaml}");
        }
    }
}
