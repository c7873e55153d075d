//! Names and Ethernet addresses that follow from a pod's name, so that a restarted agent finds what
//! it made.

use maps_schema::address::Mac;

use super::Error;
use crate::cluster::model::ObjectName;

/// NAME_MAX of Linux is 255; the rest is for the suffixes of the run directory's files.
const LONGEST_NETNS_NAME: usize = 240;

/// The name of a pod's network namespace: `<namespace>.<name>`. A Kubernetes namespace has no dot,
/// so no two pods share one.
pub(super) fn netns_name(pod: &ObjectName) -> Result<String, Error> {
    let netns = format!("{}.{}", pod.namespace, pod.name);
    let reason = if pod.namespace.is_empty() || pod.name.is_empty() {
        Some("namespace or name is empty")
    } else if netns.len() > LONGEST_NETNS_NAME {
        Some("it is longer than 240 characters")
    } else if netns.starts_with('.') || pod.namespace.contains('.') {
        Some("the namespace contains a dot")
    } else if netns.chars().any(|c| c == '/' || c.is_control()) {
        Some("it contains a slash or a control character")
    } else {
        None
    };
    match reason {
        None => Ok(netns),
        Some(reason) => Err(Error::PodName { pod: pod.clone(), netns, reason }),
    }
}

/// The name of the host end of a pod's veth pair: `veth` and eleven hexadecimal digits, 15
/// characters in all.
pub(super) fn host_interface_name(pod: &ObjectName) -> String {
    host_interface_named(&format!("{}/{}", pod.namespace, pod.name))
}

/// The name of the host end of a pair whose pod has another name than pods have.
pub(super) fn host_interface_named(name: &str) -> String {
    format!("veth{:011x}", hash(name) >> 20)
}

/// Whether a name looks like one of [`host_interface_name`].
pub(super) fn is_host_interface_name(name: &str) -> bool {
    name.strip_prefix("veth")
        .is_some_and(|rest| rest.len() == 11 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The Ethernet address of a pod's `eth0`: the same whenever the pair has to be made again, so that
/// neighbours' entries for the pod stay true.
pub(super) fn pod_mac(pod: &ObjectName) -> Mac {
    mac_named(&format!("eth0 {}/{}", pod.namespace, pod.name))
}

/// The Ethernet address that follows from a name.
pub(super) fn mac_named(name: &str) -> Mac {
    local_mac(hash(name))
}

/// The Ethernet address of a bridge: its own for each node.
pub(super) fn bridge_mac(bridge: &str, node_cookie: u64) -> Mac {
    local_mac(hash(&format!("{bridge} {node_cookie}")))
}

fn local_mac(number: u64) -> Mac {
    let [first, rest @ .., _, _] = number.to_be_bytes();
    let mut bytes = [0; 6];
    let [head, tail @ ..] = &mut bytes;
    // Locally administered, and for one station.
    *head = (first & 0xfc) | 0x02;
    *tail = rest;
    Mac::from_bytes(bytes)
}

/// FNV-1a with a last mixing step (that of MurmurHash3): names must be the same in every build,
/// which the standard library's hasher does not promise.
fn hash(text: &str) -> u64 {
    let fnv = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn pod(namespace: &str, name: &str) -> ObjectName {
        ObjectName { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn interface_names_fit_the_kernel_and_differ() {
        let names: BTreeSet<String> = (0..20_000)
            .map(|n| host_interface_name(&pod("default", &format!("web-{n}"))))
            .collect();
        assert_eq!(names.len(), 20_000);
        assert!(names.iter().all(|name| name.len() == 15 && is_host_interface_name(name)));
    }

    #[test]
    fn names_are_the_same_in_every_build() {
        assert_eq!(host_interface_name(&pod("default", "web")), "veth94ba56774a6");
    }

    #[test]
    fn pods_have_local_unicast_addresses() {
        for number in 0..1_000 {
            let [first, ..] = pod_mac(&pod("default", &number.to_string())).bytes();
            assert_eq!(first & 0x03, 0x02);
        }
    }

    #[test]
    fn names_that_would_leave_the_folder_are_refused() {
        assert_eq!(netns_name(&pod("default", "web.0")).unwrap(), "default.web.0");
        let long = "x".repeat(240);
        for (namespace, name) in [
            ("..", "x"),
            ("a.b", "x"),
            ("a", "../x"),
            ("", "x"),
            ("a", ""),
            ("a", "x\n"),
            ("a", &long),
        ] {
            assert!(netns_name(&pod(namespace, name)).is_err(), "{namespace:?} {name:?}");
        }
    }
}
