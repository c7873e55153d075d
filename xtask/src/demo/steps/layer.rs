//! The layers of a Kubernetes network, as they stand on each other.

/// What a step is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::demo) enum Layer {
    HostNetwork,
    Namespaces,
    Veth,
    Bridge,
    PodsAcrossNodes,
    Services,
    Names,
    Egress,
    Change,
    Witnesses,
}

impl Layer {
    /// Its number, where it has one, and its name.
    pub(in crate::demo) const fn name(self) -> &'static str {
        match self {
            Self::HostNetwork => "0 host network",
            Self::Namespaces => "1 namespaces",
            Self::Veth => "2 veth",
            Self::Bridge => "3 bridge",
            Self::PodsAcrossNodes => "4 pod addresses across nodes",
            Self::Services => "5 Services",
            Self::Names => "6 DNS",
            Self::Egress => "egress",
            Self::Change => "change",
            Self::Witnesses => "witnesses",
        }
    }

    /// What must hold in it.
    pub(in crate::demo) const fn what_holds(self) -> &'static str {
        match self {
            Self::HostNetwork => {
                "The nodes reach each other by addresses of their own. `localhost` on a node is the \
                 node's."
            }
            Self::Namespaces => {
                "Each pod has interfaces, addresses, routes and a loopback of its own. Its \
                 `localhost` is never the node's."
            }
            Self::Veth => "One pair of interfaces for each pod: one end in it, one on its node.",
            Self::Bridge => {
                "The node's ends are ports of one bridge, which has the pods' gateway address. Pods \
                 of one node reach each other without routing and without NAT."
            }
            Self::PodsAcrossNodes => {
                "Each node has a range of addresses for its pods, and any pod reaches any pod \
                 without NAT."
            }
            Self::Services => {
                "One address for many pods, which is on no interface: programs at the pods' \
                 interfaces, the uplink and the sockets turn it into a pod's, and the answers back."
            }
            Self::Names => {
                "Pods ask a Service for names, which leads to a pod: a question crosses all the layers \
                 below."
            }
            Self::Egress => {
                "Pods reach the outside with their node's address, and get the answers."
            }
            Self::Change => "Packets wait for no process, and changes lose none of them.",
            Self::Witnesses => "What others say of all this, and shunt's own counters.",
        }
    }
}
