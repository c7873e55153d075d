//! The agent's part of cluster DNS: the pod that names are answered from, the names of what is in
//! force, and what stands in the way.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
};

use maps_schema::address::Protocol;

use super::{model::Model, node::NodeAgent};
use crate::{
    cluster::{
        Cluster,
        model::{Kind, Object, ObjectName, Pod},
    },
    config::DnsConfig,
    dns::{
        ClusterDomain, NameServer, dns_service,
        names::{ServiceNames, service_names},
    },
    source::{Change, Origin, SourceError},
};

/// The label that the Service of DNS selects its pods by, in every cluster.
const LABEL: (&str, &str) = ("k8s-app", "kube-dns");
/// The port of DNS.
const PORT: u16 = 53;

/// The pod that names are answered from.
pub(super) fn dns_pod() -> ObjectName {
    ObjectName { namespace: "kube-system".to_owned(), name: "coredns".to_owned() }
}

/// Cluster DNS of a node that serves it.
pub(super) struct ClusterDns {
    upstreams: Vec<SocketAddr>,
    server: NameServer,
    /// Why names are not answered, though the pod is there.
    failure: Option<String>,
}

impl ClusterDns {
    pub(super) fn new(domain: &ClusterDomain, config: &DnsConfig) -> Self {
        let upstreams = config.upstreams.clone();
        Self { server: NameServer::new(domain, upstreams.clone()), upstreams, failure: None }
    }

    /// Takes away the names of Services that are gone, before the datapath does not know them any
    /// more.
    pub(super) fn forget<'a>(&self, gone: impl Iterator<Item = &'a ObjectName>) {
        self.server.set(gone.map(|service| (service.clone(), None)));
    }

    /// Gives Services that are in force now their names.
    pub(super) fn name(&self, services: impl Iterator<Item = (ObjectName, Option<ServiceNames>)>) {
        self.server.set(services);
    }
}

/// Adds the pod that names are answered from, where no object says where it is.
pub(super) fn add_dns_pod(cluster: &mut Cluster) {
    let name = dns_pod();
    if cluster.pod_origin(&name).is_some() {
        return;
    }
    let port = |name: &str, protocol| ((name.to_owned(), protocol), PORT);
    let pod = Pod {
        name,
        created: None,
        labels: BTreeMap::from([LABEL].map(|(key, value)| (key.to_owned(), value.to_owned()))),
        node: Some(cluster.own_node().to_owned()),
        host_network: false,
        hostname: None,
        subdomain: None,
        addresses: Vec::new(),
        ready: true,
        terminating: false,
        finished: false,
        named_ports: BTreeMap::from([port("dns", Protocol::UDP), port("dns-tcp", Protocol::TCP)]),
        host_ports: Vec::new(),
    };
    let origin = Origin { file: Path::new("--dns").into(), document: None };
    cluster.apply(Change::Set(Object::Pod(Arc::new(pod)), origin));
}

/// What the names of these Services lead to, of those that there are.
pub(super) fn names_of<'a>(
    cluster: &Cluster,
    services: impl Iterator<Item = &'a ObjectName>,
) -> BTreeMap<ObjectName, Option<ServiceNames>> {
    let names = |name| cluster.service(name).and_then(|service| service_names(cluster, service));
    services.map(|name: &ObjectName| (name.clone(), names(name))).collect()
}

impl NodeAgent {
    /// Takes over the pod of a former agent, if it had one, before anything else is done: queries
    /// wait there then, and are not refused.
    pub(super) async fn resume_name_server(&mut self) {
        let Some(dns) = &mut self.dns else { return };
        let (records, _) = self.podnet.list();
        let Some(record) = records.into_iter().find(|record| record.pod() == dns_pod()) else {
            return;
        };
        if let Err(error) = dns.server.serve_in(&record.netns_path(), record.netns_cookie).await {
            log::debug!("{error}");
        }
    }

    /// Answers names in the pod that is there for it, and nowhere where it is not here.
    pub(super) async fn ensure_name_server(&mut self) {
        let Some(dns) = &mut self.dns else { return };
        let place = {
            let model = self.views.read();
            let network = model.pods.get(&dns_pod());
            network.map(|network| (network.netns_path(), network.netns_cookie))
        };
        dns.failure = if let Some((path, cookie)) = place {
            dns.server.serve_in(&path, cookie).await.err().map(|error| error.to_string())
        } else {
            dns.server.stop();
            None
        };
    }

    /// Lets names be answered, now that all of them are known, and takes note of what stands in the
    /// way. Returns whether something is worth another try.
    pub(super) fn open_name_server(&mut self) -> bool {
        let Some(dns) = &self.dns else { return false };
        dns.server.open();
        let mut model = self.views.write();
        let own = own_addresses(&model);
        // An answer would be a question again, for ever.
        let (loops, upstreams): (Vec<SocketAddr>, Vec<_>) =
            dns.upstreams.iter().copied().partition(|upstream| own.contains(&upstream.ip()));
        dns.server.set_upstreams(upstreams);
        let mut errors: Vec<SourceError> = loops
            .iter()
            .map(|upstream| about_setting(&format!(
                "--dns-upstream {upstream} is the cluster's own DNS, which would ask itself: it is \
                 left out; name servers outside of the cluster"
            )))
            .collect();
        errors.extend(model.dns_service_error(self.config.source.place()));
        errors.extend(model.dns_pod_error());
        errors.extend(dns.failure.as_ref().map(|failure| about_setting(failure)));
        model.dns_errors = errors;
        dns.failure.is_some()
    }
}

fn about_setting(message: &str) -> SourceError {
    SourceError::about_file(Path::new("--dns"), message.to_owned())
}

/// The addresses at which the cluster's own DNS is asked.
fn own_addresses(model: &Model) -> Vec<IpAddr> {
    let service = model.cluster.service(&dns_service());
    let pod = model.cluster.pod(&dns_pod());
    let of_pod = pod.map(|pod| model.cluster.pod_addresses(pod)).unwrap_or_default();
    let of_service = service.map(|service| service.cluster_ips.as_slice()).unwrap_or_default();
    of_service.iter().chain(of_pod).copied().collect()
}

impl Model {
    /// Why pods do not reach the DNS server by the Service that they ask.
    fn dns_service_error(&self, place: &Path) -> Option<SourceError> {
        let name = dns_service();
        let about = |field: &str, message: &str| {
            let mut error = match self.cluster.service_origin(&name) {
                Some(origin) => SourceError::about_object(origin, Kind::Service, &name),
                None => SourceError {
                    kind: Some(Kind::Service.to_string()),
                    namespace: Some(name.namespace.clone()),
                    name: Some(name.name.clone()),
                    ..SourceError::about_file(place, String::new())
                },
            };
            error.field = (!field.is_empty()).then(|| field.to_owned());
            message.clone_into(&mut error.message);
            Some(error)
        };
        let Some(service) = self.cluster.service(&name) else {
            return about(
                "",
                "there is none, so pods have nobody to ask for names: with --dns add one with a \
                 clusterIP, selector k8s-app: kube-dns, and port 53 UDP and TCP, as docs/dns.md \
                 has it",
            );
        };
        if service.cluster_ips.is_empty() {
            return about("spec.clusterIP", "it has none, so pods have nobody to ask for names");
        }
        for protocol in [Protocol::UDP, Protocol::TCP] {
            let mut ports = service.ports.iter();
            if !ports.any(|port| port.port == PORT && port.protocol == protocol) {
                return about("spec.ports", "it lacks port 53 for UDP or for TCP: DNS needs both");
            }
        }
        let pod = self.cluster.pod(&dns_pod())?;
        if self.cluster.named_endpoints(service).is_empty() {
            let says = format!(
                "nothing is behind it: it selects no pod; {} has the label {}: {}",
                pod.name, LABEL.0, LABEL.1
            );
            return about("spec.selector", &says);
        }
        None
    }

    /// Why there is no pod to answer from.
    fn dns_pod_error(&self) -> Option<SourceError> {
        let pod = self.cluster.pod(&dns_pod())?;
        let is_here = pod.node.as_deref() == Some(self.cluster.own_node());
        if !is_here || !pod.host_network {
            return None;
        }
        let origin = self.cluster.pod_origin(&pod.name)?;
        Some(SourceError {
            field: Some("spec.hostNetwork".to_owned()),
            message: "with --dns names are answered in this pod's own network, and it has none: \
                      leave hostNetwork out"
                .to_owned(),
            ..SourceError::about_object(origin, Kind::Pod, &pod.name)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::validate;

    fn model(objects: &[&str]) -> Model {
        let mut model = Model::new("node1", &[]);
        for yaml in objects {
            let object = if yaml.contains("nodeName") {
                let pod = validate::pod(&serde_yaml_ng::from_str(yaml).unwrap()).unwrap();
                Object::Pod(Arc::new(pod))
            } else {
                let service = validate::service(&serde_yaml_ng::from_str(yaml).unwrap());
                Object::Service(Arc::new(service.unwrap()))
            };
            model.cluster.apply(Change::Set(object, Origin::server("test")));
        }
        add_dns_pod(&mut model.cluster);
        let pod = dns_pod();
        model.cluster.assign_addresses(&pod, vec!["10.244.1.9".parse().unwrap()]);
        model
    }

    fn service(change: impl Fn(String) -> String) -> String {
        change(
            "{metadata: {name: kube-dns, namespace: kube-system}, spec: {clusterIP: 10.96.0.10,
              selector: {k8s-app: kube-dns}, ports: [{name: dns, port: 53, protocol: UDP},
                {name: dns-tcp, port: 53}]}}"
                .to_owned(),
        )
    }

    #[test]
    fn a_service_that_does_not_lead_to_the_server_is_an_error_that_says_so() {
        assert_eq!(model(&[&service(|it| it)]).dns_service_error(Path::new("x")), None);
        let error = |objects: &[&str]| {
            let error = model(objects).dns_service_error(Path::new("x")).unwrap();
            assert_eq!(error.name.as_deref(), Some("kube-dns"));
            (error.field.unwrap_or_default(), error.message)
        };
        assert!(error(&[]).1.contains("docs/dns.md"));
        for (from, to, field) in [
            ("clusterIP: 10.96.0.10", "clusterIP: None", "spec.clusterIP"),
            ("port: 53, protocol: UDP", "port: 54, protocol: UDP", "spec.ports"),
            ("name: dns-tcp, port: 53", "name: dns-tcp, port: 9153", "spec.ports"),
            ("{k8s-app: kube-dns}", "{app: dns}", "spec.selector"),
        ] {
            assert_eq!(error(&[&service(|it| it.replace(from, to))]).0, field);
        }
    }

    #[test]
    fn the_pod_is_added_where_no_object_says_where_it_is() {
        let pod = "{metadata: {name: coredns, namespace: kube-system},
          spec: {nodeName: NODE, hostNetwork: HOST}}";
        let here = |model: &Model| {
            let pod = model.cluster.pod(&dns_pod()).unwrap();
            (pod.node.clone().unwrap(), pod.labels.len())
        };
        assert_eq!(here(&model(&[])), ("node1".to_owned(), 1));
        let elsewhere = model(&[&pod.replace("NODE", "node2").replace("HOST", "true")]);
        assert_eq!(here(&elsewhere), ("node2".to_owned(), 0));
        assert_eq!(elsewhere.dns_pod_error(), None);
        let on_host = model(&[&pod.replace("NODE", "node1").replace("HOST", "true")]);
        assert_eq!(on_host.dns_pod_error().unwrap().field.unwrap(), "spec.hostNetwork");
    }
}
