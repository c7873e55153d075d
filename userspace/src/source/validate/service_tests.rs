//! Tables for Services.

use super::*;

fn read(yaml: &str) -> Result<Service, FieldError> {
    service(&serde_yaml_ng::from_str(yaml).unwrap())
}

fn with_spec(spec: &str) -> Result<Service, FieldError> {
    read(&format!("{{metadata: {{name: web}}, spec: {{{spec}}}}}"))
}

#[test]
fn a_plain_service_gets_kubernetes_defaults() {
    let service = with_spec("clusterIP: 10.96.0.041, ports: [{port: 80}]").unwrap();
    assert_eq!(service.name.to_string(), "default/web");
    assert_eq!(service.service_type, "ClusterIP");
    assert!(service.proxied);
    assert_eq!(service.cluster_ips[0].to_string(), "10.96.0.41");
    assert_eq!(service.ports[0].target_port, TargetPort::Number(80));
    assert_eq!(service.internal_traffic_policy, TrafficPolicy::Cluster);
    assert_eq!(service.session_affinity_seconds, None);
}

#[test]
fn everything_that_is_read_is_read() {
    let service = read(
        "{metadata: {name: web, namespace: shop},
          spec: {type: LoadBalancer, clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1, 'fd10::1'],
            externalIPs: [10.240.0.1], internalTrafficPolicy: Local,
            externalTrafficPolicy: Local, publishNotReadyAddresses: true, selector: {app: web},
            sessionAffinity: ClientIP,
            loadBalancerSourceRanges: [' 203.0.113.007/024', 'fd00:9::1/32 '], ports: [
              {name: a, port: 53, protocol: UDP, nodePort: 30053, targetPort: dns},
              {name: b, port: 53, protocol: TCP, nodePort: 30053, targetPort: 5353}]},
          status: {loadBalancer: {ingress: [{ip: 10.240.0.2}, {ip: 10.240.0.3, ipMode: Proxy},
            {hostname: example.com}, {ip: 10.240.0.4, ipMode: VIP}]}}}",
    )
    .unwrap();
    assert_eq!(service.cluster_ips.len(), 2);
    assert_eq!(service.external_ips.len(), 1);
    let vips: Vec<_> = service.load_balancer_ips.iter().map(ToString::to_string).collect();
    assert_eq!(vips, ["10.240.0.2", "10.240.0.4"]);
    assert_eq!(service.session_affinity_seconds, Some(10_800));
    assert_eq!(service.ports[0].target_port, TargetPort::Name("dns".to_owned()));
    assert_eq!(service.ports[1].node_port, Some(30053));
    assert!(service.publish_not_ready_addresses);
    let ranges: Vec<_> = service.source_ranges.iter().map(ToString::to_string).collect();
    assert_eq!(ranges, ["203.0.113.0/24", "fd00:9::/32"]);
}

#[test]
fn what_is_not_ours_to_proxy_is_read_all_the_same() {
    for spec in [
        "clusterIP: None, ports: [{port: 80}]",
        "clusterIP: None",
        "clusterIPs: [None]",
        "type: ExternalName, externalName: example.com",
        "type: ExternalName, externalName: example.com, clusterIP: 10.96.0.1",
    ] {
        let service = with_spec(spec).unwrap();
        assert!(!service.proxied && service.cluster_ips.is_empty(), "{spec}");
    }
    for (spec, headless, name) in [
        ("clusterIP: None", true, None),
        ("type: ExternalName, externalName: db.example.com.", false, Some("db.example.com")),
        ("type: ExternalName, externalName: x, clusterIP: None", false, Some("x")),
        ("clusterIP: 10.96.0.1, externalName: x, ports: [{port: 80}]", false, None),
    ] {
        let service = with_spec(spec).unwrap();
        assert_eq!(
            (service.headless, service.external_name.as_deref()),
            (headless, name),
            "{spec}"
        );
    }
    let labelled = read(
        "{metadata: {name: a, labels: {service.kubernetes.io/service-proxy-name: ''}},
          spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}}",
    );
    assert!(!labelled.unwrap().proxied);
}

#[test]
fn what_is_wrong_is_named() {
    let ip = "clusterIP: 10.96.0.1";
    for (spec, field, says) in [
        ("ports: [{port: 80}]".to_owned(), "spec.clusterIP", "required here"),
        ("clusterIP: '', ports: [{port: 80}]".to_owned(), "spec.clusterIP", "required here"),
        ("clusterIP: 10.96.0, ports: [{port: 1}]".to_owned(), "spec.clusterIP", "\"10.96.0\""),
        ("clusterIP: 0.0.0.0, ports: [{port: 1}]".to_owned(), "spec.clusterIP", "unspecified"),
        (
            "clusterIPs: [10.96.0.1, 10.96.0.2], ports: [{port: 1}]".to_owned(),
            "spec.clusterIPs[1]",
            "one of each family",
        ),
        (
            "clusterIP: 10.96.0.9, clusterIPs: [10.96.0.1], ports: [{port: 1}]".to_owned(),
            "spec.clusterIP",
            "10.96.0.9",
        ),
        (ip.to_owned(), "spec.ports", "at least one"),
        (format!("{ip}, type: Fancy"), "spec.type", "Fancy"),
        ("type: ExternalName".to_owned(), "spec.externalName", "it is missing"),
        ("type: ExternalName, externalName: a_b".to_owned(), "spec.externalName", "a_b"),
        (format!("{ip}, ports: [{{port: 70000}}]"), "spec.ports[0].port", "70000"),
        (format!("{ip}, ports: [{{port: 70000}}]"), "spec.ports[0].port", "from 1 to 65535"),
        (format!("{ip}, ports: [{{port: 0}}]"), "spec.ports[0].port", "0 is no port"),
        (format!("{ip}, ports: [{{name: a}}]"), "spec.ports[0].port", "0 is no port"),
        (format!("{ip}, ports: [{{port: -1}}]"), "spec.ports[0].port", "-1"),
        (format!("{ip}, ports: [{{port: 1, protocol: tcp}}]"), "spec.ports[0].protocol", "tcp"),
        (
            format!("{ip}, ports: [{{port: 1, targetPort: 70000}}]"),
            "spec.ports[0].targetPort",
            "70000",
        ),
        (
            format!("{ip}, ports: [{{port: 1, targetPort: '80'}}]"),
            "spec.ports[0].targetPort",
            "without",
        ),
        (format!("{ip}, ports: [{{port: 1}}, {{port: 2}}]"), "spec.ports[0].name", "required"),
        (
            format!("{ip}, ports: [{{name: a, port: 1}}, {{name: a, port: 2}}]"),
            "spec.ports[1].name",
            "another port",
        ),
        (
            format!("{ip}, ports: [{{name: a, port: 1}}, {{name: b, port: 1}}]"),
            "spec.ports[1].port",
            "already",
        ),
        (
            format!(
                "{ip}, type: NodePort, ports: [{{name: a, port: 1, nodePort: 30000}}, \
                 {{name: b, port: 2, nodePort: 30000}}]"
            ),
            "spec.ports[1].nodePort",
            "30000",
        ),
        (
            format!("{ip}, type: NodePort, ports: [{{port: 1}}]"),
            "spec.ports[0].nodePort",
            "required here",
        ),
        (
            format!("{ip}, type: LoadBalancer, ports: [{{port: 1}}]"),
            "spec.ports[0].nodePort",
            "required here",
        ),
        (
            format!("{ip}, externalIPs: [10.0.0.1, x], ports: [{{port: 1}}]"),
            "spec.externalIPs[1]",
            "\"x\"",
        ),
        (
            format!("{ip}, internalTrafficPolicy: Mine, ports: [{{port: 1}}]"),
            "spec.internalTrafficPolicy",
            "Mine",
        ),
        (
            format!("{ip}, externalTrafficPolicy: Mine, ports: [{{port: 1}}]"),
            "spec.externalTrafficPolicy",
            "Mine",
        ),
        (
            format!("{ip}, sessionAffinity: Mine, ports: [{{port: 1}}]"),
            "spec.sessionAffinity",
            "Mine",
        ),
        (
            format!(
                "{ip}, sessionAffinity: ClientIP, ports: [{{port: 1}}], \
                 sessionAffinityConfig: {{clientIP: {{timeoutSeconds: 86401}}}}"
            ),
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            "86401",
        ),
    ] {
        let error = with_spec(&spec).unwrap_err();
        assert_eq!(error.field, field, "{spec}");
        assert!(error.message.contains(says), "{error}");
    }
}

#[test]
fn a_load_balancer_may_do_without_node_ports_where_it_says_so() {
    let service = with_spec(
        "clusterIP: 10.96.0.1, type: LoadBalancer, allocateLoadBalancerNodePorts: false,
         ports: [{port: 80}]",
    );
    assert_eq!(service.unwrap().ports[0].node_port, None);
}

#[test]
fn a_health_check_port_is_read_and_is_none_of_the_services_own_node_ports() {
    let read = |number: &str, ports: &str| {
        with_spec(&format!(
            "clusterIP: 10.96.0.1, type: LoadBalancer, externalTrafficPolicy: Local, \
             healthCheckNodePort: {number}, ports: [{ports}]"
        ))
    };
    let node_port = "{port: 80, nodePort: 30080}";
    let service = read("32000", node_port).unwrap();
    assert_eq!(service.health_check_port(), Some(32000));
    assert_eq!(read("0", node_port).unwrap().health_check_node_port, None);
    for number in ["-1", "65536", "30080"] {
        let error = read(number, node_port).unwrap_err();
        assert_eq!(error.field, "spec.healthCheckNodePort");
        assert!(error.message.contains(number), "{error}");
    }
    let udp = "{port: 80, protocol: UDP, nodePort: 30080}";
    assert_eq!(read("30080", udp).unwrap().health_check_port(), Some(30080));
}

#[test]
fn a_health_check_port_counts_for_load_balancers_with_a_local_policy_only() {
    let fields = "clusterIP: 10.96.0.1, healthCheckNodePort: 32000, \
                  ports: [{port: 80, nodePort: 30080}]";
    for (more, is_asked) in [
        ("type: LoadBalancer, externalTrafficPolicy: Local", true),
        ("type: LoadBalancer, externalTrafficPolicy: Cluster", false),
        ("type: LoadBalancer", false),
        ("type: NodePort, externalTrafficPolicy: Local", false),
    ] {
        let service = with_spec(&format!("{fields}, {more}")).unwrap();
        assert_eq!(service.health_check_node_port, Some(32000));
        assert_eq!(service.health_check_port().is_some(), is_asked, "{more}");
    }
}

#[test]
fn a_source_range_that_is_none_is_named() {
    let ranges = "loadBalancerSourceRanges: [10.0.0.0/8, 10.0.0.1]";
    let error = with_spec(&format!("clusterIP: 10.96.0.1, {ranges}, ports: [{{port: 80}}]"));
    let error = error.unwrap_err();
    assert_eq!(error.field, "spec.loadBalancerSourceRanges[1]");
    assert!(error.message.contains("\"10.0.0.1\" is no CIDR"), "{error}");
}
