//! What the contract names and this version does not carry. A later stage that carries it deletes
//! its line here, and the "Not in this version" of its flag in [`super::settings`].

use super::{ConfigError, settings::Settings};

/// Refuses settings that this version cannot honour at all.
pub(super) fn refuse(settings: &Settings) -> Result<(), ConfigError> {
    let refused = [
        ("kubeconfig", settings.kubeconfig.is_some(), "use --manifests DIR"),
        ("in-cluster", settings.in_cluster == Some(true), "use --manifests DIR"),
        (
            "dns",
            settings.dns == Some(true),
            "use --manifests DIR with a DNS server as a pod behind a Service",
        ),
    ];
    match refused.into_iter().find(|&(_, is_set, _)| is_set) {
        Some((key, _, instead)) => Err(ConfigError::NotInThisVersion { key, instead }),
        None => Ok(()),
    }
}

/// The flags that are set and have no effect yet, because nothing is attached to the uplink.
pub(super) fn without_effect(set: &Settings) -> Vec<&'static str> {
    [
        ("--uplink", set.uplink.is_some()),
        ("--routing", set.routing.is_some()),
        ("--xdp", set.xdp.is_some()),
        ("--no-masquerade", set.no_masquerade.is_some()),
    ]
    .into_iter()
    .filter_map(|(flag, is_set)| is_set.then_some(flag))
    .collect()
}

/// What the agent says of those flags.
pub(super) fn warn(flags: &[&'static str]) {
    if !flags.is_empty() {
        log::warn!(
            "traffic across the uplink is not carried by shunt yet and goes to the kernel's \
             routes: flags={} without effect",
            flags.join(",")
        );
    }
}
