//! What an IP packet carries, and what that says of its flow.

use maps_schema::connection::State;

/// What an IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A TCP segment, with its flags.
    Tcp(TcpFlags),
    /// A UDP datagram.
    Udp,
    /// An SCTP packet, with its first chunk.
    Sctp(SctpChunk),
    /// An ICMP or ICMPv6 echo request.
    EchoRequest,
    /// An ICMP or ICMPv6 echo reply.
    EchoReply,
    /// Another ICMP or ICMPv6 message that may be answered by an error.
    IcmpQuery,
    /// An ICMP or ICMPv6 error: it is never answered (RFC 1122 section 3.2.2, RFC 4443 section
    /// 2.4).
    IcmpError,
    /// A first fragment that was not noted yet ([`fragment`](crate::fragment)): it has a transport
    /// header, and the fragments that follow go by its ports.
    FirstFragment,
    /// A later fragment whose first one is not known yet: it has no transport header.
    LaterFragment,
    /// Anything else.
    Other,
}

impl Transport {
    /// Whether services have such.
    #[inline(always)]
    pub const fn has_ports(self) -> bool {
        matches!(self, Self::Tcp(_) | Self::Udp | Self::Sctp(_))
    }

    /// Whether connection entries are made of such.
    #[inline(always)]
    pub const fn has_flow(self) -> bool {
        self.has_ports() || matches!(self, Self::EchoRequest | Self::EchoReply)
    }

    /// Whether it may be the first packet of its flow.
    #[inline(always)]
    pub const fn opens(self) -> bool {
        match self {
            Self::Tcp(flags) => flags.opens(),
            Self::Sctp(chunk) => chunk.opens(),
            Self::Udp | Self::EchoRequest => true,
            _ => false,
        }
    }

    /// Whether it asks for a new connection, whatever there was between the same ends before.
    #[inline(always)]
    pub const fn begins(self) -> bool {
        match self {
            Self::Tcp(flags) => flags.opens(),
            Self::Sctp(chunk) => chunk.begins(),
            _ => false,
        }
    }

    /// Whether it ends a connection at once, and no answer to it is ever allowed.
    #[inline(always)]
    pub const fn aborts(self) -> bool {
        match self {
            Self::Tcp(flags) => flags.rst(),
            Self::Sctp(chunk) => chunk.aborts(),
            _ => false,
        }
    }

    /// What this packet tells of its direction's state.
    #[inline(always)]
    pub const fn state(self) -> State {
        match self {
            Self::Tcp(flags) => flags.state(),
            Self::Sctp(chunk) => chunk.state(),
            _ => State::SEEN.with(State::ESTABLISHED),
        }
    }
}

/// The flags of a TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpFlags(u8);

impl TcpFlags {
    const FIN: u8 = 1;
    const SYN: u8 = 1 << 1;
    const RST: u8 = 1 << 2;
    const ACK: u8 = 1 << 4;

    /// Takes the byte as it stands in the header.
    pub const fn from_byte(byte: u8) -> Self {
        Self(byte)
    }

    /// The byte as it stands in the header.
    #[inline(always)]
    pub(crate) const fn byte(self) -> u8 {
        self.0
    }

    /// Whether the segment asks for a new connection.
    #[inline(always)]
    pub const fn opens(self) -> bool {
        self.0 & (Self::SYN | Self::ACK | Self::RST) == Self::SYN
    }

    /// Whether RST is set.
    #[inline(always)]
    pub const fn rst(self) -> bool {
        self.0 & Self::RST != 0
    }

    /// Whether ACK is set.
    #[inline(always)]
    pub const fn ack(self) -> bool {
        self.0 & Self::ACK != 0
    }

    /// How many sequence numbers SYN and FIN take.
    pub const fn sequence_length(self) -> u32 {
        (self.0 & Self::SYN != 0) as u32 + (self.0 & Self::FIN != 0) as u32
    }

    #[inline(always)]
    const fn state(self) -> State {
        let mut state = State::SEEN;
        if self.0 & Self::SYN == 0 {
            state = state.with(State::ESTABLISHED);
        }
        if self.0 & Self::FIN != 0 {
            state = state.with(State::FIN);
        }
        if self.0 & Self::RST != 0 {
            state = state.with(State::RST);
        }
        state
    }
}

/// The type of the first chunk of an SCTP packet (RFC 9260 section 3.2). Those that change how an
/// association stands come first, and most of them alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SctpChunk(u8);

impl SctpChunk {
    const INIT: u8 = 1;
    const INIT_ACK: u8 = 2;
    const HEARTBEAT_ACK: u8 = 5;
    const ABORT: u8 = 6;
    const SHUTDOWN: u8 = 7;
    const SHUTDOWN_ACK: u8 = 8;
    const ERROR: u8 = 9;
    const COOKIE_ACK: u8 = 11;
    const SHUTDOWN_COMPLETE: u8 = 14;

    /// Takes the byte as it stands in the chunk.
    pub const fn from_byte(byte: u8) -> Self {
        Self(byte)
    }

    /// The byte as it stands in the chunk.
    #[inline(always)]
    pub(crate) const fn byte(self) -> u8 {
        self.0
    }

    /// Whether it asks for a new association.
    #[inline(always)]
    const fn begins(self) -> bool {
        self.0 == Self::INIT
    }

    /// Whether an association that is not known may go on with it: the endpoint that gets it says if
    /// it does not know it either (RFC 9260 section 8.4). Not what answers another chunk, or ends the
    /// association.
    #[inline(always)]
    const fn opens(self) -> bool {
        !matches!(
            self.0,
            Self::INIT_ACK
                | Self::HEARTBEAT_ACK
                | Self::ABORT
                | Self::SHUTDOWN_ACK
                | Self::ERROR
                | Self::COOKIE_ACK
                | Self::SHUTDOWN_COMPLETE
        )
    }

    /// Whether the association is over with it.
    #[inline(always)]
    const fn aborts(self) -> bool {
        matches!(self.0, Self::ABORT | Self::SHUTDOWN_COMPLETE)
    }

    #[inline(always)]
    const fn state(self) -> State {
        match self.0 {
            Self::INIT | Self::INIT_ACK => State::SEEN,
            Self::ABORT => State::SEEN.with(State::RST),
            Self::SHUTDOWN | Self::SHUTDOWN_ACK | Self::SHUTDOWN_COMPLETE => {
                State::SEEN.with(State::ESTABLISHED).with(State::FIN)
            }
            _ => State::SEEN.with(State::ESTABLISHED),
        }
    }
}
