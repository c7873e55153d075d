//! ServiceCIDRs.

use k8s_openapi::api::networking::v1::ServiceCIDR as KubernetesServiceCidr;

use crate::{
    cluster::model::ServiceCidr,
    source::validate::{
        FieldError,
        field::{add_one_per_family, network},
        metadata::{created, subdomain},
    },
};

/// Reads a ServiceCIDR.
pub fn service_cidr(object: &KubernetesServiceCidr) -> Result<ServiceCidr, FieldError> {
    let name = subdomain("metadata.name", object.metadata.name.as_deref().unwrap_or_default())?;
    let texts = object.spec.as_ref().and_then(|spec| spec.cidrs.as_deref()).unwrap_or_default();
    let mut cidrs = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let field = || format!("spec.cidrs[{index}]");
        let cidr = network(field, text)?;
        add_one_per_family(field, &mut cidrs, cidr)?;
    }
    if cidrs.is_empty() {
        return Err(FieldError::new("spec.cidrs", "it is empty: at least one range is required"));
    }
    Ok(ServiceCidr { name: name.to_owned(), created: created(&object.metadata), cidrs })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<ServiceCidr, FieldError> {
        service_cidr(&serde_yaml_ng::from_str(yaml).unwrap())
    }

    #[test]
    fn a_service_cidr_is_read_though_it_is_being_deleted() {
        let object = read(
            "{metadata: {name: kubernetes, deletionTimestamp: '2026-01-01T00:00:00Z'},
              spec: {cidrs: [10.96.0.000/16, 'fd10::/64']}}",
        )
        .unwrap();
        assert_eq!(object.name, "kubernetes");
        let cidrs: Vec<_> = object.cidrs.iter().map(ToString::to_string).collect();
        assert_eq!(cidrs, ["10.96.0.0/16", "fd10::/64"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (yaml, field, says) in [
            ("{metadata: {name: A}, spec: {cidrs: [10.96.0.0/16]}}", "metadata.name", "no name"),
            ("{metadata: {name: a}}", "spec.cidrs", "at least one"),
            ("{metadata: {name: a}, spec: {cidrs: [10.96.0.0]}}", "spec.cidrs[0]", "no CIDR"),
            ("{metadata: {name: a}, spec: {cidrs: [10.96.0.1/16]}}", "spec.cidrs[0]", "host bits"),
            (
                "{metadata: {name: a}, spec: {cidrs: [10.96.0.0/16, 10.97.0.0/16]}}",
                "spec.cidrs[1]",
                "one of each family",
            ),
        ] {
            let error = read(yaml).unwrap_err();
            assert_eq!(error.field, field, "{yaml}");
            assert!(error.message.contains(says), "{error}");
        }
    }
}
