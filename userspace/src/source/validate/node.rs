//! Nodes.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node as KubernetesNode;
use maps_schema::address::Mac;

use crate::{
    cluster::model::Node,
    source::validate::{
        FieldError,
        field::{add_one_per_family, address, network},
        metadata::{annotation, created, label, subdomain},
    },
};

/// The annotation that says the Ethernet address of a node's overlay device.
const VTEP_MAC: &str = "shunt.dev/vtep-mac";

/// The taint of a node that the cluster autoscaler is about to take away.
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

/// Reads a Node.
pub fn node(node: &KubernetesNode) -> Result<Node, FieldError> {
    let name = node.metadata.name.as_deref().unwrap_or_default().to_ascii_lowercase();
    subdomain("metadata.name", &name)?;
    Ok(Node {
        created: created(&node.metadata),
        pod_cidrs: pod_cidrs(node)?,
        addresses: addresses(node)?,
        zone: label(&node.metadata, "topology.kubernetes.io/zone")
            .filter(|zone| !zone.is_empty())
            .map(str::to_owned),
        leaving: is_leaving(node),
        vtep_mac: annotation(&node.metadata, VTEP_MAC).map(vtep_mac).transpose()?,
        name,
    })
}

fn is_leaving(node: &KubernetesNode) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    node.metadata.deletion_timestamp.is_some()
        || taints.into_iter().flatten().any(|taint| taint.key == TO_BE_DELETED)
}

/// Its InternalIPs; its ExternalIPs where it has no InternalIP of their family.
fn addresses(node: &KubernetesNode) -> Result<Vec<IpAddr>, FieldError> {
    let entries = node.status.as_ref().and_then(|status| status.addresses.as_ref());
    let (mut internal, mut external) = (Vec::new(), Vec::new());
    for (index, entry) in entries.into_iter().flatten().enumerate() {
        let list = match entry.type_.as_str() {
            "InternalIP" => &mut internal,
            "ExternalIP" => &mut external,
            _ => continue,
        };
        list.push(address(|| format!("status.addresses[{index}].address"), &entry.address)?);
    }
    let is_lacking =
        |one: &IpAddr| internal.iter().all(|other: &IpAddr| other.is_ipv4() != one.is_ipv4());
    external.retain(is_lacking);
    internal.append(&mut external);
    Ok(internal)
}

/// The Ethernet address of one station, six bytes in hexadecimal with colons between them.
fn vtep_mac(text: &str) -> Result<Mac, FieldError> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    let read = bytes.iter_mut().all(|byte| {
        let part = parts
            .next()
            .filter(|part| part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit()));
        part.and_then(|part| u8::from_str_radix(part, 16).ok()).map(|value| *byte = value).is_some()
    });
    let unusable = if !read || parts.next().is_some() {
        "no Ethernet address: write it as in 02:73:ac:12:00:0c"
    } else if bytes == [0; 6] {
        "no address of a device: write the one that `ip link show` has for its VXLAN device"
    } else if bytes.first().is_some_and(|first| first & 1 == 1) {
        "the address of a group: write the one that `ip link show` has for its VXLAN device"
    } else {
        return Ok(Mac::from_bytes(bytes));
    };
    let field = format!("metadata.annotations[{VTEP_MAC}]");
    Err(FieldError::new(field, format!("{text:?} is {unusable}")))
}

fn pod_cidrs(node: &KubernetesNode) -> Result<Vec<IpNet>, FieldError> {
    let Some(spec) = &node.spec else {
        return Ok(Vec::new());
    };
    let one = spec.pod_cidr.as_deref().filter(|text| !text.is_empty());
    let several = spec.pod_cidrs.as_deref().unwrap_or_default();
    let mut cidrs: Vec<IpNet> = Vec::new();
    for (index, text) in several.iter().enumerate() {
        let field = || format!("spec.podCIDRs[{index}]");
        let cidr = network(field, text)?;
        add_one_per_family(field, &mut cidrs, cidr)?;
    }
    let Some(one) = one else { return Ok(cidrs) };
    let cidr = network(|| "spec.podCIDR".to_owned(), one)?;
    match cidrs.first() {
        None => Ok(vec![cidr]),
        Some(first) if *first == cidr => Ok(cidrs),
        Some(first) => Err(FieldError::new(
            "spec.podCIDR",
            format!("{cidr} is not the first of spec.podCIDRs, {first}: make them equal"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<Node, FieldError> {
        node(&serde_yaml_ng::from_str(yaml).unwrap())
    }

    #[test]
    fn a_node_is_read() {
        let node = read(
            "{metadata: {name: Node1, labels: {topology.kubernetes.io/zone: z1}},
              spec: {podCIDR: 10.244.0.000/24, podCIDRs: [10.244.0.0/24, 'fd00:10:244::/64']},
              status: {addresses: [{type: Hostname, address: node1},
                {type: InternalIP, address: 172.18.0.011},
                {type: InternalIP, address: 'fd00:172:18::11'}]}}",
        )
        .unwrap();
        assert_eq!(node.name, "node1");
        assert_eq!(node.zone.as_deref(), Some("z1"));
        assert_eq!(node.pod_cidrs.len(), 2);
        assert_eq!(node.addresses[0].to_string(), "172.18.0.11");
        assert_eq!(node.addresses.len(), 2);
    }

    #[test]
    fn a_node_is_leaving_where_it_is_being_deleted_or_marked_for_it() {
        for (yaml, leaving) in [
            ("{metadata: {name: n}}", false),
            ("{metadata: {name: n, deletionTimestamp: '2026-01-01T00:00:00Z'}}", true),
            (
                "{metadata: {name: n}, spec: {taints: [{key: a, effect: NoSchedule},
                  {key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}]}}",
                true,
            ),
            ("{metadata: {name: n}, spec: {taints: [{key: a, effect: NoSchedule}]}}", false),
        ] {
            assert_eq!(read(yaml).unwrap().leaving, leaving, "{yaml}");
        }
    }

    #[test]
    fn an_external_address_stands_in_for_an_internal_one_that_is_missing() {
        let node = read(
            "{metadata: {name: n}, status: {addresses: [{type: ExternalIP, address: 172.31.0.9},
                {type: ExternalIP, address: 'fd10::9'}, {type: InternalIP, address: 172.18.0.11}]}}",
        );
        let addresses = node.unwrap().addresses;
        assert_eq!(
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["172.18.0.11", "fd10::9"]
        );
    }

    #[test]
    fn a_foreign_overlay_devices_address_is_read_from_an_annotation() {
        let node = |mac: &str| {
            read(&format!(
                "{{metadata: {{name: n, annotations: {{shunt.dev/vtep-mac: '{mac}'}}}}}}"
            ))
        };
        let mac = node("02:73:AC:12:00:0c").unwrap().vtep_mac.unwrap();
        assert_eq!(mac.bytes(), [0x02, 0x73, 0xac, 0x12, 0, 0x0c]);
        assert_eq!(read("{metadata: {name: n}}").unwrap().vtep_mac, None);
        for (bad, says) in [
            ("", "as in 02:73"),
            ("02:73:ac:12:00", "as in 02:73"),
            ("02:73:ac:12:00:0c:0d", "as in 02:73"),
            ("02:73:ac:12:00:+c", "as in 02:73"),
            ("2:73:ac:12:0:c", "as in 02:73"),
            ("00:00:00:00:00:00", "no address of a device"),
            ("ff:ff:ff:ff:ff:ff", "the address of a group"),
        ] {
            let error = node(bad).unwrap_err();
            assert_eq!(error.field, "metadata.annotations[shunt.dev/vtep-mac]");
            assert!(error.message.contains(says), "{error}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (yaml, field, says) in [
            ("{metadata: {name: a/b}}", "metadata.name", "a/b"),
            ("{metadata: {}}", "metadata.name", "no name"),
            ("{metadata: {name: n}, spec: {podCIDR: 10.0.0.1/24}}", "spec.podCIDR", "10.0.0.0/24"),
            ("{metadata: {name: n}, spec: {podCIDR: 10.0.0.0}}", "spec.podCIDR", "no CIDR"),
            (
                "{metadata: {name: n}, spec: {podCIDRs: [10.0.0.0/24, 10.0.1.0/24]}}",
                "spec.podCIDRs[1]",
                "one of each family",
            ),
            (
                "{metadata: {name: n}, spec: {podCIDR: 10.0.1.0/24, podCIDRs: [10.0.0.0/24]}}",
                "spec.podCIDR",
                "make them equal",
            ),
            (
                "{metadata: {name: n}, status: {addresses: [{type: InternalIP, address: x}]}}",
                "status.addresses[0].address",
                "\"x\" is no",
            ),
        ] {
            let error = read(yaml).unwrap_err();
            assert_eq!(error.field, field, "{yaml}");
            assert!(error.message.contains(says), "{error}");
        }
    }
}
