//! `shunt get`.

use std::{collections::BTreeSet, net::SocketAddr, process::ExitCode};

use super::{
    definition::{GetArgs, Kind},
    output::{columns, list, optional, print_as, yes_or_no},
};
use crate::api::{
    Client,
    view::{
        ConnectionView, DropView, EndpointView, NodeView, PodView, ServiceEndpointView,
        ServicePortView, ServiceView,
    },
};

pub(super) fn run(args: &GetArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.list.place.run_dir);
    let format = args.list.output;
    super::ask(async {
        match args.kind {
            Kind::Services => {
                let mut views = client.services().await?;
                views.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
                print_as(format, views.as_slice(), services)
            }
            Kind::Endpoints => {
                let mut views = client.endpoints().await?;
                views.sort_by(|a, b| endpoint_order(a).cmp(&endpoint_order(b)));
                print_as(format, views.as_slice(), endpoints)
            }
            Kind::Pods => {
                let mut views = client.pods().await?;
                views.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
                print_as(format, views.as_slice(), pods)
            }
            Kind::Nodes => {
                let mut views = client.nodes().await?;
                views.sort_by(|a, b| a.name.cmp(&b.name));
                print_as(format, views.as_slice(), nodes)
            }
            Kind::Connections => {
                let mut views = client.connections().await?;
                views.sort_by(|a, b| connection_order(a).cmp(&connection_order(b)));
                print_as(format, views.as_slice(), connections)
            }
            Kind::Drops => {
                let mut views = client.drops().await?;
                views.sort_by(|a, b| drop_order(a).cmp(&drop_order(b)));
                print_as(format, views.as_slice(), drops)
            }
        }
    })??;
    Ok(ExitCode::SUCCESS)
}

fn endpoint_order(view: &ServiceEndpointView) -> impl Ord {
    (
        (view.namespace.as_str(), view.service.as_str(), view.port_name.as_str()),
        (view.protocol.as_str(), view.endpoint.address, view.endpoint.port),
    )
}

fn connection_order(view: &ConnectionView) -> impl Ord {
    // Text sorts 192.168.0.10 before 192.168.0.2; addresses do not.
    let address = |text: &str| text.parse::<SocketAddr>().ok();
    (
        view.protocol.as_str(),
        (address(&view.source), view.source.as_str()),
        (address(&view.destination), view.destination.as_str()),
    )
}

fn drop_order(view: &DropView) -> impl Ord {
    (view.reason.as_str(), view.program.as_str(), view.interface.as_deref())
}

pub(super) fn services(views: &[ServiceView]) -> String {
    columns(
        [
            "NAMESPACE",
            "NAME",
            "TYPE",
            "CLUSTER-IP",
            "EXTERNAL-IP",
            "PORT(S)",
            "ENDPOINTS",
            "CONNECTIONS",
            "PACKETS",
            "BYTES",
        ],
        views.iter().map(|view| {
            let endpoints = || view.ports.iter().flat_map(|port| &port.endpoints);
            // An endpoint serves every port of its service; it is one.
            let count = |of: fn(&EndpointView) -> bool| {
                let chosen = endpoints().filter(|endpoint| of(endpoint));
                chosen.map(|endpoint| endpoint.address).collect::<BTreeSet<_>>().len()
            };
            let sum = |of: fn(&ServicePortView) -> u64| {
                view.ports.iter().map(of).sum::<u64>().to_string()
            };
            [
                view.namespace.clone(),
                view.name.clone(),
                view.r#type.clone(),
                list(&view.cluster_ips),
                list(view.external_ips.iter().chain(&view.load_balancer_ips)),
                list(view.ports.iter().map(|port| match port.node_port {
                    Some(node_port) => format!("{}:{node_port}/{}", port.port, port.protocol),
                    None => format!("{}/{}", port.port, port.protocol),
                })),
                format!("{}/{}", count(|endpoint| endpoint.ready), count(|_| true)),
                sum(|port| port.connections),
                sum(|port| port.packets),
                sum(|port| port.bytes),
            ]
        }),
    )
}

pub(super) fn endpoints(views: &[ServiceEndpointView]) -> String {
    columns(
        [
            "NAMESPACE",
            "SERVICE",
            "PORT",
            "PROTOCOL",
            "ADDRESS",
            "NODE",
            "LOCAL",
            "READY",
            "SERVING",
            "TERMINATING",
        ],
        views.iter().map(|view| {
            let endpoint = &view.endpoint;
            [
                view.namespace.clone(),
                view.service.clone(),
                optional((!view.port_name.is_empty()).then_some(&view.port_name)),
                view.protocol.clone(),
                SocketAddr::new(endpoint.address, endpoint.port).to_string(),
                optional(endpoint.node.as_ref()),
                yes_or_no(endpoint.local),
                yes_or_no(endpoint.ready),
                yes_or_no(endpoint.serving),
                yes_or_no(endpoint.terminating),
            ]
        }),
    )
}

pub(super) fn pods(views: &[PodView]) -> String {
    columns(
        ["NAMESPACE", "NAME", "NODE", "IP", "NETNS", "INTERFACE", "MAC"],
        views.iter().map(|view| {
            [
                view.namespace.clone(),
                view.name.clone(),
                optional(view.node.as_ref()),
                list(&view.pod_ips),
                optional(view.netns.as_ref()),
                optional(view.host_interface.as_ref()),
                optional(view.mac.as_ref()),
            ]
        }),
    )
}

pub(super) fn nodes(views: &[NodeView]) -> String {
    columns(
        ["NAME", "ADDRESSES", "POD-CIDRS", "ROUTE"],
        views.iter().map(|view| {
            [view.name.clone(), list(&view.addresses), list(&view.pod_cidrs), view.route.clone()]
        }),
    )
}

pub(super) fn connections(views: &[ConnectionView]) -> String {
    columns(
        ["PROTOCOL", "SOURCE", "DESTINATION", "BACKEND", "STATE", "AGE", "IDLE"],
        views.iter().map(|view| {
            [
                view.protocol.clone(),
                view.source.clone(),
                view.destination.clone(),
                view.backend.clone(),
                view.state.clone(),
                format!("{}s", view.age_seconds),
                format!("{}s", view.idle_seconds),
            ]
        }),
    )
}

pub(super) fn drops(views: &[DropView]) -> String {
    columns(
        ["REASON", "PROGRAM", "INTERFACE", "COUNT"],
        views.iter().map(|view| {
            [
                view.reason.clone(),
                view.program.clone(),
                optional(view.interface.as_ref()),
                view.count.to_string(),
            ]
        }),
    )
}
