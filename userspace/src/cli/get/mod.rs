//! `shunt get`, with the habits of `kubectl get`: its columns in its order and its formats, before
//! those that only shunt has; objects by name; a namespace, or all of them.
//!
//! It differs where a node differs from a cluster: without `-n`, all namespaces are listed, and `-o
//! json` prints shunt's own objects, always in an array.

mod age;
mod columns;
mod pods;
mod services;
mod traffic;

use std::{collections::BTreeSet, net::SocketAddr, process::ExitCode};

use anyhow::bail;
use jiff::Timestamp;
use serde::Serialize;

pub(super) use self::{
    columns::Style,
    pods::{nodes, pods},
    services::{endpoints, services},
    traffic::{connections, drops},
};
use super::{
    NO,
    definition::{GetArgs, GetFormat, Kind},
    output::print,
};
use crate::api::{
    Client,
    view::{ConnectionView, DropView, NodeView, PodView, ServiceEndpointView, ServiceView},
};

pub(super) fn run(args: &GetArgs) -> anyhow::Result<ExitCode> {
    if !args.kind.has_names()
        && (!args.names.is_empty() || args.namespace.is_some() || args.output == GetFormat::Name)
    {
        bail!(
            "{} have neither names nor namespaces: leave them out, and -o name",
            args.kind.plural()
        );
    }
    let client = Client::new(&args.place.run_dir);
    super::ask(async {
        match args.kind {
            Kind::Services => {
                let mut views = client.services().await?;
                views.sort_by(|a, b| a.object().cmp(&b.object()));
                show(args, views, services)
            }
            // Lines are of Services, which may be without endpoints; objects are endpoints.
            Kind::Endpoints if args.output.is_for_people() => {
                let mut views = client.services().await?;
                views.sort_by(|a, b| a.object().cmp(&b.object()));
                views.retain(|view| view.served);
                show(args, views, endpoints)
            }
            Kind::Endpoints => {
                let mut views = client.endpoints().await?;
                views.sort_by(|a, b| endpoint_order(a).cmp(&endpoint_order(b)));
                show(args, views, |_, _| String::new())
            }
            Kind::Pods => {
                let mut views = client.pods().await?;
                views.sort_by(|a, b| a.object().cmp(&b.object()));
                show(args, views, pods)
            }
            Kind::Nodes => {
                let mut views = client.nodes().await?;
                views.sort_by(|a, b| a.name.cmp(&b.name));
                show(args, views, nodes)
            }
            Kind::Connections => {
                let mut views = client.connections().await?;
                views.sort_by(|a, b| connection_order(a).cmp(&connection_order(b)));
                show_all(args, &views, connections)
            }
            Kind::Drops => {
                let mut views = client.drops().await?;
                views.sort_by(|a, b| drop_order(a).cmp(&drop_order(b)));
                show_all(args, &views, drops)
            }
        }
    })?
}

/// An object of Kubernetes'.
trait Named {
    /// Its namespace, empty where it is in none, and its name.
    fn object(&self) -> (&str, &str);
}

impl Named for ServiceView {
    fn object(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }
}

impl Named for ServiceEndpointView {
    fn object(&self) -> (&str, &str) {
        (&self.namespace, &self.service)
    }
}

impl Named for PodView {
    fn object(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }
}

impl Named for NodeView {
    fn object(&self) -> (&str, &str) {
        ("", &self.name)
    }
}

/// Prints the objects that are asked for: by namespace, and by name. A name that none of them has is
/// a negative answer.
fn show<View: Named + Serialize>(
    args: &GetArgs,
    mut views: Vec<View>,
    table: impl FnOnce(&[View], &Style) -> String,
) -> anyhow::Result<ExitCode> {
    let is_in_one = |view: &View| {
        let (namespace, _) = view.object();
        args.namespace.as_ref().is_none_or(|one| namespace.is_empty() || namespace == one)
    };
    views.retain(is_in_one);
    let present: BTreeSet<String> = views.iter().map(|view| view.object().1.to_owned()).collect();
    if !args.names.is_empty() {
        views.retain(|view| args.names.iter().any(|name| name == view.object().1));
    }
    match args.output {
        GetFormat::Name => {
            let kind = args.kind.singular();
            let mut names: Vec<String> =
                views.iter().map(|view| format!("{kind}/{}\n", view.object().1)).collect();
            names.dedup();
            print(&names.concat())?;
        }
        _ if views.is_empty() && args.output.is_for_people() => {
            if args.names.is_empty() {
                match &args.namespace {
                    Some(namespace) => eprintln!("No resources found in {namespace} namespace."),
                    None => eprintln!("No resources found"),
                }
            }
        }
        _ => show_all(args, &views, table).map(drop)?,
    }
    let missing = args.names.iter().filter(|name| !present.contains(*name));
    let missing: Vec<&String> = missing.collect();
    for name in &missing {
        eprintln!("shunt: error: {} {name:?} not found", args.kind.plural());
    }
    Ok(if missing.is_empty() { ExitCode::SUCCESS } else { NO })
}

fn show_all<View: Serialize>(
    args: &GetArgs,
    views: &[View],
    table: impl FnOnce(&[View], &Style) -> String,
) -> anyhow::Result<ExitCode> {
    let text = match args.output {
        GetFormat::Json => serde_json::to_string_pretty(views)? + "\n",
        GetFormat::Yaml => serde_yaml_ng::to_string(views)?,
        GetFormat::Table | GetFormat::Wide | GetFormat::Name => {
            let style = Style {
                wide: args.output == GetFormat::Wide,
                namespaces: args.namespace.is_none(),
                headers: !args.no_headers,
                now: Timestamp::now(),
            };
            table(views, &style)
        }
    };
    print(&text)?;
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

#[cfg(test)]
mod tests;
