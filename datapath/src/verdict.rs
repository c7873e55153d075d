//! What is to be done with a packet.

use maps_schema::{
    address::PodLink, connection::FlowKey, drop_reason::DropReason, service::ServiceId,
};

/// What is to be done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<A> {
    /// It is not ours: the kernel goes on with it, bytes unchanged.
    Pass,
    /// It goes to a pod of this node as it is.
    Deliver(PodLink),
    /// Its addresses and ports change, then it goes on its way.
    Translate(Translation<A>),
    /// It opens a flow to a service: [`connect`](crate::connect::connect) makes the entries, and
    /// the packet is then decided on again.
    Connect(ServiceId),
    /// It opens a flow to a pod, whose answers would be taken for a service's:
    /// [`connect_beside`](crate::connect::connect_beside) makes the entries, as above.
    ConnectBeside,
    /// It goes no further, and its sender is told.
    Refuse(DropReason),
    /// It goes no further.
    Drop(DropReason),
}

/// A change of addresses and ports, and the way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation<A> {
    /// What they become.
    pub rewritten: FlowKey<A>,
    /// The pod of this node that the packet goes to; without one, the kernel's stack finds the way.
    pub link: PodLink,
    /// The service port that the packet is counted for.
    pub service: ServiceId,
}
