//! Why a packet was dropped or refused.

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $number:literal, $name:literal;)+) => {
        /// Why a packet was dropped or refused. Numbers are never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[doc = $doc])+ $variant = $number,)+
        }

        impl DropReason {
            /// Every reason, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name under which it is counted and documented.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What it means, and the likely cause.
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+),)+ }
            }
        }
    };
}

drop_reasons! {
    /// Refused: the service has no endpoint that serves. Its pods are not ready, or its selector
    /// matches none.
    NoEndpoints = 1, "no-endpoints";
    /// Dropped: the service's traffic policy is `Local` and its endpoints are all on other nodes.
    NoLocalEndpoints = 2, "no-local-endpoints";
    /// Refused: the address is a service's, but no port of it is this one. The client has the wrong
    /// port or protocol.
    NoSuchServicePort = 3, "no-such-service-port";
    /// Refused: a TCP segment in mid-stream for a service, of a connection that is not known. Its
    /// backend is gone, or the connection was idle for longer than it is remembered.
    UnknownConnection = 4, "unknown-connection";
    /// Dropped: the connection table is full. Raise `--max-connections`.
    ConnectionTableFull = 5, "connection-table-full";
    /// Dropped: no source port was free for a flow that needs another one, because it would be the
    /// same as another flow after translation.
    NoFreeSourcePort = 6, "no-free-source-port";
    /// Not used any more. Dropped: a fragment for a service.
    FragmentToService = 7, "fragment-to-service";
    /// Dropped: the packet is shorter than its headers say, or a header contradicts itself.
    Malformed = 8, "malformed";
    /// Dropped: the kernel refused to change the packet, for want of memory.
    RewriteFailed = 9, "rewrite-failed";
    /// Dropped: a service record points to a slot or backend that does not exist. This is an error
    /// in shunt.
    CorruptService = 10, "corrupt-service";
    /// Dropped: the entries of a new flow were removed while its first packet was on its way. The
    /// sender sends it again.
    LostRace = 11, "lost-race";
    /// Dropped: a pod has sent from an address that is not its own.
    SpoofedSource = 12, "spoofed-source";
    /// Refused: the packet has been forwarded as often as its hop limit (TTL) allows. Its sender is
    /// told "time exceeded".
    HopLimitExceeded = 13, "hop-limit-exceeded";
    /// Refused: the packet is larger than the way to its destination carries. Its sender is told by
    /// how much, and sends smaller ones: this is how path MTU discovery works.
    PacketTooBig = 14, "packet-too-big";
    /// Refused: the node has no route to the destination, or to the chosen backend.
    NoRoute = 15, "no-route";
    /// Dropped: all ports that flows from pods to this destination can have are in use. Widen
    /// `--masquerade-ports`.
    MasqueradePortsExhausted = 16, "masquerade-ports-exhausted";
    /// Dropped: a later fragment whose first one has not come, and there is no room to wait for it.
    FragmentsFull = 17, "fragments-full";
    /// Dropped: a service's backend is on a node that is not known any more.
    UnknownNode = 18, "unknown-node";
    /// Dropped: the client's address is in none of the Service's `spec.loadBalancerSourceRanges`.
    SourceNotAllowed = 19, "source-not-allowed";
    /// Dropped: the address is in a range of cluster IPs, and no Service has it.
    UnallocatedServiceAddress = 20, "unallocated-service-address";
    /// Refused: the node's own stack was about to send a packet to a service's address on the wire. It
    /// was not translated at its socket: it is of a protocol that has no ports, of a process in a
    /// network namespace that is none of the node's or its pods', or translation at the socket is
    /// off.
    UntranslatedService = 21, "untranslated-service";
    /// Dropped: a fragment of an SCTP packet whose port was to be changed. The checksum covers all
    /// fragments, and cannot be corrected in one. Give the service port its `targetPort`'s number.
    SctpFragment = 22, "sctp-fragment";
}

const _: () = assert!(DropReason::ALL.len() < 64);
