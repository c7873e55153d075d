//! kube-proxy's rules on a node, as the oracle's writers have them.

use std::{
    fs,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use maps_schema::address::Family;

use super::{
    Contender,
    services::{Services, Side},
};
use crate::{
    netns::NetNamespace,
    oracle::{
        cluster::{Cluster, Options},
        iptables, nftables,
    },
    process,
    topology::addresses,
};

/// How long one load may take: of tens of thousands of Services, minutes.
const LONGEST: Duration = Duration::from_mins(5);
/// How many lines `nft` gets at once. The kernel cannot be interrupted within a transaction, and for
/// each rule that has a map of its own it walks all maps of the table: tens of thousands of them in
/// one transaction hold a processor for minutes.
const LINES: usize = 500;
/// The range of the Services' addresses.
const SERVICE_CIDR: &str = "10.96.0.0/12";

/// Loads the rules of all Services on a node; how long that took. None where the contender has none.
pub(super) fn load(
    contender: Contender,
    node: &NetNamespace,
    here: Side,
    services: &Services,
) -> Option<Duration> {
    let cluster = cluster(here, services);
    let (program, arguments, texts) = match contender {
        Contender::IptablesLegacy => {
            ("iptables-legacy-restore", &[][..], vec![iptables::rules(&cluster)])
        }
        Contender::IptablesNft => {
            ("iptables-nft-restore", &[][..], vec![iptables::rules(&cluster)])
        }
        Contender::Nftables => ("nft", &["-f"][..], transactions(&nftables::rules(&cluster))),
        Contender::Raw | Contender::Bridge | Contender::Shunt => return None,
    };
    let path = format!("/run/test/{}.rules", node.name());
    let mut took = Duration::ZERO;
    for text in texts {
        fs::write(&path, text).expect("writing rules");
        let begun = Instant::now();
        let finished = process::finish(node.command(program).args(arguments).arg(&path), LONGEST);
        took += begun.elapsed();
        assert_eq!(finished.code, 0, "{program}: {}", finished.stderr);
    }
    Some(took)
}

/// The lines of a text for `nft` in several, that which others name first.
fn transactions(text: &str) -> Vec<String> {
    let rank = |line: &&str| match line.split_whitespace().nth(1) {
        Some("rule") => 1,
        Some("element") => 2,
        _ => 0,
    };
    let mut lines: Vec<&str> = text.lines().collect();
    // Lines of one rank stay in their order.
    lines.sort_by_key(rank);
    lines.chunks(LINES).map(|some| some.join("\n") + "\n").collect()
}

fn cluster(here: Side, services: &Services) -> Cluster {
    let number = here.node();
    let [pods, _] = addresses::pod_segment(number).prefixes();
    let pods = pods.parse().expect("a segment's prefix");
    let [address, _] = addresses::node(number);
    let [bridge, _] = addresses::pod_segment(number).host(1);
    Cluster {
        family: Family::V4,
        node_addresses: vec![address, bridge, Ipv4Addr::LOCALHOST.into()],
        local_pods: Some(pods),
        options: Options {
            masquerade_all: false,
            local_pods: vec![pods],
            node_port_addresses: None,
            localhost_node_ports: true,
            service_cidrs: vec![SERVICE_CIDR.parse().expect("a range")],
        },
        ports: services.on_node_of(here),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_come_before_rules_and_rules_before_elements() {
        let text = "add table ip t\nadd element ip t s { 1 }\nadd rule ip t c drop\n\
                    add chain ip t c\nadd rule ip t c accept\n";
        let sorted = "add table ip t\nadd chain ip t c\nadd rule ip t c drop\n\
                      add rule ip t c accept\nadd element ip t s { 1 }\n";
        assert_eq!(transactions(text), [sorted]);
        let many = "add rule ip t c drop\n".repeat(LINES + 1);
        assert_eq!(transactions(&many).len(), 2);
    }
}
