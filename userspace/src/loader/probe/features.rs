//! Every feature that is tried, and what shunt uses it for.

use std::{fs, io, path::Path};

use aya::{
    maps::MapType,
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported},
};

use super::{Feature, Need, ProbeError, raw, scratch};

const UPGRADE: &str = "run kernel 6.1 or later";

/// bpf(2) and what comes with it; says whether programs can be loaded at all.
pub(super) fn system_call(features: &mut Vec<Feature>) -> Result<bool, ProbeError> {
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
    let has_bpffs = file_systems.lines().any(|line| line.split_whitespace().last() == Some("bpf"));
    features.extend([
        feature("bpf system call", loaded.is_ok(), Need::Required, "everything", remedy),
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

/// The cgroup2 hierarchy.
pub(super) fn cgroup2(features: &mut Vec<Feature>, is_mounted: bool) {
    features.push(feature(
        "cgroup2 mount",
        is_mounted,
        Need::SocketLb,
        "the place of the socket programs",
        "mount it: mount -t cgroup2 none DIR; or say --socket-lb off",
    ));
}

/// Types of programs.
pub(super) fn programs(features: &mut Vec<Feature>) -> Result<(), ProbeError> {
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
            "NodePorts and load balancers in the driver",
        ),
    ] {
        let present = is_program_supported(program)
            .map_err(|source| ProbeError::Unknown { what: name, source })?;
        features.push(feature(name, present, need, used_for, UPGRADE));
    }
    Ok(())
}

/// Types of maps.
pub(super) fn maps(features: &mut Vec<Feature>) -> Result<(), ProbeError> {
    for (name, map, need, used_for) in [
        ("map type hash", MapType::Hash, Need::Required, "services and connections"),
        ("map type lru_hash", MapType::LruHash, Need::SocketLb, "peers of sockets"),
        ("map type percpu_array", MapType::PerCpuArray, Need::Required, "counters"),
    ] {
        let present = is_map_supported(map)
            .map_err(|source| ProbeError::Unknown { what: name, source: source.into() })?;
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

/// Helpers, by the type of program that calls them.
pub(super) fn helpers(features: &mut Vec<Feature>) -> Result<(), ProbeError> {
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

/// What was tried in a network namespace.
pub(super) fn network(features: &mut Vec<Feature>, trials: scratch::Trials) {
    let clsact_need = if trials.tcx { Need::Optional } else { Need::Required };
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

fn feature(
    name: &'static str,
    present: bool,
    need: Need,
    used_for: &'static str,
    remedy: &'static str,
) -> Feature {
    Feature { name, present, need, used_for, remedy }
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
    fn without_tcx_clsact_is_required() {
        let without = |trials: scratch::Trials| {
            let mut features = Vec::new();
            network(&mut features, trials);
            features.iter().filter_map(Feature::missing).map(|m| m.what).collect::<Vec<_>>()
        };
        let all =
            scratch::Trials { namespace: true, tcx: true, clsact: true, bridge: true, veth: true };
        assert!(without(all).is_empty());
        assert!(without(scratch::Trials { clsact: false, ..all }).is_empty());
        assert!(without(scratch::Trials { tcx: false, ..all }).is_empty());
        assert_eq!(without(scratch::Trials { tcx: false, clsact: false, ..all }), ["clsact"]);
    }
}
