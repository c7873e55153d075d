//! The network configuration, on standard input.
//!
//! Keys that nobody here knows are for others, or from a later version of the specification.

use std::{net::IpAddr, path::PathBuf};

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::{
    environment::is_name,
    error::{CniError, Code},
};
use crate::{
    attachments::{AttachmentKey, PortMapping, TransportProtocol},
    config::settings::DEFAULT_RUN_DIR,
};

/// The version that a configuration without one is of, by the specification.
const UNNAMED_VERSION: &str = "0.1.0";

/// The configuration.
#[derive(Debug, Deserialize)]
pub(super) struct Configuration {
    #[serde(default, rename = "cniVersion")]
    pub(super) cni_version: String,
    #[serde(default)]
    pub(super) name: String,
    /// The run directory of the agent; a key of this plugin alone.
    #[serde(default = "default_run_dir", rename = "runDir")]
    pub(super) run_dir: PathBuf,
    /// For the result; shunt does nothing with it.
    #[serde(default)]
    pub(super) dns: Map<String, Value>,
    #[serde(default, rename = "prevResult")]
    pub(super) previous: Option<Map<String, Value>>,
    #[serde(default, rename = "runtimeConfig")]
    runtime: RuntimeConfiguration,
    /// Absent, or a list, which is empty where it says null.
    #[serde(default, rename = "cni.dev/valid-attachments", deserialize_with = "list_or_null")]
    pub(super) valid_attachments: Option<Vec<AttachmentKey>>,
}

#[derive(Debug, Default, Deserialize)]
struct RuntimeConfiguration {
    #[serde(default, rename = "portMappings")]
    port_mappings: Option<Vec<Map<String, Value>>>,
}

fn default_run_dir() -> PathBuf {
    DEFAULT_RUN_DIR.into()
}

/// Tells what is null from what is absent.
fn list_or_null<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(|list| Some(list.unwrap_or_default()))
}

impl Configuration {
    /// Reads and checks what every command needs.
    pub(super) fn read(stdin: &[u8]) -> Result<Self, CniError> {
        let mut decoder = serde_json::Deserializer::from_slice(stdin);
        let mut configuration: Self =
            serde_path_to_error::deserialize(&mut decoder).map_err(|error| {
                let msg = "the network configuration on standard input cannot be read";
                CniError::new(Code::Decoding, msg).details(error.to_string())
            })?;
        if configuration.cni_version.is_empty() {
            UNNAMED_VERSION.clone_into(&mut configuration.cni_version);
        }
        let name = &configuration.name;
        let invalid = |msg: String| Err(CniError::new(Code::InvalidConfiguration, msg));
        if name.is_empty() {
            return invalid("missing network name: set `name` in the configuration".to_owned());
        }
        if !is_name(name) {
            return invalid(format!(
                "network name {name:?} is invalid: it must be letters, digits, `_`, `.` and `-`, a \
                 letter or digit first"
            ));
        }
        Ok(configuration)
    }

    /// The node's ports that shall lead to the container.
    pub(super) fn port_mappings(&self) -> Result<Vec<PortMapping>, CniError> {
        let all = self.runtime.port_mappings.iter().flatten();
        all.enumerate().map(|(index, fields)| port_mapping(index, fields)).collect()
    }
}

/// Runtimes in Go write the fields' names in one case or the other, and read both.
fn port_mapping(index: usize, fields: &Map<String, Value>) -> Result<PortMapping, CniError> {
    let field = |name: &str| {
        fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    };
    let invalid = |name: &str, rule: &str| {
        let value = field(name).unwrap_or(&Value::Null);
        let msg = format!("runtimeConfig.portMappings[{index}].{name} {value}: {rule}");
        CniError::new(Code::InvalidConfiguration, msg)
    };
    let port = |name: &str| {
        let number = field(name).and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
        number.filter(|port| *port > 0).ok_or_else(|| invalid(name, "it must be from 1 to 65535"))
    };
    let protocol = match field("protocol").and_then(Value::as_str) {
        None | Some("") => TransportProtocol::Tcp,
        Some(name) => {
            name.parse().map_err(|()| invalid("protocol", "it must be `tcp`, `udp` or `sctp`"))?
        }
    };
    let host_ip = match field("hostIP") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.is_empty() => None,
        Some(value) => {
            let address = value.as_str().and_then(|text| text.parse::<IpAddr>().ok());
            Some(address.ok_or_else(|| invalid("hostIP", "it must be an address"))?)
        }
    };
    Ok(PortMapping {
        host_port: port("hostPort")?,
        container_port: port("containerPort")?,
        protocol,
        host_ip,
    })
}

/// The version that a configuration names, also where the rest of it cannot be used.
pub(super) fn version_text(stdin: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(stdin).ok()?;
    Some(value.get("cniVersion")?.as_str()?.to_owned())
}
