//! Who takes packets to Services, and how each is put in force on the node.

use std::{fmt, fmt::Write as _, fs, time::Duration};

use maps_schema::address::Family;
use serde::{Deserialize, Serialize};

use super::stage::Stage;
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
    /// kube-proxy's iptables rules.
    Iptables,
    /// kube-proxy's nftables rules.
    Nftables,
    /// IPVS, as kube-proxy sets it up, without the iptables rules that it has beside it.
    Ipvs,
}

impl Contender {
    /// Those that others are compared with: packets go from pod to pod, without any Service.
    pub const WITHOUT_SERVICES: [Self; 3] = [Self::Nothing, Self::Bridge, Self::Routes];

    /// Those that know Services, other than shunt.
    pub const OTHERS: [Self; 3] = [Self::Iptables, Self::Nftables, Self::Ipvs];

    /// Puts it in force.
    pub(super) fn begin(self, stage: &Stage) {
        match self {
            Self::Nothing => super::stage::drop_at(stage.netns(), &stage.client_port()),
            Self::Bridge | Self::Routes | Self::Shunt => {}
            Self::Iptables => {
                stage.rules_see_bridged_packets("1");
                for family in [Family::V4, Family::V6] {
                    restore(stage.netns(), family, &iptables::rules(&cluster(stage, family)));
                }
            }
            Self::Nftables => {
                stage.rules_see_bridged_packets("1");
                for family in [Family::V4, Family::V6] {
                    load(stage.netns(), "nft", &["-f"], &nftables::rules(&cluster(stage, family)));
                }
            }
            Self::Ipvs => {
                stage.rules_see_bridged_packets("1");
                begin_ipvs(stage);
            }
        }
    }

    /// Takes it out of force, and forgets the flows of its packets.
    pub(super) fn end(self, stage: &Stage) {
        match self {
            Self::Nothing => super::stage::hear_at(stage.netns(), &stage.client_port()),
            Self::Bridge | Self::Routes | Self::Shunt => {}
            Self::Iptables => {
                for family in [Family::V4, Family::V6] {
                    restore(stage.netns(), family, "*filter\nCOMMIT\n*nat\nCOMMIT\n");
                }
            }
            Self::Nftables => {
                process::must(stage.netns().command("nft").args(["flush", "ruleset"]));
            }
            Self::Ipvs => {
                process::must(stage.netns().command("ipvsadm").arg("-C"));
                stage.netns().ip("link delete kube-ipvs0");
            }
        }
        stage.rules_see_bridged_packets_no_more(self);
    }
}

impl Stage {
    fn rules_see_bridged_packets_no_more(&self, contender: Contender) {
        if Contender::OTHERS.contains(&contender) {
            self.rules_see_bridged_packets("0");
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Nothing => "dropped on arrival",
            Self::Bridge => "bridge, no Service",
            Self::Routes => "routes, no Service",
            Self::Shunt => "shunt, TC",
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
            Self::Ipvs => "IPVS",
        })
    }
}

fn cluster(stage: &Stage, family: Family) -> Cluster {
    let node = NodeView {
        name: "node1".to_owned(),
        zone: None,
        addresses: ["172.30.1.2", "fd00:172:30:1::2"].map(crate::manifests::ip).to_vec(),
    };
    let local_pods = ["10.244.1.0/24", "fd00:10:244:1::/64"];
    let local_pods = local_pods.map(|range| range.parse().expect("a range")).to_vec();
    Cluster::read(family, &node, &Options { local_pods, ..Options::default() }, stage.objects())
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
fn begin_ipvs(stage: &Stage) {
    let netns = stage.netns();
    for module in ["ip_vs", "ip_vs_rr"] {
        process::must(process::mortal_command("modprobe").arg(module));
    }
    netns.ip("link add kube-ipvs0 type dummy");
    let (mut addresses, mut servers) = (String::new(), String::new());
    for family in [Family::V4, Family::V6] {
        for (at, endpoints) in stage.services(family) {
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
