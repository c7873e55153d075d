//! Values of settings that are more than a word or a number.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use clap::ValueEnum;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::source::address::parse_cidr;

/// The MTU of the bridge and the pods, in bytes: 1280, which IPv6 takes, to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct PodMtu(u16);

impl PodMtu {
    const LEAST: u16 = 1280;

    /// The MTU in bytes, without the Ethernet header.
    pub const fn bytes(self) -> u32 {
        // `u32::from` is not const.
        self.0 as u32
    }
}

/// A text or number is no value of its setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidValue {
    /// No MTU.
    #[error("`{0}` is no MTU for pods: it must be from {least} to 65535, in bytes", least = PodMtu::LEAST)]
    PodMtu(String),
    /// No range of ports.
    #[error(
        "`{0}` is no range of ports: write the first and the last, from 1 to 65535, as in \
         1024-65535"
    )]
    PortRange(String),
    /// No CIDR.
    #[error("`{0}` is no CIDR: write it as in 10.0.0.0/8 or fd00::/8, with commas between several")]
    Cidr(String),
    /// A CIDR of which more than the network is given.
    #[error("`{text}` has host bits set: write {network}")]
    HostBits {
        /// What was written.
        text: String,
        /// What was meant.
        network: IpNet,
    },
    /// No address and port.
    #[error(
        "`{0}` is no address with a port: write it as in 0.0.0.0:10256 or [::1]:10249, or `off`"
    )]
    BindAddress(String),
    /// Neither `primary` nor CIDRs.
    #[error("`{0}` is neither `primary` nor CIDRs with commas between them, as in 172.18.0.0/16")]
    NodePortAddresses(String),
    /// No DNS server.
    #[error(
        "`{0}` is no DNS server: write its address, and its port if that is not 53, as in 10.0.0.1, \
         10.0.0.1:5353 or [fd00::1]:5353, with commas between several"
    )]
    Upstream(String),
}

impl FromStr for PodMtu {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mtu = text.parse().ok().filter(|mtu| *mtu >= Self::LEAST);
        mtu.map(Self).ok_or_else(|| InvalidValue::PodMtu(text.to_owned()))
    }
}

impl TryFrom<u32> for PodMtu {
    type Error = InvalidValue;

    fn try_from(mtu: u32) -> Result<Self, Self::Error> {
        mtu.to_string().parse()
    }
}

impl From<PodMtu> for u32 {
    fn from(mtu: PodMtu) -> Self {
        mtu.bytes()
    }
}

/// Ports from a first to a last one, both included; 0 is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// The ports that any process may bind.
    pub const UNPRIVILEGED: Self = Self { first: 1024, last: 65535 };

    /// The first port; at most the last.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The last port.
    pub const fn last(self) -> u16 {
        self.last
    }
}

impl FromStr for PortRange {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let range = text.split_once('-').and_then(|(first, last)| {
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            (first >= 1 && first <= last).then_some(Self { first, last })
        });
        range.ok_or_else(|| InvalidValue::PortRange(text.to_owned()))
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.first, self.last)
    }
}

/// Networks, written with commas between them; no host bits are set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidrs(pub Vec<IpNet>);

impl FromStr for Cidrs {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = |text: &str| match parse_cidr(text) {
            None => Err(InvalidValue::Cidr(text.to_owned())),
            Some(cidr) if cidr.trunc() != cidr => {
                Err(InvalidValue::HostBits { text: text.to_owned(), network: cidr.trunc() })
            }
            Some(cidr) => Ok(cidr),
        };
        text.split(',').map(read).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Cidrs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        formatter.write_str(&texts.join(","))
    }
}

/// DNS servers, written with commas between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Upstreams(pub Vec<SocketAddr>);

impl FromStr for Upstreams {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = |text: &str| {
            let alone = || text.parse().map(|address: IpAddr| SocketAddr::new(address, 53));
            let upstream = text.parse().or_else(|_| alone()).ok();
            let usable = |it: &SocketAddr| {
                it.port() != 0 && !it.ip().is_unspecified() && !it.ip().is_multicast()
            };
            upstream.filter(usable).ok_or_else(|| InvalidValue::Upstream(text.to_owned()))
        };
        text.split(',').map(read).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Upstreams {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        formatter.write_str(&texts.join(","))
    }
}

/// Who is local (kube-proxy's `detectLocalMode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DetectLocal {
    /// The node's pods.
    Pods,
    /// Nobody, as for a kube-proxy without a cluster CIDR.
    Off,
}

/// Which of the node's addresses serve NodePorts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum NodePortAddresses {
    /// The first InternalIP of each family in its Node object.
    Primary,
    /// Those in one of these networks.
    Within(Vec<IpNet>),
}

impl FromStr for NodePortAddresses {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "primary" {
            return Ok(Self::Primary);
        }
        match text.parse() {
            Ok(Cidrs(cidrs)) => Ok(Self::Within(cidrs)),
            Err(InvalidValue::Cidr(_)) => Err(InvalidValue::NodePortAddresses(text.to_owned())),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Display for NodePortAddresses {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Primary => formatter.write_str("primary"),
            Self::Within(cidrs) => Cidrs(cidrs.clone()).fmt(formatter),
        }
    }
}

/// In the config file these are texts as they are behind the flags.
macro_rules! written_as_text {
    ($($value:ty),*) => {
        $(
            impl TryFrom<String> for $value {
                type Error = InvalidValue;

                fn try_from(text: String) -> Result<Self, Self::Error> {
                    text.parse()
                }
            }

            impl From<$value> for String {
                fn from(value: $value) -> Self {
                    value.to_string()
                }
            }
        )*
    };
}

written_as_text!(PortRange, Cidrs, NodePortAddresses, Upstreams);

#[cfg(test)]
mod tests {
    use super::*;

    fn error<T: FromStr<Err = InvalidValue>>(text: &str) -> String {
        match text.parse::<T>() {
            Ok(_) => panic!("{text} was taken"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn ports_are_a_first_and_a_last_one() {
        let range: PortRange = "32768-60999".parse().unwrap();
        assert_eq!((range.first(), range.last()), (32768, 60999));
        assert_eq!(range.to_string(), "32768-60999");
        assert!("5000-5000".parse::<PortRange>().is_ok());
        for bad in ["", "1024", "0-10", "2000-1000", "1-65536", "a-b", "1-2-3", "1024:65535"] {
            assert!(error::<PortRange>(bad).contains("as in 1024-65535"), "{bad}");
        }
    }

    #[test]
    fn an_mtu_is_at_least_what_ipv6_takes() {
        assert_eq!("1280".parse::<PodMtu>().unwrap().bytes(), 1280);
        assert_eq!(PodMtu::try_from(9000).unwrap().bytes(), 9000);
        for bad in ["1279", "65536", "", "auto"] {
            assert!(error::<PodMtu>(bad).contains("from 1280 to 65535"), "{bad}");
        }
    }

    #[test]
    fn networks_have_commas_between_them_and_no_host_bits() {
        let cidrs: Cidrs = "10.0.0.0/8,fd00::/8".parse().unwrap();
        assert_eq!(cidrs.to_string(), "10.0.0.0/8,fd00::/8");
        assert_eq!(error::<Cidrs>("10.0.0.0/8,"), InvalidValue::Cidr(String::new()).to_string());
        assert!(error::<Cidrs>("10.0.0.1").contains("write it as in"));
        assert!(error::<Cidrs>("10.1.0.0/8").contains("write 10.0.0.0/8"));
    }

    #[test]
    fn dns_servers_have_port_53_unless_they_say_another() {
        let upstreams: Upstreams = "10.0.0.1,10.0.0.2:5353,fd00::1,[fd00::2]:54".parse().unwrap();
        let text = "10.0.0.1:53,10.0.0.2:5353,[fd00::1]:53,[fd00::2]:54";
        assert_eq!(upstreams.to_string(), text);
        assert_eq!(text.parse(), Ok(upstreams));
        for bad in ["", "dns.example", "10.0.0.1:0", "0.0.0.0", "224.0.0.251", "10.0.0.1,"] {
            assert!(error::<Upstreams>(bad).contains("is no DNS server"), "{bad}");
        }
    }

    #[test]
    fn node_ports_are_on_the_primary_addresses_or_in_networks() {
        assert_eq!("primary".parse(), Ok(NodePortAddresses::Primary));
        let within: NodePortAddresses = "172.18.0.0/16".parse().unwrap();
        assert_eq!(within, NodePortAddresses::Within(vec!["172.18.0.0/16".parse().unwrap()]));
        assert_eq!(within.to_string(), "172.18.0.0/16");
        assert!(error::<NodePortAddresses>("all").contains("neither `primary` nor CIDRs"));
    }
}
