//! What the names of a Service lead to: one Service of the cluster in, its addresses, ports and
//! hosts out. Which names those are is [`super::zone`]'s.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use maps_schema::address::Protocol;

use crate::cluster::{Cluster, model::Service};

/// What the names of a Service lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceNames {
    /// It has cluster IPs.
    ClusterIps {
        /// Its cluster IPs.
        addresses: Vec<IpAddr>,
        /// Its ports that have a name.
        ports: BTreeSet<NamedPort>,
    },
    /// It has none: the names lead to its endpoints that are ready, by their hosts' names. Where
    /// there is none, the Service has no name, but its namespace has.
    Hosts(BTreeMap<String, Host>),
    /// It stands for another name, without a dot at its end.
    External(String),
}

/// A port that has a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedPort {
    /// Its name, in lower case.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number.
    pub port: u16,
}

/// The endpoints of a headless Service that have one name for a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Their addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// Their ports that have a name.
    pub ports: BTreeSet<NamedPort>,
}

/// What a Service's names lead to; nothing where it has none.
///
/// A Service that another proxy serves has its names too: they lead to it as well.
pub fn service_names(cluster: &Cluster, service: &Service) -> Option<ServiceNames> {
    if let Some(name) = &service.external_name {
        return Some(ServiceNames::External(name.clone()));
    }
    if service.headless {
        return Some(ServiceNames::Hosts(hosts(cluster, service)));
    }
    if service.cluster_ips.is_empty() {
        return None;
    }
    let ports = service.ports.iter();
    let named = ports.filter_map(|port| named(&port.name, port.protocol, port.port));
    Some(ServiceNames::ClusterIps {
        addresses: service.cluster_ips.clone(),
        ports: named.collect(),
    })
}

fn hosts(cluster: &Cluster, service: &Service) -> BTreeMap<String, Host> {
    let mut hosts: BTreeMap<String, Host> = BTreeMap::new();
    for endpoint in cluster.named_endpoints(service).into_iter().filter(|endpoint| endpoint.ready) {
        let name = match endpoint.hostname {
            Some(hostname) => hostname.to_ascii_lowercase(),
            None => host_of(endpoint.address),
        };
        let host = hosts.entry(name).or_default();
        host.addresses.insert(endpoint.address);
        let ports = endpoint.ports.into_iter();
        host.ports.extend(ports.filter_map(|(name, protocol, port)| named(name, protocol, port)));
    }
    hosts
}

fn named(name: &str, protocol: Protocol, port: u16) -> Option<NamedPort> {
    let name = (!name.is_empty()).then(|| name.to_ascii_lowercase())?;
    Some(NamedPort { name, protocol, port })
}

/// The name of a host that has none: its address, as CoreDNS writes it.
fn host_of(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        cluster::model::{Object, ObjectName},
        source::{Change, Origin, validate},
    };

    fn names(objects: &[(&str, &str)]) -> Option<ServiceNames> {
        let mut cluster = Cluster::new("node1");
        for (kind, yaml) in objects {
            let object = match *kind {
                "Service" => Object::Service(Arc::new(
                    validate::service(&serde_yaml_ng::from_str(yaml).unwrap()).unwrap(),
                )),
                "Pod" => Object::Pod(Arc::new(
                    validate::pod(&serde_yaml_ng::from_str(yaml).unwrap()).unwrap(),
                )),
                _ => Object::EndpointSlice(Arc::new(
                    validate::endpoint_slice(&serde_yaml_ng::from_str(yaml).unwrap()).unwrap(),
                )),
            };
            cluster.apply(Change::Set(object, Origin::server("test")));
        }
        let name = ObjectName { namespace: "default".to_owned(), name: "web".to_owned() };
        service_names(&cluster, cluster.service(&name)?)
    }

    fn hosts_of(objects: &[(&str, &str)]) -> Vec<String> {
        let Some(ServiceNames::Hosts(hosts)) = names(objects) else { panic!("it is headless") };
        hosts
            .into_iter()
            .map(|(name, host)| {
                let addresses: Vec<String> =
                    host.addresses.iter().map(ToString::to_string).collect();
                let ports: Vec<String> =
                    host.ports.iter().map(|port| format!("{}:{}", port.name, port.port)).collect();
                format!("{name} {} {}", addresses.join(","), ports.join(","))
            })
            .collect()
    }

    const HEADLESS: (&str, &str) = (
        "Service",
        "{metadata: {name: web}, spec: {clusterIP: None, selector: {app: web},
          ports: [{name: http, port: 80, targetPort: web}, {name: dbg, port: 81, targetPort: 9}]}}",
    );

    #[test]
    fn a_cluster_ip_service_has_its_addresses_and_named_ports() {
        let service = "{metadata: {name: web}, spec: {clusterIPs: [10.96.0.1, 'fd10::1'],
          ports: [{name: http, port: 80, targetPort: 8080}]}}";
        let port = NamedPort { name: "http".to_owned(), protocol: Protocol::TCP, port: 80 };
        assert_eq!(
            names(&[("Service", service)]),
            Some(ServiceNames::ClusterIps {
                addresses: vec!["10.96.0.1".parse().unwrap(), "fd10::1".parse().unwrap()],
                ports: BTreeSet::from([port]),
            })
        );
        let unnamed = "{metadata: {name: web}, spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}}";
        let Some(ServiceNames::ClusterIps { ports, .. }) = names(&[("Service", unnamed)]) else {
            panic!("it has a cluster IP")
        };
        assert!(ports.is_empty());
    }

    #[test]
    fn an_external_name_is_another_name() {
        let service = "{metadata: {name: web}, spec: {type: ExternalName, externalName: a.b.}}";
        assert_eq!(names(&[("Service", service)]), Some(ServiceNames::External("a.b".to_owned())));
    }

    #[test]
    fn endpoints_of_slices_have_their_hostname_or_their_address_for_a_name() {
        let slices = [
            HEADLESS,
            (
                "EndpointSlice",
                "{metadata: {name: web-1, labels: {kubernetes.io/service-name: web,
                    service.kubernetes.io/headless: ''}}, addressType: IPv4,
                  ports: [{name: http, port: 8080}, {port: 1, protocol: UDP}],
                  endpoints: [{addresses: [10.244.0.5], hostname: web-0},
                    {addresses: [10.244.0.6]},
                    {addresses: [10.244.0.7], conditions: {ready: false}}]}",
            ),
            (
                "EndpointSlice",
                "{metadata: {name: web-2, labels: {kubernetes.io/service-name: web}},
                  addressType: IPv6, ports: [{name: http, port: 8080}],
                  endpoints: [{addresses: ['fd00::5'], hostname: web-0},
                    {addresses: ['fd00::6']}]}",
            ),
        ];
        assert_eq!(
            hosts_of(&slices),
            [
                "10-244-0-6 10.244.0.6 http:8080",
                "fd00--6 fd00::6 http:8080",
                "web-0 10.244.0.5,fd00::5 http:8080",
            ]
        );
    }

    #[test]
    fn endpoints_of_pods_have_the_hostname_that_goes_with_their_subdomain() {
        let pod = |name: &str, rest: &str, address: &str, status: &str| {
            format!(
                "{{metadata: {{name: {name}, labels: {{app: web}}}}, spec: {{nodeName: node1{rest},
                    containers: [{{name: x, ports: [{{name: web, containerPort: 8080}}]}}]}},
                  status: {{podIP: {address}{status}}}}}"
            )
        };
        let pods = [
            pod("a", ", hostname: a, subdomain: web", "10.244.0.5", ""),
            pod("b", ", hostname: b, subdomain: other", "10.244.0.6", ""),
            pod("c", ", hostname: c", "10.244.0.7", ""),
            pod("d", "", "10.244.0.8", ", conditions: [{type: Ready, status: 'False'}]"),
            pod("e", "", "10.244.0.9", ", phase: Succeeded"),
        ];
        let mut objects = vec![HEADLESS];
        objects.extend(pods.iter().map(|pod| ("Pod", pod.as_str())));
        let expected = [
            "10-244-0-6 10.244.0.6 dbg:9,http:8080",
            "10-244-0-7 10.244.0.7 dbg:9,http:8080",
            "a 10.244.0.5 dbg:9,http:8080",
        ];
        assert_eq!(hosts_of(&objects), expected);
        let early = HEADLESS.1.replace("clusterIP", "publishNotReadyAddresses: true, clusterIP");
        objects[0] = ("Service", &early);
        assert_eq!(hosts_of(&objects).len(), 4, "those that are not ready too");
    }

    #[test]
    fn a_service_without_ready_endpoints_is_one_without_hosts() {
        assert_eq!(names(&[HEADLESS]), Some(ServiceNames::Hosts(BTreeMap::new())));
    }
}
