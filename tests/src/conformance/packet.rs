//! The first packet of a flow, and what may become of it.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use serde::Deserialize;

use super::cast::Side;

/// The transport protocol of a packet, or an ICMP echo request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP: the packet is a SYN.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP: the packet is an INIT.
    Sctp,
    /// ICMP or ICMPv6: the packet is an echo request, and its port is 0.
    Icmp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
            Self::Icmp => "ICMP",
        })
    }
}

/// The first packet of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Packet {
    /// Who sends it.
    pub source: IpAddr,
    /// From where the node sees it come.
    pub side: Side,
    /// To whom; port 0 for an echo request.
    pub destination: SocketAddr,
    /// How.
    pub protocol: Protocol,
}

impl fmt::Display for Packet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, side, destination, protocol } = self;
        write!(formatter, "{protocol} from {source} ({side}) to ")?;
        match protocol {
            Protocol::Icmp => write!(formatter, "{}", destination.ip()),
            _ => write!(formatter, "{destination}"),
        }
    }
}

/// Where a packet goes, as the table writes it: `10.96.0.1:80/TCP`, `[fd10::1]:53/UDP`,
/// `10.96.0.1/ICMP`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address and port; port 0 for an echo request.
    pub address: SocketAddr,
    /// The protocol.
    pub protocol: Protocol,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("{text:?} is no target: ADDRESS:PORT/TCP|UDP|SCTP or ADDRESS/ICMP");
        let (address, protocol) = text.rsplit_once('/').ok_or_else(wrong)?;
        let protocol = match protocol {
            "TCP" => Protocol::Tcp,
            "UDP" => Protocol::Udp,
            "SCTP" => Protocol::Sctp,
            "ICMP" => Protocol::Icmp,
            _ => return Err(wrong()),
        };
        let address = match protocol {
            Protocol::Icmp => {
                let address: IpAddr = address.parse().map_err(|_| wrong())?;
                SocketAddr::new(address, 0)
            }
            _ => address.parse().map_err(|_| wrong())?,
        };
        Ok(Self { address, protocol })
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What may become of a packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It reaches one of these, any of them: never empty.
    Backends(BTreeSet<SocketAddr>),
    /// It is refused at once: by a TCP RST or an ICMP error, or by the error of a system call.
    Refuse,
    /// It vanishes, and is counted; a socket of the node's own may be told.
    Drop,
    /// It is nobody's service: the kernel goes on with it as if shunt were not there.
    Pass,
}

impl fmt::Display for Fate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backends(backends) => {
                let backends: Vec<String> = backends.iter().map(ToString::to_string).collect();
                write!(formatter, "to {}", backends.join(" or "))
            }
            Self::Refuse => formatter.write_str("refused"),
            Self::Drop => formatter.write_str("dropped"),
            Self::Pass => formatter.write_str("not touched"),
        }
    }
}

impl<'de> Deserialize<'de> for Fate {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Word(String),
            Backends(BTreeSet<SocketAddr>),
        }
        match Written::deserialize(deserializer)? {
            Written::Word(word) => match word.as_str() {
                "refuse" => Ok(Self::Refuse),
                "drop" => Ok(Self::Drop),
                "pass" => Ok(Self::Pass),
                other => Err(serde::de::Error::custom(format!(
                    "{other:?} is no fate: refuse, drop, pass, or a list of ADDRESS:PORT"
                ))),
            },
            Written::Backends(backends) if backends.is_empty() => {
                Err(serde::de::Error::custom("an empty list of backends is no fate"))
            }
            Written::Backends(backends) => Ok(Self::Backends(backends)),
        }
    }
}

/// What became of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It reached this backend.
    Reached {
        /// The backend.
        backend: SocketAddr,
        /// Whether the backend sees an address of the node's in place of the sender's; nothing for
        /// sockets of the node, whose address is the node's anyway.
        masqueraded: Option<bool>,
    },
    /// It was refused.
    Refused,
    /// It vanished.
    Dropped,
    /// It is not ours.
    Passed,
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reached { backend, .. } => write!(formatter, "it went to {backend}"),
            Self::Refused => formatter.write_str("it was refused"),
            Self::Dropped => formatter.write_str("it was dropped"),
            Self::Passed => formatter.write_str("it was not touched"),
        }
    }
}
