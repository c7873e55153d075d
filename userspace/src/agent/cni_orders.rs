//! What the CNI plugin asks for, carried out by the agent's loop, many requests at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::{
    attachments::lead_host_ports_to, datapath::lock, model::AttachedNetwork, node::NodeAgent,
    views::mac,
};
use crate::{
    api::Order,
    attachments::{Attachment, AttachmentKey, PortMapping, Stage, pod_name},
    cluster::model::HostPort,
    cni::{
        error::{CniError, Code},
        message::{Add, Answer, Attached, AttachedAddress, Check, Interface, Request},
    },
    ipam::{self, AddressRequest, Holder},
    podnet::{Bridge, Interfaces, addresses_with_gateways, cookie_at, host_interface_of},
};

/// Where an answer goes.
type Reply = oneshot::Sender<Result<Answer, CniError>>;

/// Requests, by what they want.
#[derive(Debug, Default)]
struct Sorted {
    dels: Vec<(AttachmentKey, Reply)>,
    collections: Vec<(String, BTreeSet<AttachmentKey>, Reply)>,
    adds: Vec<(Add, Reply)>,
    checks: Vec<(Check, Reply)>,
}

impl NodeAgent {
    /// Carries out requests: removals first, whose addresses may be wanted, then what is to be made.
    pub(super) async fn carry_out(&mut self, orders: Vec<Order>) {
        let Sorted { dels, collections, adds, checks } = Sorted::sort(orders);
        let deleted: BTreeSet<AttachmentKey> = dels.iter().map(|(key, _)| key.clone()).collect();
        if !deleted.is_empty() {
            self.detach(&deleted).await;
        }
        // What could not be removed is the agent's business now, not the runtime's.
        for (_, reply) in dels {
            answer(reply, Ok(Answer::Done));
        }
        for (network, valid, reply) in collections {
            let stale: BTreeSet<AttachmentKey> = self
                .attachments
                .all()
                .filter(|it| it.network == network && !valid.contains(&it.key))
                .map(|it| it.key.clone())
                .collect();
            let all_gone = self.detach(&stale).await;
            let error =
                || CniError::new(Code::NotMade, "not all could be removed yet: see the log");
            answer(reply, if all_gone { Ok(Answer::Done) } else { Err(error()) });
        }
        if !adds.is_empty() {
            self.attach(adds).await;
        }
        for (check, reply) in checks {
            let result = self.check(&check).await;
            answer(reply, result.map(|()| Answer::Done));
        }
    }

    /// Attaches containers. Each is made whole, or nothing of it is left.
    async fn attach(&mut self, adds: Vec<(Add, Reply)>) {
        let mut wanted = Vec::new();
        let mut replies = BTreeMap::new();
        for (add, reply) in adds {
            let key = add.key.clone();
            match self.admit(add, &replies).await {
                Ok(attachment) => {
                    wanted.push(attachment);
                    replies.insert(key, reply);
                }
                Err(error) => answer(reply, Err(error)),
            }
        }
        let mut outcome = Outcome::default();
        let wanted = self.lease(wanted, &mut outcome);
        if let Err(error) = self.make(&wanted, &mut outcome).await {
            outcome.fail_all(&wanted, &error);
        }
        let failed: BTreeSet<AttachmentKey> = outcome.failed.keys().cloned().collect();
        self.detach(&failed).await;
        self.release_unnoted(&failed);
        let mut unheard = BTreeSet::new();
        for (key, reply) in replies {
            let result = match (outcome.made.remove(&key), outcome.failed.remove(&key)) {
                (Some(attached), None) => Ok(Answer::Attached(attached)),
                (_, Some(error)) => Err(error),
                (None, None) => continue,
            };
            let is_made = result.is_ok();
            if reply.send(result).is_err() && is_made {
                unheard.insert(key);
            }
        }
        // Whoever asked has gone away and was told of no success: so it must be as if there was none.
        self.detach(&unheard).await;
    }

    /// Whether an attachment can be made, as far as that shows beforehand.
    async fn admit(
        &self,
        add: Add,
        admitted: &BTreeMap<AttachmentKey, Reply>,
    ) -> Result<Attachment, CniError> {
        let Add { key, network, pod, netns, port_mappings } = add;
        let own = pod_name(&key, &pod);
        if self.datapath.is_none() || !self.taken_over {
            return Err(CniError::new(Code::TryAgainLater, "the node is not ready yet"));
        }
        if self.attachments.get(&key).is_some() || admitted.contains_key(&key) {
            let msg = format!("pod {own}: {key} is attached already");
            return Err(CniError::new(Code::AlreadyAttached, msg).details("delete it first"));
        }
        let invalid = |msg: String| CniError::new(Code::InvalidNamespace, msg);
        let cookie = cookie_at(&netns).await.map_err(|error| invalid(error.to_string()))?;
        let Some(netns_cookie) = cookie else {
            let path = netns.display();
            return Err(invalid(format!("pod {own}: {path} is no network namespace")).details(
                "an agent in a container needs the folder of network namespaces, /run/netns, with \
                 mount propagation HostToContainer",
            ));
        };
        if netns_cookie == self.node_cookie {
            let msg = format!("pod {own}: {} is the node's own namespace", netns.display());
            return Err(invalid(msg));
        }
        Ok(Attachment {
            host_interface: host_interface_of(&key.container_id, &key.interface),
            key,
            network,
            pod,
            netns,
            netns_cookie,
            boot_id: self.boot_id.clone(),
            created: Timestamp::now(),
            addresses: Vec::new(),
            port_mappings,
            stage: Stage::Making,
        })
    }

    /// Gives addresses to attachments; those that get none have failed. Where none is free, those
    /// that containers had before the last boot are: such a container is gone whatever happens.
    fn lease(&mut self, wanted: Vec<Attachment>, outcome: &mut Outcome) -> Vec<Attachment> {
        let requests: Vec<AddressRequest> = wanted.iter().map(request).collect();
        let mut answers = self.ipam.assign(&requests);
        let is_full = |answer: &Result<_, _>| matches!(answer, Err(ipam::Error::Full { .. }));
        if answers.iter().any(is_full) && self.give_up_former_boots() {
            answers = self.ipam.assign(&requests);
        }
        let mut leased = Vec::new();
        for (attachment, answer) in wanted.into_iter().zip(answers) {
            match answer {
                Ok(addresses) => leased.push(Attachment { addresses, ..attachment }),
                Err(error) => {
                    let error = CniError::new(Code::NoAddress, error.to_string());
                    outcome.failed.insert(attachment.key, error);
                }
            }
        }
        leased
    }

    /// Releases what was leased to attachments that were never noted.
    fn release_unnoted(&mut self, keys: &BTreeSet<AttachmentKey>) {
        let unnoted = keys.iter().filter(|key| self.attachments.get(key).is_none());
        let holders: BTreeSet<Holder> = unnoted.cloned().map(Holder::Attachment).collect();
        if let Err(error) = self.ipam.release(&holders) {
            // The next start does it.
            log::error!("releasing addresses of what was not attached: {error}");
        }
    }

    /// Forgets the attachments of former boots; whether there were any.
    fn give_up_former_boots(&mut self) -> bool {
        let former = self.attachments.all().filter(|it| it.boot_id != self.boot_id);
        let former: Vec<Attachment> = former.cloned().collect();
        if former.is_empty() {
            return false;
        }
        for attachment in &former {
            self.forget_interface(&attachment.host_interface);
        }
        let keys: Vec<AttachmentKey> = former.into_iter().map(|it| it.key).collect();
        log::warn!("attachments={} of former boots give up their addresses", keys.len());
        let holders = keys.iter().cloned().map(Holder::Attachment).collect();
        let forgotten = self.attachments.remove(&keys);
        let released = forgotten.and_then(|()| self.ipam.release(&holders));
        released.inspect_err(|error| log::error!("releasing their addresses: {error}")).is_ok()
    }

    /// Makes attachments: noted, then made, then in force, then noted as made.
    async fn make(&mut self, wanted: &[Attachment], outcome: &mut Outcome) -> Result<(), CniError> {
        if wanted.is_empty() {
            return Ok(());
        }
        let not_noted = |error: std::io::Error| {
            CniError::new(Code::Io, format!("noting the attachment: {error}"))
        };
        self.attachments.put(wanted.to_vec()).map_err(not_noted)?;
        let Some(datapath) = &mut self.datapath else { return Ok(()) };
        let bridge = datapath.bridge.clone();
        let made = self.podnet.attach_all(&bridge, wanted).await;
        let mut attached = Vec::new();
        {
            let mut programs = lock(&datapath.programs).map_err(not_noted)?;
            for (attachment, made) in wanted.iter().zip(made) {
                let made = made.map_err(|error| error.to_string());
                let made = made.and_then(|interfaces| {
                    let attached = programs.attach_pod(&interfaces.network.host_interface);
                    attached.map(|()| interfaces).map_err(|error| error.to_string())
                });
                match made {
                    Ok(interfaces) => attached.push((attachment, interfaces)),
                    Err(error) => {
                        let error = CniError::new(Code::NotMade, error);
                        outcome.failed.insert(attachment.key.clone(), error);
                    }
                }
            }
        }
        attached.retain(|(attachment, interfaces)| {
            let taken = self.enter(attachment, interfaces);
            taken.map(|error| outcome.failed.insert(attachment.key.clone(), error)).is_none()
        });
        self.put_attachments_in_force()
            .map_err(|error| CniError::new(Code::NotMade, format!("{error:#}")))?;
        let finished = attached
            .iter()
            .map(|(attachment, _)| Attachment { stage: Stage::Attached, ..(*attachment).clone() });
        self.attachments.put(finished.collect()).map_err(not_noted)?;
        for (attachment, interfaces) in attached {
            let Attachment { key, netns, .. } = attachment;
            let (pod, netns) = (attachment.pod_name(), netns.display());
            log::info!("pod={pod} {key} netns={netns} attached");
            outcome.made.insert(key.clone(), attached_answer(&bridge, key, &interfaces));
        }
        Ok(())
    }

    /// Notes a container that has its network. What is returned says that one of the node's ports that
    /// it asks for is another's.
    fn enter(&self, attachment: &Attachment, interfaces: &Interfaces) -> Option<CniError> {
        let mut model = self.views.write();
        lead_host_ports_to(&mut model, attachment);
        let (pod, created) = (attachment.pod_name(), attachment.created);
        let ports = attachment.port_mappings.iter();
        let is_lost = |port: &HostPort| !model.cluster.is_host_port_in_force(&pod, port);
        if let Some(port) = ports.map(PortMapping::host_port).find(is_lost) {
            let reasons = model.cluster.lost_host_ports(&pod);
            let reasons: Vec<String> = reasons.into_iter().map(|error| error.message).collect();
            let msg = format!("pod {pod}: hostPort {} is taken", port.host_port);
            let error = CniError::new(Code::HostPortTaken, msg).details(reasons.join("; "));
            return Some(error);
        }
        let network = interfaces.network.clone();
        model.attached.insert(attachment.key.clone(), AttachedNetwork { network, created });
        None
    }

    /// Whether an attachment is as ADD made it.
    async fn check(&self, check: &Check) -> Result<(), CniError> {
        let Check { key, netns, addresses } = check;
        let wrong = |msg: String| CniError::new(Code::NotAsMade, msg);
        let attachment = self.attachments.get(key).filter(|it| self.is_here(it));
        let attachment = attachment.ok_or_else(|| wrong(format!("{key} is not attached")))?;
        let pod = attachment.pod_name();
        if attachment.netns != *netns {
            let (own, other) = (attachment.netns.display(), netns.display());
            return Err(wrong(format!("pod {pod}: its namespace is {own}, not {other}")));
        }
        let told: BTreeSet<IpAddr> = addresses.iter().map(ipnet::IpNet::addr).collect();
        let own: BTreeSet<IpAddr> = attachment.addresses.iter().copied().collect();
        if told != own {
            return Err(wrong(format!("pod {pod}: its addresses are {own:?}, not {told:?}")));
        }
        if self.ipam.addresses(&Holder::Attachment(key.clone())) != attachment.addresses {
            return Err(wrong(format!("pod {pod}: its addresses are not leased to it")));
        }
        let is_known = self.views.read().attached.contains_key(key);
        let Some(datapath) = self.datapath.as_ref().filter(|_| is_known) else {
            return Err(wrong(format!("pod {pod}: the datapath does not know it")));
        };
        self.podnet
            .check_attachment(&datapath.bridge, attachment)
            .await
            .map_err(|error| wrong(error.to_string()))?;
        let interface = &attachment.host_interface;
        let programs = lock(&datapath.programs).map_err(|error| wrong(error.to_string()))?;
        match programs.has_pod_program(interface) {
            Ok(true) => Ok(()),
            Ok(false) => Err(wrong(format!("pod {pod}: the program on {interface} is missing"))),
            Err(error) => Err(wrong(format!("pod {pod}: {error}"))),
        }
    }
}

/// What became of attachments.
#[derive(Debug, Default)]
struct Outcome {
    made: BTreeMap<AttachmentKey, Attached>,
    failed: BTreeMap<AttachmentKey, CniError>,
}

impl Outcome {
    fn fail_all(&mut self, wanted: &[Attachment], error: &CniError) {
        self.made.clear();
        for attachment in wanted {
            self.failed.entry(attachment.key.clone()).or_insert_with(|| error.clone());
        }
    }
}

impl Sorted {
    fn sort(orders: Vec<Order>) -> Self {
        let mut sorted = Self::default();
        for Order { request, reply } in orders {
            match request {
                Request::Add(add) if !reply.is_closed() => sorted.adds.push((add, reply)),
                Request::Check(check) if !reply.is_closed() => sorted.checks.push((check, reply)),
                // Nobody waits for the answer any more.
                Request::Add(_) | Request::Check(_) => {}
                Request::Del(key) => {
                    sorted.give_up(&key);
                    sorted.dels.push((key, reply));
                }
                Request::Gc { network, valid } => {
                    sorted.collections.push((network, valid.into_iter().collect(), reply));
                }
                Request::Status => answer(reply, Ok(Answer::Done)),
            }
        }
        sorted
    }

    /// A DEL behind an ADD of the same attachment: who has asked for the ADD has given up on it.
    fn give_up(&mut self, key: &AttachmentKey) {
        let mut kept = Vec::new();
        for (add, reply) in std::mem::take(&mut self.adds) {
            if add.key == *key {
                let msg = format!("{key} was deleted before it was attached");
                answer(reply, Err(CniError::new(Code::TryAgainLater, msg)));
            } else {
                kept.push((add, reply));
            }
        }
        self.adds = kept;
    }
}

fn answer(reply: Reply, result: Result<Answer, CniError>) {
    // Whoever asked may have gone away.
    let _ = reply.send(result);
}

fn request(attachment: &Attachment) -> AddressRequest {
    AddressRequest { holder: Holder::Attachment(attachment.key.clone()), wanted: Vec::new() }
}

fn attached_answer(bridge: &Bridge, key: &AttachmentKey, interfaces: &Interfaces) -> Attached {
    let Interfaces { network, host_mac } = interfaces;
    let interface = |name: &str, of: maps_schema::address::Mac| Interface {
        name: name.to_owned(),
        mac: mac(of.bytes()),
    };
    Attached {
        bridge: interface(&bridge.name, bridge.mac),
        host: interface(&network.host_interface, *host_mac),
        container: interface(&key.interface, network.link.mac),
        mtu: bridge.mtu,
        addresses: addresses_with_gateways(bridge, &network.addresses)
            .into_iter()
            .map(|(address, gateway)| AttachedAddress { address, gateway })
            .collect(),
    }
}
