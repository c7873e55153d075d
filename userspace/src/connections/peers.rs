//! Sockets whose backend is gone, where `connect(2)` and `sendmsg(2)` had translated a service's
//! address. They talk to the backend directly, so nothing in the packets' way can lead them
//! elsewhere:
//!
//! - What an unconnected UDP socket is remembered by is forgotten, so that its next datagram goes
//!   to a backend that serves.
//! - A connected socket is ended, so that its process learns of it and connects anew: TCP when the
//!   pod is gone or is another one now, UDP when the endpoint no longer serves. A TCP connection to
//!   a pod that merely left its service lives on.
//!
//! Sockets are told from a process's own connections to the same pod by their cookies. What is
//! remembered of sockets that were closed stays until the table, an LRU, needs the room or until
//! the backend is gone; nothing waits for it.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

use maps_schema::{
    address::{Address, Ipv4Wire, Ipv6Wire, PodLink, Port, Protocol},
    socket::{SocketPeer, SocketPeerKey},
};

use super::{
    destroy::{ConnectedSocket, DestroyError, destroy, destroy_in},
    judge::Endpoints,
};
use crate::maps::{MapsError, SocketPeers};

/// What keeps sockets from talking to backends that are gone.
#[derive(Debug)]
pub(super) struct PeerKeeper {
    peers: SocketPeers,
    /// The ways to the pods of this node when they were last looked at.
    links: HashMap<IpAddr, PodLink>,
    /// Of connected sockets, what was found to lead nowhere the last time.
    doomed: HashSet<SocketPeerKey>,
    complained: bool,
}

impl PeerKeeper {
    /// `links` are the ways to pods that were in force before the first look.
    pub(super) fn new(peers: SocketPeers, links: HashMap<IpAddr, PodLink>) -> Self {
        Self { peers, links, doomed: HashSet::new(), complained: false }
    }

    /// Looks at every translation once.
    pub(super) fn look(&mut self, endpoints: &Endpoints) -> Result<(), MapsError> {
        let lost = lost(&self.links, &endpoints.pods);
        let (mut forgotten, mut doomed) = (Vec::new(), HashSet::new());
        let mut sockets = BTreeSet::new();
        self.peers.for_each(|(key, peer)| {
            let translation = Translation::new(key, peer);
            if !translation.leads_nowhere(endpoints, &lost) {
                return;
            }
            if key.side == SocketPeerKey::SERVICE {
                forgotten.push(*key);
            } else {
                sockets.insert(translation.socket(key.cookie));
                doomed.insert(*key);
            }
        })?;
        // A socket whose connect(2) was on its way meanwhile is found the next time, if it is
        // still remembered then; and late answers of the backend are shown as the service's.
        forgotten.extend(doomed.intersection(&self.doomed));
        for key in &forgotten {
            self.peers.remove(key)?;
        }
        self.end(&sockets, endpoints);
        if !forgotten.is_empty() {
            log::debug!("translations={} forgotten: their backends are gone", forgotten.len());
        }
        self.doomed = doomed;
        self.links.clone_from(&endpoints.pods);
        Ok(())
    }

    fn end(&mut self, sockets: &BTreeSet<ConnectedSocket>, endpoints: &Endpoints) {
        if sockets.is_empty() {
            return;
        }
        self.count_ended("of the node", destroy(sockets));
        for namespace in &endpoints.pod_namespaces {
            let whose = namespace.display().to_string();
            self.count_ended(&whose, destroy_in(namespace, sockets));
        }
    }

    fn count_ended(&mut self, whose: &str, outcome: Result<usize, DestroyError>) {
        match outcome {
            Ok(0) => {}
            Ok(ended) => log::info!("sockets={ended} {whose} ended: their backends are gone"),
            Err(error) if !self.complained => {
                self.complained = true;
                log::warn!(
                    "connections {whose} to backends that are gone stay until they time out: \
                     {error}; this is not said again"
                );
            }
            Err(error) => log::debug!("sockets {whose} not ended: {error}"),
        }
    }
}

/// The addresses that were a pod's and now are nobody's, another's, or the same pod's made anew.
fn lost(before: &HashMap<IpAddr, PodLink>, now: &HashMap<IpAddr, PodLink>) -> HashSet<IpAddr> {
    let lost = before.iter().filter(|&(pod, link)| now.get(pod) != Some(link));
    lost.map(|(&pod, _)| pod).collect()
}

/// What a socket asked for, and what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Translation {
    protocol: Protocol,
    service: SocketAddr,
    backend: SocketAddr,
}

impl Translation {
    fn new(key: &SocketPeerKey, peer: &SocketPeer) -> Self {
        let address = |slot, port: Port| {
            let ip = if key.ip_version == 4 {
                Ipv4Wire::from_slot(slot).ip()
            } else {
                Ipv6Wire::from_slot(slot).ip()
            };
            SocketAddr::new(ip, port.number())
        };
        let (key_side, value_side) =
            (address(key.address, key.port), address(peer.address, peer.port));
        let (service, backend) = if key.side == SocketPeerKey::SERVICE {
            (key_side, value_side)
        } else {
            (value_side, key_side)
        };
        Self { protocol: key.protocol, service, backend }
    }

    fn socket(&self, cookie: u64) -> ConnectedSocket {
        ConnectedSocket { cookie, protocol: self.protocol, peer: self.backend }
    }

    fn leads_nowhere(&self, endpoints: &Endpoints, lost: &HashSet<IpAddr>) -> bool {
        let pod = self.backend.ip();
        if endpoints.is_no_pods(pod) {
            return true;
        }
        if self.protocol == Protocol::UDP {
            let serving = endpoints.serving(self.service);
            !serving.is_some_and(|serving| serving.contains(&self.backend))
        } else {
            lost.contains(&pod)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, sync::Arc};

    use maps_schema::address::{IfIndex, Mac};

    use super::*;

    const POD: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 11);
    const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 1, 10);

    fn link(interface: u32) -> PodLink {
        PodLink { interface: IfIndex::new(interface), mac: Mac::from_bytes([2; 6]) }
    }

    fn entry(side: u8, protocol: Protocol) -> (SocketPeerKey, SocketPeer) {
        let slot = |address: Ipv4Addr| Ipv4Wire::from(address).to_slot();
        let service = (slot(SERVICE), Port::new(80));
        let backend = (slot(POD), Port::new(8080));
        let (key, value) =
            if side == SocketPeerKey::SERVICE { (service, backend) } else { (backend, service) };
        let key = SocketPeerKey {
            cookie: 7,
            address: key.0,
            port: key.1,
            protocol,
            ip_version: 4,
            side,
            padding: [0; 3],
        };
        (key, SocketPeer { address: value.0, port: value.1, padding: [0; 2] })
    }

    fn translation(protocol: Protocol) -> Translation {
        let (key, peer) = entry(SocketPeerKey::SERVICE, protocol);
        Translation::new(&key, &peer)
    }

    fn endpoints(pods: &[(Ipv4Addr, PodLink)], serving: &[Ipv4Addr]) -> Endpoints {
        let serving = serving.iter().map(|&pod| SocketAddr::new(pod.into(), 8080)).collect();
        Endpoints {
            pods: pods.iter().map(|&(pod, link)| (pod.into(), link)).collect(),
            pod_cidrs: vec!["10.244.1.0/24".parse().unwrap()],
            udp: HashMap::from([(translation(Protocol::UDP).service, Arc::new(serving))]),
            ..Endpoints::default()
        }
    }

    #[test]
    fn both_sides_tell_the_same() {
        let [service, backend] = [SocketPeerKey::SERVICE, SocketPeerKey::BACKEND].map(|side| {
            let (key, peer) = entry(side, Protocol::TCP);
            Translation::new(&key, &peer)
        });
        assert_eq!(service, backend);
        assert_eq!(service.service, "10.96.1.10:80".parse().unwrap());
        assert_eq!(service.backend, "10.244.1.11:8080".parse().unwrap());
    }

    #[test]
    fn a_pod_that_is_gone_ends_both_protocols() {
        let gone = endpoints(&[], &[POD]);
        for protocol in [Protocol::TCP, Protocol::UDP] {
            assert!(translation(protocol).leads_nowhere(&gone, &HashSet::new()));
        }
    }

    #[test]
    fn a_pod_that_no_longer_serves_ends_udp_only() {
        let removed = endpoints(&[(POD, link(3))], &[]);
        assert!(translation(Protocol::UDP).leads_nowhere(&removed, &HashSet::new()));
        assert!(!translation(Protocol::TCP).leads_nowhere(&removed, &HashSet::new()));
    }

    #[test]
    fn a_service_that_is_gone_ends_udp_only() {
        let none = Endpoints { udp: HashMap::new(), ..endpoints(&[(POD, link(3))], &[]) };
        assert!(translation(Protocol::UDP).leads_nowhere(&none, &HashSet::new()));
        assert!(!translation(Protocol::TCP).leads_nowhere(&none, &HashSet::new()));
    }

    #[test]
    fn a_pod_made_anew_ends_tcp_only() {
        let before = HashMap::from([(POD.into(), link(3))]);
        let now = endpoints(&[(POD, link(4))], &[POD]);
        let lost = lost(&before, &now.pods);
        assert!(translation(Protocol::TCP).leads_nowhere(&now, &lost));
        assert!(!translation(Protocol::UDP).leads_nowhere(&now, &lost));
    }

    #[test]
    fn a_pod_that_is_new_or_as_before_is_not_lost() {
        let before = HashMap::from([(POD.into(), link(3))]);
        let other = Ipv4Addr::new(10, 244, 1, 12);
        let now = endpoints(&[(POD, link(3)), (other, link(4))], &[]);
        assert_eq!(lost(&before, &now.pods), HashSet::new());
    }

    #[test]
    fn backends_elsewhere_are_not_missed_among_the_pods_of_this_node() {
        let mut translation = translation(Protocol::TCP);
        translation.backend = "10.244.2.5:8080".parse().unwrap();
        assert!(!translation.leads_nowhere(&endpoints(&[], &[]), &HashSet::new()));
    }
}
