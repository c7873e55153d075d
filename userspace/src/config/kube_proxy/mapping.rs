//! From kube-proxy's fields to shunt's settings.
//!
//! What is left out there counts as what kube-proxy's default for its mode is, where that is another
//! than shunt's: who was served so before is served so after.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
};

use super::{document::Document, duration};
use crate::{
    config::{
        bind_address::BindAddress,
        settings::Settings,
        values::{Cidrs, DetectLocal, NodePortAddresses},
    },
    source::address::parse_ip,
};

/// What was made of it.
pub(super) struct Mapped {
    pub(super) settings: Settings,
    pub(super) warnings: Vec<String>,
}

/// A mode of kube-proxy's, as far as defaults depend on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Iptables,
    Ipvs,
    Nftables,
}

impl Mode {
    const fn section(self) -> &'static str {
        match self {
            Self::Iptables => "iptables",
            Self::Ipvs => "ipvs",
            Self::Nftables => "nftables",
        }
    }
}

/// Maps what has a counterpart. A value that kube-proxy would refuse is an error.
pub(super) fn map(document: &Document) -> Result<Mapped, String> {
    let mut warnings = Vec::new();
    let mode = mode(document)?;
    let kubeconfig = document.text("clientConnection.kubeconfig")?;
    let (healthz, metrics) = bind_addresses(document, &mut warnings)?;
    let masquerade_all = match mode {
        Mode::Nftables => "nftables.masqueradeAll",
        Mode::Iptables | Mode::Ipvs => "iptables.masqueradeAll",
    };
    let settings = Settings {
        node_name: document.text("hostnameOverride")?.map(str::to_owned),
        kubeconfig: kubeconfig.map(Into::into),
        // Without a kubeconfig kube-proxy takes the service account of its pod.
        in_cluster: kubeconfig.is_none().then_some(true),
        healthz_bind_address: Some(healthz),
        metrics_bind_address: Some(metrics),
        bind_address_hard_fail: document.truth("bindAddressHardFail")?,
        masquerade_all: document.truth(masquerade_all)?,
        detect_local: Some(detect_local(document)?),
        node_port_addresses: node_port_addresses(document, mode, &mut warnings)?,
        localhost_node_ports: match mode {
            Mode::Iptables => Some(document.truth("iptables.localhostNodePorts")? != Some(false)),
            Mode::Ipvs | Mode::Nftables => None,
        },
        health_timeout: health_timeout(document, mode)?,
        ..Settings::default()
    };
    Ok(Mapped { settings, warnings })
}

fn mode(document: &Document) -> Result<Mode, String> {
    match document.text("mode")? {
        None | Some("iptables") => Ok(Mode::Iptables),
        Some("ipvs") => Ok(Mode::Ipvs),
        Some("nftables") => Ok(Mode::Nftables),
        Some(other) => {
            Err(format!("mode: {other} is no mode of kube-proxy: iptables, ipvs or nftables"))
        }
    }
}

/// The two addresses, with kube-proxy's ports where none is written, and of the family of
/// `bindAddress` where no address is.
fn bind_addresses(
    document: &Document,
    warnings: &mut Vec<String>,
) -> Result<(BindAddress, BindAddress), String> {
    let node = document.text("bindAddress")?;
    let node = node.map(|text| address("bindAddress", text)).transpose()?;
    if let Some(node) = node.filter(|node| !node.is_unspecified()) {
        warnings.push(format!(
            "bindAddress: {node} is not carried over: shunt takes this node's address from its \
             Node object"
        ));
    }
    let (any, own): (IpAddr, IpAddr) = match node {
        Some(IpAddr::V6(_)) => (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::LOCALHOST.into()),
        _ => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into()),
    };
    let healthz = bind_address(document, "healthzBindAddress", any, 10256)?;
    let metrics = bind_address(document, "metricsBindAddress", own, 10249)?;
    Ok((healthz, metrics))
}

fn bind_address(
    document: &Document,
    path: &str,
    default: IpAddr,
    port: u16,
) -> Result<BindAddress, String> {
    let Some(text) = document.text(path)? else {
        return Ok(SocketAddr::new(default, port).into());
    };
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address.into());
    }
    let without_port = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    Ok(SocketAddr::new(address(path, without_port.unwrap_or(text))?, port).into())
}

fn address(path: &str, text: &str) -> Result<IpAddr, String> {
    parse_ip(text).ok_or_else(|| format!("{path}: {text} is no IP address"))
}

/// Who is local is whoever is in a pod, however kube-proxy was told to tell. Without a cluster CIDR
/// it had no way to, and nobody was.
fn detect_local(document: &Document) -> Result<DetectLocal, String> {
    let has_cidr = document.text("clusterCIDR")?.is_some();
    match document.text("detectLocalMode")? {
        None | Some("ClusterCIDR") if has_cidr => Ok(DetectLocal::Pods),
        None | Some("ClusterCIDR") => Ok(DetectLocal::Off),
        Some("NodeCIDR" | "BridgeInterface" | "InterfaceNamePrefix") => Ok(DetectLocal::Pods),
        Some(other) => Err(format!("detectLocalMode: {other} is no such mode")),
    }
}

fn node_port_addresses(
    document: &Document,
    mode: Mode,
    warnings: &mut Vec<String>,
) -> Result<Option<NodePortAddresses>, String> {
    let path = "nodePortAddresses";
    let given = document.texts(path)?;
    let networks = match given.as_slice() {
        [] if mode == Mode::Nftables => return Ok(Some(NodePortAddresses::Primary)),
        [] => vec!["0.0.0.0/0", "::/0"],
        ["primary"] => return Ok(Some(NodePortAddresses::Primary)),
        several if several.contains(&"primary") => {
            warnings.push(format!(
                "{path}: [{}] is not carried over: shunt takes primary alone, or CIDRs; see \
                 --node-port-addresses",
                several.join(", ")
            ));
            return Ok(None);
        }
        several => several
            .iter()
            .flat_map(|text| match *text {
                "all" => vec!["0.0.0.0/0", "::/0"],
                "localhost" => vec!["127.0.0.0/8", "::1/128"],
                text => vec![text],
            })
            .collect(),
    };
    let Cidrs(networks) = networks.join(",").parse().map_err(|error| format!("{path}: {error}"))?;
    Ok(Some(NodePortAddresses::Within(networks)))
}

/// A change is late for kube-proxy after twice the time between two looks at everything.
fn health_timeout(document: &Document, mode: Mode) -> Result<Option<NonZeroU32>, String> {
    let path = format!("{}.syncPeriod", mode.section());
    let Some(text) = document.text(&path)? else { return Ok(None) };
    let period = duration::parse(text)
        .ok_or_else(|| format!("{path}: {text} is no duration: write it as in 30s"))?;
    let seconds = u32::try_from(period.as_secs()).unwrap_or(u32::MAX).saturating_mul(2).max(1);
    Ok(NonZeroU32::new(seconds))
}
