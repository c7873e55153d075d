//! Objects, by kind and name: what is read of them is read where it is needed.

use std::collections::BTreeMap;

use ipnet::IpNet;
use k8s_openapi::api::{
    core::v1::{Node, Pod, Service},
    discovery::v1::EndpointSlice,
    networking::v1::ServiceCIDR,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::text;

/// An object that is none of Kubernetes'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

/// The objects of a cluster.
#[derive(Clone, Debug, Default)]
pub(super) struct Objects {
    pub(super) nodes: BTreeMap<String, Node>,
    pub(super) pods: Vec<Pod>,
    pub(super) services: Vec<Service>,
    pub(super) slices: Vec<EndpointSlice>,
    service_cidrs: Vec<ServiceCIDR>,
}

impl Objects {
    pub(super) fn read<'a>(
        objects: impl IntoIterator<Item = &'a Value>,
    ) -> Result<Self, Unreadable> {
        let mut all = Self::default();
        for object in objects {
            match object["kind"].as_str() {
                Some("Node") => {
                    let node: Node = typed(object)?;
                    let name = node.metadata.name.clone().unwrap_or_default();
                    all.nodes.insert(name.to_ascii_lowercase(), node);
                }
                Some("Pod") => all.pods.push(typed(object)?),
                Some("Service") => all.services.push(typed(object)?),
                Some("EndpointSlice") => all.slices.push(typed(object)?),
                Some("ServiceCIDR") => all.service_cidrs.push(typed(object)?),
                _ => {}
            }
        }
        Ok(all)
    }

    /// The networks of ServiceCIDR objects.
    pub(super) fn service_networks(&self) -> impl Iterator<Item = IpNet> {
        let specs = self.service_cidrs.iter().filter_map(|object| object.spec.as_ref());
        let cidrs = specs.filter_map(|spec| spec.cidrs.as_ref()).flatten();
        cidrs.filter_map(|cidr| text::network(cidr))
    }
}

fn typed<T: DeserializeOwned>(object: &Value) -> Result<T, Unreadable> {
    serde_path_to_error::deserialize(object).map_err(|error| Unreadable(error.to_string()))
}

/// A namespace and name; objects without a namespace are in `default`.
pub(super) fn name_of(
    metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
) -> (String, String) {
    let namespace = metadata.namespace.clone().filter(|it| !it.is_empty());
    (namespace.unwrap_or_else(|| "default".to_owned()), metadata.name.clone().unwrap_or_default())
}

/// A label's value.
pub(super) fn label<'a>(
    metadata: &'a k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    key: &str,
) -> Option<&'a str> {
    metadata.labels.as_ref()?.get(key).map(String::as_str)
}
