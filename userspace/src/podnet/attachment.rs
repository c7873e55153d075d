//! The network of a container whose namespace a container runtime has made: the same pair, bridge,
//! addresses and routes as a pod of shunt's own, and nothing else. The namespace and the files in it
//! are the runtime's. What is shunt's is noted by `attachments` before it is made.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use futures_util::{StreamExt, stream};
use maps_schema::address::Mac;

use super::{
    Bridge, Error, PodNet, PodNetwork, bridge_end_is_right, ends::Ends, error::gone_is_fine, names,
    netlink, netns, netns::Netns, pod_end, reconcile::AT_ONCE, with_prefix,
};
use crate::attachments::Attachment;

/// A container's interfaces, as they stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interfaces {
    /// What the datapath is told.
    pub network: PodNetwork,
    /// The Ethernet address of the host end.
    pub host_mac: Mac,
}

/// The name that the host end of an attachment's pair has.
pub fn host_interface_of(container_id: &str, interface: &str) -> String {
    names::host_interface_named(&format!("{container_id} {interface}"))
}

/// The cookie of the network namespace that is mounted at `path`, where one is.
pub async fn cookie_at(path: &Path) -> Result<Option<u64>, Error> {
    Ok(netns::open(path.to_owned()).await?.map(|netns| netns.cookie))
}

impl PodNet {
    /// Makes what an attachment speaks of. Where it fails, something of it may be there: it is to be
    /// detached.
    ///
    /// # Errors
    /// An interface of one of the names is there already; the namespace is not the noted one; the
    /// kernel refuses something.
    pub async fn attach(
        &self,
        bridge: &Bridge,
        attachment: &Attachment,
    ) -> Result<Interfaces, Error> {
        let interface = &attachment.host_interface;
        if netlink::link(&self.handle, interface).await?.is_some() {
            let (pod, interface) = (attachment.pod_name(), interface.clone());
            return Err(Error::HostInterfaceNotOurs { pod, interface });
        }
        self.repair_attachment(bridge, attachment).await
    }

    /// Makes what is missing of an attachment. What is right already is not touched.
    ///
    /// # Errors
    /// The namespace is not the noted one: the container is gone. Or the kernel refuses something.
    pub async fn repair_attachment(
        &self,
        bridge: &Bridge,
        attachment: &Attachment,
    ) -> Result<Interfaces, Error> {
        let netns = open(attachment).await?;
        let (ends, addresses) = (ends(attachment), &attachment.addresses);
        let link = self.ensure_pair(bridge, &ends, &netns, addresses, &[]).await?;
        self.ensure_host_routes(bridge, addresses).await?;
        let host = netlink::link(&self.handle, &ends.host_interface).await?;
        Ok(Interfaces {
            network: PodNetwork {
                pod: ends.pod,
                netns: ends.netns,
                netns_cookie: netns.cookie,
                host_interface: ends.host_interface,
                link,
                addresses: addresses.clone(),
            },
            host_mac: host.map(|host| host.mac).unwrap_or_default(),
        })
    }

    /// Repairs many attachments, side by side; answers stand in their order.
    pub async fn repair_attachments(
        &self,
        bridge: &Bridge,
        attachments: &[Attachment],
    ) -> Vec<Result<Interfaces, Error>> {
        let repair = |attachment| self.repair_attachment(bridge, attachment);
        stream::iter(attachments.iter().map(repair)).buffered(AT_ONCE).collect().await
    }

    /// Makes many attachments, side by side; answers stand in their order.
    pub async fn attach_all(
        &self,
        bridge: &Bridge,
        attachments: &[Attachment],
    ) -> Vec<Result<Interfaces, Error>> {
        let attach = |attachment| self.attach(bridge, attachment);
        stream::iter(attachments.iter().map(attach)).buffered(AT_ONCE).collect().await
    }

    /// Removes the pairs of attachments, also while processes hold the namespaces, and the routes to
    /// addresses that `bridge` has no network for. What is gone already is a success; answers stand
    /// in their order.
    pub async fn detach_all(
        &self,
        bridge: &str,
        attachments: &[Attachment],
    ) -> Vec<Result<(), Error>> {
        let names: Vec<&str> =
            attachments.iter().map(|attachment| attachment.host_interface.as_str()).collect();
        self.remove_host_ends_together(&names).await;
        let detach = |attachment: &Attachment| {
            let (name, addresses) =
                (attachment.host_interface.clone(), attachment.addresses.clone());
            async move {
                gone_is_fine(self.remove_host_routes(Some(bridge), &addresses).await)?;
                self.remove_host_end(&name).await
            }
        };
        let detaches: Vec<_> = attachments.iter().map(detach).collect();
        stream::iter(detaches).buffered(AT_ONCE).collect().await
    }

    /// Looks whether everything of an attachment is as it was made.
    ///
    /// # Errors
    /// [`Error::Missing`] names what is not there.
    pub async fn check_attachment(
        &self,
        bridge: &Bridge,
        attachment: &Attachment,
    ) -> Result<(), Error> {
        let (netns, ends) = (open(attachment).await?, ends(attachment));
        let missing = |what: String| Error::Missing { pod: ends.pod.clone(), what };
        let host = netlink::link(&self.handle, &ends.host_interface).await?;
        let host = host.filter(|host| bridge_end_is_right(bridge, host)).ok_or_else(|| {
            missing(format!("{} as a port of {}", ends.host_interface, bridge.name))
        })?;
        let end = super::pod_end(bridge, &ends, &host, &attachment.addresses);
        let action = format!("checking pod {}", ends.pod);
        let found = netns.run(action, |handle| pod_end::find_missing(handle, end)).await?;
        found.map_or(Ok(()), |what| Err(missing(what)))
    }
}

/// The addresses of an attachment with their networks' prefix lengths, and the gateway of each.
pub fn addresses_with_gateways(
    bridge: &Bridge,
    addresses: &[IpAddr],
) -> Vec<(ipnet::IpNet, Option<IpAddr>)> {
    let with_gateway = |&address: &IpAddr| {
        let gateway = bridge.gateway_for(address).map(|gateway| gateway.addr());
        (with_prefix(bridge, address), gateway)
    };
    addresses.iter().map(with_gateway).collect()
}

async fn open(attachment: &Attachment) -> Result<Netns, Error> {
    let path: PathBuf = attachment.netns.clone();
    match netns::open(path.clone()).await? {
        Some(netns) if netns.cookie == attachment.netns_cookie => Ok(netns),
        _ => Err(Error::NamespaceGone { pod: attachment.pod_name(), path }),
    }
}

fn ends(attachment: &Attachment) -> Ends {
    let key = &attachment.key;
    Ends {
        pod: attachment.pod_name(),
        netns: attachment.netns.display().to_string(),
        interface: key.interface.clone(),
        mac: names::mac_named(&format!("{} {}", key.interface, key.container_id)),
        host_interface: attachment.host_interface.clone(),
    }
}
