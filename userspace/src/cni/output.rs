//! The result of ADD, in the shape of each version of the specification.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{
    configuration::Configuration,
    message::{Attached, AttachedAddress, Interface},
    version::SpecVersion,
};

/// The result: what earlier plugins of the chain have made stays in it, before ours.
pub(super) fn result(
    version: SpecVersion,
    configuration: &Configuration,
    netns: &Path,
    attached: &Attached,
) -> Value {
    let mut result = configuration.previous.clone().unwrap_or_default();
    result.insert("cniVersion".to_owned(), version.as_str().into());
    let Attached { bridge, host, container, mtu, addresses } = attached;
    // The order is that of the reference plugin: who looks for the host end knows it by having no
    // sandbox.
    let interface = |Interface { name, mac }: &Interface| {
        let mut interface = json!({ "name": name, "mac": mac });
        if version >= SpecVersion::V1_1_0 {
            interface["mtu"] = (*mtu).into();
        }
        interface
    };
    let mut interfaces = list(&mut result, "interfaces");
    interfaces.extend([interface(bridge), interface(host)]);
    let index = interfaces.len();
    let mut in_container = interface(container);
    in_container["sandbox"] = netns.display().to_string().into();
    interfaces.push(in_container);
    let mut ips = list(&mut result, "ips");
    ips.extend(addresses.iter().map(|address| ip(version, index, address)));
    let mut routes = list(&mut result, "routes");
    routes.extend(addresses.iter().filter_map(route));
    for (name, list) in [("interfaces", interfaces), ("ips", ips), ("routes", routes)] {
        result.insert(name.to_owned(), list.into());
    }
    if !configuration.dns.is_empty() {
        result.insert("dns".to_owned(), configuration.dns.clone().into());
    } else if version < SpecVersion::V1_0_0 {
        result.entry("dns").or_insert_with(|| json!({}));
    }
    result.into()
}

/// A list of the result, taken out of it; empty where the earlier plugins have none.
fn list(result: &mut Map<String, Value>, name: &str) -> Vec<Value> {
    match result.remove(name) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

fn ip(version: SpecVersion, interface: usize, address: &AttachedAddress) -> Value {
    let AttachedAddress { address, gateway } = address;
    let mut ip = json!({ "interface": interface, "address": address });
    if let Some(gateway) = gateway {
        ip["gateway"] = gateway.to_string().into();
    }
    if version < SpecVersion::V1_0_0 {
        ip["version"] = if address.addr().is_ipv4() { "4" } else { "6" }.into();
    }
    ip
}

fn route(address: &AttachedAddress) -> Option<Value> {
    let everywhere = if address.address.addr().is_ipv4() { "0.0.0.0/0" } else { "::/0" };
    Some(json!({ "dst": everywhere, "gw": address.gateway?.to_string() }))
}
