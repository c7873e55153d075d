//! `shunt check`.

use std::{fmt::Write as _, process::ExitCode};

use super::{
    NO,
    definition::ListArgs,
    output::{columns, print_as},
};
use crate::loader::probe::{Capabilities, Need, TcMode};

pub(super) fn run(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let capabilities = Capabilities::probe()?;
    print_as(args.output, &capabilities, table)?;
    Ok(if capabilities.missing.is_empty() { ExitCode::SUCCESS } else { NO })
}

pub(super) fn table(capabilities: &Capabilities) -> String {
    let mut text = columns(
        ["FEATURE", "PRESENT", "NEED", "USED FOR"],
        capabilities.features.iter().map(|feature| {
            let need = match feature.need {
                Need::Required => "required",
                Need::SocketLb => "for --socket-lb",
                Need::Optional => "optional",
            };
            [
                feature.name.to_owned(),
                if feature.present { "yes" } else { "no" }.to_owned(),
                need.to_owned(),
                feature.used_for.to_owned(),
            ]
        }),
    );
    let tc_mode = match capabilities.tc_mode {
        TcMode::Tcx => "tcx",
        TcMode::Clsact => "clsact",
    };
    let cgroup = capabilities.cgroup2.as_ref().map_or("none".into(), |path| path.to_string_lossy());
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "\nKernel:  {}\nTC:      {tc_mode}\nCgroup:  {cgroup}\n\n",
        capabilities.kernel
    );
    if capabilities.missing.is_empty() {
        text += "shunt can run here.\n";
    }
    for missing in &capabilities.missing {
        let _ = writeln!(text, "Missing: {missing}");
    }
    text
}
