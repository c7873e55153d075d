//! What the runtime says by environment variables.

use std::path::PathBuf;

use super::{
    error::{CniError, Code},
    version::SpecVersion,
};
use crate::attachments::{AttachmentKey, PodIdentity};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Add,
    Check,
    Del,
    Gc,
    Status,
    Version,
}

impl Command {
    const ALL: [Self; 6] =
        [Self::Add, Self::Check, Self::Del, Self::Gc, Self::Status, Self::Version];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Check => "CHECK",
            Self::Del => "DEL",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }

    /// The first version of the specification that has it.
    pub(super) const fn since(self) -> SpecVersion {
        match self {
            Self::Add | Self::Del | Self::Version => SpecVersion::V0_3_0,
            Self::Check => SpecVersion::V0_4_0,
            Self::Gc | Self::Status => SpecVersion::V1_1_0,
        }
    }

    /// The variables that it must have.
    const fn required(self) -> &'static [&'static str] {
        match self {
            Self::Add | Self::Check => &[CONTAINER_ID, NETNS, INTERFACE, PATH],
            Self::Del => &[CONTAINER_ID, INTERFACE, PATH],
            Self::Gc | Self::Status => &[PATH],
            Self::Version => &[],
        }
    }

    const fn is_about_one_container(self) -> bool {
        matches!(self, Self::Add | Self::Check | Self::Del)
    }
}

const COMMAND: &str = "CNI_COMMAND";
const CONTAINER_ID: &str = "CNI_CONTAINERID";
const NETNS: &str = "CNI_NETNS";
const INTERFACE: &str = "CNI_IFNAME";
const ARGS: &str = "CNI_ARGS";
const PATH: &str = "CNI_PATH";
const NETNS_OVERRIDE: &str = "CNI_NETNS_OVERRIDE";

/// The kernel takes interface names of at most 15 bytes.
const LONGEST_INTERFACE_NAME: usize = 15;

/// The variables.
#[derive(Debug)]
pub(super) struct Environment {
    pub(super) command: Command,
    /// Which attachment; of empty texts where the command is about none.
    pub(super) key: AttachmentKey,
    /// `CNI_NETNS`; empty where it is not given.
    pub(super) netns: PathBuf,
    pub(super) own_netns: OwnNetns,
    args: String,
}

/// Whether containers may be attached to the plugin's own network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnNetns {
    Refused,
    Allowed,
}

impl Environment {
    /// Reads the variables. All that are missing are named in one error.
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, CniError> {
        let invalid = |msg: String| CniError::new(Code::InvalidEnvironment, msg);
        let read = |name: &str| variable(name).unwrap_or_default();
        let missing = |names: &[&str]| {
            invalid(format!("required env variables [{}] missing", names.join(",")))
        };
        let name = read(COMMAND);
        if name.is_empty() {
            return Err(missing(&[COMMAND]));
        }
        let known = Command::ALL.into_iter().find(|command| command.as_str() == name);
        let command = known.ok_or_else(|| invalid(format!("unknown CNI_COMMAND: {name}")))?;
        let absent: Vec<&str> =
            command.required().iter().copied().filter(|name| read(name).is_empty()).collect();
        if !absent.is_empty() {
            return Err(missing(&absent));
        }
        let allows = read(NETNS_OVERRIDE);
        let own_netns = if allows == "1" || allows.eq_ignore_ascii_case("true") {
            OwnNetns::Allowed
        } else {
            OwnNetns::Refused
        };
        Ok(Self {
            command,
            key: AttachmentKey { container_id: read(CONTAINER_ID), interface: read(INTERFACE) },
            netns: read(NETNS).into(),
            own_netns,
            args: read(ARGS),
        })
    }

    /// Whether the names are such as the specification allows.
    pub(super) fn validate(&self) -> Result<(), CniError> {
        if !self.command.is_about_one_container() {
            return Ok(());
        }
        let invalid = |name: &str, value: &str, rule: &str| {
            let msg = format!("{name} {value:?} is invalid: {rule}");
            Err(CniError::new(Code::InvalidEnvironment, msg))
        };
        let AttachmentKey { container_id, interface } = &self.key;
        if !is_name(container_id) {
            let rule = "it must be letters, digits, `_`, `.` and `-`, a letter or digit first";
            return invalid(CONTAINER_ID, container_id, rule);
        }
        let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        if interface.len() > LONGEST_INTERFACE_NAME {
            return invalid(INTERFACE, interface, "it is longer than 15 bytes");
        }
        if interface == "." || interface == ".." || interface.chars().any(bad) {
            let rule = "it must be no `.` or `..`, and have no `/`, `:` or white space";
            return invalid(INTERFACE, interface, rule);
        }
        Ok(())
    }

    /// The Pod that the kubelet says the container is, in `CNI_ARGS`. What else is said there is
    /// for others.
    pub(super) fn pod(&self) -> Result<PodIdentity, CniError> {
        let mut pod = PodIdentity::default();
        for pair in self.args.split(';').filter(|pair| !pair.is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                let msg = format!("{ARGS} {:?}: {pair:?} is no KEY=VALUE", self.args);
                return Err(CniError::new(Code::InvalidEnvironment, msg));
            };
            let field = match key {
                "K8S_POD_NAMESPACE" => &mut pod.namespace,
                "K8S_POD_NAME" => &mut pod.name,
                "K8S_POD_UID" => &mut pod.uid,
                _ => continue,
            };
            value.clone_into(field);
        }
        Ok(pod)
    }
}

/// Whether a text can be the id of a container or the name of a network.
pub(super) fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && text.bytes().all(allowed)
}
