//! `shunt agent`.

use std::process::ExitCode;

use super::{definition::AgentArgs, output};
use crate::config;

pub(super) fn run(args: AgentArgs) -> anyhow::Result<ExitCode> {
    if args.print_default_config {
        output::print(&config::default_config())?;
        return Ok(ExitCode::SUCCESS);
    }
    let config = config::load(args.settings, args.config.as_deref())?;
    env_logger::Builder::new().filter_level(config.log).init();
    for warning in &config.warnings {
        log::warn!("{warning}");
    }
    crate::agent::run(config)
}
