//! The programs that tests and the demo run: clients, and independent witnesses of what is on the
//! wire and in the kernel. shunt itself needs none of them.

use std::path::Path;

use anyhow::{Result, bail};

use super::debian;
use crate::process::{find_program, say};

/// A Debian package and what proves that it is there, however it came.
const TOOLS: [(&str, Proof); 11] = [
    ("bind9-dnsutils", Proof::Program("dig")),
    ("curl", Proof::Program("curl")),
    ("ethtool", Proof::Program("ethtool")),
    ("iperf3", Proof::Program("iperf3")),
    ("iproute2", Proof::Program("ip")),
    ("iptables", Proof::Program("iptables-save")),
    ("iputils-ping", Proof::Program("ping")),
    ("nftables", Proof::Program("nft")),
    ("openssl", Proof::Program("openssl")),
    ("python3-scapy", Proof::Folder("/usr/lib/python3/dist-packages/scapy")),
    ("valgrind", Proof::Program("valgrind")),
];

/// What boots kernels that are not this machine's.
const VIRTUAL_MACHINE: [(&str, Proof); 3] = [
    ("ipvsadm", Proof::Program("ipvsadm")),
    ("kmod", Proof::Program("depmod")),
    ("qemu-system-x86", Proof::Program("qemu-system-x86_64")),
];

enum Proof {
    Program(&'static str),
    Folder(&'static str),
}

impl Proof {
    fn holds(&self) -> bool {
        match self {
            Self::Program(name) => find_program(name).is_some(),
            Self::Folder(path) => Path::new(path).is_dir(),
        }
    }
}

/// Installs what is missing, where that is possible, and returns what is still missing.
pub(crate) fn ensure() -> Result<Vec<&'static str>> {
    let missing = install_missing(&TOOLS)?;
    if !missing.is_empty() {
        say(&format!(
            "tests and demo lack {0}; as root on Debian: apt-get install {0}",
            missing.join(" ")
        ));
    }
    Ok(missing)
}

/// Installs what boots virtual machines, where that is possible; an error where it is missing still.
pub(super) fn ensure_virtual_machine() -> Result<()> {
    let missing = install_missing(&VIRTUAL_MACHINE)?;
    if !missing.is_empty() {
        bail!(
            "virtual machines need {0}; as root on Debian: apt-get install {0}",
            missing.join(" ")
        );
    }
    Ok(())
}

fn install_missing(tools: &[(&'static str, Proof)]) -> Result<Vec<&'static str>> {
    let missing = missing(tools);
    if missing.is_empty() || !debian::can_install() {
        return Ok(missing);
    }
    debian::install(&missing)?;
    Ok(self::missing(tools))
}

fn missing(tools: &[(&'static str, Proof)]) -> Vec<&'static str> {
    tools.iter().filter(|(_, proof)| !proof.holds()).map(|(package, _)| *package).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_there_when_its_proof_is() {
        assert!(Proof::Program("sh").holds());
        assert!(!Proof::Program("no-such-program-anywhere").holds());
        assert!(Proof::Folder("/").holds());
        assert!(!Proof::Folder("/no/such/folder").holds());
    }
}
