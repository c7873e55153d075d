//! kube-proxy's iptables mode: a cluster as the text for `iptables-restore` or `ip6tables-restore`.
//!
//! The rules and their order are those of Kubernetes 1.36, the static part included: the jumps from
//! the kernel's hooks are in the order in which they stand after kube-proxy has put each of them
//! first. Only chains' names (see [`names`]) and the order of Services, which kube-proxy takes from
//! a hash map, are our own.

use maps_schema::address::Family;

use super::{
    cluster::{Cluster, Endpoint, ServicePort},
    names,
};

/// The mark of packets to masquerade.
const MARK: &str = "0x4000";

/// The text to restore, of the cluster's family.
pub fn rules(cluster: &Cluster) -> String {
    let mut text = Text { comments: Comments::of(cluster), ..Text::default() };
    text.hooks(cluster.family);
    for port in &cluster.ports {
        text.service(cluster, port);
    }
    text.end_services(cluster);
    text.finish()
}

/// What becomes of clients of an address without endpoints.
fn filter_target(port: &ServicePort) -> &'static str {
    if port.endpoints.any { "DROP" } else { "REJECT" }
}

/// `-m tcp -p tcp -d ADDRESS --dport PORT`.
fn destination(port: &ServicePort, address: impl std::fmt::Display, number: u16) -> String {
    let protocol = port.protocol.lower_case();
    format!("-m {protocol} -p {protocol} -d {address} --dport {number}")
}

fn comment(port: &ServicePort, what: &str) -> String {
    format!("-m comment --comment \"{} {what}\"", port.full_name())
}

/// Which rules say what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Comments {
    /// All.
    #[default]
    Everywhere,
    /// Not those that lead to endpoints and those of endpoints: kube-proxy leaves them out where
    /// there are many.
    NotOfEndpoints,
}

impl Comments {
    /// Of more endpoints than these nothing is said.
    const MOST: usize = 1000;

    fn of(cluster: &Cluster) -> Self {
        let endpoints: usize = cluster.ports.iter().map(|port| port.endpoints.all().len()).sum();
        if endpoints > Self::MOST { Self::NotOfEndpoints } else { Self::Everywhere }
    }
}

#[derive(Default)]
struct Text {
    comments: Comments,
    filter: Table,
    nat: Table,
}

#[derive(Default)]
struct Table {
    chains: Vec<String>,
    rules: Vec<String>,
}

impl Table {
    fn chain(&mut self, name: &str) {
        self.chains.push(format!(":{name} - [0:0]"));
    }

    fn rule(&mut self, chain: &str, rule: &str) {
        self.rules.push(format!("-A {chain} {rule}"));
    }

    fn jump(&mut self, hook: &str, matches: &str, said: &str, chain: &str) {
        self.rule(hook, &format!("{matches}-m comment --comment \"{said}\" -j {chain}"));
    }
}

impl Text {
    fn finish(self) -> String {
        let tables = [("filter", self.filter), ("nat", self.nat)].map(|(name, table)| {
            let lines: Vec<String> = table.chains.into_iter().chain(table.rules).collect();
            format!("*{name}\n{}\nCOMMIT\n", lines.join("\n"))
        });
        tables.concat()
    }

    fn hooks(&mut self, family: Family) {
        let new = "-m conntrack --ctstate NEW ";
        let filter = &mut self.filter;
        for chain in [
            "KUBE-SERVICES",
            "KUBE-EXTERNAL-SERVICES",
            "KUBE-FORWARD",
            "KUBE-NODEPORTS",
            "KUBE-PROXY-FIREWALL",
            "KUBE-FIREWALL",
        ] {
            filter.chain(chain);
        }
        let portals = "kubernetes service portals";
        let external = "kubernetes externally-visible service portals";
        let firewall = "kubernetes load balancer firewall";
        filter.rule("INPUT", "-j KUBE-FIREWALL");
        filter.jump("INPUT", new, firewall, "KUBE-PROXY-FIREWALL");
        filter.jump("INPUT", "", "kubernetes health check service ports", "KUBE-NODEPORTS");
        filter.jump("INPUT", new, external, "KUBE-EXTERNAL-SERVICES");
        filter.jump("FORWARD", new, firewall, "KUBE-PROXY-FIREWALL");
        filter.jump("FORWARD", "", "kubernetes forwarding rules", "KUBE-FORWARD");
        filter.jump("FORWARD", new, portals, "KUBE-SERVICES");
        filter.jump("FORWARD", new, external, "KUBE-EXTERNAL-SERVICES");
        filter.rule("OUTPUT", "-j KUBE-FIREWALL");
        filter.jump("OUTPUT", new, firewall, "KUBE-PROXY-FIREWALL");
        filter.jump("OUTPUT", new, portals, "KUBE-SERVICES");
        filter.rule("KUBE-FORWARD", "-m conntrack --ctstate INVALID -j DROP");
        filter.rule("KUBE-FORWARD", &format!("-m mark --mark {MARK}/{MARK} -j ACCEPT"));
        filter.rule("KUBE-FORWARD", "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT");
        if family == Family::V4 {
            let martian = "! -s 127.0.0.0/8 -d 127.0.0.0/8 \
                           -m comment --comment \"block incoming localnet connections\" \
                           -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP";
            filter.rule("KUBE-FIREWALL", martian);
        }

        let nat = &mut self.nat;
        for chain in ["KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-MARK-MASQ"] {
            nat.chain(chain);
        }
        for hook in ["PREROUTING", "OUTPUT"] {
            nat.jump(hook, "", portals, "KUBE-SERVICES");
        }
        nat.jump("POSTROUTING", "", "kubernetes postrouting rules", "KUBE-POSTROUTING");
        nat.rule("KUBE-MARK-MASQ", &format!("-j MARK --or-mark {MARK}"));
        nat.rule("KUBE-POSTROUTING", &format!("-m mark ! --mark {MARK}/{MARK} -j RETURN"));
        nat.rule("KUBE-POSTROUTING", &format!("-j MARK --xor-mark {MARK}"));
        nat.rule(
            "KUBE-POSTROUTING",
            "-m comment --comment \"kubernetes service traffic requiring SNAT\" \
             -j MASQUERADE --random-fully",
        );
    }

    fn service(&mut self, cluster: &Cluster, port: &ServicePort) {
        let hash = names::of_service(port);
        let cluster_chain = format!("KUBE-SVC-{hash}");
        let local_chain = format!("KUBE-SVL-{hash}");
        let internal = if port.internal_local { &local_chain } else { &cluster_chain };

        self.cluster_address(cluster, port, internal);
        if port.is_external() {
            self.external_addresses(port, &hash);
            if port.endpoints.any {
                self.external_chain(cluster, port, &hash);
                self.firewall_chain(cluster, port, &hash);
            }
        }
        if port.uses_cluster_list() && !port.endpoints.cluster.is_empty() {
            self.choice(port, &cluster_chain, &port.endpoints.cluster);
        }
        if port.uses_local_list() && !port.endpoints.local.is_empty() {
            self.choice(port, &local_chain, &port.endpoints.local);
        }
        for endpoint in port.endpoints.all() {
            self.endpoint(port, endpoint);
        }
    }

    fn cluster_address(&mut self, cluster: &Cluster, port: &ServicePort, internal: &str) {
        let to = destination(port, port.cluster_ip, port.port);
        if port.internal_endpoints().is_empty() {
            let why =
                if port.endpoints.any { "has no local endpoints" } else { "has no endpoints" };
            let target = filter_target(port);
            self.filter.rule("KUBE-SERVICES", &format!("{} {to} -j {target}", comment(port, why)));
            return;
        }
        let said = comment(port, "cluster IP");
        self.nat.rule("KUBE-SERVICES", &format!("{said} {to} -j {internal}"));
        if cluster.options.masquerade_all {
            self.nat.rule(internal, &format!("{said} {to} -j KUBE-MARK-MASQ"));
        } else if let Some(pods) = cluster.local_pods {
            self.nat.rule(internal, &format!("{said} {to} ! -s {pods} -j KUBE-MARK-MASQ"));
        }
    }

    fn external_addresses(&mut self, port: &ServicePort, hash: &str) {
        let external = format!("KUBE-EXT-{hash}");
        let is_guarded = !port.source_ranges.is_empty() && port.endpoints.any;
        let balanced = if is_guarded { format!("KUBE-FW-{hash}") } else { external.clone() };
        let external_ips = port.external_ips.iter().map(|ip| (ip, "external IP", &external));
        let balancers = port.load_balancer_ips.iter().map(|ip| (ip, "loadbalancer IP", &balanced));
        for (address, said, chain) in external_ips.chain(balancers) {
            let to = destination(port, address, port.port);
            if port.endpoints.any {
                self.nat.rule("KUBE-SERVICES", &format!("{} {to} -j {chain}", comment(port, said)));
            }
            self.without_external_endpoints(port, &to);
        }
        if is_guarded {
            for address in &port.load_balancer_ips {
                let to = destination(port, address, port.port);
                let said = comment(port, "traffic not accepted by KUBE-FW");
                self.filter.rule("KUBE-PROXY-FIREWALL", &format!("{said} {to} -j DROP"));
            }
        }
        if let Some(number) = port.node_port {
            let protocol = port.protocol.lower_case();
            let to = format!("-m {protocol} -p {protocol} --dport {number}");
            if port.endpoints.any {
                let said = format!("-m comment --comment {}", port.full_name());
                self.nat.rule("KUBE-NODEPORTS", &format!("{said} {to} -j {external}"));
            }
            self.without_external_endpoints(port, &format!("-m addrtype --dst-type LOCAL {to}"));
        }
        if let Some(number) = port.health_check_node_port {
            let said = comment(port, "health check node port");
            self.filter.rule(
                "KUBE-NODEPORTS",
                &format!("{said} -m tcp -p tcp --dport {number} -j ACCEPT"),
            );
        }
    }

    fn without_external_endpoints(&mut self, port: &ServicePort, to: &str) {
        if port.external_endpoints().is_empty() {
            let why =
                if port.endpoints.any { "has no local endpoints" } else { "has no endpoints" };
            let rule = format!("{} {to} -j {}", comment(port, why), filter_target(port));
            self.filter.rule("KUBE-EXTERNAL-SERVICES", &rule);
        }
    }

    fn external_chain(&mut self, cluster: &Cluster, port: &ServicePort, hash: &str) {
        let (chain, everybody) = (format!("KUBE-EXT-{hash}"), format!("KUBE-SVC-{hash}"));
        self.nat.chain(&chain);
        let rest = if port.external_local {
            if let Some(pods) = cluster.local_pods {
                let said = comment(port, "external destinations from pods");
                self.nat.rule(&chain, &format!("{said} -s {pods} -j {everybody}"));
            }
            let said = comment(port, "external destinations from the node");
            let node = "-m addrtype --src-type LOCAL";
            self.nat.rule(&chain, &format!("{said} {node} -j KUBE-MARK-MASQ"));
            self.nat.rule(&chain, &format!("{said} {node} -j {everybody}"));
            format!("KUBE-SVL-{hash}")
        } else {
            let said = comment(port, "external destinations");
            self.nat.rule(&chain, &format!("{said} -j KUBE-MARK-MASQ"));
            everybody
        };
        if !port.external_endpoints().is_empty() {
            self.nat.rule(&chain, &format!("-j {rest}"));
        }
    }

    fn firewall_chain(&mut self, cluster: &Cluster, port: &ServicePort, hash: &str) {
        if port.source_ranges.is_empty() || port.load_balancer_ips.is_empty() {
            return;
        }
        let (chain, external) = (format!("KUBE-FW-{hash}"), format!("KUBE-EXT-{hash}"));
        self.nat.chain(&chain);
        let said = comment(port, "loadbalancer IP");
        let ranges = port.source_ranges.iter().map(ToString::to_string);
        let balancers = cluster.sources_that_are_the_balancer(port);
        for source in ranges.chain(balancers.iter().map(ToString::to_string)) {
            self.nat.rule(&chain, &format!("{said} -s {source} -j {external}"));
        }
        let rest = "other traffic will be dropped by KUBE-PROXY-FIREWALL";
        self.nat.rule(&chain, &comment(port, rest));
    }

    fn choice(&mut self, port: &ServicePort, chain: &str, endpoints: &[Endpoint]) {
        self.nat.chain(chain);
        let chain_of = |endpoint| format!("KUBE-SEP-{}", names::of_endpoint(port, endpoint));
        if let Some(seconds) = port.affinity {
            for endpoint in endpoints {
                let (next, said) = (chain_of(endpoint), self.arrow(port, endpoint));
                let known = format!("-m recent --name {next} --rcheck --seconds {seconds} --reap");
                self.nat.rule(chain, &format!("{said}{known} -j {next}"));
            }
        }
        let count = u32::try_from(endpoints.len()).unwrap_or(u32::MAX);
        for (left, endpoint) in (1..=count).rev().zip(endpoints) {
            let chance = match left {
                1 => String::new(),
                _ => format!(
                    "-m statistic --mode random --probability {:.10} ",
                    1.0 / f64::from(left)
                ),
            };
            let (next, said) = (chain_of(endpoint), self.arrow(port, endpoint));
            self.nat.rule(chain, &format!("{said}{chance}-j {next}"));
        }
    }

    /// What is said of the way to an endpoint, with a blank behind it.
    fn arrow(&self, port: &ServicePort, endpoint: &Endpoint) -> String {
        match self.comments {
            Comments::Everywhere => comment(port, &format!("-> {}", endpoint.at)) + " ",
            Comments::NotOfEndpoints => String::new(),
        }
    }

    fn endpoint(&mut self, port: &ServicePort, endpoint: &Endpoint) {
        let chain = format!("KUBE-SEP-{}", names::of_endpoint(port, endpoint));
        self.nat.chain(&chain);
        let said = match self.comments {
            Comments::Everywhere => format!("-m comment --comment {} ", port.full_name()),
            Comments::NotOfEndpoints => String::new(),
        };
        self.nat.rule(&chain, &format!("{said}-s {} -j KUBE-MARK-MASQ", endpoint.at.ip()));
        let remember = match port.affinity {
            Some(_) => format!("-m recent --name {chain} --set "),
            None => String::new(),
        };
        let protocol = port.protocol.lower_case();
        let to = format!("-m {protocol} -p {protocol} -j DNAT --to-destination {}", endpoint.at);
        self.nat.rule(&chain, &format!("{said}{remember}{to}"));
    }

    fn end_services(&mut self, cluster: &Cluster) {
        let said = "-m comment --comment \"kubernetes service nodeports; NOTE: this must be the \
                    last rule in this chain\"";
        let has_loopback = cluster.family == Family::V4 && cluster.options.localhost_node_ports;
        let mut jump = |to: &str| {
            self.nat.rule("KUBE-SERVICES", &format!("{said} {to} -j KUBE-NODEPORTS"));
        };
        if let Some(addresses) = cluster.node_port_addresses() {
            let served = addresses.iter().filter(|one| has_loopback || !one.is_loopback());
            served.for_each(|address| jump(&format!("-d {address}")));
        } else {
            let loopback = match cluster.family {
                _ if has_loopback => "",
                Family::V4 => " ! -d 127.0.0.0/8",
                Family::V6 => " ! -d ::1/128",
            };
            jump(&format!("-m addrtype --dst-type LOCAL{loopback}"));
        }
    }
}
