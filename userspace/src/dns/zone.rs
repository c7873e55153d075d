//! The zone: names of Services in, and what is at a name out.
//!
//! Kept by Service and not by name, because a change concerns a Service: a lookup takes a name
//! apart from its end, as the specification composes it. What has names below it exists, also
//! where it has no records of its own (RFC 8020); a namespace exists as long as it has a Service.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use hickory_proto::rr::{
    Name, RData, Record, RecordType,
    rdata::{CNAME, NS, PTR, SOA, SRV, TXT},
};
use maps_schema::address::Protocol;

use super::{
    dns_service,
    domain::ClusterDomain,
    names::{Host, NamedPort, ServiceNames},
};
use crate::cluster::model::ObjectName;

/// For how many seconds an answer may be kept, one that there is no such name too: what CoreDNS has
/// by default. A Service that is gone is asked for in vain for so long.
pub(super) const TTL: u32 = 5;
/// The version of the specification.
const SCHEMA_VERSION: &str = "1.1.0";
/// The timers of a zone that nobody transfers, as CoreDNS has them: refresh, retry, expire.
const TIMERS: (i32, i32, i32) = (7200, 1800, 86400);
/// SRV weights of the targets of one name add up to about this.
const WEIGHTS: usize = 100;

/// The names of Services.
#[derive(Debug)]
pub(super) struct Zone {
    domain: ClusterDomain,
    serial: u32,
    /// By namespace and name; a namespace without Services is not among them.
    services: HashMap<String, HashMap<String, ServiceNames>>,
    /// Which names an address has, for the way back.
    reverse: HashMap<IpAddr, BTreeSet<NameOfAddress>>,
}

/// A name that leads to an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct NameOfAddress {
    service: ObjectName,
    host: Option<String>,
}

/// What is at a name.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found {
    /// The name is in another zone.
    Outside,
    /// There is no such name.
    NoName,
    /// It stands for another name.
    Alias(Name),
    /// The records that were asked for; none where the name has others only, or none at all.
    Records {
        answers: Vec<RData>,
        /// What whoever asked will ask next.
        additionals: Vec<Record>,
    },
}

impl Found {
    fn records(answers: Vec<RData>) -> Self {
        Self::Records { answers, additionals: Vec::new() }
    }

    const fn nothing() -> Self {
        Self::Records { answers: Vec::new(), additionals: Vec::new() }
    }

    fn exists(exists: bool) -> Self {
        if exists { Self::nothing() } else { Self::NoName }
    }
}

impl Zone {
    pub(super) fn new(domain: &ClusterDomain, serial: u32) -> Self {
        Self { domain: domain.clone(), serial, services: HashMap::new(), reverse: HashMap::new() }
    }

    pub(super) fn set_serial(&mut self, serial: u32) {
        self.serial = serial;
    }

    /// Gives a Service the names that it has now, or none.
    pub(super) fn set(&mut self, service: &ObjectName, names: Option<ServiceNames>) {
        let ObjectName { namespace, name } = service;
        let before = self.services.get_mut(namespace).and_then(|services| services.remove(name));
        for (address, host) in before.iter().flat_map(addresses) {
            let name = NameOfAddress { service: service.clone(), host: host.map(str::to_owned) };
            if let Some(others) = self.reverse.get_mut(&address) {
                others.remove(&name);
                if others.is_empty() {
                    self.reverse.remove(&address);
                }
            }
        }
        let Some(names) = names else {
            if self.services.get(namespace).is_some_and(HashMap::is_empty) {
                self.services.remove(namespace);
            }
            return;
        };
        for (address, host) in addresses(&names) {
            let name = NameOfAddress { service: service.clone(), host: host.map(str::to_owned) };
            self.reverse.entry(address).or_default().insert(name);
        }
        self.services.entry(namespace.clone()).or_default().insert(name.clone(), names);
    }

    /// What is at a name, in any case of letters.
    pub(super) fn find(&self, name: &Name, asked: RecordType) -> Found {
        let lower = name.to_lowercase();
        if let Some(names) = self.names_of_address(&lower) {
            return Found::records(match asked {
                RecordType::PTR => names.filter_map(|name| self.pointer(name)).collect(),
                _ => Vec::new(),
            });
        }
        let Some(labels) = self.labels_within(&lower) else { return Found::Outside };
        match *labels {
            [] => self.apex(asked),
            ["dns-version"] => Found::records(match asked {
                RecordType::TXT => vec![RData::TXT(TXT::new(vec![SCHEMA_VERSION.to_owned()]))],
                _ => Vec::new(),
            }),
            ["dns" | "svc" | "pod"] => Found::nothing(),
            ["dns", "ns"] => Found::records(of_type(self.own_addresses(), asked)),
            ["svc" | "pod", namespace] => Found::exists(self.services.contains_key(namespace)),
            ["pod", namespace, pod] if self.services.contains_key(namespace) => {
                match written_address(pod) {
                    Some(address) => Found::records(of_type([address], asked)),
                    None => Found::NoName,
                }
            }
            ["svc", namespace, service, ref rest @ ..] => {
                let services = self.services.get(namespace);
                match services.and_then(|services| services.get(service)) {
                    Some(names) => self.find_below([service, namespace], names, rest, asked),
                    None => Found::NoName,
                }
            }
            _ => Found::NoName,
        }
    }

    /// The SOA record of the zone that a name is in: the cluster's, or all addresses' of a family.
    pub(super) fn authority(&self, name: &Name) -> Option<Record> {
        let own = self.name(&[])?;
        let origin = if own.zone_of(name) { own } else { name.trim_to(2) };
        Some(Record::from_rdata(origin, TTL, RData::SOA(self.start()?)))
    }

    fn start(&self) -> Option<SOA> {
        let (refresh, retry, expire) = TIMERS;
        let (server, mailbox) = (self.name(&["ns", "dns"])?, self.name(&["hostmaster"])?);
        Some(SOA::new(server, mailbox, self.serial, refresh, retry, expire, TTL))
    }

    fn apex(&self, asked: RecordType) -> Found {
        let record = match asked {
            RecordType::SOA => self.start().map(RData::SOA),
            RecordType::NS => self.name(&["ns", "dns"]).map(|name| RData::NS(NS(name))),
            _ => None,
        };
        Found::records(record.into_iter().collect())
    }

    /// The addresses of the zone's own server: those of the Service that it is behind.
    fn own_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let ObjectName { namespace, name } = dns_service();
        let names = self.services.get(&namespace).and_then(|services| services.get(&name));
        names.into_iter().flat_map(addresses).map(|(address, _)| address)
    }

    /// What is at a Service's name, or at one below it; `rest` are the labels from there.
    fn find_below(
        &self,
        service: [&str; 2],
        names: &ServiceNames,
        rest: &[&str],
        asked: RecordType,
    ) -> Found {
        match (names, rest) {
            (ServiceNames::External(target), []) => match Name::from_ascii(target) {
                Ok(mut target) => {
                    target.set_fqdn(true);
                    Found::Alias(target)
                }
                Err(_) => Found::NoName,
            },
            (ServiceNames::ClusterIps { addresses, .. }, []) => {
                Found::records(of_type(addresses.iter().copied(), asked))
            }
            (ServiceNames::ClusterIps { addresses, ports }, [protocol]) => {
                let _ = addresses;
                Found::exists(ports.iter().any(|port| has_protocol(port, protocol)))
            }
            (ServiceNames::ClusterIps { addresses, ports }, [protocol, port]) => {
                let targets = ports.iter().filter(|it| is_named(it, protocol, port));
                let targets =
                    targets.map(|it| (None, addresses.iter().copied().collect(), it.port));
                self.services_at(service, targets.collect(), asked)
            }
            (ServiceNames::Hosts(hosts), []) if !hosts.is_empty() => {
                let addresses = hosts.values().flat_map(|host| &host.addresses);
                Found::records(of_type(addresses.copied(), asked))
            }
            (ServiceNames::Hosts(hosts), [label]) => match hosts.get(*label) {
                Some(host) => Found::records(of_type(host.addresses.iter().copied(), asked)),
                None => {
                    Found::exists(all_ports(hosts).any(|(_, _, port)| has_protocol(port, label)))
                }
            },
            (ServiceNames::Hosts(hosts), [protocol, port]) => {
                let targets = all_ports(hosts).filter(|(_, _, it)| is_named(it, protocol, port));
                let targets = targets
                    .map(|(name, host, it)| (Some(name.as_str()), host.addresses.clone(), it.port));
                self.services_at(service, targets.collect(), asked)
            }
            _ => Found::NoName,
        }
    }

    /// SRV records, with the addresses of what they name.
    fn services_at(
        &self,
        [service, namespace]: [&str; 2],
        targets: Vec<(Option<&str>, BTreeSet<IpAddr>, u16)>,
        asked: RecordType,
    ) -> Found {
        if targets.is_empty() || asked != RecordType::SRV {
            return Found::exists(!targets.is_empty());
        }
        let weight = u16::try_from((WEIGHTS / targets.len()).max(1)).unwrap_or(1);
        let (mut answers, mut additionals) = (Vec::new(), Vec::new());
        for (host, addresses, port) in targets {
            let labels: Vec<&str> = host.into_iter().chain([service, namespace, "svc"]).collect();
            let Some(target) = self.name(&labels) else { continue };
            let records = addresses.into_iter().map(address_record);
            additionals.extend(records.map(|data| Record::from_rdata(target.clone(), TTL, data)));
            answers.push(RData::SRV(SRV::new(0, weight, port, target)));
        }
        Found::Records { answers, additionals }
    }

    /// The names that lead to the address that a name of `in-addr.arpa` or `ip6.arpa` is of, where
    /// there are any.
    fn names_of_address(&self, name: &Name) -> Option<impl Iterator<Item = &NameOfAddress>> {
        if name.iter().next_back() != Some(b"arpa") {
            return None;
        }
        let network = name.parse_arpa_name().ok()?;
        let is_whole = network.prefix_len() == network.max_prefix_len();
        self.reverse.get(&network.addr()).filter(|_| is_whole).map(BTreeSet::iter)
    }

    fn pointer(&self, NameOfAddress { service, host }: &NameOfAddress) -> Option<RData> {
        let labels = host.as_deref().into_iter();
        let labels = labels.chain([service.name.as_str(), service.namespace.as_str(), "svc"]);
        self.name(&labels.collect::<Vec<_>>()).map(|name| RData::PTR(PTR(name)))
    }

    /// A name in the zone. The longest one that there can be fits: see [`ClusterDomain::LONGEST`].
    fn name(&self, labels: &[&str]) -> Option<Name> {
        let labels = labels.iter().copied().chain(self.domain.labels());
        Name::from_labels(labels.map(str::as_bytes)).ok()
    }

    /// The labels of a name before those of the zone, from the last one to the first; nothing where
    /// it is in another zone. A label that is no text is none of ours either.
    fn labels_within<'a>(&self, name: &'a Name) -> Option<Vec<&'a str>> {
        let mut labels = name.iter().rev().map(|label| str::from_utf8(label).unwrap_or_default());
        for label in self.domain.labels().rev() {
            labels.next().filter(|other| *other == label)?;
        }
        Some(labels.collect())
    }
}

/// The addresses that a Service's names lead to, each with the name of its host if it has one.
fn addresses(names: &ServiceNames) -> Vec<(IpAddr, Option<&str>)> {
    match names {
        ServiceNames::ClusterIps { addresses, .. } => {
            addresses.iter().map(|address| (*address, None)).collect()
        }
        ServiceNames::Hosts(hosts) => hosts
            .iter()
            .flat_map(|(name, host)| host.addresses.iter().map(|it| (*it, Some(name.as_str()))))
            .collect(),
        ServiceNames::External(_) => Vec::new(),
    }
}

fn all_ports(hosts: &BTreeMap<String, Host>) -> impl Iterator<Item = (&String, &Host, &NamedPort)> {
    hosts.iter().flat_map(|(name, host)| host.ports.iter().map(move |port| (name, host, port)))
}

/// The addresses of the family that an A or AAAA record has; none for other records.
fn of_type(addresses: impl IntoIterator<Item = IpAddr>, asked: RecordType) -> Vec<RData> {
    let records = addresses.into_iter().map(address_record);
    records.filter(|record| record.record_type() == asked).collect()
}

fn address_record(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(address.into()),
        IpAddr::V6(address) => RData::AAAA(address.into()),
    }
}

fn is_named(port: &NamedPort, protocol: &str, name: &str) -> bool {
    has_protocol(port, protocol) && name.strip_prefix('_') == Some(port.name.as_str())
}

fn has_protocol(port: &NamedPort, label: &str) -> bool {
    let protocol = match port.protocol {
        Protocol::UDP => "_udp",
        Protocol::SCTP => "_sctp",
        _ => "_tcp",
    };
    label == protocol
}

/// The address that a pod's name is: `10-244-0-5`, or `fd00-10-244--5`.
fn written_address(label: &str) -> Option<IpAddr> {
    let v4 = label.replace('-', ".").parse::<Ipv4Addr>().map(IpAddr::V4);
    v4.or_else(|_| label.replace('-', ":").parse::<Ipv6Addr>().map(IpAddr::V6)).ok()
}

/// The record that says which name another one stands for.
pub(super) fn alias(target: Name) -> RData {
    RData::CNAME(CNAME(target))
}
