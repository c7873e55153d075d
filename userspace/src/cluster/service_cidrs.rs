//! Ranges that cluster IPs are from: what is in them and no Service's is dropped.
//!
//! They may overlap each other, as in Kubernetes. One that overlaps a pod CIDR, or has a node's
//! address, is refused whoever is older: packets to pods and nodes would be dropped, and a range is
//! what traffic can do without.

use std::{collections::BTreeSet, net::IpAddr, path::Path, sync::Arc};

use ipnet::IpNet;

use crate::{
    cluster::{
        Cluster,
        model::{Kind, ObjectName, ServiceCidr},
    },
    source::{Origin, SourceError},
};

/// What a range cannot hold.
struct Overlap<'a> {
    node: &'a str,
    what: String,
}

impl Cluster {
    /// Says which ranges cluster IPs are from beside those of objects. To be called before anything
    /// is applied.
    #[must_use]
    pub fn with_service_cidrs(mut self, cidrs: &[IpNet]) -> Self {
        self.configured_service_cidrs = cidrs.iter().map(IpNet::trunc).collect();
        self
    }

    /// The ranges that cluster IPs are from; without those that are refused.
    pub fn service_ranges(&self) -> BTreeSet<IpNet> {
        let is_free = |cidr: &&IpNet| self.overlap(**cidr).is_none();
        let configured = self.configured_service_cidrs.iter().filter(is_free);
        let objects = self.service_cidrs.values().map(|(object, _)| &object.cidrs);
        let objects = objects.filter(|cidrs| cidrs.iter().all(|cidr| is_free(&cidr)));
        configured.chain(objects.flatten()).copied().collect()
    }

    /// The cluster IPs that other proxies serve: they are somebody's, though not ours, and what is
    /// sent there is theirs to translate, after it has passed us.
    pub fn others_cluster_ips(&self) -> impl Iterator<Item = IpAddr> {
        let others = self.services().filter(|service| !service.proxied);
        others.flat_map(|service| service.cluster_ips.iter().copied())
    }

    pub(super) fn set_service_cidr(&mut self, object: Arc<ServiceCidr>, origin: Origin) {
        let known = self.service_cidrs.get(&object.name).map(|(known, _)| known);
        self.dirty.nodes |= known != Some(&object);
        self.service_cidrs.insert(object.name.clone(), (object, origin));
    }

    pub(super) fn remove_service_cidr(&mut self, name: &str) {
        self.dirty.nodes |= self.service_cidrs.remove(name).is_some();
    }

    /// The ranges that cannot be, and why.
    pub(super) fn refused_service_cidrs(&self) -> Vec<SourceError> {
        let mut errors = Vec::new();
        for cidr in &self.configured_service_cidrs {
            if let Some(overlap) = self.overlap(*cidr) {
                let path = Path::new("--service-cidrs");
                errors.push(SourceError::about_file(path, message(*cidr, &overlap)));
            }
        }
        for (object, origin) in self.service_cidrs.values() {
            let mut cidrs = object.cidrs.iter().enumerate();
            let found = cidrs.find_map(|(index, cidr)| Some((index, cidr, self.overlap(*cidr)?)));
            if let Some((index, cidr, overlap)) = found {
                let name = ObjectName { namespace: String::new(), name: object.name.clone() };
                errors.push(SourceError {
                    field: Some(format!("spec.cidrs[{index}]")),
                    message: message(*cidr, &overlap),
                    ..SourceError::about_object(origin, Kind::ServiceCidr, &name)
                });
            }
        }
        errors
    }

    fn overlap(&self, range: IpNet) -> Option<Overlap<'_>> {
        self.nodes().find_map(|node| {
            let overlaps = |cidr: &&IpNet| cidr.contains(&range) || range.contains(*cidr);
            let holds = |address: &&IpAddr| range.contains(*address);
            let cidr = node.pod_cidrs.iter().find(overlaps);
            let cidr = cidr.map(|cidr| format!("spec.podCIDRs {cidr}"));
            let address = || node.addresses.iter().find(holds);
            let what = cidr.or_else(|| address().map(|address| format!("address {address}")))?;
            Some(Overlap { node: &node.name, what })
        })
    }
}

fn message(range: IpNet, Overlap { node, what }: &Overlap<'_>) -> String {
    format!(
        "{range} overlaps {what} of Node {node}, which would not be reached any more: no range of \
         cluster IPs may have addresses of pods or nodes; name the range that cluster IPs are from"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::model::Object,
        source::{
            Change,
            manifests::documents::{File, Item, read_file},
        },
    };

    fn object(yaml: &str) -> Object {
        let file = read_file(Path::new("x.yaml"), yaml.as_bytes(), &File::default()).unwrap();
        match &file.documents[0].items[0] {
            Item::Valid(object) => object.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn set(cluster: &mut Cluster, yaml: &str) {
        let origin = Origin { file: Path::new("x.yaml").into(), document: Some(1) };
        cluster.apply(Change::Set(object(yaml), origin));
    }

    fn service_cidr(name: &str, cidrs: &str) -> String {
        format!(
            "{{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {{name: {name}}}, \
             spec: {{cidrs: [{cidrs}]}}}}"
        )
    }

    const NODE: &str = "{apiVersion: v1, kind: Node, metadata: {name: node1}, spec: {podCIDRs: [
        10.244.0.0/24, 'fd00:10:244::/64']}, status: {addresses: [
        {type: InternalIP, address: 172.18.0.1}]}}";

    fn ranges(cluster: &Cluster) -> Vec<String> {
        cluster.service_ranges().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ranges_come_and_go_with_their_objects() {
        let cluster =
            &mut Cluster::new("node1").with_service_cidrs(&["10.95.0.0/16".parse().unwrap()]);
        set(cluster, NODE);
        assert!(cluster.take_dirty().nodes);
        set(cluster, &service_cidr("a", "10.96.0.0/16, 'fd10::/64'"));
        assert!(cluster.take_dirty().nodes);
        set(cluster, &service_cidr("a", "10.96.0.0/16, 'fd10::/64'"));
        assert!(!cluster.take_dirty().nodes, "nothing has changed");
        // They may overlap.
        set(cluster, &service_cidr("b", "10.96.128.0/17"));
        assert_eq!(
            ranges(cluster),
            ["10.95.0.0/16", "10.96.0.0/16", "10.96.128.0/17", "fd10::/64"]
        );
        assert_eq!(cluster.conflicts(), []);
        cluster.take_dirty();
        let name = ObjectName { namespace: String::new(), name: "a".to_owned() };
        cluster.apply(Change::Removed(Kind::ServiceCidr, name));
        assert!(cluster.take_dirty().nodes);
        assert_eq!(ranges(cluster), ["10.95.0.0/16", "10.96.128.0/17"]);
    }

    #[test]
    fn a_range_with_addresses_of_pods_or_nodes_is_refused_whoever_came_first() {
        for (cidrs, field, says) in [
            ("10.244.0.0/16", 0, "podCIDRs 10.244.0.0/24 of Node node1"),
            ("10.244.0.128/25", 0, "podCIDRs 10.244.0.0/24"),
            ("10.96.0.0/16, 'fd00::/16'", 1, "podCIDRs fd00:10:244::/64"),
            ("172.18.0.0/24", 0, "address 172.18.0.1 of Node node1"),
        ] {
            let cluster = &mut Cluster::new("node1");
            set(cluster, &service_cidr("a", cidrs));
            assert_eq!(cluster.conflicts(), []);
            set(cluster, NODE);
            let [error] = &cluster.conflicts()[..] else { panic!("{cidrs}") };
            assert_eq!(error.kind.as_deref(), Some("ServiceCIDR"));
            assert_eq!(error.name.as_deref(), Some("a"));
            assert_eq!(error.field, Some(format!("spec.cidrs[{field}]")));
            assert!(error.message.contains(says), "{}", error.message);
            assert_eq!(ranges(cluster), Vec::<String>::new());
            let name = ObjectName { namespace: String::new(), name: "node1".to_owned() };
            assert!(cluster.node("node1").is_some(), "the node stays");
            cluster.apply(Change::Removed(Kind::Node, name));
            assert!(!ranges(cluster).is_empty());
        }
    }

    #[test]
    fn a_configured_range_is_refused_likewise() {
        let range = "10.240.0.0/12".parse().unwrap();
        let cluster = &mut Cluster::new("node1").with_service_cidrs(&[range]);
        set(cluster, NODE);
        let [error] = &cluster.conflicts()[..] else { panic!() };
        assert_eq!(error.file, Path::new("--service-cidrs"));
        assert!(error.message.starts_with("10.240.0.0/12 overlaps"), "{}", error.message);
        assert_eq!(ranges(cluster), Vec::<String>::new());
    }

    #[test]
    fn cluster_ips_of_other_proxies_come_and_go_with_their_label() {
        let mut cluster = Cluster::new("node1");
        let service = |label: &str| {
            format!(
                "{{apiVersion: v1, kind: Service, metadata: {{name: web, labels: {{{label}}}}}, \
                 spec: {{clusterIP: 10.96.0.1, ports: [{{port: 80}}]}}}}"
            )
        };
        let others = |cluster: &Cluster| cluster.others_cluster_ips().collect::<Vec<_>>();
        for (label, is_anothers) in [
            ("", false),
            ("service.kubernetes.io/service-proxy-name: ''", true),
            ("service.kubernetes.io/service-proxy-name: other", true),
            ("", false),
        ] {
            let before = others(&cluster);
            set(&mut cluster, &service(label));
            let expected: &[IpAddr] =
                if is_anothers { &[IpAddr::from([10, 96, 0, 1])] } else { &[] };
            assert_eq!(others(&cluster), expected, "{label}");
            assert!(before == expected || cluster.take_dirty().nodes, "{label}");
        }
    }
}
