//! The containers that a runtime had attached, from one start of the agent to the next: taken up,
//! repaired, removed. Which there are, only the runtime says.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    datapath::lock,
    model::{AttachedNetwork, Model},
    node::NodeAgent,
    services::Which,
};
use crate::{
    attachments::{Attachment, AttachmentKey, PortMapping, Stage},
    cluster::AttachedPod,
    cni::notes,
    ipam::Holder,
    loader::forget_pod_link,
    podnet::Error,
    source::{Origin, SourceError},
};

/// Has the node's ports that an attachment asks for lead to it, unless others have them.
pub(super) fn lead_host_ports_to(model: &mut Model, attachment: &Attachment) {
    if attachment.port_mappings.is_empty() {
        return;
    }
    let pod = AttachedPod {
        addresses: attachment.addresses.clone(),
        host_ports: attachment.port_mappings.iter().map(PortMapping::host_port).collect(),
        created: Some(attachment.created),
        origin: Origin::runtime(&attachment.netns),
    };
    model.cluster.attach_pod(&attachment.pod_name(), pod);
}

impl NodeAgent {
    /// Removes what a former agent did not finish, and what was deleted while none ran. Before the
    /// first request: whoever asked for it has given up on it, and may ask anew.
    pub(super) async fn take_up_attachments(&mut self) {
        let mut keys: BTreeSet<AttachmentKey> =
            notes::read(&self.config.run_dir).into_iter().collect();
        let unfinished = self.attachments.all().filter(|it| it.stage == Stage::Making);
        keys.extend(unfinished.map(|it| it.key.clone()));
        self.detach(&keys).await;
        let known = self.attachments.all().count();
        if known > 0 {
            log::info!("attachments={known} known from a former agent");
        }
    }

    /// Lets the address store know what attachments have; what it thinks of others is released.
    pub(super) fn adopt_attachments(&mut self) {
        let mut holders = BTreeSet::new();
        for attachment in self.attachments.all() {
            let holder = Holder::Attachment(attachment.key.clone());
            self.ipam.adopt(&holder, &attachment.addresses);
            holders.insert(holder);
        }
        let released = self.ipam.release_attachments_but(&holders);
        if let Err(error) = released {
            log::warn!("addresses of containers that are gone stay taken: {error}");
        }
    }

    /// Makes sure that each attachment of this boot has its network and its program. One whose
    /// namespace is gone has none, and waits for the runtime to delete it.
    pub(super) async fn repair_attachments(&mut self) -> anyhow::Result<()> {
        let wanted: Vec<Attachment> =
            self.attachments.all().filter(|it| self.is_here(it)).cloned().collect();
        let Some(datapath) = &mut self.datapath else { return Ok(()) };
        let repaired = self.podnet.repair_attachments(&datapath.bridge, &wanted).await;
        let mut made: BTreeMap<AttachmentKey, AttachedNetwork> = BTreeMap::new();
        let mut failed: Vec<(&Attachment, String)> = Vec::new();
        {
            let before = self.views.read();
            let mut programs = lock(&datapath.programs)?;
            for (attachment, repaired) in wanted.iter().zip(repaired) {
                let network = match repaired {
                    Ok(interfaces) => interfaces.network,
                    Err(error @ Error::NamespaceGone { .. }) => {
                        log::debug!("{error}; it waits for its DEL");
                        programs.forget_interface(&attachment.host_interface);
                        continue;
                    }
                    Err(error) => {
                        failed.push((attachment, error.to_string()));
                        continue;
                    }
                };
                let former = before.attached.get(&attachment.key);
                // An interface that is the same as before has its program.
                if former.is_none_or(|former| former.network.link != network.link)
                    && let Err(error) = programs.attach_pod(&network.host_interface)
                {
                    failed.push((attachment, error.to_string()));
                    continue;
                }
                let created = attachment.created;
                made.insert(attachment.key.clone(), AttachedNetwork { network, created });
            }
        }
        let errors: Vec<SourceError> = failed
            .into_iter()
            .map(|(attachment, message)| self.pod_error(&attachment.pod_name(), None, message))
            .collect();
        let mut model = self.views.write();
        for attachment in wanted.iter().filter(|it| made.contains_key(&it.key)) {
            lead_host_ports_to(&mut model, attachment);
        }
        model.attached = made;
        model.attachment_errors = errors;
        Ok(())
    }

    /// Removes attachments: services are led away first, then the interfaces go, then what is known
    /// of them, then their addresses are free. What is not known is nothing. Returns whether all of
    /// it is gone; what is not is tried again.
    pub(super) async fn detach(&mut self, keys: &BTreeSet<AttachmentKey>) -> bool {
        let known: Vec<Attachment> =
            keys.iter().filter_map(|key| self.attachments.get(key).cloned()).collect();
        if !known.is_empty() {
            let mut model = self.views.write();
            for attachment in &known {
                model.attached.remove(&attachment.key);
                model.cluster.detach_pod(&attachment.pod_name(), &attachment.addresses);
            }
            drop(model);
            if let Err(error) = self.put_attachments_in_force() {
                log::warn!("the datapath still knows containers that are deleted: {error:#}");
                self.retry_soon();
            }
        }
        let bridge = self.config.bridge.as_str();
        let detached = self.podnet.detach_all(bridge, &known).await;
        let mut failed: BTreeSet<AttachmentKey> = BTreeSet::new();
        for (attachment, result) in known.iter().zip(detached) {
            match result {
                Ok(()) => self.forget_interface(&attachment.host_interface),
                Err(error) => {
                    log::error!("{} cannot be removed yet: {error}", attachment.key);
                    failed.insert(attachment.key.clone());
                }
            }
        }
        let gone: Vec<&AttachmentKey> =
            known.iter().map(|it| &it.key).filter(|key| !failed.contains(key)).collect();
        if let Err(error) = self.forget(&gone) {
            log::error!("writing the attachments in {}: {error}", self.config.state_dir.display());
            failed.extend(gone.into_iter().cloned());
        } else {
            for attachment in known.iter().filter(|it| !failed.contains(&it.key)) {
                log::info!("pod={} {} detached", attachment.pod_name(), attachment.key);
            }
        }
        self.remember_failed(keys, &failed);
        failed.is_empty()
    }

    /// Tries again to remove what could not be.
    pub(super) async fn remove_leaving(&mut self) {
        if !self.leaving.is_empty() {
            let keys = std::mem::take(&mut self.leaving);
            self.detach(&keys).await;
        }
    }

    /// Tells the datapath which pods there are now.
    ///
    /// # Errors
    /// The datapath did not take all of it.
    pub(super) fn put_attachments_in_force(&mut self) -> anyhow::Result<()> {
        // Before all pods are known, what is not known yet would seem to be gone.
        if !self.taken_over {
            return Ok(());
        }
        let dirty = self.views.write().cluster.take_dirty();
        self.pending.extend(dirty);
        self.announce_pods()?;
        self.apply_services(self.pending.owners(), Which::Dirty);
        (self.pending.services, self.pending.host_ports) = Default::default();
        if self.pending.pods || self.pending.nodes {
            self.retry_soon();
        }
        let name = &self.config.node_name;
        let cidrs = self.views.read().cluster.node(name).map(|node| node.pod_cidrs.clone());
        drop(self.judge_connections(&cidrs.unwrap_or_default(), Which::Dirty));
        Ok(())
    }

    /// Whether an attachment can have its network: since the last boot, no namespace is what it was.
    pub(super) fn is_here(&self, attachment: &Attachment) -> bool {
        attachment.boot_id == self.boot_id && !self.leaving.contains(&attachment.key)
    }

    fn forget(&mut self, keys: &[&AttachmentKey]) -> std::io::Result<()> {
        self.attachments.remove(keys.iter().copied())?;
        let holders = keys.iter().map(|&key| Holder::Attachment(key.clone())).collect();
        self.ipam.release(&holders).map(|_| ())
    }

    pub(super) fn forget_interface(&self, interface: &str) {
        if let Some(datapath) = &self.datapath
            && let Ok(mut programs) = lock(&datapath.programs)
        {
            programs.forget_interface(interface);
        } else {
            forget_pod_link(&self.config.bpffs, interface);
        }
    }

    /// The runtime was told, or will be, that these are gone: those that are not must not be
    /// forgotten, not even if the agent ends now.
    fn remember_failed(
        &mut self,
        keys: &BTreeSet<AttachmentKey>,
        failed: &BTreeSet<AttachmentKey>,
    ) {
        let run_dir = &self.config.run_dir;
        for key in keys {
            let noted = if failed.contains(key) {
                notes::leave(run_dir, key)
            } else {
                notes::take_back(run_dir, key)
            };
            if let Err(error) = noted {
                log::warn!("noting that {key} is deleted, in {}: {error}", run_dir.display());
            }
        }
        if !failed.is_empty() {
            self.leaving.extend(failed.iter().cloned());
            self.retry_soon();
        }
    }
}
