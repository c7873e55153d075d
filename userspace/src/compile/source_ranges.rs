//! Whom a Service's load balancer addresses serve.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use maps_schema::address::Family;

use super::Here;
use crate::cluster::model::Service;

/// The source ranges of a Service in one family; none where everybody is served: there are no ranges
/// of the family, or one of them is all of it.
///
/// A load balancer's address may be the node's own as well, and a process of the node that sends
/// there then has it as its own address. So where the node's address is in a range, the load
/// balancer's addresses are allowed too (kube-proxy's `allowFromNode`).
pub(super) fn source_ranges(service: &Service, family: Family, here: Here<'_>) -> Vec<IpNet> {
    let is_of_family = |address: IpAddr| super::family(address) == family;
    let mut ranges: BTreeSet<IpNet> = service
        .source_ranges
        .iter()
        .filter(|range| is_of_family(range.addr()))
        .map(IpNet::trunc)
        .collect();
    if ranges.iter().any(|range| range.prefix_len() == 0) {
        return Vec::new();
    }
    let own = here.primary_addresses.iter().find(|address| is_of_family(**address));
    if own.is_some_and(|own| ranges.iter().any(|range| range.contains(own))) {
        let balancers = service.load_balancer_ips.iter().copied();
        ranges.extend(balancers.filter(|address| is_of_family(*address)).map(IpNet::from));
    }
    ranges.into_iter().collect()
}
