//! Pods.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::api::core::v1::{Container, Pod as KubernetesPod, PodSpec, PodStatus};
use maps_schema::address::Protocol;

use crate::{
    cluster::model::{ObjectName, Pod},
    source::validate::{
        FieldError,
        field::{address, one_per_family, port, protocol},
        metadata::{LONGEST_FILE_NAME, created, object_name, subdomain},
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
        addresses: addresses(status)?,
        ready: !finished && is_ready(status),
        terminating: pod.metadata.deletion_timestamp.is_some(),
        finished,
        named_ports: named_ports(spec)?,
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
    for (index, container) in spec.containers.iter().enumerate() {
        add_named_ports(&format!("spec.containers[{index}]"), container, &mut ports)?;
    }
    for (index, container) in spec.init_containers.iter().flatten().enumerate() {
        if container.restart_policy.as_deref() == Some("Always") {
            add_named_ports(&format!("spec.initContainers[{index}]"), container, &mut ports)?;
        }
    }
    Ok(ports)
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
              spec: {nodeName: Node1, hostNetwork: true,
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
        ] {
            assert_eq!(read(yaml).unwrap_err().field, field, "{yaml}");
        }
    }
}
