//! Where a service port answers, to whom, and from which endpoints.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use ipnet::IpNet;
use maps_schema::{
    address::Family,
    service::{Audience, ClientAddress},
};

use super::{
    AnswersOutside, CompileOptions, CompiledFrontend, EndpointList, Here, LocalTraffic, family,
};
use crate::cluster::model::{Service, ServicePort, TrafficPolicy};

/// The frontends of a service port in the family of its cluster IP, each with the list of endpoints
/// that it leads to; each address and port once for each audience, sorted. `ranges` are the source
/// ranges of that family.
///
/// Where one address and port is several of them, as an external address that is the node's, with
/// the node port's number, the policy of all of them is the same. Where a load balancer's address is
/// an external one as well, its source ranges are in force: load balancers' addresses come first.
pub(super) fn frontends(
    service: &Service,
    port: &ServicePort,
    cluster_ip: IpAddr,
    ranges: &[IpNet],
    here: Here<'_>,
) -> Vec<(EndpointList, CompiledFrontend)> {
    let mut all = Frontends::default();
    let family = family(cluster_ip);
    let is_of_family = |address: &&IpAddr| super::family(**address) == family;
    all.add_cluster_ip(service, SocketAddr::new(cluster_ip, port.port), here.options);
    let unrestricted = External {
        policy: service.external_traffic_policy,
        answers: here.options.answers,
        local_traffic: here.options.local_traffic,
        restricted: false,
    };
    let balanced = External { restricted: !ranges.is_empty(), ..unrestricted };
    for &address in service.load_balancer_ips.iter().filter(is_of_family) {
        let address = SocketAddr::new(address, port.port);
        all.add_external(address, address, balanced);
    }
    for &address in service.external_ips.iter().filter(is_of_family) {
        let address = SocketAddr::new(address, port.port);
        all.add_external(address, address, unrestricted);
    }
    if let Some(node_port) = port.node_port {
        let any = SocketAddr::new(unspecified(family), node_port);
        for &address in here.node_port_addresses().iter().filter(is_of_family) {
            all.add_external(SocketAddr::new(address, node_port), any, unrestricted);
        }
        for &address in here.options.loopback_node_ports.iter().filter(is_of_family) {
            all.add_for_the_node(SocketAddr::new(address, node_port), unrestricted);
        }
    }
    all.into_sorted()
}

/// How the outside reaches an address.
#[derive(Clone, Copy)]
struct External {
    policy: TrafficPolicy,
    answers: AnswersOutside,
    local_traffic: LocalTraffic,
    restricted: bool,
}

/// Frontends by address and audience.
#[derive(Default)]
struct Frontends(BTreeMap<(SocketAddr, Audience), (EndpointList, ClientAddress, bool)>);

impl Frontends {
    fn add(
        &mut self,
        address: SocketAddr,
        audience: Audience,
        client: ClientAddress,
        list: EndpointList,
        restricted: bool,
    ) {
        self.0.entry((address, audience)).or_insert((list, client, restricted));
    }

    fn add_cluster_ip(&mut self, service: &Service, address: SocketAddr, options: &CompileOptions) {
        use ClientAddress::{Kept, Masqueraded};
        let list = match service.internal_traffic_policy {
            TrafficPolicy::Cluster => EndpointList::Cluster,
            TrafficPolicy::Local => EndpointList::Local,
        };
        let (inside, outside) = match (options.masquerade_all, options.local_traffic) {
            (true, _) => (Masqueraded, Masqueraded),
            (false, LocalTraffic::Pods) => (Kept, Masqueraded),
            (false, LocalTraffic::Off) => (Kept, Kept),
        };
        self.add(address, Audience::Inside, inside, list, false);
        self.add(address, Audience::Outside, outside, list, false);
    }

    /// Adds an address that the outside is to reach. What other nodes hand over is sent to `handed`;
    /// they have seen to source ranges.
    fn add_external(&mut self, address: SocketAddr, handed: SocketAddr, external: External) {
        use Audience::{Handed, Inside, Outside};
        use ClientAddress::{Direct, Kept, Masqueraded};
        use EndpointList::{Cluster, Local};
        let External { policy, answers, local_traffic, restricted } = external;
        match (policy, answers) {
            (TrafficPolicy::Cluster, AnswersOutside::ByTheFirstNode) => {
                self.add(address, Inside, Masqueraded, Cluster, restricted);
                self.add(address, Outside, Masqueraded, Cluster, restricted);
            }
            (TrafficPolicy::Cluster, AnswersOutside::Direct) => {
                self.add(address, Inside, Masqueraded, Cluster, restricted);
                self.add(address, Outside, Direct, Cluster, restricted);
                self.add(handed, Handed, Kept, Local, false);
            }
            (TrafficPolicy::Local, _) => {
                match local_traffic {
                    // What is within the cluster reaches all of it.
                    LocalTraffic::Pods => self.add(address, Inside, Kept, Cluster, restricted),
                    LocalTraffic::Off => {
                        self.add(address, Inside, Kept, Local, restricted);
                        self.add_for_the_node(address, external);
                    }
                }
                self.add(address, Outside, Kept, Local, restricted);
            }
        }
    }

    /// Adds an address that leads the node's own processes elsewhere than pods: to all of the
    /// cluster, whatever the traffic policy.
    fn add_for_the_node(&mut self, address: SocketAddr, External { restricted, .. }: External) {
        let (client, list) = (ClientAddress::Masqueraded, EndpointList::Cluster);
        self.add(address, Audience::Node, client, list, restricted);
    }

    fn into_sorted(self) -> Vec<(EndpointList, CompiledFrontend)> {
        let frontend = |((address, audience), (list, client, restricted))| {
            (list, CompiledFrontend { address, audience, client, restricted })
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
