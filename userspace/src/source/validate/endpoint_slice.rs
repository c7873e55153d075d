//! EndpointSlices.

use k8s_openapi::api::discovery::v1::{
    Endpoint, EndpointHints, EndpointSlice as KubernetesEndpointSlice,
};
use maps_schema::address::Family;

use crate::{
    cluster::model::{Conditions, EndpointPort, EndpointSlice, Hints, SliceEndpoint},
    source::validate::{
        FieldError,
        field::{address, family, port, protocol},
        metadata::{annotation, created, host_label, label, object_name},
        shared_names::shared,
    },
};

/// The annotation that says when that has changed which a slice was written for. It is for
/// measuring: what is no time there is no time.
const LAST_CHANGE_TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// Reads an EndpointSlice. One of addressType FQDN is read without its ports and endpoints.
pub fn endpoint_slice(slice: &KubernetesEndpointSlice) -> Result<EndpointSlice, FieldError> {
    let family = match slice.address_type.as_str() {
        "IPv4" => Some(Family::V4),
        "IPv6" => Some(Family::V6),
        "FQDN" => None,
        other => {
            return Err(FieldError::new(
                "addressType",
                format!("{other:?} is no address type: it must be IPv4 or IPv6"),
            ));
        }
    };
    let (ports, endpoints) = match family {
        Some(family) => (ports(slice)?, endpoints(slice, family)?),
        None => (Vec::new(), Box::default()),
    };
    Ok(EndpointSlice {
        name: object_name(&slice.metadata)?,
        created: created(&slice.metadata),
        service: label(&slice.metadata, "kubernetes.io/service-name")
            .filter(|service| !service.is_empty())
            .map(str::to_owned),
        headless: label(&slice.metadata, "service.kubernetes.io/headless").is_some(),
        family,
        ports,
        endpoints,
        last_change_trigger: annotation(&slice.metadata, LAST_CHANGE_TRIGGER)
            .and_then(|time| time.parse().ok()),
    })
}

fn ports(slice: &KubernetesEndpointSlice) -> Result<Vec<EndpointPort>, FieldError> {
    let mut ports: Vec<EndpointPort> = Vec::new();
    for (index, entry) in slice.ports.iter().flatten().enumerate() {
        // An absent number stands for every port, which no proxy implements.
        let Some(number) = entry.port.filter(|number| *number != 0) else {
            continue;
        };
        let name = entry.name.clone().unwrap_or_default();
        if ports.iter().any(|other| other.name == name) {
            return Err(FieldError::new(
                format!("ports[{index}].name"),
                format!("{name:?} is the name of another port of this slice: names must differ"),
            ));
        }
        ports.push(EndpointPort {
            protocol: protocol(|| format!("ports[{index}].protocol"), entry.protocol.as_deref())?,
            port: port(|| format!("ports[{index}].port"), number)?,
            name,
        });
    }
    ports.shrink_to_fit();
    Ok(ports)
}

fn endpoints(
    slice: &KubernetesEndpointSlice,
    family: Family,
) -> Result<Box<[SliceEndpoint]>, FieldError> {
    slice
        .endpoints
        .iter()
        .flatten()
        .enumerate()
        .filter(|(_, endpoint)| !endpoint.addresses.is_empty())
        .map(|(index, endpoint)| read_endpoint(index, endpoint, family))
        .collect()
}

fn read_endpoint(
    index: usize,
    endpoint: &Endpoint,
    expected: Family,
) -> Result<SliceEndpoint, FieldError> {
    let field = || format!("endpoints[{index}].addresses[0]");
    let text = endpoint.addresses.first().map(String::as_str).unwrap_or_default();
    let address = address(field, text)?;
    if family(address) != expected {
        let expected = if expected == Family::V4 { "IPv4" } else { "IPv6" };
        return Err(FieldError::new(
            field(),
            format!("{address} is not of the slice's addressType, {expected}"),
        ));
    }
    let conditions = endpoint.conditions.as_ref();
    Ok(SliceEndpoint {
        address,
        node: endpoint
            .node_name
            .as_deref()
            .filter(|name| !name.is_empty())
            .map(|name| shared(name.to_ascii_lowercase())),
        hostname: host_label(
            &format!("endpoints[{index}].hostname"),
            endpoint.hostname.as_deref(),
        )?
        .map(String::into_boxed_str),
        conditions: Conditions {
            ready: conditions.and_then(|conditions| conditions.ready).unwrap_or(true),
            serving: conditions.and_then(|conditions| conditions.serving).unwrap_or(true),
            terminating: conditions.and_then(|conditions| conditions.terminating).unwrap_or(false),
        },
        hints: endpoint.hints.as_ref().and_then(hints),
    })
}

fn hints(hints: &EndpointHints) -> Option<Box<Hints>> {
    let hints = Hints {
        for_zones: hints.for_zones.iter().flatten().map(|zone| zone.name.clone()).collect(),
        for_nodes: hints
            .for_nodes
            .iter()
            .flatten()
            .map(|node| node.name.to_ascii_lowercase())
            .collect(),
    };
    (hints != Hints::default()).then(|| Box::new(hints))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<EndpointSlice, FieldError> {
        endpoint_slice(&serde_yaml_ng::from_str(yaml).unwrap())
    }

    #[test]
    fn a_slice_is_read_and_its_defaults_are_filled_in() {
        let slice = read(
            "{metadata: {name: s, labels: {kubernetes.io/service-name: web}}, addressType: IPv4,
              ports: [{name: http, port: 80}, {name: all}, {port: 53, protocol: UDP}],
              endpoints: [{addresses: [10.0.0.041, x], nodeName: N1, hostname: web-0},
                {addresses: []},
                {addresses: [10.0.0.2], conditions: {ready: false, terminating: true},
                 hints: {forZones: [{name: z}], forNodes: [{name: N}]}}]}",
        )
        .unwrap();
        assert_eq!(slice.service.as_deref(), Some("web"));
        assert!(!slice.headless);
        assert_eq!(slice.ports.len(), 2);
        assert_eq!((slice.ports[1].name.as_str(), slice.ports[1].port), ("", 53));
        let [first, second] = &*slice.endpoints else { panic!("{:?}", slice.endpoints) };
        assert_eq!(first.address.to_string(), "10.0.0.41");
        assert_eq!(first.node.as_deref(), Some("n1"));
        assert_eq!((first.hostname.as_deref(), &second.hostname), (Some("web-0"), &None));
        assert_eq!(first.conditions, Conditions { ready: true, serving: true, terminating: false });
        assert_eq!(
            second.conditions,
            Conditions { ready: false, serving: true, terminating: true }
        );
        assert_eq!(second.hints.as_ref().unwrap().for_nodes, ["n"]);
    }

    #[test]
    fn null_lists_are_empty_and_names_in_place_of_addresses_are_left_out() {
        let slice = read(
            "{metadata: {name: s, labels: {service.kubernetes.io/headless: ''}},
              addressType: IPv6, ports: null, endpoints: null}",
        )
        .unwrap();
        assert!(slice.headless && slice.endpoints.is_empty() && slice.ports.is_empty());
        let slice = read(
            "{metadata: {name: s}, addressType: FQDN, endpoints: [{addresses: [example.com]}]}",
        )
        .unwrap();
        assert_eq!((slice.family, slice.endpoints.len()), (None, 0));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (rest, field) in [
            ("addressType: IPX", "addressType"),
            ("endpoints: []", "addressType"),
            (
                "addressType: IPv4, endpoints: [{addresses: [10.0.0.1]}, {addresses: [x]}]",
                "endpoints[1].addresses[0]",
            ),
            (
                "addressType: IPv4, endpoints: [{addresses: ['fd00::1']}]",
                "endpoints[0].addresses[0]",
            ),
            (
                "addressType: IPv4, endpoints: [{addresses: [127.0.0.1]}]",
                "endpoints[0].addresses[0]",
            ),
            (
                "addressType: IPv4, endpoints: [{addresses: [10.0.0.1], hostname: a.b}]",
                "endpoints[0].hostname",
            ),
            ("addressType: IPv4, ports: [{port: 70000}]", "ports[0].port"),
            ("addressType: IPv4, ports: [{port: 1, protocol: ICMP}]", "ports[0].protocol"),
            ("addressType: IPv4, ports: [{port: 1}, {port: 2}]", "ports[1].name"),
        ] {
            let error = read(&format!("{{metadata: {{name: s}}, {rest}}}")).unwrap_err();
            assert_eq!(error.field, field, "{rest}");
        }
    }
}
