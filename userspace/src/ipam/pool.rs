//! Who has which address, as plain data: no file, no kernel, no clock.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

use super::{AddressRequest, Error, Holder};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pool {
    cidrs: Vec<Cidr>,
    leases: BTreeMap<Holder, Lease>,
    holders: HashMap<IpAddr, Holder>,
    last_v4: Option<IpAddr>,
    last_v6: Option<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Lease {
    addresses: Vec<IpAddr>,
    requested: bool,
}

impl Pool {
    pub(super) fn set_cidrs(&mut self, cidrs: &[IpNet]) -> Vec<Holder> {
        self.cidrs = cidrs.iter().map(|net| Cidr { net: net.trunc() }).collect();
        let outside = |lease: &Lease| {
            !lease.requested && lease.addresses.iter().any(|address| !self.in_pool(*address))
        };
        let is_pod = |holder: &Holder| matches!(holder, Holder::Pod(_));
        let dropped: Vec<Holder> = self
            .leases
            .iter()
            .filter(|(holder, lease)| is_pod(holder) && outside(lease))
            .map(|(holder, _)| holder.clone())
            .collect();
        for holder in &dropped {
            self.release(holder);
        }
        dropped
    }

    pub(super) fn adopt(&mut self, holder: &Holder, addresses: &[IpAddr]) {
        let usable =
            |address: &IpAddr| !self.holders.contains_key(address) && self.in_pool(*address);
        let all_usable = addresses.iter().all(usable) && two_of_one_family(addresses).is_none();
        if !self.leases.contains_key(holder) && !addresses.is_empty() && all_usable {
            self.hold(holder, addresses.to_vec(), false);
        }
    }

    pub(super) fn assign(
        &mut self,
        requests: &[AddressRequest],
    ) -> Vec<Result<Vec<IpAddr>, Error>> {
        let mut order: Vec<usize> = (0..requests.len()).collect();
        // The sort is stable: among equals the order of the requests stays.
        order.sort_by_key(|index| {
            requests.get(*index).is_none_or(|request| request.wanted.is_empty())
        });
        let mut answers: BTreeMap<usize, Result<Vec<IpAddr>, Error>> = BTreeMap::new();
        for index in order {
            if let Some(request) = requests.get(index) {
                answers.insert(index, self.assign_one(request));
            }
        }
        answers.into_values().collect()
    }

    fn assign_one(&mut self, request: &AddressRequest) -> Result<Vec<IpAddr>, Error> {
        let holder = &request.holder;
        let (addresses, requested) = if request.wanted.is_empty() {
            (self.keep_or_choose(holder)?, false)
        } else {
            self.check_wanted(holder, &request.wanted)?;
            (request.wanted.clone(), true)
        };
        self.release(holder);
        self.hold(holder, addresses.clone(), requested);
        Ok(addresses)
    }

    fn check_wanted(&self, holder: &Holder, wanted: &[IpAddr]) -> Result<(), Error> {
        if let Some((first, second)) = two_of_one_family(wanted) {
            return Err(Error::TwoOfOneFamily { holder: holder.clone(), first, second });
        }
        for address in wanted.iter().copied() {
            if let Some(other) = self.holders.get(&address).filter(|other| *other != holder) {
                let (holder, other) = (holder.clone(), other.clone());
                return Err(Error::Taken { holder, address, other: Box::new(other) });
            }
            let cidr = self.cidr_of(address);
            if let Some((cidr, role)) = cidr.and_then(|cidr| Some((cidr, cidr.role(address)?))) {
                let (holder, cidr) = (holder.clone(), cidr.net);
                return Err(Error::Reserved { holder, address, role, cidr });
            }
        }
        Ok(())
    }

    fn keep_or_choose(&mut self, holder: &Holder) -> Result<Vec<IpAddr>, Error> {
        if self.cidrs.is_empty() {
            return Err(Error::NoCidr { holder: holder.clone() });
        }
        let held = self.addresses(holder).to_vec();
        let mut chosen = Vec::with_capacity(self.cidrs.len());
        for cidr in &self.cidrs {
            let keepable =
                |address: &IpAddr| cidr.net.contains(address) && cidr.role(*address).is_none();
            let kept = held.iter().copied().find(keepable);
            let last = if cidr.is_v4() { self.last_v4 } else { self.last_v6 };
            let full = || Error::Full {
                holder: holder.clone(),
                cidr: cidr.net,
                capacity: cidr.capacity(),
            };
            let free = || cidr.next_free(last, |address| self.holders.contains_key(&address));
            chosen.push((kept.or_else(free).ok_or_else(full)?, kept.is_none()));
        }
        for (address, fresh) in &chosen {
            match (fresh, address) {
                (true, IpAddr::V4(_)) => self.last_v4 = Some(*address),
                (true, IpAddr::V6(_)) => self.last_v6 = Some(*address),
                (false, _) => {}
            }
        }
        Ok(chosen.into_iter().map(|(address, _)| address).collect())
    }

    pub(super) fn release_where(&mut self, is_gone: impl Fn(&Holder) -> bool) -> Vec<Holder> {
        let gone: Vec<Holder> =
            self.leases.keys().filter(|holder| is_gone(holder)).cloned().collect();
        for holder in &gone {
            self.release(holder);
        }
        gone
    }

    pub(super) fn addresses(&self, holder: &Holder) -> &[IpAddr] {
        self.leases.get(holder).map_or(&[], |lease| &lease.addresses)
    }

    pub(super) fn leases(&self) -> impl Iterator<Item = (&Holder, &[IpAddr], bool)> {
        let leases = self.leases.iter();
        leases.map(|(holder, lease)| (holder, lease.addresses.as_slice(), lease.requested))
    }

    pub(super) fn last(&self) -> impl Iterator<Item = IpAddr> {
        [self.last_v4, self.last_v6].into_iter().flatten()
    }

    pub(super) fn set_last(&mut self, last: &[IpAddr]) {
        self.last_v4 = last.iter().copied().find(IpAddr::is_ipv4);
        self.last_v6 = last.iter().copied().find(IpAddr::is_ipv6);
    }

    /// Puts a lease back that was read from the store; an address that is held already is the
    /// error.
    pub(super) fn insert(
        &mut self,
        holder: &Holder,
        addresses: Vec<IpAddr>,
        requested: bool,
    ) -> Result<(), IpAddr> {
        if let Some(held) = addresses.iter().find(|address| self.holders.contains_key(address)) {
            return Err(*held);
        }
        self.hold(holder, addresses, requested);
        Ok(())
    }

    fn hold(&mut self, holder: &Holder, addresses: Vec<IpAddr>, requested: bool) {
        for address in &addresses {
            self.holders.insert(*address, holder.clone());
        }
        self.leases.insert(holder.clone(), Lease { addresses, requested });
    }

    fn release(&mut self, holder: &Holder) {
        for address in self.leases.remove(holder).map(|lease| lease.addresses).unwrap_or_default() {
            self.holders.remove(&address);
        }
    }

    fn in_pool(&self, address: IpAddr) -> bool {
        self.cidr_of(address).is_some_and(|cidr| cidr.role(address).is_none())
    }

    fn cidr_of(&self, address: IpAddr) -> Option<Cidr> {
        self.cidrs.iter().copied().find(|cidr| cidr.net.contains(&address))
    }
}

/// The first pod address of a CIDR is its gateway: the bridge has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cidr {
    net: IpNet,
}

impl Cidr {
    fn is_v4(self) -> bool {
        matches!(self.net, IpNet::V4(_))
    }

    fn last_offset(self) -> u128 {
        let host_bits = u32::from(self.net.max_prefix_len() - self.net.prefix_len());
        1_u128.checked_shl(host_bits).map_or(u128::MAX, |size| size - 1)
    }

    /// The offsets that pods may have: after the network's address and the gateway, and before
    /// IPv4's broadcast.
    fn pod_offsets(self) -> (u128, u128) {
        (2, self.last_offset().saturating_sub(u128::from(self.is_v4())))
    }

    fn capacity(self) -> u128 {
        let (first, last) = self.pod_offsets();
        last.saturating_add(1).saturating_sub(first)
    }

    fn role(self, address: IpAddr) -> Option<&'static str> {
        let (first, last) = self.pod_offsets();
        match self.offset(address) {
            0 => Some("network address"),
            1 => Some("gateway"),
            offset if (first..=last).contains(&offset) => None,
            _ => Some("broadcast address"),
        }
    }

    fn next_free(self, last: Option<IpAddr>, taken: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
        let (first, end) = self.pod_offsets();
        let after = last
            .filter(|last| self.net.contains(last))
            .map_or(first, |last| self.offset(last).saturating_add(1).max(first));
        let round = (after..=end).chain(first..=end.min(after.saturating_sub(1)));
        round.map(|offset| self.at(offset)).find(|address| !taken(*address))
    }

    fn offset(self, address: IpAddr) -> u128 {
        number(address).wrapping_sub(number(self.net.network()))
    }

    fn at(self, offset: u128) -> IpAddr {
        let value = number(self.net.network()) + offset;
        match self.net {
            IpNet::V4(_) => Ipv4Addr::from(u32::try_from(value).unwrap_or(u32::MAX)).into(),
            IpNet::V6(_) => Ipv6Addr::from(value).into(),
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn two_of_one_family(addresses: &[IpAddr]) -> Option<(IpAddr, IpAddr)> {
    addresses.iter().enumerate().find_map(|(index, second)| {
        let before = addresses.iter().take(index);
        let first = before.into_iter().find(|first| first.is_ipv4() == second.is_ipv4())?;
        Some((*first, *second))
    })
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
