//! Where a packet goes once the datapath has decided on it, and the nodes that it can go to.

use crate::address::{Address, Family, IfIndex, Mac, PodLink};

/// The number of another node: an index into the node array. Below 2^16.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u16);

impl NodeId {
    /// The number that no node has. A [`Way::Route`] of it leads where the node's routes lead.
    pub const NONE: Self = Self(0);
}

/// Where a packet leaves by.
///
/// In keys' values it is a word and six bytes: the interface and the Ethernet address of a pod, or
/// a code. The kernel's interface numbers are below 2^31, codes above; zero is the kernel's stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// The kernel goes on with it.
    #[default]
    Stack,
    /// To a pod of this node.
    Pod(PodLink),
    /// To another node in VXLAN.
    Tunnel(NodeId),
    /// To a pod of another node by the node's routes, as it is.
    Route(NodeId),
    /// Off the cluster by the node's routes; what a pod sends gets the node's address.
    Outside,
    /// To another node in VXLAN of a number of its own, so that it chooses the backend among its
    /// pods and answers the client itself (direct server return).
    Hand(NodeId),
    /// Nowhere: the address is in a range of cluster IPs, and no service's.
    Nowhere,
}

const TUNNEL: u32 = 0x8000_0000;
const ROUTE: u32 = 0x9000_0000;
const OUTSIDE: u32 = 0xa000_0000;
const HAND: u32 = 0xb000_0000;
const NOWHERE: u32 = 0xc000_0000;
const KIND: u32 = 0xf000_0000;

impl Way {
    /// The word.
    #[inline(always)]
    pub const fn word(self) -> u32 {
        match self {
            Self::Stack => 0,
            Self::Pod(link) => link.interface.get(),
            Self::Tunnel(NodeId(node)) => TUNNEL | node as u32,
            Self::Route(NodeId(node)) => ROUTE | node as u32,
            Self::Outside => OUTSIDE,
            Self::Hand(NodeId(node)) => HAND | node as u32,
            Self::Nowhere => NOWHERE,
        }
    }

    /// The six bytes; zero unless it is a pod.
    #[inline(always)]
    pub const fn mac(self) -> Mac {
        match self {
            Self::Pod(link) => link.mac,
            _ => Mac::from_bytes([0; 6]),
        }
    }

    /// What [`Self::word`] and [`Self::mac`] were made of. A word that nothing was made of is the
    /// kernel's stack.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a node's number is the low half")]
    pub const fn from_parts(word: u32, mac: Mac) -> Self {
        let node = NodeId(word as u16);
        match word & KIND {
            TUNNEL => Self::Tunnel(node),
            ROUTE => Self::Route(node),
            OUTSIDE => Self::Outside,
            HAND => Self::Hand(node),
            NOWHERE => Self::Nowhere,
            _ if word == 0 => Self::Stack,
            _ => Self::Pod(PodLink { interface: IfIndex::new(word), mac }),
        }
    }
}

/// A way as entries hold it. To pass it on like this costs no decision; and every byte has a value,
/// whichever way it is: a verifier refuses to copy what was never written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WayParts {
    word: u32,
    mac: Mac,
}

impl WayParts {
    /// Takes what [`Way::word`] and [`Way::mac`] were.
    #[inline(always)]
    pub(crate) const fn new(word: u32, mac: Mac) -> Self {
        Self { word, mac }
    }

    /// The way.
    #[inline(always)]
    pub const fn way(self) -> Way {
        Way::from_parts(self.word, self.mac)
    }

    #[inline(always)]
    pub(crate) const fn word(self) -> u32 {
        self.word
    }

    #[inline(always)]
    pub(crate) const fn mac(self) -> Mac {
        self.mac
    }
}

impl From<Way> for WayParts {
    #[inline(always)]
    fn from(way: Way) -> Self {
        Self { word: way.word(), mac: way.mac() }
    }
}

/// What the addresses of a network are to this node: the way to them, which is never a single pod.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Network(u32);

impl Network {
    /// Makes the value.
    pub const fn new(way: Way) -> Self {
        Self(way.word())
    }

    /// The way to the network.
    #[inline(always)]
    pub const fn way(self) -> Way {
        Way::from_parts(self.0, Mac::from_bytes([0; 6]))
    }
}

/// Another node, as an end of the overlay.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Node {
    endpoint: [u8; 16],
    interface: IfIndex,
    mac: Mac,
    ip_version: u16,
}

const _: () = assert!(size_of::<Node>() == 28);

impl Node {
    /// Makes a node: its address on the node network, the Ethernet address of its overlay device,
    /// and this node's overlay device.
    pub fn new<A: Address>(endpoint: A, mac: Mac, overlay: IfIndex) -> Self {
        let ip_version = match A::FAMILY {
            Family::V4 => 4,
            Family::V6 => 6,
        };
        Self { endpoint: endpoint.to_slot(), interface: overlay, mac, ip_version }
    }

    /// Its address on the node network; the caller asks for [`Self::ip_version`] first.
    #[inline(always)]
    pub fn endpoint<A: Address>(&self) -> A {
        A::from_slot(self.endpoint)
    }

    /// 4 or 6, or 0 in an element that stands for no node.
    #[inline(always)]
    pub const fn ip_version(&self) -> u16 {
        self.ip_version
    }

    /// The Ethernet address of its overlay device.
    #[inline(always)]
    pub const fn mac(&self) -> Mac {
        self.mac
    }

    /// This node's overlay device.
    #[inline(always)]
    pub const fn overlay(&self) -> IfIndex {
        self.interface
    }
}

/// The VXLAN network identifier of what pods send each other.
pub const VNI_PODS: u32 = 1;
/// The VXLAN network identifier of packets that are handed over ([`Way::Hand`]).
pub const VNI_HANDED: u32 = 2;
