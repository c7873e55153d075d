//! `shunt get connections` and `shunt get drops`, which kubectl knows nothing of.

use super::{
    age::duration,
    columns::{Column, Style, table},
};
use crate::{
    api::view::{ConnectionView, DropView},
    cli::output::optional,
};

const CONNECTIONS: &[Column<ConnectionView>] = &[
    Column::new("PROTOCOL", |view, _| view.protocol.clone()),
    Column::new("SOURCE", |view, _| view.source.clone()),
    Column::new("DESTINATION", |view, _| view.destination.clone()),
    Column::new("BACKEND", |view, _| view.backend.clone()),
    Column::new("STATE", |view, _| view.state.clone()),
    Column::new("AGE", |view, _| seconds(view.age_seconds)),
    Column::new("IDLE", |view, _| seconds(view.idle_seconds)),
];

pub(in crate::cli) fn connections(views: &[ConnectionView], style: &Style) -> String {
    table(CONNECTIONS, views, style)
}

const DROPS: &[Column<DropView>] = &[
    Column::new("REASON", |view, _| view.reason.clone()),
    Column::new("PROGRAM", |view, _| view.program.clone()),
    Column::new("INTERFACE", |view, _| optional(view.interface.as_ref())),
    Column::new("COUNT", |view, _| view.count.to_string()),
];

pub(in crate::cli) fn drops(views: &[DropView], style: &Style) -> String {
    table(DROPS, views, style)
}

fn seconds(seconds: u64) -> String {
    duration(i64::try_from(seconds).unwrap_or(i64::MAX))
}
