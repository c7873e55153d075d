//! What exists on a node, to compare before and after.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use serde_json::Value;

use crate::{bpf_objects::files_below, netns::NetNamespace, node::Node, process};

/// Fields that change by themselves.
const VOLATILE: [&str; 6] = [
    "expires",
    "valid_life_time",
    "preferred_life_time",
    "gc_timer",
    "hello_timer",
    "topology_change_timer",
];

/// The kernel's settings that a node's networking may have changed.
const SETTINGS: [&str; 4] = [
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/net/ipv4/conf/all/rp_filter",
    "/proc/sys/net/ipv6/conf/all/forwarding",
    "/proc/sys/net/ipv6/conf/default/forwarding",
];

/// What exists: by kind, one line for each thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    kinds: BTreeMap<String, Vec<String>>,
}

impl Snapshot {
    /// Looks at a node: its namespace, what is pinned and kept for it, and the named namespaces.
    pub fn of(node: &Node) -> Self {
        let mut kinds = Self::of_namespace(node.netns()).kinds;
        kinds.insert("pins".into(), paths_below(node.bpffs()));
        // Whether the empty folder stays is the administrator's business, who may have made it.
        let run_files = files_below(&node.run_dir());
        kinds.insert(
            "run folder".into(),
            run_files.iter().map(|path| path.display().to_string()).collect(),
        );
        kinds.insert("named namespaces".into(), paths_below(Path::new("/run/netns")));
        kinds.insert("configuration of namespaces".into(), paths_below(Path::new("/etc/netns")));
        Self { kinds }
    }

    /// Looks at a network namespace alone.
    pub fn of_namespace(netns: &NetNamespace) -> Self {
        let listings = [
            ("links", "ip", "-j -d link show"),
            ("addresses", "ip", "-j address show"),
            ("routes", "ip", "-j -4 route show table all"),
            ("routes of IPv6", "ip", "-j -6 route show table all"),
            ("rules", "ip", "-j -4 rule show"),
            ("rules of IPv6", "ip", "-j -6 rule show"),
            ("permanent neighbours", "ip", "-j neighbour show nud permanent"),
            ("queueing disciplines", "tc", "-j qdisc show"),
        ];
        let mut kinds: BTreeMap<String, Vec<String>> = listings
            .into_iter()
            .map(|(kind, program, arguments)| {
                let text = process::must(netns.command(program).args(arguments.split_whitespace()));
                (kind.to_owned(), lines(&text))
            })
            .collect();
        let settings = netns.run(|| {
            SETTINGS
                .map(|path| {
                    format!("{path} = {}", fs::read_to_string(path).unwrap_or_default().trim())
                })
                .to_vec()
        });
        kinds.insert("settings".into(), settings);
        Self { kinds }
    }

    /// The same without the kernel's settings.
    #[must_use]
    pub fn without_settings(mut self) -> Self {
        self.kinds.remove("settings");
        self
    }

    /// What is only here (`-`) and what is only there (`+`); empty if nothing differs.
    pub fn differences(&self, later: &Self) -> String {
        let mut text = String::new();
        for (kind, before) in &self.kinds {
            let nothing = Vec::new();
            let after = later.kinds.get(kind).unwrap_or(&nothing);
            let gone = before.iter().filter(|line| !after.contains(line)).map(|line| ('-', line));
            let new = after.iter().filter(|line| !before.contains(line)).map(|line| ('+', line));
            for (sign, line) in gone.chain(new) {
                writeln!(text, "{kind}: {sign} {line}").expect("writing to a string");
            }
        }
        text
    }
}

/// The elements of a JSON array, one line each, without what changes by itself.
fn lines(text: &str) -> Vec<String> {
    let mut value: Value = match text.trim() {
        "" => Value::Array(Vec::new()),
        text => {
            serde_json::from_str(text).unwrap_or_else(|error| panic!("not JSON ({error}): {text}"))
        }
    };
    remove_volatile(&mut value);
    let mut lines: Vec<String> =
        value.as_array().into_iter().flatten().map(Value::to_string).collect();
    lines.sort();
    lines
}

fn remove_volatile(value: &mut Value) {
    match value {
        Value::Array(elements) => elements.iter_mut().for_each(remove_volatile),
        Value::Object(fields) => {
            fields.retain(|name, _| !VOLATILE.contains(&name.as_str()));
            fields.values_mut().for_each(remove_volatile);
        }
        _ => {}
    }
}

/// The files below a folder, and the folder itself if it is there, so that an empty one left behind
/// shows.
fn paths_below(folder: &Path) -> Vec<String> {
    let mut paths: Vec<String> =
        files_below(folder).iter().map(|path| path.display().to_string()).collect();
    if folder.exists() {
        paths.insert(0, folder.display().to_string());
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Sandbox;

    #[test]
    #[ignore = "needs root"]
    fn what_comes_and_goes_again_leaves_no_difference() {
        let Some(sandbox) = Sandbox::enter() else {
            return;
        };
        let node = Node::new(&sandbox, "node1");
        let before = Snapshot::of(&node);
        node.netns().ip("link add cni0 type bridge");
        node.netns().ip("address add 10.244.1.1/24 dev cni0");
        node.netns().ip("link set cni0 up");
        fs::create_dir_all("/etc/netns/default.a").expect("making a folder");
        let during = before.differences(&Snapshot::of(&node));
        for trace in ["links: +", "addresses: +", "routes: +", "configuration of namespaces: +"] {
            assert!(during.contains(trace), "no {trace:?} in {during}");
        }
        node.netns().ip("link delete cni0");
        fs::remove_dir_all("/etc/netns").expect("removing a folder");
        assert_eq!(before.differences(&Snapshot::of(&node)), "");
    }

    #[test]
    #[ignore = "needs root"]
    fn a_setting_and_a_qdisc_left_behind_are_seen() {
        let Some(sandbox) = Sandbox::enter() else {
            return;
        };
        let node = Node::new(&sandbox, "node1");
        let before = Snapshot::of(&node);
        node.netns().run(|| fs::write(SETTINGS[0], "1").expect("writing a setting"));
        process::must(node.netns().command("tc").args(["qdisc", "add", "dev", "lo", "clsact"]));
        let after = Snapshot::of(&node);
        assert!(before.differences(&after).contains("settings: +"));
        assert!(
            before.without_settings().differences(&after.without_settings()).contains("clsact")
        );
    }
}
