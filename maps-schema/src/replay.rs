//! What the programs that replay packets for measurements are told. No agent knows of it.

/// The longest frame that is replayed; a power of two.
pub const REPLAYED_FRAME: usize = 256;

/// The map that holds a [`Replay`]. Array of one.
pub const REPLAY: &str = "REPLAY";

/// The programs that a replayed packet can be handed to, by [`Replay::subject`].
pub const SUBJECTS: &str = "SUBJECTS";

/// The subject that does nothing: what the replay itself costs.
pub const NOTHING: u32 = 0;

/// The subject that is measured.
pub const MEASURED: u32 = 1;

/// A packet, and how each run's differs from the one before: by the flow that it is of.
///
/// The flow of a run is `sequence * stride`, its bits beyond `flow_mask` cut off: with an odd stride
/// every flow's turn comes once, in an order that no cache foresees. Its lower 15 bits are a port
/// from 1024 on, the others are added to the last byte of an address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The frame.
    pub frame: [u8; REPLAYED_FRAME],
    /// How long it is, in bytes.
    pub length: u32,
    /// Which program it is handed to.
    pub subject: u32,
    /// The number of the next run; the program adds one.
    pub sequence: u32,
    /// How far a flow is from the next.
    pub stride: u32,
    /// One less than how many flows there are, a power of two.
    pub flow_mask: u32,
    /// Where the frame has the port that differs, an even number.
    pub port_offset: u32,
    /// Where the frame has the last byte of the address that differs.
    pub address_offset: u32,
    /// That byte, of the first flow.
    pub address: u32,
    /// The VXLAN network that the packet has come by; zero for none.
    pub network: u32,
}

const _: () = assert!(size_of::<Replay>() == REPLAYED_FRAME + 9 * 4);

impl Replay {
    /// How many flows differ by their port alone, as an exponent of two.
    pub const PORT_BITS: u32 = 15;

    /// The first of the ports.
    pub const FIRST_PORT: u16 = 1024;
}
