//! `shunt status`.

use std::{fmt::Write as _, process::ExitCode};

use super::{
    NO, complain,
    definition::ListArgs,
    output::{columns, print_as, yes_or_no},
};
use crate::api::{
    Client,
    view::{ErrorView, StatusView},
};

pub(super) fn run(args: &ListArgs) -> anyhow::Result<ExitCode> {
    match super::ask(Client::new(&args.place.run_dir).status())? {
        Ok(status) => {
            print_as(args.output, &status, table)?;
            Ok(if status.ready { ExitCode::SUCCESS } else { NO })
        }
        // A node without agent is not ready: that is an answer.
        Err(error) if error.is_absent() => {
            complain(&error.into());
            Ok(NO)
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) fn table(status: &StatusView) -> String {
    let mut text = String::new();
    let source = &status.source;
    let reason = status.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let last_change = source.last_change.as_deref().unwrap_or("never");
    let last_sync = status.last_sync.as_ref().map_or_else(
        || "never".to_owned(),
        |sync| format!("{}, {} changes in {} µs", sync.at, sync.changes, sync.duration_micros),
    );
    let service_cidrs = match status.service_cidrs.as_slice() {
        [] => String::new(),
        ranges => format!("Services:   addresses from {}\n", ranges.join(", ")),
    };
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "Ready:      {}{reason}\n\
         Node:       {}\n\
         Version:    {}\n\
         Kernel:     {}\n\
         {service_cidrs}\
         Source:     {}, {}, last change {last_change}\n\
         Last sync:  {last_sync}\n",
        yes_or_no(status.ready),
        status.node,
        status.version,
        status.kernel,
        source.kind,
        if source.synced { "all read" } else { "not all read" },
    );
    if !source.errors.is_empty() {
        let _ = writeln!(text, "\nErrors:");
        for error in &source.errors {
            let _ = writeln!(text, "  {}", line(error));
        }
    }
    if !status.programs.is_empty() {
        text += "\n";
        text += &columns(
            ["PROGRAM", "INTERFACE", "HOOK", "MODE", "RUNS"],
            status.programs.iter().map(|program| {
                [
                    program.name.clone(),
                    program.interface.clone(),
                    program.hook.clone(),
                    program.mode.clone(),
                    program.run_count.to_string(),
                ]
            }),
        );
    }
    if !status.maps.is_empty() {
        text += "\n";
        text += &columns(
            ["MAP", "ENTRIES", "CAPACITY", "BYTES"],
            status.maps.iter().map(|map| {
                [
                    map.name.clone(),
                    map.entries.to_string(),
                    map.capacity.to_string(),
                    map.bytes.to_string(),
                ]
            }),
        );
    }
    text
}

/// An error in one line: file, document, object, field, message.
fn line(error: &ErrorView) -> String {
    let ErrorView { file, document, kind, namespace, name, field, message } = error;
    let place = match (file, document) {
        (Some(file), Some(document)) => format!("{} (document {document})", file.display()),
        (Some(file), None) => file.display().to_string(),
        (None, _) => String::new(),
    };
    let name = match (namespace.as_deref().filter(|namespace| !namespace.is_empty()), name) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        (_, name) => name.clone().unwrap_or_default(),
    };
    let object = [kind.clone().unwrap_or_default(), name];
    let object = object.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    [place, object, field.clone().unwrap_or_default(), message.clone()]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(": ")
}
