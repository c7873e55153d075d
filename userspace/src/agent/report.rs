//! What the agent's loop says of itself after its work: to the log, the service manager and the API
//! server.

use super::{announce::Why, model::Readiness, node::NodeAgent};
use crate::source::SourceError;

impl NodeAgent {
    pub(super) fn set_readiness(&mut self, readiness: Readiness) {
        if let Readiness::NotReady(why) = &readiness
            && self.views.read().readiness != readiness
        {
            log::warn!("not ready: {why}");
        }
        self.manager.note(&readiness);
        let mut model = self.views.write();
        self.manager.say(match &readiness {
            Readiness::Ready => {
                let (services, pods) = (model.compiled.len(), model.pods.len());
                format!("ready: {services} services, {pods} pods")
            }
            Readiness::NotReady(why) => format!("not ready: {why}"),
        });
        model.readiness = readiness;
    }

    /// Logs what is newly wrong with objects that the source has no complaint about, and posts
    /// events about all that is.
    pub(super) fn report_errors(&mut self) {
        let (own, all) = {
            let model = self.views.read();
            let conflicts = model.cluster.conflicts();
            let own = model.pod_errors.iter().chain(model.service_errors.values());
            let own = own.chain(&model.attachment_errors).chain(&model.install_error);
            let own = own.chain(&model.health_errors).chain(&model.dns_errors);
            let own = own.chain(&conflicts).cloned();
            let own: Vec<SourceError> = own.collect();
            let all = if self.announcer.is_heard() {
                let refused = model.source.errors.iter().map(|error| (Why::Refused, error));
                let conflicts = conflicts.iter().map(|error| (Why::Conflict, error));
                let not_in_force = model.pod_errors.iter().chain(model.service_errors.values());
                let not_in_force = not_in_force.chain(&model.attachment_errors);
                let not_in_force = not_in_force.map(|error| (Why::NotInForce, error));
                let health = model.health_errors.iter().map(|error| (Why::NoHealthCheck, error));
                let all = refused.chain(conflicts).chain(not_in_force).chain(health);
                all.map(|(why, error)| (why, error.clone())).collect()
            } else {
                Vec::new()
            };
            (own, all)
        };
        self.errors.update(&own);
        self.announcer.update(all);
    }
}
