//! One case: packets in, and for each what becomes of it.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use datapath::testing::packet::Packet;
use maps_schema::{
    address::Family, counters::Program, drop_reason::DropReason, service::ServiceId,
};

/// Stands for the source port that the datapath chooses at random: in an expected packet, and in
/// the inputs that follow it. It never chooses this one.
pub const CHOSEN: u16 = u16::MAX;

/// A case.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// What it is about; unique.
    pub name: String,
    /// How many connection entries there is room for.
    pub capacity: usize,
    /// What is remembered of clients before the first packet comes.
    pub memories: Vec<Memory>,
    /// Packets, in this order.
    pub steps: Vec<Step>,
    /// How many connection entries there are in the end.
    pub entries: usize,
    /// Whether the kernel can be shown these packets: it takes none that ends in its IP header.
    pub in_kernel: bool,
    program: Program,
}

/// What is remembered of a client of services with session affinity.
#[derive(Clone, Debug)]
pub struct Memory {
    /// The client.
    pub client: IpAddr,
    /// Whose client.
    pub group: ServiceId,
    /// Where its last connection went.
    pub endpoint: SocketAddr,
    /// How long ago that was opened.
    pub age: Duration,
}

/// A packet, and what becomes of it.
#[derive(Clone, Debug)]
pub struct Step {
    /// The program that it meets.
    pub program: Program,
    /// The packet.
    pub input: Input,
    /// What becomes of it.
    pub expected: Expected,
}

/// A packet, or bytes that are none.
#[derive(Clone, Debug)]
pub enum Input {
    /// A packet.
    Packet(Box<Packet>),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// What becomes of a packet.
#[derive(Clone, Debug)]
pub enum Expected {
    /// The kernel goes on with it, unchanged.
    Pass,
    /// It is handed to a pod, unchanged.
    Deliver {
        /// The pod.
        to: u8,
    },
    /// It is changed, and handed to a pod or left to the kernel.
    Translate {
        /// What it becomes.
        output: Box<Packet>,
        /// The pod.
        to: Option<u8>,
    },
    /// It is changed as a router changes it, or as an error about a translated packet, and handed
    /// to a pod or left to the kernel: it is counted for no service.
    Forward {
        /// What it becomes.
        output: Box<Packet>,
        /// The pod.
        to: Option<u8>,
    },
    /// It is answered.
    Refuse {
        /// The answer.
        output: Box<Packet>,
        /// What is counted.
        reason: DropReason,
    },
    /// It is dropped.
    Drop {
        /// What is counted, once each.
        reasons: Vec<DropReason>,
    },
}

impl From<Packet> for Input {
    fn from(packet: Packet) -> Self {
        Self::Packet(Box::new(packet))
    }
}

impl From<Vec<u8>> for Input {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl Input {
    /// The frame's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Packet(packet) => packet.bytes(),
            Self::Bytes(bytes) => bytes.clone(),
        }
    }
}

impl Fixture {
    /// A case without packets, for `tc_pod_ingress`, with room for many entries.
    pub fn new(family: Family, name: &str) -> Self {
        Self {
            name: format!("{name}, {family:?}"),
            capacity: 1000,
            memories: Vec::new(),
            steps: Vec::new(),
            entries: 0,
            in_kernel: true,
            program: Program::TcPodIngress,
        }
    }

    /// Room for fewer connection entries.
    #[must_use]
    pub fn with_capacity(self, capacity: usize) -> Self {
        Self { capacity, ..self }
    }

    /// This is remembered.
    #[must_use]
    pub fn remembers(mut self, memory: Memory) -> Self {
        self.memories.push(memory);
        self
    }

    /// How many connection entries there are in the end.
    #[must_use]
    pub fn with_entries(self, entries: usize) -> Self {
        Self { entries, ..self }
    }

    /// The kernel makes no such packets.
    #[must_use]
    pub fn native_only(self) -> Self {
        Self { in_kernel: false, ..self }
    }

    /// The packets that follow meet this program.
    #[must_use]
    pub fn at(self, program: Program) -> Self {
        Self { program, ..self }
    }

    /// This packet passes unchanged.
    #[must_use]
    pub fn passes(self, input: impl Into<Input>) -> Self {
        self.step(input, Expected::Pass)
    }

    /// This packet is handed to a pod unchanged.
    #[must_use]
    pub fn delivers(self, input: impl Into<Input>, to: u8) -> Self {
        self.step(input, Expected::Deliver { to })
    }

    /// This packet becomes another, and is handed to a pod or left to the kernel.
    #[must_use]
    pub fn translates(self, input: impl Into<Input>, output: Packet, to: Option<u8>) -> Self {
        let output = Box::new(output);
        self.step(input, Expected::Translate { output, to })
    }

    /// This packet becomes another, but is none of a service's, and is handed to a pod or left to
    /// the kernel.
    #[must_use]
    pub fn forwards(self, input: impl Into<Input>, output: Packet, to: Option<u8>) -> Self {
        let output = Box::new(output);
        self.step(input, Expected::Forward { output, to })
    }

    /// This packet is answered by another.
    #[must_use]
    pub fn refuses(self, input: impl Into<Input>, output: Packet, reason: DropReason) -> Self {
        let output = Box::new(output);
        self.step(input, Expected::Refuse { output, reason })
    }

    /// This packet is dropped.
    #[must_use]
    pub fn drops(self, input: impl Into<Input>, reason: DropReason) -> Self {
        let reasons = vec![reason];
        self.step(input, Expected::Drop { reasons })
    }

    /// This packet is a fragment, and waits for the first one.
    #[must_use]
    pub fn waits(self, input: impl Into<Input>) -> Self {
        self.step(input, Expected::Drop { reasons: Vec::new() })
    }

    fn step(mut self, input: impl Into<Input>, expected: Expected) -> Self {
        self.steps.push(Step { program: self.program, input: input.into(), expected });
        self
    }
}
