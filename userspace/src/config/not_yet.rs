//! What the contract names and this version does not carry. A later stage that carries it deletes
//! its line here, and the "Not in this version" of its flag in [`super::settings`].

use super::{ConfigError, settings::Settings};

/// Refuses settings that this version cannot honour at all.
pub(super) fn refuse(settings: &Settings) -> Result<(), ConfigError> {
    let refused = [(
        "dns",
        settings.dns == Some(true),
        "use --manifests DIR with a DNS server as a pod behind a Service",
    )];
    match refused.into_iter().find(|&(_, is_set, _)| is_set) {
        Some((key, _, instead)) => Err(ConfigError::NotInThisVersion { key, instead }),
        None => Ok(()),
    }
}
