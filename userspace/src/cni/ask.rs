//! The commands, as questions to the agent.

use std::{fmt::Write as _, time::Duration};

use ipnet::IpNet;
use serde_json::{Map, Value};

use super::{
    client::{Client, ClientError},
    configuration::Configuration,
    environment::{Environment, OwnNetns},
    error::{CniError, Code},
    message::{Add, Answer, Check, Request},
    network_namespace::{is_own, real_path},
    notes, output,
    version::SpecVersion,
};

/// How long an agent may take. Attaching takes it milliseconds; a node that is given hundreds of
/// pods at once, or a cluster of very many Services when the agent has just started, takes seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long an agent may take to say how it is.
const STATUS_PATIENCE: Duration = Duration::from_secs(5);

/// What the plugin was told, checked.
#[derive(Debug)]
pub(super) struct Plugin {
    pub(super) environment: Environment,
    pub(super) configuration: Configuration,
    pub(super) version: SpecVersion,
}

impl Plugin {
    /// ADD: the result.
    pub(super) fn add(&self) -> Result<Value, CniError> {
        let Self { environment, configuration, version } = self;
        let netns = &environment.netns;
        if environment.own_netns == OwnNetns::Refused && is_own(netns) {
            return Err(CniError::new(
                Code::InvalidNamespace,
                format!("CNI_NETNS {} is the network namespace of the node", netns.display()),
            )
            .details("a pod of the host's network needs no CNI; CNI_NETNS_OVERRIDE=1 allows it"));
        }
        let request = Request::Add(Add {
            key: environment.key.clone(),
            network: configuration.name.clone(),
            pod: environment.pod()?,
            netns: real_path(netns),
            port_mappings: configuration.port_mappings()?,
        });
        match self.ask(&request, PATIENCE).map_err(|error| refusal(error, Code::TryAgainLater))? {
            Answer::Attached(attached) => {
                Ok(output::result(*version, configuration, netns, &attached))
            }
            Answer::Done => Err(CniError::new(Code::Io, "the agent answers without an attachment")),
        }
    }

    /// CHECK.
    pub(super) fn check(&self) -> Result<(), CniError> {
        let Self { environment, configuration, .. } = self;
        let Some(previous) = &configuration.previous else {
            let msg = "required prevResult missing: CHECK compares with the result of ADD";
            return Err(CniError::new(Code::InvalidConfiguration, msg));
        };
        let request = Request::Check(Check {
            key: environment.key.clone(),
            netns: real_path(&environment.netns),
            addresses: addresses(previous, environment)?,
        });
        let asked = self.ask(&request, PATIENCE);
        asked.map(|_| ()).map_err(|error| refusal(error, Code::TryAgainLater))
    }

    /// DEL, which always succeeds. What the agent cannot do now, it does later.
    pub(super) fn del(&self, talk: &mut String) {
        let key = &self.environment.key;
        let request = Request::Del(key.clone());
        let Err(error) = self.ask(&request, PATIENCE) else { return };
        let run_dir = &self.configuration.run_dir;
        // Writing into a `String` cannot fail.
        match notes::leave(run_dir, key) {
            Err(reason) => {
                let _ = writeln!(talk, "shunt-cni: {error}; leaving word for it failed: {reason}");
            }
            Ok(()) => {
                if self.ask(&request, PATIENCE).is_ok() {
                    // Where it stays, it says what is done already.
                    let _ = notes::take_back(run_dir, key);
                } else {
                    let _ = writeln!(talk, "shunt-cni: {error}; the next agent will remove {key}");
                }
            }
        }
    }

    /// GC.
    pub(super) fn gc(&self) -> Result<(), CniError> {
        let Configuration { name, valid_attachments, .. } = &self.configuration;
        let Some(valid) = valid_attachments else {
            let msg = "`cni.dev/valid-attachments` is missing: without it every container would \
                       be detached";
            return Err(CniError::new(Code::InvalidConfiguration, msg));
        };
        let request = Request::Gc { network: name.clone(), valid: valid.clone() };
        let asked = self.ask(&request, PATIENCE);
        asked.map(|_| ()).map_err(|error| refusal(error, Code::TryAgainLater))
    }

    /// STATUS.
    pub(super) fn status(&self) -> Result<(), CniError> {
        let asked = self.ask(&Request::Status, STATUS_PATIENCE);
        asked.map(|_| ()).map_err(|error| refusal(error, Code::NotAvailable))
    }

    fn ask(&self, request: &Request, patience: Duration) -> Result<Answer, ClientError> {
        Client::new(&self.configuration.run_dir).ask(request, patience)
    }
}

/// What the runtime is told where the agent did not do it; `absent` where none answers.
fn refusal(error: ClientError, absent: Code) -> CniError {
    let remedy = "start `shunt agent` on this node, or see its log; `runDir` in the network \
                  configuration names its --run-dir";
    match error {
        ClientError::Refused(refusal) => refusal,
        error @ ClientError::Shape { .. } => CniError::new(Code::Io, error.to_string()),
        error => CniError::new(absent, error.to_string()).details(remedy),
    }
}

/// The addresses that the result of ADD has for the container's interface.
fn addresses(
    previous: &Map<String, Value>,
    environment: &Environment,
) -> Result<Vec<IpNet>, CniError> {
    let list = |name: &str| previous.get(name).and_then(Value::as_array).into_iter().flatten();
    let name = environment.key.interface.as_str();
    let netns = environment.netns.display().to_string();
    let ours = list("interfaces").position(|interface| {
        let text = |field: &str| interface.get(field).and_then(Value::as_str);
        text("name") == Some(name) && text("sandbox") == Some(&netns)
    });
    let Some(ours) = ours else {
        let msg = format!("prevResult has no interface {name} whose sandbox is {netns}");
        return Err(CniError::new(Code::NotAsMade, msg));
    };
    let is_ours = |ip: &&Value| ip.get("interface").and_then(Value::as_u64) == Some(ours as u64);
    let address = |ip: &Value| {
        let text = ip.get("address").and_then(Value::as_str).unwrap_or_default();
        text.parse().map_err(|_| {
            let msg = format!("prevResult: address {text:?} of {name} is no address");
            CniError::new(Code::Decoding, msg)
        })
    };
    list("ips").filter(is_ours).map(address).collect()
}
