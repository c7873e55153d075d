//! `shunt get pods` and `shunt get nodes`: of kubectl's columns those that shunt knows something of.

use std::net::SocketAddr;

use super::{
    age::age,
    columns::{Column, Style, table},
};
use crate::{
    api::view::{HostPortView, NodeView, PodView},
    cli::output::{list, optional},
};

const PODS: &[Column<PodView>] = &[
    Column::namespace(|view, _| view.namespace.clone()),
    Column::new("NAME", |view, _| view.name.clone()),
    Column::new("AGE", |view, style| age(view.creation_timestamp.as_deref(), style.now)),
    Column::new("IP", |view, _| optional(view.pod_ips.first())),
    Column::new("NODE", |view, _| optional(view.node.as_ref())),
    Column::new("NETNS", |view, _| optional(view.netns.as_ref())),
    Column::new("INTERFACE", |view, _| optional(view.host_interface.as_ref())),
    Column::new("MAC", |view, _| optional(view.mac.as_ref())),
    Column::new("HOST-PORT(S)", |view, _| {
        list(view.host_ports.iter().filter(|port| port.served).map(host_port))
    }),
    Column::wide("IPS", |view, _| list(&view.pod_ips)),
];

pub(in crate::cli) fn pods(views: &[PodView], style: &Style) -> String {
    table(PODS, views, style)
}

/// The node's port, and the pod's, as a Service's port and its node port are shown.
fn host_port(port: &HostPortView) -> String {
    let on_the_node = match port.host_ip {
        Some(address) => SocketAddr::new(address, port.host_port).to_string(),
        None => port.host_port.to_string(),
    };
    format!("{on_the_node}:{}/{}", port.container_port, port.protocol)
}

const NODES: &[Column<NodeView>] = &[
    Column::new("NAME", |view, _| view.name.clone()),
    Column::new("AGE", |view, style| age(view.creation_timestamp.as_deref(), style.now)),
    Column::new("INTERNAL-IP", |view, _| optional(view.addresses.first())),
    Column::new("POD-CIDRS", |view, _| list(&view.pod_cidrs)),
    Column::new("ROUTE", |view, _| view.route.clone()),
    Column::wide("ADDRESSES", |view, _| list(&view.addresses)),
];

pub(in crate::cli) fn nodes(views: &[NodeView], style: &Style) -> String {
    table(NODES, views, style)
}
