//! The agent's one owner: what it has in hand, and what has to be done when.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use jiff::Timestamp;
use tokio::time::{Instant as Alarm, sleep_until};

use super::{
    announce::Announcer,
    datapath::Datapath,
    dns::{ClusterDns, add_dns_pod},
    leftovers::Leftovers,
    model::{LastSync, Readiness},
    observed::{News, Observed},
    service_manager::ServiceManager,
    views::Views,
};
use crate::{
    attachments::{AttachmentKey, Attachments},
    cluster::{Dirty, model::Kind},
    cni::installation,
    config::AgentConfig,
    connections::judge::UdpFrontend,
    health::HealthServers,
    heap,
    ipam::Ipam,
    loader::probe::Capabilities,
    metrics::SyncKind,
    places::Places,
    podnet::{LinkEvent, OVERLAY_NAME, PodNet, boot_id, node_netns_cookie},
    source::{Batch, SourceError, error_log::ErrorLog},
};

/// How long after a failure the same is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// So many changes at once took memory to read that is worth giving back.
const LARGE: usize = 1000;

pub(super) struct NodeAgent {
    pub(super) config: AgentConfig,
    pub(super) capabilities: Capabilities,
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
    pub(super) recovered: bool,
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
