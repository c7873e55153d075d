//! Where the agent answers whoever asks over the network.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use super::values::InvalidValue;

/// An address and port to listen on, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BindAddress(Option<SocketAddr>);

impl BindAddress {
    /// Where kube-proxy answers load balancers and the kubelet.
    pub const HEALTHZ: Self = Self::new(Ipv4Addr::UNSPECIFIED, 10256);
    /// Where kube-proxy shows its metrics.
    pub const METRICS: Self = Self::new(Ipv4Addr::LOCALHOST, 10249);

    const fn new(address: Ipv4Addr, port: u16) -> Self {
        Self(Some(SocketAddr::new(IpAddr::V4(address), port)))
    }

    /// The address, if any.
    pub const fn address(self) -> Option<SocketAddr> {
        self.0
    }
}

impl From<SocketAddr> for BindAddress {
    fn from(address: SocketAddr) -> Self {
        Self(Some(address))
    }
}

impl FromStr for BindAddress {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text == "off" {
            return Ok(Self(None));
        }
        let address = text.parse().ok().filter(|address: &SocketAddr| address.port() != 0);
        address.map(Self::from).ok_or_else(|| InvalidValue::BindAddress(text.to_owned()))
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => write!(formatter, "{address}"),
            None => formatter.write_str("off"),
        }
    }
}

impl TryFrom<String> for BindAddress {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<BindAddress> for String {
    fn from(address: BindAddress) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_port_or_is_off() {
        for text in ["0.0.0.0:10256", "127.0.0.1:1", "[::]:10256", "[fd10::1]:80", "off"] {
            assert_eq!(text.parse::<BindAddress>().unwrap().to_string(), text);
        }
        assert_eq!("".parse(), "off".parse::<BindAddress>());
        for bad in ["0.0.0.0", "10256", ":10256", "::1:10256", "localhost:80", "0.0.0.0:0"] {
            let error = bad.parse::<BindAddress>().unwrap_err().to_string();
            assert!(error.contains("0.0.0.0:10256") && error.contains("`off`"), "{error}");
        }
    }
}
