//! The agent's part of the pod network: which pods, with which addresses, and their programs.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use maps_schema::{address::AddressPair, socket::SocketNamespace};

use super::{
    datapath::{lock, translates_pods},
    node::NodeAgent,
};
use crate::{
    cluster::model::ObjectName,
    dns::dns_service,
    ipam::{AddressRequest, Holder},
    podnet::{DesiredPod, PodDns, PodNetwork, Reconciled, node_netns_cookie},
    source::SourceError,
};

impl NodeAgent {
    /// Lets the address store know the node's CIDRs, and what pods have in the kernel.
    pub(super) async fn adopt_addresses(&mut self, pod_cidrs: &[IpNet]) {
        for holder in self.ipam.set_cidrs(pod_cidrs) {
            log::warn!("{holder} gets another address: its own is outside of the node's CIDRs");
        }
        self.adopt_attachments();
        for (pod, addresses) in self.podnet.observed_addresses().await {
            self.ipam.adopt(&Holder::Pod(pod), &addresses);
        }
    }

    /// Gives addresses and networks to the pods that shall be here. Those that shall not be here
    /// any more stay for the moment, and are returned: services are to be led away from them first.
    pub(super) async fn make_pods(&mut self) -> anyhow::Result<BTreeSet<ObjectName>> {
        let wanted = self.wanted_pods();
        self.leftovers.see(&wanted);
        let (records, unreadable) = self.podnet.list();
        for error in unreadable {
            log::warn!("{error}");
        }
        let mut errors = Vec::new();
        let mut desired = self.assign_addresses(&wanted, &mut errors);
        let mut leaving = BTreeSet::new();
        for record in records {
            let pod = record.pod();
            if desired.iter().any(|desired| desired.pod == pod) {
                continue;
            }
            // A pod whose new addresses are refused stays as it is; so does one whose object may be
            // in what could not be read.
            if wanted.contains(&pod) || self.leftovers.keeps(&pod) {
                desired.push(DesiredPod { pod, addresses: record.addresses });
                continue;
            }
            // What was half made is not worth keeping for a moment.
            if self.views.read().pods.contains_key(&pod) {
                desired.push(DesiredPod { pod: pod.clone(), addresses: record.addresses });
            }
            leaving.insert(pod);
        }
        self.reconcile_pods(&desired, &mut errors).await?;
        self.repair_attachments().await?;
        errors.retain(|error| {
            let namespace = error.namespace.clone().unwrap_or_default();
            let name = error.name.clone().unwrap_or_default();
            !leaving.contains(&ObjectName { namespace, name }) || error.field.is_some()
        });
        self.views.write().pod_errors = errors;
        Ok(leaving)
    }

    /// Removes the pods that shall not be here, now that no service leads to them, and serves those
    /// that were waiting for their addresses.
    pub(super) async fn remove_pods(&mut self) -> anyhow::Result<()> {
        let wanted = self.wanted_pods();
        let mut errors = Vec::new();
        let kept: Vec<DesiredPod> = {
            let model = self.views.read();
            let stays = |pod: &ObjectName| wanted.contains(pod) || self.leftovers.keeps(pod);
            let kept = model.pods.values().filter(|network| stays(&network.pod));
            kept.map(|network| DesiredPod {
                pod: network.pod.clone(),
                addresses: network.addresses.clone(),
            })
            .collect()
        };
        let pods = wanted.iter().chain(kept.iter().map(|kept| &kept.pod)).cloned();
        let attached = self.attachments.all().map(|it| Holder::Attachment(it.key.clone()));
        let leased = pods.map(Holder::Pod).chain(attached).collect();
        self.reconcile_pods(&kept, &mut errors).await?;
        self.ipam.retain(&leased)?;
        if self.views.read().pod_errors.is_empty() {
            return Ok(());
        }
        errors.clear();
        let mut desired = self.assign_addresses(&wanted, &mut errors);
        let assigned: BTreeSet<ObjectName> =
            desired.iter().map(|desired| desired.pod.clone()).collect();
        desired.extend(kept.into_iter().filter(|kept| !assigned.contains(&kept.pod)));
        self.reconcile_pods(&desired, &mut errors).await?;
        self.views.write().pod_errors = errors;
        Ok(())
    }

    fn assign_addresses(
        &mut self,
        wanted: &BTreeSet<ObjectName>,
        errors: &mut Vec<SourceError>,
    ) -> Vec<DesiredPod> {
        let (pods, requests): (Vec<ObjectName>, Vec<AddressRequest>) = {
            let model = self.views.read();
            let pods = wanted.iter().filter_map(|name| model.cluster.pod(name));
            pods.map(|pod| {
                let holder = Holder::Pod(pod.name.clone());
                (pod.name.clone(), AddressRequest { holder, wanted: pod.addresses.clone() })
            })
            .unzip()
        };
        let answers = self.ipam.assign(&requests);
        let mut desired = Vec::new();
        for (pod, answer) in pods.into_iter().zip(answers) {
            match answer {
                Ok(addresses) => {
                    self.views.write().cluster.assign_addresses(&pod, addresses.clone());
                    desired.push(DesiredPod { pod, addresses });
                }
                Err(error) => {
                    errors.push(self.pod_error(&pod, Some("status.podIPs"), error.to_string()));
                }
            }
        }
        desired
    }

    async fn reconcile_pods(
        &mut self,
        desired: &[DesiredPod],
        errors: &mut Vec<SourceError>,
    ) -> anyhow::Result<()> {
        let dns = self.dns();
        let Some(datapath) = &mut self.datapath else {
            return Ok(());
        };
        let Reconciled { removed, pods, unreadable: _ } =
            self.podnet.reconcile(&datapath.bridge, &dns, desired).await;
        let mut failed: Vec<(ObjectName, String)> = Vec::new();
        let mut made: BTreeMap<ObjectName, PodNetwork> = BTreeMap::new();
        {
            let before = self.views.read();
            let mut programs = lock(&datapath.programs)?;
            for (pod, result) in removed {
                match result {
                    Ok(()) => log::info!("pod={pod} network removed"),
                    Err(error) => failed.push((pod.clone(), error.to_string())),
                }
                if let Some(network) = before.pods.get(&pod) {
                    programs.forget_interface(&network.host_interface);
                }
            }
            for (pod, result) in pods {
                let network = match result {
                    Ok(network) => network,
                    Err(error) => {
                        failed.push((pod, error.to_string()));
                        continue;
                    }
                };
                // An interface that is the same as before has its program.
                if before.pods.get(&pod).is_none_or(|before| before.link != network.link) {
                    if let Err(error) = programs.attach_pod(&network.host_interface) {
                        failed.push((pod, error.to_string()));
                        continue;
                    }
                    log::info!(
                        "pod={pod} netns={} interface={} attached",
                        network.netns,
                        network.host_interface
                    );
                }
                made.insert(pod, network);
            }
        }
        for (pod, message) in failed {
            errors.push(self.pod_error(&pod, None, message));
        }
        self.views.write().pods = made;
        Ok(())
    }

    /// Tells the datapath which pods there are. The Services and host ports that have a pod as an
    /// endpoint to which the way has changed are pending then.
    pub(super) fn announce_pods(&mut self) -> anyhow::Result<()> {
        let Some(datapath) = &mut self.datapath else {
            return Ok(());
        };
        let model = self.views.read();
        let changed = datapath.sync.set_pods(&model.links().collect())?;
        if !changed.is_empty() {
            self.pending.add_owners(model.users_of(&changed));
        }
        let node =
            SocketNamespace { addresses: datapath.network.primary, owner: SocketNamespace::NODE };
        let mut namespaces = BTreeMap::from([(node_netns_cookie()?, node)]);
        if translates_pods(&self.config) {
            let pods = model.networks();
            namespaces.extend(pods.map(|network| (network.netns_cookie, namespace(network))));
        }
        datapath.sync.set_namespaces(&namespaces)?;
        Ok(())
    }

    fn dns(&self) -> PodDns {
        let model = self.views.read();
        let servers =
            model.cluster.service(&dns_service()).map(|service| service.cluster_ips.clone());
        PodDns {
            servers: servers.unwrap_or_default(),
            cluster_domain: self.config.dns_zone.clone(),
        }
    }
}

/// A pod's network namespace, for its sockets.
fn namespace(network: &PodNetwork) -> SocketNamespace {
    SocketNamespace { addresses: pair(&network.addresses), owner: SocketNamespace::POD }
}

/// The first address of each family.
pub(super) fn pair(addresses: &[IpAddr]) -> AddressPair {
    let mut pair = AddressPair::default();
    for address in addresses.iter().rev() {
        match *address {
            IpAddr::V4(address) => pair.v4 = address.into(),
            IpAddr::V6(address) => pair.v6 = address.into(),
        }
    }
    pair
}
