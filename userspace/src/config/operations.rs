//! Who is answered over the network, and how.

use std::{net::SocketAddr, time::Duration};

use super::{ConfigError, required, settings::Settings};

/// Who is answered over the network, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operations {
    /// Where load balancers and the kubelet ask.
    pub healthz: Option<SocketAddr>,
    /// Where metrics are shown.
    pub metrics: Option<SocketAddr>,
    /// What happens where it cannot be listened there.
    pub bind_failure: BindFailure,
    /// How long a change may take to be in force.
    pub health_timeout: Duration,
    /// How many service ports may have metrics of their own.
    pub max_service_metrics: u32,
}

/// What happens where an address cannot be listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindFailure {
    /// It is tried again.
    IsTriedAgain,
    /// The agent ends.
    EndsTheAgent,
}

/// Reads them.
pub(super) fn operations(settings: &Settings) -> Result<Operations, ConfigError> {
    let timeout = required("health-timeout", settings.health_timeout)?.get();
    Ok(Operations {
        healthz: required("healthz-bind-address", settings.healthz_bind_address)?.address(),
        metrics: required("metrics-bind-address", settings.metrics_bind_address)?.address(),
        bind_failure: match settings.bind_address_hard_fail {
            Some(true) => BindFailure::EndsTheAgent,
            _ => BindFailure::IsTriedAgain,
        },
        health_timeout: Duration::from_secs(timeout.into()),
        max_service_metrics: required("max-service-metrics", settings.max_service_metrics)?,
    })
}
