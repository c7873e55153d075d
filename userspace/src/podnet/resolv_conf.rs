//! `/etc/netns/<namespace>.<name>/resolv.conf`: what `ip netns exec` shows a pod's processes as
//! `/etc/resolv.conf`.

use std::{fmt::Write, net::IpAddr};

use crate::dns::ClusterDomain;

/// How pods find names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodDns {
    /// The addresses of the DNS service, at most one per family; none where it is not known.
    pub servers: Vec<IpAddr>,
    /// The domain of the cluster.
    pub cluster_domain: ClusterDomain,
}

/// The file for a pod of `namespace`, as the kubelet writes it for `dnsPolicy: ClusterFirst` where
/// the node itself searches nothing. It is far below what resolvers take: three servers, and 256
/// characters and six domains to search in an old glibc.
pub fn resolv_conf(namespace: &str, dns: &PodDns) -> String {
    let domain = &dns.cluster_domain;
    let mut text = String::new();
    for server in &dns.servers {
        // Writing into a `String` cannot fail.
        let _ = writeln!(text, "nameserver {server}");
    }
    let _ = writeln!(text, "search {namespace}.svc.{domain} svc.{domain} {domain}");
    text.push_str("options ndots:5\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_searches_its_own_namespace_first() {
        let dns = PodDns { servers: vec!["10.96.0.10".parse().unwrap()], ..PodDns::default() };
        assert_eq!(
            resolv_conf("shop", &dns),
            "nameserver 10.96.0.10\n\
             search shop.svc.cluster.local svc.cluster.local cluster.local\n\
             options ndots:5\n"
        );
    }

    #[test]
    fn the_longest_file_is_one_that_every_resolver_takes() {
        let dns = PodDns {
            servers: vec!["10.96.0.10".parse().unwrap(), "fd10::a".parse().unwrap()],
            cluster_domain: format!("{}.local", "a".repeat(51)).parse().unwrap(),
        };
        let text = resolv_conf(&"n".repeat(63), &dns);
        let search = text.lines().find_map(|line| line.strip_prefix("search ")).unwrap();
        assert_eq!(search.split(' ').count(), 3);
        assert!(search.len() <= 256, "{}", search.len());
        assert_eq!(text.lines().filter(|line| line.starts_with("nameserver ")).count(), 2);
    }

    #[test]
    fn without_a_known_server_only_the_search_list_is_written() {
        let text = resolv_conf("default", &PodDns::default());
        assert!(!text.contains("nameserver"));
        assert_eq!(text.lines().count(), 2);
    }
}
