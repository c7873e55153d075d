//! Services.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use k8s_openapi::{
    api::core::v1::{
        Service as KubernetesService, ServicePort as KubernetesServicePort, ServiceSpec,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use maps_schema::address::Protocol;

use crate::{
    cluster::model::{Service, ServicePort, TargetPort, TrafficPolicy},
    source::{
        address::parse_cidr,
        validate::{
            FieldError,
            field::{address, one_per_family, port, protocol},
            metadata::{created, label, object_name, subdomain},
        },
    },
};

/// The API server's default for `sessionAffinityConfig.clientIP.timeoutSeconds`.
const DEFAULT_AFFINITY_SECONDS: i32 = 10_800;
/// The API server's maximum: a day.
const MAX_AFFINITY_SECONDS: u32 = 86_400;

/// Reads a Service.
pub fn service(service: &KubernetesService) -> Result<Service, FieldError> {
    let name = object_name(&service.metadata)?;
    let no_spec = ServiceSpec::default();
    let spec = service.spec.as_ref().unwrap_or(&no_spec);
    let service_type = service_type(spec)?;
    let headless = spec.cluster_ip.as_deref() == Some("None")
        || spec.cluster_ips.iter().flatten().any(|text| text == "None");
    let external_name = service_type == "ExternalName";
    let another_proxys =
        label(&service.metadata, "service.kubernetes.io/service-proxy-name").is_some();
    let proxied = !headless && !external_name && !another_proxys;
    let cluster_ips =
        if headless || external_name { Vec::new() } else { cluster_ips(spec, proxied)? };
    let mut external_ips = Vec::new();
    for (index, text) in spec.external_ips.iter().flatten().enumerate() {
        external_ips.push(address(|| format!("spec.externalIPs[{index}]"), text)?);
    }
    let ports = ports(spec, service_type, proxied)?;
    Ok(Service {
        created: created(&service.metadata),
        proxied,
        headless: headless && !external_name,
        external_name: if external_name { Some(read_external_name(spec)?) } else { None },
        cluster_ips,
        external_ips,
        load_balancer_ips: load_balancer_ips(service)?,
        load_balancer_ingress: load_balancer_ingress(service),
        health_check_node_port: health_check_node_port(spec, &ports)?,
        ports,
        selector: spec.selector.clone().into_iter().flatten().collect(),
        publish_not_ready_addresses: spec.publish_not_ready_addresses.unwrap_or(false),
        internal_traffic_policy: traffic_policy(
            "spec.internalTrafficPolicy",
            spec.internal_traffic_policy.as_deref(),
        )?,
        external_traffic_policy: traffic_policy(
            "spec.externalTrafficPolicy",
            spec.external_traffic_policy.as_deref(),
        )?,
        source_ranges: source_ranges(spec)?,
        session_affinity_seconds: session_affinity(spec)?,
        service_type: service_type.to_owned(),
        name,
    })
}

fn service_type(spec: &ServiceSpec) -> Result<&str, FieldError> {
    match spec.type_.as_deref() {
        None | Some("") => Ok("ClusterIP"),
        Some(known @ ("ClusterIP" | "NodePort" | "LoadBalancer" | "ExternalName")) => Ok(known),
        Some(other) => Err(FieldError::new(
            "spec.type",
            format!("{other:?} is no type: ClusterIP, NodePort, LoadBalancer or ExternalName"),
        )),
    }
}

fn read_external_name(spec: &ServiceSpec) -> Result<String, FieldError> {
    const FIELD: &str = "spec.externalName";
    let name = spec.external_name.as_deref().unwrap_or_default();
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        return Err(FieldError::new(
            FIELD,
            "it is missing, and required for a Service of type ExternalName: write the name that \
             it stands for",
        ));
    }
    subdomain(FIELD, name).map(str::to_owned)
}

fn cluster_ips(spec: &ServiceSpec, required: bool) -> Result<Vec<IpAddr>, FieldError> {
    let mut addresses = Vec::new();
    for (index, text) in spec.cluster_ips.iter().flatten().enumerate() {
        let field = || format!("spec.clusterIPs[{index}]");
        let address = address(field, text)?;
        one_per_family(field, &addresses, address)?;
        addresses.push(address);
    }
    if let Some(text) = spec.cluster_ip.as_deref().filter(|text| !text.is_empty()) {
        let address = address(|| "spec.clusterIP".to_owned(), text)?;
        match addresses.first() {
            None => addresses.push(address),
            Some(first) if *first == address => {}
            Some(first) => {
                return Err(FieldError::new(
                    "spec.clusterIP",
                    format!("{address} is not the first of spec.clusterIPs, {first}"),
                ));
            }
        }
    }
    if addresses.is_empty() && required {
        return Err(FieldError::new(
            "spec.clusterIP",
            "it is missing, and required here: addresses are not invented; write a free address \
             of the service range, or None for a headless service",
        ));
    }
    Ok(addresses)
}

fn load_balancer_ips(service: &KubernetesService) -> Result<Vec<IpAddr>, FieldError> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let mut addresses = Vec::new();
    for (index, entry) in
        status.and_then(|status| status.ingress.as_ref()).into_iter().flatten().enumerate()
    {
        let Some(text) = entry.ip.as_deref().filter(|text| !text.is_empty()) else {
            continue;
        };
        let address = address(|| format!("status.loadBalancer.ingress[{index}].ip"), text)?;
        if matches!(entry.ip_mode.as_deref(), None | Some("VIP")) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

fn load_balancer_ingress(service: &KubernetesService) -> Vec<String> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let entries = status.and_then(|status| status.ingress.as_ref()).into_iter().flatten();
    let said = entries.filter_map(|entry| {
        let [ip, hostname] =
            [&entry.ip, &entry.hostname].map(|it| it.clone().filter(|text| !text.is_empty()));
        ip.or(hostname)
    });
    // kubectl has each of them once, and in order.
    said.collect::<BTreeSet<String>>().into_iter().collect()
}

/// The API server lets blanks stand around a range, leading zeros and host bits within.
fn source_ranges(spec: &ServiceSpec) -> Result<Vec<IpNet>, FieldError> {
    let mut ranges = Vec::new();
    for (index, text) in spec.load_balancer_source_ranges.iter().flatten().enumerate() {
        let Some(range) = parse_cidr(text.trim()) else {
            return Err(FieldError::new(
                format!("spec.loadBalancerSourceRanges[{index}]"),
                format!("{text:?} is no CIDR: write it as in 203.0.113.0/24 or fd00:113::/64"),
            ));
        };
        ranges.push(range.trunc());
    }
    Ok(ranges)
}

fn ports(
    spec: &ServiceSpec,
    service_type: &str,
    proxied: bool,
) -> Result<Vec<ServicePort>, FieldError> {
    let entries = spec.ports.as_deref().unwrap_or_default();
    if proxied && entries.is_empty() {
        return Err(FieldError::new("spec.ports", "it is empty: at least one port is required"));
    }
    let node_port_required = proxied
        && (service_type == "NodePort"
            || (service_type == "LoadBalancer"
                && spec.allocate_load_balancer_node_ports != Some(false)));
    let mut ports: Vec<ServicePort> = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        let port = read_port(&path, entry)?;
        if port.node_port.is_none() && node_port_required {
            return Err(FieldError::new(
                format!("{path}.nodePort"),
                format!(
                    "it is missing, and required here for a Service of type {service_type}: node \
                     ports are not invented; write a free one, usually from 30000 to 32767"
                ),
            ));
        }
        if port.name.is_empty() && entries.len() > 1 {
            return Err(FieldError::new(
                format!("{path}.name"),
                "it is missing, and required where a Service has several ports",
            ));
        }
        check_differs(&path, &port, &ports)?;
        ports.push(port);
    }
    Ok(ports)
}

fn check_differs(path: &str, port: &ServicePort, others: &[ServicePort]) -> Result<(), FieldError> {
    for other in others {
        if port.name == other.name {
            return Err(FieldError::new(
                format!("{path}.name"),
                format!("{:?} is the name of another port of this Service", port.name),
            ));
        }
        if port.protocol == other.protocol && port.port == other.port {
            return Err(FieldError::new(
                format!("{path}.port"),
                format!("{} is already port {:?} of this Service", port.port, other.name),
            ));
        }
        if port.protocol == other.protocol
            && port.node_port == other.node_port
            && let Some(number) = port.node_port
        {
            return Err(FieldError::new(
                format!("{path}.nodePort"),
                format!("{number} is already the node port of port {:?}", other.name),
            ));
        }
    }
    Ok(())
}

fn read_port(path: &str, entry: &KubernetesServicePort) -> Result<ServicePort, FieldError> {
    let number = port(|| format!("{path}.port"), entry.port)?;
    let target_port = match &entry.target_port {
        None | Some(IntOrString::Int(0)) => TargetPort::Number(number),
        Some(IntOrString::Int(target)) => {
            TargetPort::Number(port(|| format!("{path}.targetPort"), *target)?)
        }
        Some(IntOrString::String(name)) if name.is_empty() => TargetPort::Number(number),
        Some(IntOrString::String(name)) if name.bytes().all(|byte| byte.is_ascii_digit()) => {
            return Err(FieldError::new(
                format!("{path}.targetPort"),
                format!("{name:?} is a number in quotes: write it without them"),
            ));
        }
        Some(IntOrString::String(name)) => TargetPort::Name(name.clone()),
    };
    Ok(ServicePort {
        name: entry.name.clone().unwrap_or_default(),
        protocol: protocol(|| format!("{path}.protocol"), entry.protocol.as_deref())?,
        port: number,
        node_port: match entry.node_port {
            None | Some(0) => None,
            Some(node_port) => Some(port(|| format!("{path}.nodePort"), node_port)?),
        },
        target_port,
    })
}

fn traffic_policy(field: &str, value: Option<&str>) -> Result<TrafficPolicy, FieldError> {
    match value {
        None | Some("" | "Cluster") => Ok(TrafficPolicy::Cluster),
        Some("Local") => Ok(TrafficPolicy::Local),
        Some(other) => Err(FieldError::new(
            field,
            format!("{other:?} is no traffic policy: it must be Cluster or Local"),
        )),
    }
}

fn health_check_node_port(
    spec: &ServiceSpec,
    ports: &[ServicePort],
) -> Result<Option<u16>, FieldError> {
    const FIELD: &str = "spec.healthCheckNodePort";
    let Some(value) = spec.health_check_node_port.filter(|value| *value != 0) else {
        return Ok(None);
    };
    let number = port(|| FIELD.to_owned(), value)?;
    let is_served =
        |port: &&ServicePort| port.node_port == Some(number) && port.protocol == Protocol::TCP;
    match ports.iter().find(is_served) {
        None => Ok(Some(number)),
        Some(port) => Err(FieldError::new(
            FIELD,
            format!(
                "{number} is already the node port of port {:?}: write another, usually from \
                 30000 to 32767",
                port.name
            ),
        )),
    }
}

fn session_affinity(spec: &ServiceSpec) -> Result<Option<u32>, FieldError> {
    match spec.session_affinity.as_deref() {
        None | Some("" | "None") => Ok(None),
        Some("ClientIP") => {
            let seconds = spec
                .session_affinity_config
                .as_ref()
                .and_then(|config| config.client_ip.as_ref())
                .and_then(|client_ip| client_ip.timeout_seconds)
                .unwrap_or(DEFAULT_AFFINITY_SECONDS);
            match u32::try_from(seconds) {
                Ok(seconds @ 1..=MAX_AFFINITY_SECONDS) => Ok(Some(seconds)),
                _ => Err(FieldError::new(
                    "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
                    format!("{seconds} is out of range: it must be from 1 to 86400"),
                )),
            }
        }
        Some(other) => Err(FieldError::new(
            "spec.sessionAffinity",
            format!("{other:?} is no affinity: it must be None or ClientIP"),
        )),
    }
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
