//! kube-proxy's nftables mode: a cluster as the text for `nft -f`, of one family's table.
//!
//! Chains, sets, maps and the order of rules are those of Kubernetes 1.36; only the letters in
//! chains' names (see [`names`]) are our own.

use std::net::IpAddr;

use maps_schema::address::Family;

use super::{
    cluster::{Cluster, Endpoint, ServicePort, is_of},
    names,
};

/// The mark of packets to masquerade.
const MARK: &str = "0x4000";

/// The text to load, of the cluster's family.
pub fn rules(cluster: &Cluster) -> String {
    let mut text = Text::new(cluster);
    text.hooks();
    text.static_rules();
    for port in &cluster.ports {
        text.service(port);
    }
    text.lines.join("\n") + "\n"
}

struct Text<'a> {
    cluster: &'a Cluster,
    /// `ip` or `ip6`.
    ip: &'static str,
    /// The type of addresses.
    address: &'static str,
    /// Chains, sets and maps before the rules that name them.
    lines: Vec<String>,
}

/// A verdict for clients of an address without endpoints.
fn refusal(port: &ServicePort) -> &'static str {
    if port.endpoints.any { "drop" } else { "goto reject-chain" }
}

impl<'a> Text<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        let (ip, address) = match cluster.family {
            Family::V4 => ("ip", "ipv4_addr"),
            Family::V6 => ("ip6", "ipv6_addr"),
        };
        let lines = vec![
            format!("add table {ip} kube-proxy"),
            // Rules go and come again; the sets of clients that stay with an endpoint do not.
            format!("flush table {ip} kube-proxy"),
        ];
        Self { cluster, ip, address, lines }
    }

    fn add(&mut self, what: &str, name: &str, rest: &str) {
        self.lines.push(format!("add {what} {} kube-proxy {name} {rest}", self.ip));
    }

    fn chain(&mut self, name: &str) {
        self.lines.push(format!("add chain {} kube-proxy {name}", self.ip));
    }

    fn rule(&mut self, chain: &str, rule: &str) {
        self.add("rule", chain, rule);
    }

    /// A set or map that begins empty.
    fn empty(&mut self, what: &str, name: &str, of: &str) {
        self.add(what, name, &format!("{{ type {of} ; }}"));
        self.lines.push(format!("flush {what} {} kube-proxy {name}", self.ip));
    }

    fn element(&mut self, set: &str, element: &str) {
        self.add("element", set, &format!("{{ {element} }}"));
    }

    fn hooks(&mut self) {
        for (chain, kind, hook, priority) in [
            ("filter-prerouting-pre-dnat", "filter", "prerouting", -110),
            ("filter-output-pre-dnat", "filter", "output", -110),
            ("filter-input", "filter", "input", 0),
            ("filter-forward", "filter", "forward", 0),
            ("filter-output", "filter", "output", 0),
            ("nat-prerouting", "nat", "prerouting", -100),
            ("nat-output", "nat", "output", -100),
            ("nat-postrouting", "nat", "postrouting", 100),
        ] {
            let base = format!("{{ type {kind} hook {hook} priority {priority} ; }}");
            self.add("chain", chain, &base);
        }
        for chain in [
            "services",
            "masquerading",
            "cluster-ips-check",
            "service-endpoints-check",
            "nodeport-endpoints-check",
            "firewall-check",
            "reject-chain",
        ] {
            self.chain(chain);
        }
        for (hook, jumps) in [
            ("filter-prerouting-pre-dnat", &["firewall-check"][..]),
            ("filter-output-pre-dnat", &["firewall-check"]),
            ("filter-input", &["nodeport-endpoints-check", "service-endpoints-check"]),
            ("filter-forward", &["service-endpoints-check", "cluster-ips-check"]),
            ("filter-output", &["service-endpoints-check", "cluster-ips-check"]),
        ] {
            for chain in jumps {
                self.rule(hook, &format!("ct state new jump {chain}"));
            }
        }
        for hook in ["nat-prerouting", "nat-output"] {
            self.rule(hook, "jump services");
        }
        self.rule("nat-postrouting", "jump masquerading");
    }

    fn static_rules(&mut self) {
        let (ip, address) = (self.ip, self.address);
        self.empty("set", "cluster-ips", address);
        let hairpin = format!("{address} . {address} . inet_proto . inet_service");
        self.empty("set", "hairpin-connections", &hairpin);
        let by_address = format!("{address} . inet_proto . inet_service : verdict");
        for map in ["service-ips", "no-endpoint-services", "firewall-ips"] {
            self.empty("map", map, &by_address);
        }
        for map in ["service-nodeports", "no-endpoint-nodeports"] {
            self.empty("map", map, "inet_proto . inet_service : verdict");
        }
        let node_ports = self.node_port_addresses();

        if self.cluster.options.masquerade_all {
            let rule = format!("{ip} daddr @cluster-ips mark set mark or {MARK}");
            self.rule("services", &rule);
        } else if let Some(pods) = self.cluster.local_pods {
            let rule =
                format!("{ip} daddr @cluster-ips {ip} saddr != {pods} mark set mark or {MARK}");
            self.rule("services", &rule);
        }
        let lookup = format!("{ip} daddr . meta l4proto . th dport vmap");
        self.rule("services", &format!("{lookup} @service-ips"));
        let node_lookup = format!("{node_ports} meta l4proto . th dport vmap");
        self.rule("services", &format!("{node_lookup} @service-nodeports"));

        let masquerade = "masquerade fully-random";
        let marked = format!("mark & {MARK} != 0 mark set mark xor {MARK} {masquerade}");
        self.rule("masquerading", &marked);
        let itself = format!(
            "ct status dnat {ip} saddr . {ip} daddr . meta l4proto . th dport \
             @hairpin-connections {masquerade}"
        );
        self.rule("masquerading", &itself);

        let known = format!(
            "{ip} daddr @cluster-ips reject comment \"Reject traffic to invalid \
                             ports of ClusterIPs\""
        );
        self.rule("cluster-ips-check", &known);
        let ranges = self.cluster.options.service_cidrs.iter();
        let ranges: Vec<String> = ranges
            .filter(|range| is_of(self.cluster.family, range.addr()))
            .map(ToString::to_string)
            .collect();
        if !ranges.is_empty() {
            let rule = format!("{ip} daddr {{ {} }} drop", ranges.join(", "));
            self.rule("cluster-ips-check", &rule);
        }
        self.rule("service-endpoints-check", &format!("{lookup} @no-endpoint-services"));
        self.rule("nodeport-endpoints-check", &format!("{node_lookup} @no-endpoint-nodeports"));
        self.rule("firewall-check", &format!("{lookup} @firewall-ips"));
        self.rule("reject-chain", "reject");
    }

    /// The match of the addresses that NodePorts answer on. Not set means the primary ones.
    fn node_port_addresses(&mut self) -> String {
        let ip = self.ip;
        let chosen = match &self.cluster.options.node_port_addresses {
            None => Some(self.cluster.node_addresses.iter().take(1).copied().collect()),
            Some(_) => self.cluster.node_port_addresses(),
        };
        let Some(addresses) = chosen else {
            let loopback = if ip == "ip" { "127.0.0.0/8" } else { "::1" };
            return format!("fib daddr type local {ip} daddr != {loopback}");
        };
        self.empty("set", "nodeport-ips", self.address);
        for address in addresses.iter().filter(|address| !address.is_loopback()) {
            self.element("nodeport-ips", &address.to_string());
        }
        format!("{ip} daddr @nodeport-ips")
    }

    fn service(&mut self, port: &ServicePort) {
        let name = names::in_nftables(port);
        let everybody = format!("service-{name}");
        let local = format!("local-{name}");
        let internal = if port.internal_local { &local } else { &everybody };

        self.choice(port, &everybody, port.uses_cluster_list(), &port.endpoints.cluster);
        self.choice(port, &local, port.uses_local_list(), &port.endpoints.local);
        self.element("cluster-ips", &port.cluster_ip.to_string());
        if port.internal_endpoints().is_empty() {
            self.map("no-endpoint-services", port, port.cluster_ip, refusal(port));
        } else {
            self.map("service-ips", port, port.cluster_ip, &format!("goto {internal}"));
        }
        if port.is_external() {
            self.external(port, &name);
        }
        for endpoint in port.endpoints.all().into_iter().filter(|endpoint| endpoint.local) {
            let (address, number) = (endpoint.at.ip(), endpoint.at.port());
            let protocol = port.protocol.lower_case();
            self.element(
                "hairpin-connections",
                &format!("{address} . {address} . {protocol} . {number}"),
            );
        }
    }

    fn map(&mut self, map: &str, port: &ServicePort, address: IpAddr, verdict: &str) {
        let protocol = port.protocol.lower_case();
        self.element(map, &format!("{address} . {protocol} . {} : {verdict}", port.port));
    }

    fn external(&mut self, port: &ServicePort, name: &str) {
        let chain = format!("external-{name}");
        if port.endpoints.any {
            self.external_chain(port, name, &chain);
        }
        let goto = format!("goto {chain}");
        for address in port.external_ips.iter().chain(&port.load_balancer_ips) {
            if port.endpoints.any {
                self.map("service-ips", port, *address, &goto);
            }
            if port.external_endpoints().is_empty() {
                self.map("no-endpoint-services", port, *address, refusal(port));
            }
        }
        if let Some(number) = port.node_port {
            let key = format!("{} . {number}", port.protocol.lower_case());
            if port.endpoints.any {
                self.element("service-nodeports", &format!("{key} : {goto}"));
            }
            if port.external_endpoints().is_empty() {
                self.element("no-endpoint-nodeports", &format!("{key} : {}", refusal(port)));
            }
        }
        if !port.source_ranges.is_empty() && !port.load_balancer_ips.is_empty() {
            let chain = format!("firewall-{name}");
            let ranges = port.source_ranges.iter().map(ToString::to_string);
            let balancers = self.cluster.sources_that_are_the_balancer(port);
            let allowed: Vec<String> =
                ranges.chain(balancers.iter().map(ToString::to_string)).collect();
            self.chain(&chain);
            self.rule(&chain, &format!("{} saddr != {{ {} }} drop", self.ip, allowed.join(", ")));
            for address in &port.load_balancer_ips {
                self.map("firewall-ips", port, *address, &format!("goto {chain}"));
            }
        }
    }

    fn external_chain(&mut self, port: &ServicePort, name: &str, chain: &str) {
        let (ip, everybody) = (self.ip, format!("service-{name}"));
        self.chain(chain);
        let rest = if port.external_local {
            if let Some(pods) = self.cluster.local_pods {
                self.rule(
                    chain,
                    &format!(
                        "{ip} saddr {pods} goto {everybody} comment \"short-circuit pod traffic\""
                    ),
                );
            }
            self.rule(
                chain,
                &format!(
                    "fib saddr type local mark set mark or {MARK} comment \"masquerade local traffic\""
                ),
            );
            self.rule(
                chain,
                &format!(
                    "fib saddr type local goto {everybody} comment \"short-circuit local traffic\""
                ),
            );
            format!("local-{name}")
        } else {
            self.rule(chain, &format!("mark set mark or {MARK}"));
            everybody
        };
        if !port.external_endpoints().is_empty() {
            self.rule(chain, &format!("goto {rest}"));
        }
    }

    fn choice(&mut self, port: &ServicePort, chain: &str, is_used: bool, endpoints: &[Endpoint]) {
        if !is_used || endpoints.is_empty() {
            return;
        }
        self.chain(chain);
        let count = endpoints.len();
        let Some(seconds) = port.affinity else {
            let elements: Vec<String> = endpoints
                .iter()
                .enumerate()
                .map(|(index, endpoint)| {
                    format!("{index} : {} . {}", endpoint.at.ip(), endpoint.at.port())
                })
                .collect();
            let rule = format!(
                "meta l4proto {} dnat {} addr . port to numgen random mod {count} map {{ {} }}",
                port.protocol.lower_case(),
                self.ip,
                elements.join(" , ")
            );
            self.rule(chain, &rule);
            return;
        };
        for endpoint in endpoints {
            self.endpoint(port, endpoint, seconds);
        }
        for endpoint in endpoints {
            let name = names::of_endpoint_in_nftables(port, endpoint);
            let rule = format!("{} saddr @affinity-{name} goto endpoint-{name}", self.ip);
            self.rule(chain, &rule);
        }
        let elements: Vec<String> = endpoints
            .iter()
            .enumerate()
            .map(|(index, endpoint)| {
                format!(
                    "{index} : goto endpoint-{}",
                    names::of_endpoint_in_nftables(port, endpoint)
                )
            })
            .collect();
        let rule = format!("numgen random mod {count} vmap {{ {} }}", elements.join(" , "));
        self.rule(chain, &rule);
    }

    /// The chain of an endpoint, and the clients that stay with it.
    fn endpoint(&mut self, port: &ServicePort, endpoint: &Endpoint, seconds: u32) {
        let name = names::of_endpoint_in_nftables(port, endpoint);
        let (set, chain) = (format!("affinity-{name}"), format!("endpoint-{name}"));
        if self.lines.contains(&format!("add chain {} kube-proxy {chain}", self.ip)) {
            return;
        }
        let clients =
            format!("{{ type {} ; flags dynamic,timeout ; timeout {seconds}s ; }}", self.address);
        self.add("set", &set, &clients);
        self.chain(&chain);
        self.rule(&chain, &format!("update @{set} {{ {} saddr }}", self.ip));
        let rule = format!("meta l4proto {} dnat to {}", port.protocol.lower_case(), endpoint.at);
        self.rule(&chain, &rule);
    }
}
