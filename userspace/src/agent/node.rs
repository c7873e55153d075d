//! Making the node equal to its objects: pods first, so that services find them; then services;
//! then the removal of pods that nobody uses any more.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use ipnet::IpNet;
use jiff::Timestamp;
use tokio::time::{Instant as Alarm, sleep_until, timeout};

use super::{
    announce::Announcer,
    datapath::{Datapath, translates_pods},
    dns::{ClusterDns, add_dns_pod},
    leftovers::Leftovers,
    model::{LastSync, Readiness},
    network::NodeNetwork,
    observed::{News, Observed},
    service_manager::ServiceManager,
    services::Which,
    views::Views,
};
use crate::{
    attachments::{AttachmentKey, Attachments},
    cluster::{Dirty, model::Kind},
    cni::installation,
    config::AgentConfig,
    connections::judge::{EndpointsUpdate, UdpFrontend},
    dns::dns_service,
    health::HealthServers,
    heap,
    ipam::Ipam,
    loader::probe::Capabilities,
    metrics::SyncKind,
    places::Places,
    podnet::{LinkEvent, OVERLAY_NAME, PodNet, PodNetwork, boot_id, node_netns_cookie},
    source::{Batch, SourceError, error_log::ErrorLog},
};

/// How long after a failure the same is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// So many changes at once took memory to read that is worth giving back.
const LARGE: usize = 1000;

/// How long the removal of pods waits for flows to be led away from them.
const FLOWS_LED_AWAY: Duration = Duration::from_secs(1);

pub(super) struct NodeAgent {
    pub(super) config: AgentConfig,
    capabilities: Capabilities,
    pub(super) views: Arc<Views>,
    pub(super) podnet: PodNet,
    pub(super) ipam: Ipam,
    pub(super) attachments: Attachments,
    /// Attachments that could not be removed yet.
    pub(super) leaving: BTreeSet<AttachmentKey>,
    /// The kernel's name for the time since it booted.
    pub(super) boot_id: String,
    /// The cookie of the node's network namespace.
    pub(super) node_cookie: u64,
    pub(super) datapath: Option<Datapath>,
    /// Errors of this node, which the source does not know of.
    pub(super) errors: ErrorLog,
    pub(super) announcer: Announcer,
    retry: Option<Alarm>,
    /// What was dirty when something failed, or could not be worked on yet.
    pub(super) pending: Dirty,
    /// Whether everything that is known was put in force since the datapath was started.
    pub(super) taken_over: bool,
    /// Whether what a former agent left was gone through.
    recovered: bool,
    pub(super) leftovers: Leftovers,
    /// What the judge of connections does not know yet.
    pub(super) udp_changes: Vec<UdpFrontend>,
    /// Whether the CNI plugin and its configuration are where they shall be.
    pub(super) is_installed: bool,
    pub(super) manager: ServiceManager,
    pub(super) health: HealthServers,
    pub(super) observed: Observed,
    /// Where this node serves it.
    pub(super) dns: Option<ClusterDns>,
}

impl NodeAgent {
    pub(super) fn new(
        config: AgentConfig,
        capabilities: Capabilities,
        views: Arc<Views>,
        observed: Observed,
        announcer: Announcer,
    ) -> anyhow::Result<Self> {
        Places::note(&config, &installation::files(&config.cni))
            .with_context(|| format!("noting places in {}", config.run_dir.display()))?;
        let opened = Ipam::open(&config.state_dir, &config.run_dir)?;
        if let Some(damage) = opened.damage {
            log::warn!("{damage}");
        }
        let attachments = Attachments::open(&config.state_dir, &config.run_dir)?;
        if let Some(damage) = attachments.damage {
            log::error!("{damage}");
        }
        Ok(Self {
            podnet: PodNet::open(&config.run_dir)?,
            ipam: opened.ipam,
            attachments: attachments.attachments,
            leaving: BTreeSet::new(),
            boot_id: boot_id()?,
            node_cookie: node_netns_cookie()?,
            dns: config.dns.as_ref().map(|dns| ClusterDns::new(&config.dns_zone, dns)),
            config,
            capabilities,
            views,
            datapath: None,
            errors: ErrorLog::default(),
            announcer,
            retry: None,
            pending: Dirty::default(),
            taken_over: false,
            recovered: false,
            leftovers: Leftovers::default(),
            udp_changes: Vec::new(),
            is_installed: false,
            manager: ServiceManager::default(),
            health: HealthServers::new(Arc::clone(&observed.health)),
            observed,
        })
    }

    /// Takes changes from the source.
    pub(super) async fn take(&mut self, batch: Batch) {
        let Batch { changes, errors, synced } = batch;
        let is_large = changes.len() >= LARGE;
        let dirty = {
            let mut model = self.views.write();
            let mut news = News::default();
            for change in changes {
                news.count(&change, &model.cluster);
                model.cluster.apply(change);
            }
            if synced && self.dns.is_some() {
                add_dns_pod(&mut model.cluster);
            }
            if synced {
                self.observed.take(news, &model.cluster, &self.config.node_name);
            }
            if synced && self.leftovers.read(&errors, &model.cluster) {
                // Those that were kept until now may go.
                model.cluster.mark_pods();
            }
            let dirty = model.cluster.take_dirty();
            if !dirty.is_empty() || errors != model.source.errors || synced != model.source.synced {
                model.source.last_change = Some(Timestamp::now());
            }
            model.source.errors = errors;
            model.source.synced = synced;
            dirty
        };
        // Nodes tell every few minutes that they are well, and lists that begin anew show what is
        // known: that is no reason to look at every connection.
        if synced && dirty.is_empty() && self.is_done() {
            self.observed.nothing_to_do();
            self.report_errors();
        } else if synced {
            self.reconcile(dirty).await;
        } else {
            self.pending.extend(dirty);
            self.set_readiness(Readiness::NotReady(
                "the objects cannot be read; see the errors".to_owned(),
            ));
        }
        if is_large {
            heap::give_back();
        }
    }

    /// Whether all that was to be done is done.
    fn is_done(&self) -> bool {
        self.manager.is_ready() && self.recovered && self.retry.is_none() && self.pending.is_empty()
    }

    /// Looks at the node's interfaces again, where one of them that shall be there is not, or the
    /// node's addresses are others.
    pub(super) async fn repair(&mut self, events: &[LinkEvent]) {
        let Some(datapath) = &self.datapath else { return };
        let is_missed = {
            let model = self.views.read();
            let is_wanted = |name: &String| {
                *name == self.config.bridge.as_str()
                    || *name == OVERLAY_NAME
                    || datapath.network.has_uplink(name)
                    || model.networks().any(|pod| pod.host_interface == *name)
            };
            // Those that shunt has removed itself are told too.
            events.iter().any(|event| match event {
                LinkEvent::Vanished(name) => is_wanted(name),
                // The bridge goes up with its first pod and down with its last.
                LinkEvent::Changed(name) => {
                    *name != self.config.bridge.as_str() && datapath.network.is_concerned_by(name)
                }
                LinkEvent::Addresses => false,
                LinkEvent::Missed => true,
            })
        };
        if is_missed || events.contains(&LinkEvent::Addresses) && self.has_other_addresses().await {
            self.reconcile(Dirty { pods: true, nodes: true, ..Dirty::default() }).await;
        }
    }

    /// Has what failed tried again in a moment.
    pub(super) fn retry_soon(&mut self) {
        self.retry = Some(Alarm::now() + RETRY);
    }

    /// Waits until a failure is to be tried again; forever where there is none.
    pub(super) fn retry_due(&self) -> impl Future<Output = ()> + use<> {
        let due = self.retry;
        async move {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Tries again what has failed.
    pub(super) async fn retry(&mut self) {
        self.remove_leaving().await;
        let dirty = {
            let model = self.views.read();
            let pods = !model.pod_errors.is_empty() || !model.attachment_errors.is_empty();
            let mut dirty = Dirty { pods, ..Dirty::default() };
            dirty.add_owners(model.service_errors.keys().cloned());
            dirty
        };
        self.reconcile(dirty).await;
    }

    async fn reconcile(&mut self, dirty: Dirty) {
        self.retry = None;
        self.observed.begins();
        let kind = if self.taken_over { SyncKind::Partial } else { SyncKind::Full };
        let begun = Instant::now();
        let changes_before = self.changes();
        self.pending.extend(dirty);
        let outcome = self.reconcile_node().await;
        self.report_errors();
        let readiness = match outcome {
            Ok(Readiness::Ready) => Readiness::Ready,
            Ok(waits) => {
                self.observed.put_off();
                waits
            }
            Err(error) => {
                self.observed.failed();
                self.retry_soon();
                Readiness::NotReady(format!("{error:#}"))
            }
        };
        let changes = self.changes() - changes_before;
        if readiness == Readiness::Ready {
            let took = begun.elapsed();
            self.observed.synced(took, kind, changes);
            self.views.write().last_sync = Some(LastSync { took, changes, at: Timestamp::now() });
            log::debug!("micros={} changes={changes} synced", took.as_micros());
        }
        self.set_readiness(readiness);
        self.install();
    }

    fn changes(&self) -> u64 {
        self.datapath.as_ref().map_or(0, |datapath| datapath.sync.changes())
    }

    /// Works on what is pending. Where it fails, all of that stays pending.
    async fn reconcile_node(&mut self) -> anyhow::Result<Readiness> {
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
        self.ensure_datapath(&node.pod_cidrs).await?;
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

    /// Names of the pods that shall run here.
    pub(super) fn wanted_pods(&self) -> BTreeSet<crate::cluster::model::ObjectName> {
        let model = self.views.read();
        let own = model.cluster.own_node();
        model
            .cluster
            .pods()
            .filter(|pod| pod.node.as_deref() == Some(own) && !pod.host_network && !pod.finished)
            .map(|pod| pod.name.clone())
            .collect()
    }

    /// An error about a Pod, with the place where the Pod was read.
    pub(super) fn pod_error(
        &self,
        pod: &crate::cluster::model::ObjectName,
        field: Option<&str>,
        message: String,
    ) -> SourceError {
        let model = self.views.read();
        let mut error = match model.cluster.pod_origin(pod) {
            Some(origin) => SourceError::about_object(origin, Kind::Pod, pod),
            None => SourceError::about_file(self.config.source.place(), String::new()),
        };
        error.field = field.map(str::to_owned);
        error.message = message;
        error
    }
}
