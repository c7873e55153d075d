//! The node's pod network: namespaces, veth pairs, the bridge, addresses and routes, and what ties
//! it to other nodes' (uplinks, overlay, routes to peers), all through rtnetlink.
//!
//! [`PodNet`] works on what the kernel says is there, not on what it remembers: every `ensure_…`
//! reads first and changes only what differs, so a restarted agent takes its pods over without
//! their connections noticing, and what was damaged by hand is repaired. What it must remember is
//! whose a thing is: `records` notes everything under the run directory before it is made, and
//! nothing that is not noted there is ever changed or removed. Several agents share one machine,
//! each with its own run directory, in its own network namespace.

mod attachment;
mod bridge;
mod cleanup;
mod ends;
mod error;
mod host_end;
mod names;
mod netlink;
mod netns;
mod overlay;
mod peers;
mod pod_end;
mod pod_mtu;
mod reconcile;
mod records;
mod remove;
mod resolv_conf;
mod settings;
#[cfg(test)]
mod tests;
mod uplinks;
mod watch;

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use maps_schema::address::PodLink;
use rtnetlink::packet_route::link::InfoKind;
use tokio::sync::Mutex;

pub use self::{
    attachment::{Interfaces, addresses_with_gateways, cookie_at, host_interface_of},
    bridge::{Bridge, gateway_of},
    cleanup::cleanup,
    error::Error,
    netns::enter as enter_netns,
    overlay::{OVERLAY_NAME, Overlay, OverlaySettings, vtep_mac, vxlan_overhead},
    peers::{Peer, PeerRoute, PeerRouting, ROUTE_PROTOCOL, ReconciledPeers, peer_routes},
    pod_mtu::pod_mtu,
    reconcile::{DesiredPod, Reconciled},
    records::{PodRecord, boot_id},
    resolv_conf::{PodDns, resolv_conf},
    uplinks::{Uplink, UplinkDriver, underlay_address},
    watch::{LinkEvent, watch_links},
};
use self::{
    ends::Ends,
    netlink::Link,
    netns::Netns,
    pod_end::{Outcome, PodEnd},
    records::Records,
};
use crate::cluster::model::ObjectName;

/// Where `ip netns` looks for namespaces.
const NETNS_FOLDER: &str = "/run/netns";
/// Where `ip netns exec` looks for a namespace's own files of `/etc`.
const ETC_NETNS_FOLDER: &str = "/etc/netns";

/// A pod that has its network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodNetwork {
    /// The pod.
    pub pod: ObjectName,
    /// Its network namespace: by name, `<namespace>.<name>`, where shunt made it, and by path where
    /// a container runtime did.
    pub netns: String,
    /// The cookie of its network namespace (`SO_NETNS_COOKIE`).
    pub netns_cookie: u64,
    /// The name of the host end of its veth pair.
    pub host_interface: String,
    /// The index of the host end, and the Ethernet address of the pod's interface.
    pub link: PodLink,
    /// The addresses of its interface, at most one per family.
    pub addresses: Vec<IpAddr>,
}

impl PodNetwork {
    /// Where its network namespace is mounted.
    pub fn netns_path(&self) -> PathBuf {
        netns_path(&self.netns)
    }
}

impl PodRecord {
    /// Where the pod's network namespace is mounted, if it still is.
    pub fn netns_path(&self) -> PathBuf {
        netns_path(&self.netns)
    }
}

/// The pod network of the network namespace that it was opened in. Calls for different pods may run
/// side by side; for one pod, one at a time.
#[derive(Debug)]
pub struct PodNet {
    handle: rtnetlink::Handle,
    records: Records,
    node_lock: Mutex<()>,
}

impl PodNet {
    /// Opens the pod network of the calling thread's network namespace, with its records under
    /// `run_dir`. To be called in a tokio runtime whose threads are all in that namespace.
    pub fn open(run_dir: &Path) -> Result<Self, Error> {
        let (connection, handle, _) = rtnetlink::new_connection()
            .map_err(Error::kernel("opening a netlink socket (NETLINK_ROUTE)"))?;
        tokio::spawn(connection);
        netns::prepare_folder(Path::new(NETNS_FOLDER))?;
        Ok(Self::with_handle(handle, run_dir))
    }

    fn with_handle(handle: rtnetlink::Handle, run_dir: &Path) -> Self {
        Self { handle, records: Records::new(run_dir), node_lock: Mutex::new(()) }
    }

    /// Makes the pod's network, or repairs what is missing of it. What is right already is not
    /// touched. Addresses that it had from shunt before and that are not among `addresses` are
    /// removed.
    pub async fn ensure_pod(
        &self,
        bridge: &Bridge,
        dns: &PodDns,
        pod: &ObjectName,
        addresses: &[IpAddr],
    ) -> Result<PodNetwork, Error> {
        let (mut record, netns) = self.ensure_namespace(pod, addresses).await?;
        let gone = |old: &&IpAddr| !addresses.contains(old);
        let stale: Vec<IpAddr> = record.addresses.iter().filter(gone).copied().collect();
        let noted = record.clone();
        record.addresses = addresses.iter().chain(&stale).copied().collect();
        if host_end::outside(bridge, addresses).next().is_some() {
            record.routed_over = Some(bridge.name.clone());
        }
        if record != noted {
            self.records.write_pod(&record)?;
        }
        let link = self.ensure_pair(bridge, &record.ends(), &netns, addresses, &stale).await?;
        self.ensure_host_routes(bridge, addresses).await?;
        self.remove_host_routes(record.routed_over.as_deref(), &stale).await?;
        write_resolv_conf(&record, &resolv_conf(&pod.namespace, dns))?;
        if !stale.is_empty() {
            record.addresses = addresses.to_vec();
            self.records.write_pod(&record)?;
        }
        Ok(PodNetwork {
            pod: pod.clone(),
            netns: record.netns,
            netns_cookie: netns.cookie,
            host_interface: record.host_interface,
            link,
            addresses: addresses.to_vec(),
        })
    }

    /// The pods that shunt made anything for, finished or not, and the records that cannot be read.
    pub fn list(&self) -> (Vec<PodRecord>, Vec<Error>) {
        self.records.pods()
    }

    /// The addresses that the recorded pods' namespaces have in the kernel: what remains where the
    /// address store is lost.
    pub async fn observed_addresses(&self) -> Vec<(ObjectName, Vec<IpAddr>)> {
        let mut observed = Vec::new();
        for record in self.records.pods().0 {
            let netns = netns::open(netns_path(&record.netns)).await;
            if let Ok(Some(netns)) = netns
                && netns.cookie == record.netns_cookie
            {
                let action = format!("reading the addresses of pod {}", record.pod());
                match netns.run(action, pod_end::addresses).await {
                    Ok(addresses) => observed.push((record.pod(), addresses)),
                    Err(error) => log::warn!("{error}"),
                }
            }
        }
        observed
    }

    async fn ensure_namespace(
        &self,
        pod: &ObjectName,
        addresses: &[IpAddr],
    ) -> Result<(PodRecord, Netns), Error> {
        let name = names::netns_name(pod)?;
        let path = netns_path(&name);
        let boot_id = records::boot_id()?;
        let record = self.records.pod(&name)?.filter(|record| record.boot_id == boot_id);
        let not_ours = || Error::NamespaceNotOurs { pod: pod.clone(), path: path.clone() };
        if let Some(netns) = netns::open(path.clone()).await? {
            return match record {
                Some(record) if record.netns_cookie == netns.cookie => Ok((record, netns)),
                _ => Err(not_ours()),
            };
        }
        let host_interface = names::host_interface_name(pod);
        if record.is_some() {
            // The file of a namespace that was never mounted, or that was unmounted by hand.
            netns::unmount(&path)?;
        } else if netlink::link(&self.handle, &host_interface).await?.is_some() {
            let (pod, interface) = (pod.clone(), host_interface);
            return Err(Error::HostInterfaceNotOurs { pod, interface });
        }
        let before = record;
        let before = before.as_ref();
        let etc = etc_folder(&name);
        let mut record = PodRecord {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            netns: name.clone(),
            netns_cookie: 0,
            boot_id,
            host_interface,
            addresses: addresses.to_vec(),
            routed_over: before.and_then(|record| record.routed_over.clone()),
            made_etc_folder: before.is_some_and(|record| record.made_etc_folder) || !etc.exists(),
            made_resolv_conf: before.is_some_and(|record| record.made_resolv_conf)
                || !etc.join("resolv.conf").exists(),
        };
        if let Some(before) = before {
            record.addresses.extend(before.addresses.iter().filter(|old| !addresses.contains(old)));
        }
        let (records, mut noted) = (self.records.clone(), record.clone());
        let created = netns::create(path.clone(), move |cookie| {
            noted.netns_cookie = cookie;
            records.write_pod(&noted)
        });
        match created.await {
            Ok(netns) => {
                record.netns_cookie = netns.cookie;
                log::debug!("pod={pod} made network namespace {name}");
                Ok((record, netns))
            }
            Err(error) => {
                match before {
                    // Its host end may still be there.
                    Some(before) => self.records.write_pod(before)?,
                    None => self.records.remove_pod(&name)?,
                }
                let exists = error.errno() == Some(libc::EEXIST);
                Err(if exists { not_ours() } else { error })
            }
        }
    }

    async fn ensure_pair(
        &self,
        bridge: &Bridge,
        ends: &Ends,
        netns: &Netns,
        addresses: &[IpAddr],
        stale: &[IpAddr],
    ) -> Result<PodLink, Error> {
        let mut host = self.ensure_host_end(bridge, ends, netns).await?;
        let mut end = pod_end(bridge, ends, &host, addresses);
        end.stale = stale.to_vec();
        let action = format!("configuring pod {}", ends.pod);
        let wanted = end.clone();
        let outcome =
            netns.run(action.clone(), |handle| pod_end::configure(handle, wanted)).await?;
        let outcome = match outcome {
            Outcome::NotThePeer { another } => {
                // The other end is in a namespace that was replaced, or it was taken away.
                let Ends { pod, interface, host_interface, .. } = ends;
                log::warn!("pod={pod} remaking interface={host_interface}");
                log::debug!("pod={pod} another {interface} is in its place: {another}");
                self.remove_host_end(host_interface).await?;
                host = self.ensure_host_end(bridge, ends, netns).await?;
                (end.host_index, end.host_peer) = (host.index, host.peer);
                netns.run(action, |handle| pod_end::configure(handle, end)).await?
            }
            ready @ Outcome::Ready(_) => ready,
        };
        match outcome {
            Outcome::Ready(mac) => Ok(PodLink { interface: host.interface(), mac }),
            Outcome::NotThePeer { .. } => Err(ends.not_the_peer()),
        }
    }
}

/// Whether a link is a host end that packets pass through.
fn bridge_end_is_right(bridge: &Bridge, link: &Link) -> bool {
    link.kind == Some(InfoKind::Veth) && link.up && link.controller == Some(bridge.interface.get())
}

/// What the pod's side of a pair shall be.
fn pod_end(bridge: &Bridge, ends: &Ends, host: &Link, addresses: &[IpAddr]) -> PodEnd {
    PodEnd {
        pod: ends.pod.clone(),
        interface: ends.interface.clone(),
        host_index: host.index,
        host_peer: host.peer,
        mtu: bridge.mtu,
        addresses: addresses.iter().map(|address| with_prefix(bridge, *address)).collect(),
        stale: Vec::new(),
        gateways: gateways(bridge, addresses),
    }
}

/// The cookie (`SO_NETNS_COOKIE`) of the calling thread's network namespace: the node's, where the
/// agent calls it.
pub fn node_netns_cookie() -> Result<u64, Error> {
    netns::current_cookie()
}

/// Where a namespace is mounted that is known by its name, or by its path.
fn netns_path(netns: &str) -> PathBuf {
    Path::new(NETNS_FOLDER).join(netns)
}

fn etc_folder(netns: &str) -> PathBuf {
    Path::new(ETC_NETNS_FOLDER).join(netns)
}

/// An address with its network's prefix length; alone where it is outside of the bridge's networks.
fn with_prefix(bridge: &Bridge, address: IpAddr) -> IpNet {
    let around = bridge.gateways.iter().find(|gateway| gateway.contains(&address));
    around
        .and_then(|gateway| IpNet::new(address, gateway.prefix_len()).ok())
        .unwrap_or_else(|| IpNet::from(address))
}

/// The gateway of each address's family, and whether it is outside of the address's network.
fn gateways(bridge: &Bridge, addresses: &[IpAddr]) -> Vec<(IpAddr, bool)> {
    let of = |address: &IpAddr| {
        let gateway = bridge.gateway_for(*address)?;
        Some((gateway.addr(), !gateway.contains(address)))
    };
    addresses.iter().filter_map(of).collect()
}

/// Written in place and not renamed into it: `ip netns exec` mounts the file itself, and processes
/// that run shall see the change.
fn write_resolv_conf(record: &PodRecord, text: &str) -> Result<(), Error> {
    let folder = etc_folder(&record.netns);
    let path = folder.join("resolv.conf");
    let failed = || Error::kernel::<io::Error>(format!("writing {}", path.display()));
    if !record.made_resolv_conf {
        return Ok(());
    }
    if fs::read(&path).is_ok_and(|present| present == text.as_bytes()) {
        return Ok(());
    }
    fs::create_dir_all(&folder).map_err(failed())?;
    fs::write(&path, text).map_err(failed())
}
