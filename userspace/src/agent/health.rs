//! The agent's part of health checks: listeners for what is compiled, and errors about what cannot
//! be listened on.

use std::collections::BTreeMap;

use super::{model::Model, node::NodeAgent};
use crate::{
    cluster::model::Kind,
    health::{Check, ListenError},
    source::SourceError,
};

impl NodeAgent {
    /// Listens where the Services that are in force want it. What fails is tried again.
    pub(super) async fn ensure_health_servers(&mut self) {
        let checks = self.views.read().health_checks();
        let failed = self.health.serve(checks).await;
        let mut model = self.views.write();
        let errors = failed
            .into_iter()
            .filter_map(|(service, error)| {
                let origin = model.cluster.service_origin(&service)?;
                let about = SourceError::about_object(origin, Kind::Service, &service);
                Some(about_field(about, &error))
            })
            .collect();
        model.health_errors = errors;
    }
}

fn about_field(about: SourceError, error: &ListenError) -> SourceError {
    SourceError {
        field: Some("spec.healthCheckNodePort".to_owned()),
        message: error.to_string(),
        ..about
    }
}

impl Model {
    /// What is asked for where.
    fn health_checks(&self) -> BTreeMap<std::net::SocketAddr, Check> {
        self.health_checked
            .iter()
            .filter_map(|service| self.compiled.get_key_value(service))
            .flat_map(|(service, served)| {
                served.compiled.health_checks.iter().map(move |check| {
                    let local_endpoints = check.local_endpoints;
                    (check.address, Check { service: service.clone(), local_endpoints })
                })
            })
            .collect()
    }
}
