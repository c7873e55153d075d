//! Making the node equal to its objects: pods first, so that services find them; then services;
//! then the removal of pods that nobody uses any more.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use tokio::time::timeout;

use super::{
    datapath::{Datapath, translates_pods},
    model::Readiness,
    network::NodeNetwork,
    node::NodeAgent,
    services::Which,
};
use crate::{
    cluster::Dirty, connections::judge::EndpointsUpdate, dns::dns_service, heap, podnet::PodNetwork,
};

/// How long the removal of pods waits for flows to be led away from them.
const FLOWS_LED_AWAY: Duration = Duration::from_secs(1);

impl NodeAgent {
    /// Works on what is pending. Where it fails, all of that stays pending.
    pub(super) async fn reconcile_node(&mut self) -> anyhow::Result<Readiness> {
        let name = self.config.node_name.clone();
        let Some(node) = self.views.read().cluster.node(&name).cloned() else {
            return Ok(Readiness::NotReady(self.config.source.says_how_to_add_node(&name)));
        };
        if node.pod_cidrs.is_empty() {
            return Ok(Readiness::NotReady(format!(
                "Node {name}: spec.podCIDRs is empty: this node's pods have no addresses"
            )));
        }
        let is_network_dirty = self.pending.nodes || self.datapath.is_none();
        let uplinks = if is_network_dirty {
            Some(NodeNetwork::find_uplinks(&self.config, &self.podnet, &node).await?)
        } else {
            None
        };
        // What becomes of interfaces marks nodes and pods: a change of Services alone asks nobody.
        if self.pending.nodes || self.pending.pods || self.datapath.is_none() {
            self.ensure_datapath(&node.pod_cidrs).await?;
        }
        let first = !self.taken_over;
        if let Some(uplinks) = uplinks {
            self.ensure_network(&node, uplinks).await?;
            self.announce_network(&node).await?;
        }
        if self.pending.nodes || first {
            self.adopt_addresses(&node.pod_cidrs).await;
        }
        let which = if first { Which::All } else { Which::Dirty };
        // Pods are told where names are resolved.
        let is_dns_dirty = self.pending.services.contains(&dns_service());
        if self.pending.pods || self.pending.nodes || is_dns_dirty || first {
            let leaving = self.make_pods().await?;
            // Addresses that were just given make their pods endpoints.
            let endpoints = self.views.write().cluster.take_dirty().owners();
            self.pending.add_owners(endpoints);
            self.announce_pods()?;
            self.ensure_name_server().await;
            self.apply_services(self.pending.owners(), which);
            if !leaving.is_empty() {
                // A UDP flow goes to another endpoint before its own one takes nothing any more.
                let judged = self.judge_connections(&node.pod_cidrs, which);
                if timeout(FLOWS_LED_AWAY, judged).await.is_err() {
                    log::debug!("pods are removed before all connections were judged");
                }
                self.remove_pods().await?;
                let Dirty { services, host_ports, .. } = self.views.write().cluster.take_dirty();
                (self.pending.services, self.pending.host_ports) = (services, host_ports);
                self.announce_pods()?;
                self.apply_services(self.pending.owners(), Which::Dirty);
            }
        } else {
            self.apply_services(self.pending.owners(), which);
        }
        drop(self.judge_connections(&node.pod_cidrs, which));
        self.ensure_health_servers().await;
        self.ensure_name_server().await;
        let is_dns_failing = self.open_name_server();
        self.taken_over = true;
        if first {
            // The programs are loaded: what that took is several times what the agent keeps.
            heap::give_back();
        }
        self.pending = Dirty::default();
        if !self.recovered && self.leftovers.may_go() {
            self.finish_recovery()?;
            self.recovered = true;
        }
        if is_dns_failing || !self.leaving.is_empty() || self.views.read().has_failed() {
            self.retry_soon();
        }
        Ok(Readiness::Ready)
    }

    /// Starts the datapath, or makes it anew where the node's addresses are others than before.
    async fn ensure_datapath(&mut self, pod_cidrs: &[IpNet]) -> anyhow::Result<()> {
        let gateways: Vec<IpNet> =
            pod_cidrs.iter().filter_map(|&cidr| crate::podnet::gateway_of(cidr)).collect();
        match &mut self.datapath {
            Some(datapath) if datapath.gateways == gateways => {
                datapath.ensure_bridge(&self.podnet).await
            }
            _ => {
                let (datapath, readers) = Datapath::start(
                    &self.config,
                    &self.capabilities,
                    &self.podnet,
                    pod_cidrs,
                    Arc::clone(&self.observed.metrics),
                )
                .await?;
                self.datapath = Some(datapath);
                (self.taken_over, self.recovered) = (false, false);
                // The programs are others: each pod's interface gets the new one.
                let mut model = self.views.write();
                model.pods.clear();
                model.attached.clear();
                drop(model);
                self.views.set_readers(readers);
                Ok(())
            }
        }
    }

    fn finish_recovery(&mut self) -> anyhow::Result<()> {
        let Some(datapath) = &mut self.datapath else { return Ok(()) };
        let changed = datapath.sync.finish_recovery(Instant::now())?;
        let users: BTreeSet<_> = self.views.read().users_of(&changed).collect();
        self.apply_services(users, Which::Dirty);
        Ok(())
    }

    /// Has connections judged by the pods and endpoints that there are now. What was started anew
    /// is told of all of them. What is returned ends when all were judged.
    pub(super) fn judge_connections(
        &mut self,
        pod_cidrs: &[IpNet],
        which: Which,
    ) -> impl Future<Output = ()> + use<> {
        let judged = self.datapath.as_ref().map(|datapath| {
            let mut model = self.views.write();
            model.usage = datapath.sync.usage();
            let changed = std::mem::take(&mut self.udp_changes);
            datapath.reaper.judge_by(&EndpointsUpdate {
                pods: model.links().collect(),
                pod_cidrs: pod_cidrs.to_vec(),
                ways: datapath.sync.ways(),
                udp: if which == Which::All { model.serving_udp() } else { changed },
                pod_namespaces: if translates_pods(&self.config) {
                    model.networks().map(PodNetwork::netns_path).collect()
                } else {
                    Vec::new()
                },
            })
        });
        async {
            if let Some(judged) = judged {
                judged.await;
            }
        }
    }
}
