//! `shunt-cni`, the CNI plugin: a thin client of the agent's socket, by the CNI specification 1.1.0.
//!
//! The plugin checks what the runtime says, asks the agent, and prints what that answers, in the
//! shape of the version that was asked for. It makes nothing itself, so that the agent's one loop
//! stays the only one that changes the node, and it waits for nobody: where no agent answers, it
//! says so at once, and the runtime tries again. Only DEL leaves word for the next agent, because a
//! DEL that fails would be repeated for ever.

mod ask;
pub mod client;
mod configuration;
mod environment;
pub mod error;
pub mod installation;
pub mod message;
mod network_namespace;
pub mod notes;
mod output;
mod version;

use serde_json::{Value, json};

pub use self::version::SUPPORTED_VERSIONS;
use self::{
    configuration::Configuration,
    environment::{Command, Environment},
    error::CniError,
    version::SpecVersion,
};

/// What the plugin prints, and whether it exits with 0.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The text for standard output; may be empty.
    pub stdout: String,
    /// What is to be said on standard error; may be empty.
    pub stderr: String,
    /// Whether the command was done.
    pub success: bool,
}

/// Carries out a command. `variable` looks up environment variables; `stdin` is the network
/// configuration.
pub fn answer(variable: impl Fn(&str) -> Option<String>, stdin: &[u8]) -> Answer {
    let mut talk = String::new();
    match carry_out(variable, stdin, &mut talk) {
        Ok(None) => Answer { stdout: String::new(), stderr: talk, success: true },
        Ok(Some(result)) => Answer { stdout: format!("{result:#}\n"), stderr: talk, success: true },
        Err(error) => {
            let version = configuration::version_text(stdin);
            let CniError { code, msg, details } = error;
            let error = json!({
                "cniVersion": version.as_deref().unwrap_or(SpecVersion::CURRENT.as_str()),
                "code": u32::from(code),
                "msg": msg,
                "details": details,
            });
            Answer { stdout: format!("{error:#}\n"), stderr: talk, success: false }
        }
    }
}

/// The steps and their order are those of the CNI project's own skeleton for plugins (`skel`), so
/// that a runtime hears of the same mistake first.
fn carry_out(
    variable: impl Fn(&str) -> Option<String>,
    stdin: &[u8],
    talk: &mut String,
) -> Result<Option<Value>, CniError> {
    let environment = Environment::read(variable)?;
    if environment.command == Command::Version {
        let asked = configuration::version_text(stdin);
        let version = asked.as_deref().unwrap_or(SpecVersion::CURRENT.as_str());
        return Ok(Some(json!({
            "cniVersion": version,
            "supportedVersions": SUPPORTED_VERSIONS,
        })));
    }
    let configuration = Configuration::read(stdin)?;
    environment.validate()?;
    let version = SpecVersion::negotiate(&configuration.cni_version, environment.command)?;
    let plugin = ask::Plugin { environment, configuration, version };
    match plugin.environment.command {
        Command::Add => plugin.add().map(Some),
        Command::Check => plugin.check().map(|()| None),
        Command::Del => {
            plugin.del(talk);
            Ok(None)
        }
        Command::Gc => plugin.gc().map(|()| None),
        Command::Status => plugin.status().map(|()| None),
        Command::Version => Ok(None),
    }
}

#[cfg(test)]
mod tests;
