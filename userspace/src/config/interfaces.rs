//! Names of network interfaces.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The name of a network interface: 1 to 15 bytes, as the kernel takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InterfaceName(pub(super) String);

impl InterfaceName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is no name of a network interface.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no interface name: the kernel takes 1 to 15 bytes without `/`, `:` and blanks, \
     other than `.` and `..`"
)]
pub struct InvalidInterfaceName(String);

impl FromStr for InterfaceName {
    type Err = InvalidInterfaceName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let forbidden = |byte: u8| byte == b'/' || byte == b':' || byte.is_ascii_whitespace();
        if (1..=15).contains(&name.len())
            && name != "."
            && name != ".."
            && !name.bytes().any(forbidden)
        {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidInterfaceName(name.to_owned()))
        }
    }
}

impl TryFrom<String> for InterfaceName {
    type Error = InvalidInterfaceName;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

impl From<InterfaceName> for String {
    fn from(name: InterfaceName) -> Self {
        name.0
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Names of network interfaces, written with commas between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InterfaceNames(pub Vec<InterfaceName>);

impl FromStr for InterfaceNames {
    type Err = InvalidInterfaceName;

    fn from_str(names: &str) -> Result<Self, Self::Err> {
        names.split(',').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl TryFrom<String> for InterfaceNames {
    type Error = InvalidInterfaceName;

    fn try_from(names: String) -> Result<Self, Self::Error> {
        names.parse()
    }
}

impl From<InterfaceNames> for String {
    fn from(names: InterfaceNames) -> Self {
        names.0.iter().map(InterfaceName::as_str).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_are_those_that_the_kernel_takes() {
        for good in ["cni0", "a", "fifteen-bytes-x"] {
            assert_eq!(good.parse::<InterfaceName>().unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "a b", "a/b", "a:1", "sixteen-bytes-xx"] {
            assert!(bad.parse::<InterfaceName>().is_err(), "{bad}");
        }
        assert!("eth0,,eth1".parse::<InterfaceNames>().is_err());
    }
}
