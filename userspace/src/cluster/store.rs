//! The store.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;

use crate::{
    cluster::{
        claims::{Claims, Key},
        host_ports::AttachedPod,
        indexes::LabelIndex,
        model::{
            EndpointSlice, HostPort, Kind, Node, Object, ObjectName, Pod, Service, ServiceCidr,
        },
    },
    compile::Owner,
    source::{Origin, SourceError},
};

/// What must be looked at again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dirty {
    /// Services to compile again; those that are gone are among them.
    pub services: BTreeSet<ObjectName>,
    /// Pods whose host ports are to be compiled again; those that are gone are among them.
    pub host_ports: BTreeSet<ObjectName>,
    /// Whether a Pod of the own node was added, removed or changed.
    pub pods: bool,
    /// Whether a Node, a ServiceCIDR or another proxy's Service was added, removed or changed.
    pub nodes: bool,
}

impl Dirty {
    /// What is to be compiled again.
    pub fn owners(&self) -> BTreeSet<Owner> {
        let services = self.services.iter().cloned().map(Owner::Service);
        services.chain(self.host_ports.iter().cloned().map(Owner::HostPorts)).collect()
    }

    /// Adds what is to be compiled again.
    pub fn add_owners(&mut self, owners: impl IntoIterator<Item = Owner>) {
        for owner in owners {
            match owner {
                Owner::Service(service) => self.services.insert(service),
                Owner::HostPorts(pod) => self.host_ports.insert(pod),
            };
        }
    }

    /// Adds what else must be looked at.
    pub fn extend(&mut self, more: Self) {
        self.services.extend(more.services);
        self.host_ports.extend(more.host_ports);
        self.pods |= more.pods;
        self.nodes |= more.nodes;
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The cluster's objects, and which of them are in force.
#[derive(Debug)]
pub struct Cluster {
    pub(super) own_node: String,
    pub(super) nodes: BTreeMap<String, Held<Node>>,
    pub(super) pods: BTreeMap<ObjectName, Held<Pod>>,
    pub(super) services: BTreeMap<ObjectName, Held<Service>>,
    pub(super) slices: BTreeMap<ObjectName, Arc<EndpointSlice>>,
    pub(super) service_cidrs: BTreeMap<String, (Arc<ServiceCidr>, Origin)>,
    /// Ranges that cluster IPs are from whatever the objects say.
    pub(super) configured_service_cidrs: Vec<IpNet>,
    /// By the service that they are labelled for, in the order of their names; most have one.
    pub(super) slices_by_service: BTreeMap<ObjectName, Vec<Arc<EndpointSlice>>>,
    /// What is in force.
    pub(super) labels: LabelIndex,
    pub(super) claims: Claims,
    /// Addresses of pods whose objects name none.
    pub(super) assigned: HashMap<ObjectName, Vec<IpAddr>>,
    /// The addresses of this node's interfaces and Node: those that host ports are of.
    pub(super) own_addresses: BTreeSet<IpAddr>,
    /// Pods of this node that no object speaks of.
    pub(super) attached: BTreeMap<ObjectName, AttachedPod>,
    /// The host ports that claim something.
    pub(super) host_ports: BTreeMap<ObjectName, Vec<HostPort>>,
    pub(super) dirty: Dirty,
}

/// An object that is known, in force or not.
#[derive(Debug)]
pub(super) struct Held<T> {
    pub(super) object: Arc<T>,
    pub(super) origin: Origin,
    pub(super) in_force: bool,
}

impl<T> Held<T> {
    fn if_in_force(&self) -> Option<&Arc<T>> {
        self.in_force.then_some(&self.object)
    }
}

impl Cluster {
    /// An empty cluster, as seen from the node of this name.
    pub fn new(own_node: &str) -> Self {
        Self {
            own_node: own_node.to_ascii_lowercase(),
            nodes: BTreeMap::new(),
            pods: BTreeMap::new(),
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
            service_cidrs: BTreeMap::new(),
            configured_service_cidrs: Vec::new(),
            slices_by_service: BTreeMap::new(),
            labels: LabelIndex::default(),
            claims: Claims::default(),
            assigned: HashMap::new(),
            own_addresses: BTreeSet::new(),
            attached: BTreeMap::new(),
            host_ports: BTreeMap::new(),
            dirty: Dirty::default(),
        }
    }

    /// What must be looked at again since this was last asked.
    pub fn take_dirty(&mut self) -> Dirty {
        std::mem::take(&mut self.dirty)
    }

    /// Has the pods looked at again, though none has changed.
    pub fn mark_pods(&mut self) {
        self.dirty.pods = true;
    }

    /// The objects and host ports that are not in force because another has what they claim, ranges of
    /// cluster IPs that cannot be, and host ports of addresses that are not this node's.
    pub fn conflicts(&self) -> Vec<SourceError> {
        let mut errors: Vec<SourceError> =
            self.claims.defeats().filter_map(|(key, defeat)| self.conflict(key, defeat)).collect();
        errors.extend(self.refused_service_cidrs());
        errors.extend(self.host_ports_elsewhere());
        errors.sort();
        errors
    }

    /// A Node that is in force.
    pub fn node(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes.get(name)?.if_in_force()
    }

    /// The Nodes that are in force, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values().filter_map(Held::if_in_force)
    }

    /// Whether an address is a Node's, of type InternalIP.
    pub fn is_nodes(&self, address: IpAddr) -> bool {
        self.nodes().any(|node| node.addresses.contains(&address))
    }

    /// A Pod that is in force.
    pub fn pod(&self, name: &ObjectName) -> Option<&Arc<Pod>> {
        self.pods.get(name)?.if_in_force()
    }

    /// The Pods that are in force, by name.
    pub fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.values().filter_map(Held::if_in_force)
    }

    /// A Service that is in force.
    pub fn service(&self, name: &ObjectName) -> Option<&Arc<Service>> {
        self.services.get(name)?.if_in_force()
    }

    /// The Services that are in force, by name.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values().filter_map(Held::if_in_force)
    }

    /// Whether an object is known just as it is here.
    pub fn knows(&self, object: &Object) -> bool {
        match object {
            Object::Node(node) => self.nodes.get(&node.name).map(|held| &held.object) == Some(node),
            Object::Pod(pod) => self.pods.get(&pod.name).map(|held| &held.object) == Some(pod),
            Object::Service(service) => {
                self.services.get(&service.name).map(|held| &held.object) == Some(service)
            }
            Object::EndpointSlice(slice) => self.slices.get(&slice.name) == Some(slice),
            Object::ServiceCidr(cidr) => {
                self.service_cidrs.get(&cidr.name).map(|(known, _)| known) == Some(cidr)
            }
        }
    }

    /// The EndpointSlices that are labelled for a Service, by name; nothing where there is none.
    pub(super) fn slices_of(
        &self,
        service: &ObjectName,
    ) -> Option<impl Iterator<Item = &Arc<EndpointSlice>>> {
        self.slices_by_service.get(service).map(|slices| slices.iter())
    }

    /// The Pods in force that a Service selects, by name.
    pub(super) fn pods_of<'a>(
        &'a self,
        service: &'a Service,
    ) -> impl Iterator<Item = &'a Arc<Pod>> {
        self.labels.pods_for(service)
    }

    /// The Pod's addresses: its own; else those it was assigned; else, in the host's network, its
    /// node's. Several of one family are possible in the last case only.
    pub fn pod_addresses<'a>(&'a self, pod: &'a Pod) -> &'a [IpAddr] {
        if !pod.addresses.is_empty() {
            return &pod.addresses;
        }
        if pod.host_network {
            let node = pod.node.as_deref().and_then(|name| self.node(name));
            return node.map(|node| node.addresses.as_slice()).unwrap_or_default();
        }
        self.assigned.get(&pod.name).map(Vec::as_slice).unwrap_or_default()
    }

    /// Notes the addresses that this node gave a Pod whose object names none, so that it can be an
    /// endpoint. They are forgotten when the Pod is removed.
    pub fn assign_addresses(&mut self, pod: &ObjectName, addresses: Vec<IpAddr>) {
        if self.assigned.get(pod) == Some(&addresses) || !self.pods.contains_key(pod) {
            return;
        }
        let key = Key::Object(Kind::Pod, pod.clone());
        self.leave(&key);
        self.assigned.insert(pod.clone(), addresses);
        self.claim_and_enter(&key);
    }

    /// Where a Pod was read, in force or not.
    pub fn pod_origin(&self, name: &ObjectName) -> Option<&Origin> {
        self.pods.get(name).map(|held| &held.origin)
    }

    /// Where a Service was read, in force or not.
    pub fn service_origin(&self, name: &ObjectName) -> Option<&Origin> {
        self.services.get(name).map(|held| &held.origin)
    }

    /// Where a Node was read, in force or not.
    pub fn node_origin(&self, name: &str) -> Option<&Origin> {
        self.nodes.get(name).map(|held| &held.origin)
    }

    /// The name of the node that this is seen from.
    pub fn own_node(&self) -> &str {
        &self.own_node
    }
}
