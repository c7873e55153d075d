//! What a change does to the store.
//!
//! Every change is the same three steps: what the object was leaves force, the claims are judged
//! anew, and what is in force now enters it. Leaving and entering keep the indexes, and mark the
//! services whose endpoints that may concern.

use std::sync::Arc;

use crate::{
    cluster::{
        Cluster,
        claims::Key,
        model::{EndpointSlice, Kind, Node, Object, ObjectName, Pod, Service},
        store::Held,
    },
    source::{Change, Origin},
};

impl Cluster {
    /// Applies a change, and notes what it concerns. An object that is set as it already is
    /// concerns nothing.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Set(object, origin) => self.set(object, origin),
            Change::Removed(Kind::EndpointSlice, name) => self.remove_slice(&name),
            Change::Removed(Kind::ServiceCidr, name) => self.remove_service_cidr(&name.name),
            Change::Removed(kind, name) => self.remove(kind, &name),
        }
    }

    fn set(&mut self, object: Object, origin: Origin) {
        let key = Key::Object(object.kind(), object.name());
        match object {
            Object::EndpointSlice(slice) => self.set_slice(slice),
            Object::ServiceCidr(cidr) => self.set_service_cidr(cidr, origin),
            Object::Node(node) => {
                if is_news(self.nodes.get_mut(&node.name), &node, &origin) {
                    self.leave(&key);
                    self.nodes.insert(node.name.clone(), aside(node, origin));
                    self.claim_and_enter(&key);
                }
            }
            Object::Pod(pod) => {
                if is_news(self.pods.get_mut(&pod.name), &pod, &origin) {
                    self.leave(&key);
                    // What it had here is not its own on another node.
                    if pod.node.as_deref() != Some(self.own_node.as_str()) {
                        self.assigned.remove(&pod.name);
                    }
                    let name = pod.name.clone();
                    self.pods.insert(name.clone(), aside(pod, origin));
                    self.claim_and_enter(&key);
                    self.claim_host_ports(&name);
                }
            }
            Object::Service(service) => {
                if is_news(self.services.get_mut(&service.name), &service, &origin) {
                    self.leave(&key);
                    self.services.insert(service.name.clone(), aside(service, origin));
                    self.claim_and_enter(&key);
                }
            }
        }
    }

    fn remove(&mut self, kind: Kind, name: &ObjectName) {
        let key = Key::Object(kind, name.clone());
        self.leave(&key);
        match kind {
            Kind::Node => {
                self.nodes.remove(&name.name);
            }
            Kind::Pod => {
                self.pods.remove(name);
                self.assigned.remove(name);
                self.claim_host_ports(name);
            }
            Kind::Service => {
                self.services.remove(name);
            }
            Kind::EndpointSlice | Kind::ServiceCidr => {}
        }
        self.unclaim(&key);
    }

    /// Takes all claims from what is gone.
    pub(super) fn unclaim(&mut self, key: &Key) {
        let others = self.claims.set(key, None, Vec::new());
        self.follow(others);
    }

    /// Judges the claims of an object that is held aside, and puts in force what then is.
    pub(super) fn claim_and_enter(&mut self, key: &Key) {
        let (created, claims) = self.claims_of(key);
        let others = self.claims.set(key, created, claims);
        self.follow(others);
        if self.claims.is_in_force(key) {
            self.enter(key);
        }
    }

    fn follow(&mut self, others: Vec<(Key, bool)>) {
        for (key, in_force) in others {
            if in_force {
                self.enter(&key);
            } else {
                self.leave(&key);
            }
        }
    }

    /// Puts an object in force that is held aside.
    fn enter(&mut self, key: &Key) {
        let (kind, name) = match key {
            Key::Object(kind, name) => (kind, name),
            Key::HostPort(pod, _) => return self.mark_host_ports(pod),
        };
        match kind {
            Kind::Node => {
                if let Some(held) = self.nodes.get_mut(&name.name) {
                    held.in_force = true;
                    let node = Arc::clone(&held.object);
                    self.mark_node(&node);
                }
            }
            Kind::Pod => {
                if let Some(held) = self.pods.get_mut(name) {
                    held.in_force = true;
                    let pod = Arc::clone(&held.object);
                    self.labels.add_pod(&pod);
                    self.mark_pod(&pod);
                }
            }
            Kind::Service => {
                if let Some(held) = self.services.get_mut(name) {
                    held.in_force = true;
                    self.labels.add_service(&held.object);
                    self.dirty.nodes |= is_anothers(&held.object);
                    self.dirty.services.insert(name.clone());
                }
            }
            Kind::EndpointSlice | Kind::ServiceCidr => {}
        }
    }

    /// Takes an object out of force, if it is; it stays known.
    pub(super) fn leave(&mut self, key: &Key) {
        let (kind, name) = match key {
            Key::Object(kind, name) => (kind, name),
            Key::HostPort(pod, _) => return self.mark_host_ports(pod),
        };
        match kind {
            Kind::Node => {
                if let Some(node) = put_aside(self.nodes.get_mut(&name.name)) {
                    self.mark_node(&node);
                }
            }
            Kind::Pod => {
                if let Some(pod) = put_aside(self.pods.get_mut(name)) {
                    self.mark_pod(&pod);
                    self.labels.remove_pod(&pod);
                }
            }
            Kind::Service => {
                if let Some(service) = put_aside(self.services.get_mut(name)) {
                    self.labels.remove_service(&service);
                    self.dirty.nodes |= is_anothers(&service);
                    self.dirty.services.insert(name.clone());
                }
            }
            Kind::EndpointSlice | Kind::ServiceCidr => {}
        }
    }

    fn set_slice(&mut self, slice: Arc<EndpointSlice>) {
        if self.slices.get(&slice.name) == Some(&slice) {
            return;
        }
        self.remove_slice(&slice.name);
        if let Some(service) = service_of(&slice) {
            let slices = self.slices_by_service.entry(service.clone());
            let slices = slices.or_insert_with(|| Vec::with_capacity(1));
            let place = slices.partition_point(|other| other.name.name < slice.name.name);
            slices.insert(place, Arc::clone(&slice));
            self.dirty.services.insert(service);
        }
        self.slices.insert(slice.name.clone(), slice);
    }

    fn remove_slice(&mut self, name: &ObjectName) {
        let Some(slice) = self.slices.remove(name) else {
            return;
        };
        let Some(service) = service_of(&slice) else {
            return;
        };
        if let Some(slices) = self.slices_by_service.get_mut(&service) {
            slices.retain(|other| other.name != *name);
            if slices.is_empty() {
                self.slices_by_service.remove(&service);
            }
        }
        self.dirty.services.insert(service);
    }

    /// The own node decides which endpoints are local and near, and has node ports. Another one's
    /// addresses are those of its pods in the host's network that name none, and no service's own.
    fn mark_node(&mut self, node: &Node) {
        self.dirty.nodes = true;
        if node.name == self.own_node {
            let all = self.services.iter().filter(|(_, held)| held.in_force);
            self.dirty.services.extend(all.map(|(name, _)| name.clone()));
            return;
        }
        let is_external = |service: &Service| {
            service.external_addresses().any(|address| node.addresses.contains(&address))
        };
        let external = self.services().filter(|service| is_external(service));
        let external: Vec<ObjectName> = external.map(|service| service.name.clone()).collect();
        self.dirty.services.extend(external);
        let pods: Vec<Arc<Pod>> = self
            .pods()
            .filter(|pod| pod.host_network && pod.addresses.is_empty())
            .filter(|pod| pod.node.as_deref() == Some(&node.name))
            .cloned()
            .collect();
        for pod in pods {
            self.mark_services_of(&pod);
        }
    }

    fn mark_pod(&mut self, pod: &Pod) {
        if pod.node.as_deref() == Some(self.own_node.as_str()) {
            self.dirty.pods = true;
            if !pod.host_ports.is_empty() {
                self.mark_host_ports(&pod.name);
            }
        }
        self.mark_services_of(pod);
    }

    /// Marks the services whose endpoints are derived from this pod among others.
    fn mark_services_of(&mut self, pod: &Pod) {
        let services = self.labels.services_for(pod).filter(|name| {
            !self.slices_by_service.contains_key(*name)
                && self.service(name).is_some_and(|service| service.selects(pod))
        });
        let services: Vec<ObjectName> = services.cloned().collect();
        self.dirty.services.extend(services);
    }
}

/// Whether an object differs from what is held; its origin is noted in any case.
fn is_news<T: PartialEq>(held: Option<&mut Held<T>>, object: &Arc<T>, origin: &Origin) -> bool {
    let Some(held) = held else { return true };
    if held.object == *object {
        held.origin = origin.clone();
        return false;
    }
    true
}

fn aside<T>(object: Arc<T>, origin: Origin) -> Held<T> {
    Held { object, origin, in_force: false }
}

fn put_aside<T>(held: Option<&mut Held<T>>) -> Option<Arc<T>> {
    let held = held.filter(|held| held.in_force)?;
    held.in_force = false;
    Some(Arc::clone(&held.object))
}

fn service_of(slice: &EndpointSlice) -> Option<ObjectName> {
    slice.service.as_ref().map(|service| ObjectName {
        namespace: slice.name.namespace.clone(),
        name: service.clone(),
    })
}

/// Whether a Service has addresses that another proxy serves: they are excepted from the ranges that
/// cluster IPs are from.
fn is_anothers(service: &Service) -> bool {
    !service.proxied && !service.cluster_ips.is_empty()
}
