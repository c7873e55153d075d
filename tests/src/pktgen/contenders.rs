//! Who takes packets to Services, and how each is put in force on the node.

use std::{fmt, fmt::Write as _, fs, time::Duration};

use maps_schema::address::Family;
use serde::{Deserialize, Serialize};

use super::place::{NODE, NODE_ADDRESSES, POD_CIDRS, Place, drop_at, hear_at};
use crate::{
    netns::NetNamespace,
    oracle::{
        cluster::{Cluster, NodeView, Options},
        iptables, nftables, world,
    },
    process,
};

/// How long rules may take to load.
const LOADING: Duration = Duration::from_mins(10);

/// Who has the packets, from the least to the most that is done with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contender {
    /// Nobody: the node's interface drops them.
    Nothing,
    /// The bridge alone, from pod to pod.
    Bridge,
    /// The node's routes alone, from pod to pod.
    Routes,
    /// shunt's TC program.
    Shunt,
    /// shunt's XDP program.
    ShuntXdp,
    /// kube-proxy's iptables rules.
    Iptables,
    /// kube-proxy's nftables rules.
    Nftables,
    /// IPVS, as kube-proxy sets it up, without the iptables rules that it has beside it.
    Ipvs,
}

impl Contender {
    /// Puts it in force.
    pub(super) fn begin(self, place: &impl Place) {
        if self.has_rules() {
            place.rules_see_bridged_packets("1");
        }
        match self {
            Self::Nothing => drop_at(place.netns(), &place.arrival()),
            Self::Bridge | Self::Routes | Self::Shunt | Self::ShuntXdp => {}
            Self::Iptables => {
                for family in [Family::V4, Family::V6] {
                    restore(place.netns(), family, &iptables::rules(&cluster(place, family)));
                }
            }
            Self::Nftables => {
                for family in [Family::V4, Family::V6] {
                    load(place.netns(), "nft", &["-f"], &nftables::rules(&cluster(place, family)));
                }
            }
            Self::Ipvs => begin_ipvs(place),
        }
    }

    /// Takes it out of force, and forgets the flows of its packets.
    pub(super) fn end(self, place: &impl Place) {
        match self {
            Self::Nothing => hear_at(place.netns(), &place.arrival()),
            Self::Bridge | Self::Routes | Self::Shunt | Self::ShuntXdp => {}
            Self::Iptables => {
                for family in [Family::V4, Family::V6] {
                    restore(place.netns(), family, "*filter\nCOMMIT\n*nat\nCOMMIT\n");
                }
            }
            Self::Nftables => {
                process::must(place.netns().command("nft").args(["flush", "ruleset"]));
            }
            Self::Ipvs => {
                process::must(place.netns().command("ipvsadm").arg("-C"));
                place.netns().ip("link delete kube-ipvs0");
            }
        }
        if self.has_rules() {
            place.rules_see_bridged_packets("0");
        }
    }

    fn has_rules(self) -> bool {
        matches!(self, Self::Iptables | Self::Nftables | Self::Ipvs)
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Nothing => "dropped on arrival",
            Self::Bridge => "bridge, no Service",
            Self::Routes => "routes, no Service",
            Self::Shunt => "shunt, TC",
            Self::ShuntXdp => "shunt, XDP",
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
            Self::Ipvs => "IPVS",
        })
    }
}

fn cluster(place: &impl Place, family: Family) -> Cluster {
    let node = NodeView {
        name: NODE.to_owned(),
        zone: None,
        addresses: NODE_ADDRESSES.map(crate::manifests::ip).to_vec(),
    };
    let local_pods = POD_CIDRS.map(|range| range.parse().expect("a range")).to_vec();
    Cluster::read(family, &node, &Options { local_pods, ..Options::default() }, place.objects())
}

/// The legacy back end, which needs no help of nftables in the kernel.
fn restore(netns: &NetNamespace, family: Family, rules: &str) {
    let program = match family {
        Family::V4 => "iptables-legacy-restore",
        Family::V6 => "ip6tables-legacy-restore",
    };
    load(netns, program, &[], rules);
}

fn load(netns: &NetNamespace, program: &str, arguments: &[&str], rules: &str) {
    let path = format!("/run/test/{}.rules", netns.name());
    fs::write(&path, rules).expect("writing rules");
    let finished = process::finish(netns.command(program).args(arguments).arg(&path), LOADING);
    assert_eq!(finished.code, 0, "{program}: {}", finished.stderr);
}

/// An interface with every address, a virtual server for each, and connection tracking.
fn begin_ipvs(place: &impl Place) {
    let netns = place.netns();
    for module in ["ip_vs", "ip_vs_rr"] {
        process::must(process::mortal_command("modprobe").arg(module));
    }
    netns.ip("link add kube-ipvs0 type dummy");
    let (mut addresses, mut servers) = (String::new(), String::new());
    for family in [Family::V4, Family::V6] {
        for (at, endpoints) in place.services(family) {
            let no_dad = if at.is_ipv6() { " nodad" } else { "" };
            let _ = writeln!(addresses, "address add {} dev kube-ipvs0{no_dad}", at.ip());
            let _ = writeln!(servers, "-A -u {at} -s rr");
            for endpoint in endpoints {
                let _ = writeln!(servers, "-a -u {at} -r {endpoint} -m -w 1");
            }
        }
    }
    load(netns, "ip", &["-batch"], &addresses);
    world::set(netns, &[("ipv4/vs/conntrack".into(), "1")]);
    let path = format!("/run/test/{}.ipvs", netns.name());
    fs::write(&path, servers).expect("writing virtual servers");
    let restore = format!("exec ipvsadm -R < {path}");
    let finished = process::finish(netns.command("sh").args(["-c", &restore]), LOADING);
    assert_eq!(finished.code, 0, "ipvsadm: {}", finished.stderr);
}
