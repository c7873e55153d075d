//! What a Service may ask for and this version does not do: said once, when the Service comes. A
//! later stage that does it deletes its line here.

use crate::cluster::model::Service;

/// Says what of a Service is not done.
pub(super) fn warn(service: &Service) {
    for what in not_done(service) {
        log::warn!("service={} {what} has no effect in this version", service.name);
    }
}

fn not_done(service: &Service) -> impl Iterator<Item = &'static str> {
    [
        ("spec.sessionAffinity", service.session_affinity_seconds.is_some()),
        ("spec.loadBalancerSourceRanges", service.has_source_ranges),
    ]
    .into_iter()
    .filter_map(|(what, asked)| asked.then_some(what))
}
