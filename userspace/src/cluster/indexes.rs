//! Ways to find objects without looking at all of them.
//!
//! A label pair is kept as a hash of namespace, key and value: what is found is checked against the
//! labels themselves, so a collision costs a comparison and changes nothing.

use std::{
    collections::{BTreeMap, HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::Arc,
};

use crate::cluster::model::{ObjectName, Pod, Service};

/// Pods by label, and services by one pair of their selectors.
#[derive(Debug, Default)]
pub(super) struct LabelIndex {
    hasher: RandomState,
    pods: HashMap<u64, BTreeMap<String, Arc<Pod>>>,
    services: HashMap<u64, Vec<ObjectName>>,
}

impl LabelIndex {
    pub(super) fn add_pod(&mut self, pod: &Arc<Pod>) {
        for label in &pod.labels {
            let pair = self.pair(&pod.name.namespace, label);
            self.pods.entry(pair).or_default().insert(pod.name.name.clone(), Arc::clone(pod));
        }
    }

    pub(super) fn remove_pod(&mut self, pod: &Pod) {
        for label in &pod.labels {
            let pair = self.pair(&pod.name.namespace, label);
            if let Some(pods) = self.pods.get_mut(&pair) {
                pods.remove(&pod.name.name);
                if pods.is_empty() {
                    self.pods.remove(&pair);
                }
            }
        }
    }

    pub(super) fn add_service(&mut self, service: &Service) {
        if let Some(label) = service.selector.iter().next() {
            let pair = self.pair(&service.name.namespace, label);
            // Nearly every pair is one Service's.
            let services = self.services.entry(pair).or_insert_with(|| Vec::with_capacity(1));
            services.push(service.name.clone());
        }
    }

    pub(super) fn remove_service(&mut self, service: &Service) {
        if let Some(label) = service.selector.iter().next() {
            let pair = self.pair(&service.name.namespace, label);
            if let Some(services) = self.services.get_mut(&pair) {
                services.retain(|other| *other != service.name);
                if services.is_empty() {
                    self.services.remove(&pair);
                }
            }
        }
    }

    /// The services that may select a pod with these labels.
    pub(super) fn services_for(&self, pod: &Pod) -> impl Iterator<Item = &ObjectName> {
        pod.labels.iter().flat_map(|label| {
            self.services.get(&self.pair(&pod.name.namespace, label)).into_iter().flatten()
        })
    }

    /// The pods that a service selects, by name; none where it has no selector.
    pub(super) fn pods_for<'a>(
        &'a self,
        service: &'a Service,
    ) -> impl Iterator<Item = &'a Arc<Pod>> {
        let namespace = &service.name.namespace;
        let buckets =
            service.selector.iter().map(|label| self.pods.get(&self.pair(namespace, label)));
        let fewest = buckets.min_by_key(|pods| pods.map_or(0, BTreeMap::len)).flatten();
        fewest.into_iter().flat_map(BTreeMap::values).filter(|pod| service.selects(pod))
    }

    fn pair(&self, namespace: &str, label: (&String, &String)) -> u64 {
        self.hasher.hash_one((namespace, label))
    }
}
