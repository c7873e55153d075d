//! Checks of single fields.

use std::net::IpAddr;

use ipnet::IpNet;
use maps_schema::address::{Family, Protocol};

use crate::source::address::{parse_cidr, parse_ip};

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct FieldError {
    /// The field's path, as in `spec.ports[0].port`.
    pub field: String,
    /// What is wrong with which value, and what to do.
    pub message: String,
}

impl FieldError {
    /// Makes an error about the field at this path.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// The family of an address.
pub(super) const fn family(address: IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    }
}

/// A port: 1 to 65535.
pub(super) fn port(field: impl FnOnce() -> String, value: i32) -> Result<u16, FieldError> {
    u16::try_from(value).ok().filter(|port| *port != 0).ok_or_else(|| {
        FieldError::new(field(), format!("{value} is no port: it must be from 1 to 65535"))
    })
}

/// A protocol; TCP where it is left out.
pub(super) fn protocol(
    field: impl FnOnce() -> String,
    value: Option<&str>,
) -> Result<Protocol, FieldError> {
    match value {
        None | Some("" | "TCP") => Ok(Protocol::TCP),
        Some("UDP") => Ok(Protocol::UDP),
        Some("SCTP") => Ok(Protocol::SCTP),
        Some(other) => Err(FieldError::new(
            field(),
            format!("{other:?} is no protocol: it must be TCP, UDP or SCTP"),
        )),
    }
}

/// An address that packets can be sent to from another host.
pub(super) fn address(field: impl FnOnce() -> String, text: &str) -> Result<IpAddr, FieldError> {
    let Some(address) = parse_ip(text) else {
        return Err(FieldError::new(field(), format!("{text:?} is no IPv4 or IPv6 address")));
    };
    let unusable = if address.is_unspecified() {
        "unspecified"
    } else if address.is_loopback() {
        "a loopback address"
    } else if address.is_multicast() {
        "a multicast address"
    } else if is_link_local(address) {
        "link-local"
    } else if address == IpAddr::V4(std::net::Ipv4Addr::BROADCAST) {
        "the broadcast address"
    } else {
        return Ok(address);
    };
    Err(FieldError::new(
        field(),
        format!("{text:?} is {unusable}: it must be an address that other hosts can reach"),
    ))
}

/// A CIDR without host bits.
pub(super) fn network(field: impl Fn() -> String, text: &str) -> Result<IpNet, FieldError> {
    let Some(cidr) = parse_cidr(text) else {
        return Err(FieldError::new(
            field(),
            format!("{text:?} is no CIDR: write it as in 10.244.0.0/24 or fd00:10:244::/64"),
        ));
    };
    if cidr.trunc() == cidr {
        Ok(cidr)
    } else {
        Err(FieldError::new(field(), format!("{text:?} has host bits set: write {}", cidr.trunc())))
    }
}

/// Adds a CIDR; fails where there already is one of its family.
pub(super) fn add_one_per_family(
    field: impl FnOnce() -> String,
    cidrs: &mut Vec<IpNet>,
    cidr: IpNet,
) -> Result<(), FieldError> {
    if let Some(other) = cidrs.iter().find(|other| family(other.addr()) == family(cidr.addr())) {
        return Err(FieldError::new(
            field(),
            format!("{cidr} is of the same family as {other}: one of each family is allowed"),
        ));
    }
    cidrs.push(cidr);
    Ok(())
}

/// Fails where `addresses` already has one of the family of `address`.
pub(super) fn one_per_family(
    field: impl FnOnce() -> String,
    addresses: &[IpAddr],
    address: IpAddr,
) -> Result<(), FieldError> {
    match addresses.iter().find(|other| family(**other) == family(address)) {
        None => Ok(()),
        Some(other) => Err(FieldError::new(
            field(),
            format!("{address} is of the same family as {other}: one of each family is allowed"),
        )),
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
