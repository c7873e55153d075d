//! What this kernel has, and what shunt will use of it.
//!
//! Features are tried, not inferred from the kernel's release: distributions carry features back,
//! and configurations leave them out.

mod raw;
mod scratch;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::{
    maps::MapType,
    programs::{ProgramError, ProgramType},
    sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported},
};
use nix::{
    sys::{
        statfs::{BPF_FS_MAGIC, statfs},
        utsname::uname,
    },
    unistd::geteuid,
};
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

const UPGRADE: &str = "run kernel 6.1 or later";

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
        let may_load = system_call(&mut features)?;
        features.push(feature(
            "cgroup2 mount",
            cgroup2.is_some(),
            Need::SocketLb,
            "the place of the socket programs",
            "mount it: mount -t cgroup2 none DIR; or say --socket-lb off",
        ));
        if may_load {
            programs(&mut features)?;
            maps(&mut features)?;
            helpers(&mut features)?;
        }
        network(&mut features, trials);

        let missing = features.iter().filter_map(Feature::missing).collect();
        let tc_mode = if trials.tcx {
            TcMode::Tcx
        } else {
            TcMode::Clsact
        };
        Ok(Self {
            kernel,
            tc_mode,
            cgroup2,
            features,
            missing,
        })
    }

    /// What is missing for an agent that translates at the socket, or does not.
    pub fn missing_for(&self, socket_lb: bool) -> impl Iterator<Item = &Missing> {
        self.missing
            .iter()
            .filter(move |missing| socket_lb || missing.need != Need::SocketLb)
    }
}

/// What is missing for pinning below `directory`, which need not exist yet: a bpffs.
pub fn missing_bpffs(directory: &Path) -> Option<Missing> {
    let existing = directory.ancestors().find(|ancestor| ancestor.exists())?;
    let is_bpffs = statfs(existing).is_ok_and(|status| status.filesystem_type() == BPF_FS_MAGIC);
    (!is_bpffs).then(|| Missing {
        what: format!("bpffs at {}", directory.display()),
        need: Need::Required,
        why_needed: "pinning maps and links, so that traffic goes on without the agent".to_owned(),
        remedy: "mount it (mount -t bpf bpf /sys/fs/bpf), or name another with --bpffs".to_owned(),
    })
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

fn feature(
    name: &'static str,
    present: bool,
    need: Need,
    used_for: &'static str,
    remedy: &'static str,
) -> Feature {
    Feature {
        name,
        present,
        need,
        used_for,
        remedy,
    }
}

/// bpf(2) and what comes with it; says whether programs can be loaded at all.
fn system_call(features: &mut Vec<Feature>) -> Result<bool, ProbeError> {
    let loaded = raw::load_classifier();
    let is_compiled = match &loaded {
        Ok(classifier) => raw::is_compiled(classifier).map_err(|source| ProbeError::Failed {
            doing: "asking about a loaded program",
            source,
        })?,
        Err(_) => false,
    };
    let remedy = match loaded.as_ref().err().and_then(io::Error::raw_os_error) {
        Some(libc::EPERM) => {
            "allow it: give CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN, and check seccomp and lockdown"
        }
        _ => "run a kernel with CONFIG_BPF_SYSCALL and CONFIG_NET_CLS_BPF",
    };
    let file_systems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let has_bpffs = file_systems
        .lines()
        .any(|line| line.split_whitespace().last() == Some("bpf"));
    features.extend([
        feature(
            "bpf system call",
            loaded.is_ok(),
            Need::Required,
            "everything",
            remedy,
        ),
        feature(
            "BPF JIT",
            is_compiled,
            Need::Optional,
            "speed",
            "sysctl net.core.bpf_jit_enable=1",
        ),
        feature(
            "BTF",
            Path::new("/sys/kernel/btf/vmlinux").exists(),
            Need::Optional,
            "names of types and functions in bpftool",
            "run a kernel with CONFIG_DEBUG_INFO_BTF",
        ),
        feature(
            "bpffs",
            has_bpffs,
            Need::Required,
            "pinning maps and links, so that traffic goes on without the agent",
            "run a kernel with CONFIG_BPF_SYSCALL",
        ),
    ]);
    Ok(loaded.is_ok())
}

fn programs(features: &mut Vec<Feature>) -> Result<(), ProbeError> {
    for (name, program, need, used_for) in [
        (
            "program type sched_cls",
            ProgramType::SchedClassifier,
            Need::Required,
            "packets of pods and of the uplink",
        ),
        (
            "program type cgroup_sock_addr",
            ProgramType::CgroupSockAddr,
            Need::SocketLb,
            "sockets of the node's own processes",
        ),
        (
            "program type xdp",
            ProgramType::Xdp,
            Need::Optional,
            "nothing in this version",
        ),
    ] {
        let present = is_program_supported(program)
            .map_err(|source| ProbeError::Unknown { what: name, source })?;
        features.push(feature(name, present, need, used_for, UPGRADE));
    }
    Ok(())
}

fn maps(features: &mut Vec<Feature>) -> Result<(), ProbeError> {
    for (name, map, need, used_for) in [
        (
            "map type hash",
            MapType::Hash,
            Need::Required,
            "services and connections",
        ),
        (
            "map type lru_hash",
            MapType::LruHash,
            Need::SocketLb,
            "peers of sockets",
        ),
        (
            "map type percpu_array",
            MapType::PerCpuArray,
            Need::Required,
            "counters",
        ),
    ] {
        let present = is_map_supported(map).map_err(|source| ProbeError::Unknown {
            what: name,
            source: source.into(),
        })?;
        features.push(feature(name, present, need, used_for, UPGRADE));
    }
    features.push(feature(
        "map type array, memory-mapped",
        raw::create_mmapable_array().is_ok(),
        Need::Required,
        "endpoints, programmed without system calls",
        UPGRADE,
    ));
    Ok(())
}

fn helpers(features: &mut Vec<Feature>) -> Result<(), ProbeError> {
    use ProgramType::{CgroupSockAddr, SchedClassifier};
    for (name, program, helper, need, used_for) in [
        (
            "helper redirect_peer",
            SchedClassifier,
            BpfHelper::BPF_FUNC_redirect_peer,
            Need::Required,
            "the short way into a pod of this node",
        ),
        (
            "helper ktime_get_coarse_ns",
            SchedClassifier,
            BpfHelper::BPF_FUNC_ktime_get_coarse_ns,
            Need::Required,
            "the age of connections",
        ),
        (
            "helper get_netns_cookie",
            CgroupSockAddr,
            BpfHelper::BPF_FUNC_get_netns_cookie,
            Need::SocketLb,
            "leaving the sockets of others alone",
        ),
        (
            "helper set_retval",
            CgroupSockAddr,
            BpfHelper::BPF_FUNC_set_retval,
            Need::SocketLb,
            "refusing connections at the socket",
        ),
    ] {
        let present = is_helper_supported(program, helper)
            .map_err(|source| ProbeError::Unknown { what: name, source })?;
        features.push(feature(name, present, need, used_for, UPGRADE));
    }
    Ok(())
}

fn network(features: &mut Vec<Feature>, trials: scratch::Trials) {
    let clsact_need = if trials.tcx {
        Need::Optional
    } else {
        Need::Required
    };
    features.extend([
        feature(
            "network namespaces",
            trials.namespace,
            Need::Required,
            "pods",
            "run a kernel with CONFIG_NET_NS, with CAP_SYS_ADMIN",
        ),
        feature("tcx", trials.tcx, Need::Optional, "attaching TC programs", "run kernel 6.6 or later"),
        feature(
            "clsact",
            trials.clsact,
            clsact_need,
            "attaching TC programs where there is no tcx",
            "run a kernel with CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF (modprobe sch_ingress)",
        ),
        feature(
            "bridge",
            trials.bridge,
            Need::Required,
            "the pods' gateway",
            "run a kernel with CONFIG_BRIDGE (modprobe bridge)",
        ),
        feature(
            "veth",
            trials.veth,
            Need::Required,
            "the pods' interfaces",
            "run a kernel with CONFIG_VETH (modprobe veth)",
        ),
    ]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_required_is_missing() {
        let absent = |need| feature("x", false, need, "y", "z").missing();
        assert_eq!(absent(Need::Optional), None);
        assert_eq!(absent(Need::Required).unwrap().what, "x");
        assert_eq!(feature("x", true, Need::Required, "y", "z").missing(), None);
    }

    #[test]
    fn an_ordinary_folder_is_no_bpffs() {
        let folder = tempfile::tempdir().unwrap();
        let missing = missing_bpffs(&folder.path().join("not/there/yet")).unwrap();
        assert!(missing.what.ends_with("not/there/yet"), "{missing:?}");
    }

    #[test]
    fn without_tcx_clsact_is_required() {
        let without = |trials: scratch::Trials| {
            let mut features = Vec::new();
            network(&mut features, trials);
            features
                .iter()
                .filter_map(Feature::missing)
                .map(|m| m.what)
                .collect::<Vec<_>>()
        };
        let all = scratch::Trials {
            namespace: true,
            tcx: true,
            clsact: true,
            bridge: true,
            veth: true,
        };
        assert!(without(all).is_empty());
        assert!(
            without(scratch::Trials {
                clsact: false,
                ..all
            })
            .is_empty()
        );
        assert!(without(scratch::Trials { tcx: false, ..all }).is_empty());
        assert_eq!(
            without(scratch::Trials {
                tcx: false,
                clsact: false,
                ..all
            }),
            ["clsact"]
        );
    }

    #[test]
    fn this_kernel_answers() {
        if !geteuid().is_root() {
            eprintln!("skipped: probing needs root");
            return;
        }
        let capabilities = Capabilities::probe().unwrap();
        let has = |name| {
            capabilities
                .features
                .iter()
                .any(|f| f.name == name && f.present)
        };
        assert!(has("bpf system call"), "{capabilities:#?}");
        assert!(has("program type sched_cls"), "{capabilities:#?}");
        assert_eq!(capabilities.tc_mode == TcMode::Tcx, has("tcx"));
    }
}
