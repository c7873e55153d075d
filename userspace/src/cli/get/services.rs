//! `shunt get services` and `shunt get endpoints`.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use super::{
    age::age,
    columns::{Column, Style, table},
};
use crate::{
    api::view::{EndpointView, ServicePortView, ServiceView},
    cli::output::{list, optional, yes_or_no},
};

/// How many endpoints kubectl names.
const NAMED_ENDPOINTS: usize = 3;

const SERVICES: &[Column<ServiceView>] = &[
    Column::namespace(|view, _| view.namespace.clone()),
    Column::new("NAME", |view, _| view.name.clone()),
    Column::new("TYPE", |view, _| view.r#type.clone()),
    Column::new("CLUSTER-IP", |view, _| cluster_ip(view)),
    Column::new("EXTERNAL-IP", |view, _| external_ip(view)),
    Column::new("PORT(S)", |view, _| list(view.ports.iter().map(port))),
    Column::new("AGE", |view, style| age(view.creation_timestamp.as_deref(), style.now)),
    Column::wide("SELECTOR", |view, _| {
        list(view.selector.iter().map(|(key, value)| format!("{key}={value}")))
    }),
    Column::new("ENDPOINTS", |view, _| {
        // An endpoint serves every port of its service; it is one.
        let count = |of: fn(&EndpointView) -> bool| {
            let endpoints = view.ports.iter().flat_map(|port| &port.endpoints);
            let chosen = endpoints.filter(|endpoint| of(endpoint));
            chosen.map(|endpoint| endpoint.address).collect::<BTreeSet<_>>().len()
        };
        format!("{}/{}", count(|endpoint| endpoint.ready), count(|_| true))
    }),
    Column::new("CONNECTIONS", |view, _| sum(view, |port| port.connections)),
    Column::new("PACKETS", |view, _| sum(view, |port| port.packets)),
    Column::new("BYTES", |view, _| sum(view, |port| port.bytes)),
    Column::wide("CLUSTER-IPS", |view, _| list(&view.cluster_ips)),
];

pub(in crate::cli) fn services(views: &[ServiceView], style: &Style) -> String {
    table(SERVICES, views, style)
}

fn cluster_ip(view: &ServiceView) -> String {
    match view.cluster_ips.first() {
        Some(address) => address.to_string(),
        None if view.r#type == "ExternalName" => "<none>".to_owned(),
        None => "None".to_owned(),
    }
}

/// `getServiceExternalIP` of Kubernetes' `pkg/printers/internalversion/printers.go`, as the API server
/// calls it: wide or not, nothing is cut.
fn external_ip(view: &ServiceView) -> String {
    let external = view.external_ips.iter().map(IpAddr::to_string);
    match view.r#type.as_str() {
        "ExternalName" => view.external_name.clone().unwrap_or_default(),
        "LoadBalancer" => {
            let mut all = view.load_balancer_ingress.iter().cloned().chain(external).peekable();
            if all.peek().is_none() { "<pending>".to_owned() } else { list(all) }
        }
        _ => list(external),
    }
}

fn port(port: &ServicePortView) -> String {
    match port.node_port {
        Some(node_port) => format!("{}:{node_port}/{}", port.port, port.protocol),
        None => format!("{}/{}", port.port, port.protocol),
    }
}

fn sum(view: &ServiceView, of: fn(&ServicePortView) -> u64) -> String {
    view.ports.iter().map(of).sum::<u64>().to_string()
}

const ENDPOINTS: &[Column<ServiceView>] = &[
    Column::namespace(|view, _| view.namespace.clone()),
    Column::new("NAME", |view, _| view.name.clone()),
    Column::new("ENDPOINTS", |view, _| ready_endpoints(view)),
    Column::new("AGE", |view, style| age(view.creation_timestamp.as_deref(), style.now)),
];

/// An endpoint of a service port.
struct Row<'a> {
    service: &'a ServiceView,
    port: &'a ServicePortView,
    endpoint: &'a EndpointView,
}

/// The same columns, with a row for each endpoint, and what is known of it.
const fn each_endpoint<'a>() -> [Column<Row<'a>>; 11] {
    [
        Column::namespace(|row, _| row.service.namespace.clone()),
        Column::new("NAME", |row, _| row.service.name.clone()),
        Column::new("ENDPOINTS", |row, _| socket(row.endpoint).to_string()),
        Column::new("AGE", |row, style| age(row.service.creation_timestamp.as_deref(), style.now)),
        Column::new("PORT", |row, _| {
            optional((!row.port.name.is_empty()).then_some(&row.port.name))
        }),
        Column::new("PROTOCOL", |row, _| row.port.protocol.clone()),
        Column::new("NODE", |row, _| optional(row.endpoint.node.as_ref())),
        Column::new("LOCAL", |row, _| yes_or_no(row.endpoint.local)),
        Column::new("READY", |row, _| yes_or_no(row.endpoint.ready)),
        Column::new("SERVING", |row, _| yes_or_no(row.endpoint.serving)),
        Column::new("TERMINATING", |row, _| yes_or_no(row.endpoint.terminating)),
    ]
}

/// The endpoints of the Services that are served: in one line each, as kubectl has it, or with all
/// that is known of each.
pub(in crate::cli) fn endpoints(views: &[ServiceView], style: &Style) -> String {
    let served = views.iter().filter(|view| view.served);
    if !style.wide {
        return table(ENDPOINTS, served, style);
    }
    let rows: Vec<Row<'_>> = served
        .flat_map(|service| {
            service.ports.iter().flat_map(move |port| {
                port.endpoints.iter().map(move |endpoint| Row { service, port, endpoint })
            })
        })
        .collect();
    table(&each_endpoint(), &rows, style)
}

/// `formatEndpoints` of the same file. An Endpoints object is of its Service's first family alone.
fn ready_endpoints(view: &ServiceView) -> String {
    let is_ipv4 = view.cluster_ips.first().is_none_or(IpAddr::is_ipv4);
    let endpoints = view.ports.iter().flat_map(|port| &port.endpoints);
    let ready: Vec<SocketAddr> = endpoints
        .filter(|endpoint| endpoint.ready && endpoint.address.is_ipv4() == is_ipv4)
        .map(socket)
        .collect();
    let named = list(ready.iter().take(NAMED_ENDPOINTS));
    match ready.len().saturating_sub(NAMED_ENDPOINTS) {
        0 => named,
        more => format!("{named} + {more} more..."),
    }
}

const fn socket(endpoint: &EndpointView) -> SocketAddr {
    SocketAddr::new(endpoint.address, endpoint.port)
}
