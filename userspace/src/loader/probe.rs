//! What this kernel has, and what shunt will use of it.
//!
//! Features are tried, not inferred from the kernel's release: distributions carry features back,
//! and configurations leave them out.

mod features;
mod raw;
mod scratch;

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use aya::programs::ProgramError;
use nix::{sys::utsname::uname, unistd::geteuid};
use serde::Serialize;

use crate::mounts;

/// What this kernel has.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// The kernel's release.
    pub kernel: String,
    /// How shunt attaches TC programs, unless told otherwise. Where the kernel has neither way,
    /// [`Self::missing`] says so.
    pub tc_mode: TcMode,
    /// Where the cgroup2 hierarchy is mounted.
    pub cgroup2: Option<PathBuf>,
    /// Everything that was tried, in the order of the layers.
    pub features: Vec<Feature>,
    /// What is required and not there.
    pub missing: Vec<Missing>,
}

/// How TC programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TcMode {
    /// By tcx links, of kernel 6.6 and later.
    Tcx,
    /// By filters of a clsact qdisc.
    Clsact,
}

/// Who needs a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Need {
    /// Every agent.
    Required,
    /// Agents that translate at the socket: all but those with `--socket-lb off`.
    SocketLb,
    /// Nobody; it is better or faster with it.
    Optional,
}

/// A feature of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Feature {
    /// Its name, as the kernel's documentation has it.
    pub name: &'static str,
    /// Whether this kernel has it.
    pub present: bool,
    /// Who needs it.
    pub need: Need,
    /// What shunt uses it for.
    pub used_for: &'static str,
    /// What to do where it is missing.
    #[serde(skip)]
    pub remedy: &'static str,
}

/// Something that is required and not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Missing {
    /// What.
    pub what: String,
    /// Who needs it.
    pub need: Need,
    /// What for.
    pub why_needed: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, why_needed, remedy, need: _ } = self;
        write!(formatter, "{what}: needed for {why_needed}: {remedy}")
    }
}

/// Why it cannot be said what the kernel has.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The caller may not load programs.
    #[error("probing this kernel needs root: run it with sudo, or as a privileged pod")]
    NotRoot,
    /// Something failed that does not say whether the kernel has the feature.
    #[error("{doing}")]
    Failed {
        /// What failed.
        doing: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// aya could not find out.
    #[error("probing for {what}")]
    Unknown {
        /// The feature.
        what: &'static str,
        /// aya's reason.
        source: ProgramError,
    },
}

impl Capabilities {
    /// Tries every feature. Leaves nothing behind; takes some ten milliseconds, and blocks.
    pub fn probe() -> Result<Self, ProbeError> {
        if !geteuid().is_root() {
            return Err(ProbeError::NotRoot);
        }
        let failed = |doing| move |source| ProbeError::Failed { doing, source };
        let mounts = mounts::mounts().map_err(failed("reading /proc/self/mountinfo"))?;
        let cgroup2 = mounts::cgroup2_root(&mounts).map(Path::to_owned);
        let kernel = uname()
            .map_err(|errno| failed("asking for the kernel's release")(errno.into()))?
            .release()
            .to_string_lossy()
            .into_owned();

        let trials = scratch::try_in_new_namespace()?;
        let mut features = Vec::new();
        let may_load = features::system_call(&mut features)?;
        features::cgroup2(&mut features, cgroup2.is_some());
        if may_load {
            features::programs(&mut features)?;
            features::maps(&mut features)?;
            features::helpers(&mut features)?;
        }
        features::network(&mut features, trials);

        let missing = features.iter().filter_map(Feature::missing).collect();
        let tc_mode = if trials.tcx { TcMode::Tcx } else { TcMode::Clsact };
        Ok(Self { kernel, tc_mode, cgroup2, features, missing })
    }

    /// What is missing for an agent that translates at the socket, or does not.
    pub fn missing_for(&self, socket_lb: bool) -> impl Iterator<Item = &Missing> {
        self.missing.iter().filter(move |missing| socket_lb || missing.need != Need::SocketLb)
    }
}

impl Feature {
    fn missing(&self) -> Option<Missing> {
        (!self.present && self.need != Need::Optional).then(|| Missing {
            what: self.name.to_owned(),
            need: self.need,
            why_needed: self.used_for.to_owned(),
            remedy: self.remedy.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_answers() {
        if !geteuid().is_root() {
            eprintln!("skipped: probing needs root");
            return;
        }
        let capabilities = Capabilities::probe().unwrap();
        let has = |name| capabilities.features.iter().any(|f| f.name == name && f.present);
        assert!(has("bpf system call"), "{capabilities:#?}");
        assert!(has("program type sched_cls"), "{capabilities:#?}");
        assert_eq!(capabilities.tc_mode == TcMode::Tcx, has("tcx"));
    }
}
