//! What a Service may ask for and this version does not do: said once, when the Service comes. A
//! later stage that does it deletes its line here.

use maps_schema::address::Protocol;

use crate::cluster::model::Service;

/// Says what of a Service is not done.
pub(super) fn warn(service: &Service) {
    for what in not_done(service) {
        log::warn!("service={} {what} has no effect in this version", service.name);
    }
}

fn not_done(service: &Service) -> impl Iterator<Item = &'static str> {
    [("a port of protocol SCTP", service.ports.iter().any(|port| port.protocol == Protocol::SCTP))]
        .into_iter()
        .filter_map(|(what, asked)| asked.then_some(what))
}
