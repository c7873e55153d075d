//! Where a service port answers, to whom, and from which endpoints.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use maps_schema::{
    address::Family,
    service::{Audience, ClientAddress},
};

use super::{AnswersOutside, CompiledFrontend, EndpointList, Here, family};
use crate::cluster::model::{Service, ServicePort, TrafficPolicy};

/// The frontends of a service port in the family of its cluster IP, each with the list of endpoints
/// that it leads to; each address and port once for each audience, sorted.
///
/// Where one address and port is several of them, as an external address that is the node's, with
/// the node port's number, the policy of all of them is the same.
pub(super) fn frontends(
    service: &Service,
    port: &ServicePort,
    cluster_ip: IpAddr,
    here: Here<'_>,
) -> Vec<(EndpointList, CompiledFrontend)> {
    let mut all = Frontends::default();
    let own = SocketAddr::new(cluster_ip, port.port);
    let list = match service.internal_traffic_policy {
        TrafficPolicy::Cluster => EndpointList::Cluster,
        TrafficPolicy::Local => EndpointList::Local,
    };
    all.add(own, Audience::Inside, ClientAddress::Kept, list);
    all.add(own, Audience::Outside, ClientAddress::Masqueraded, list);
    let family = family(cluster_ip);
    let is_of_family = |address: &IpAddr| super::family(*address) == family;
    for address in service.external_addresses().filter(is_of_family) {
        let address = SocketAddr::new(address, port.port);
        all.add_external(address, address, service.external_traffic_policy, here.answers);
    }
    if let Some(node_port) = port.node_port {
        let any = SocketAddr::new(unspecified(family), node_port);
        for &address in here.node_port_addresses.iter().filter(|address| is_of_family(address)) {
            let address = SocketAddr::new(address, node_port);
            all.add_external(address, any, service.external_traffic_policy, here.answers);
        }
    }
    all.into_sorted()
}

/// Frontends by address and audience.
#[derive(Default)]
struct Frontends(BTreeMap<(SocketAddr, Audience), (EndpointList, ClientAddress)>);

impl Frontends {
    fn add(
        &mut self,
        address: SocketAddr,
        audience: Audience,
        client: ClientAddress,
        list: EndpointList,
    ) {
        self.0.entry((address, audience)).or_insert((list, client));
    }

    /// Adds an address that the outside is to reach. What other nodes hand over is sent to
    /// `handed`.
    fn add_external(
        &mut self,
        address: SocketAddr,
        handed: SocketAddr,
        policy: TrafficPolicy,
        answers: AnswersOutside,
    ) {
        use ClientAddress::{Direct, Kept, Masqueraded};
        use EndpointList::{Cluster, Local};
        match (policy, answers) {
            (TrafficPolicy::Cluster, AnswersOutside::ByTheFirstNode) => {
                self.add(address, Audience::Inside, Masqueraded, Cluster);
                self.add(address, Audience::Outside, Masqueraded, Cluster);
            }
            (TrafficPolicy::Cluster, AnswersOutside::Direct) => {
                self.add(address, Audience::Inside, Masqueraded, Cluster);
                self.add(address, Audience::Outside, Direct, Cluster);
                self.add(handed, Audience::Handed, Kept, Local);
            }
            // What is within the cluster reaches all of it.
            (TrafficPolicy::Local, _) => {
                self.add(address, Audience::Inside, Kept, Cluster);
                self.add(address, Audience::Outside, Kept, Local);
            }
        }
    }

    fn into_sorted(self) -> Vec<(EndpointList, CompiledFrontend)> {
        let frontend = |((address, audience), (list, client))| {
            (list, CompiledFrontend { address, audience, client })
        };
        self.0.into_iter().map(frontend).collect()
    }
}

const fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}
