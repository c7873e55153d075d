//! A packet at each run: the programs that make it, and those that it is handed to.

use std::{path::PathBuf, time::Duration};

use aya::{
    Ebpf, EbpfLoader, TestRun as _, TestRunOptions,
    maps::{Array, MapData, ProgramArray},
    programs::{SchedClassifier, Xdp},
};
use maps_schema::{
    counters::Program,
    replay::{MEASURED, NOTHING, REPLAY, REPLAYED_FRAME, Replay, SUBJECTS},
};

use super::{
    cases::{Case, Flows, Place, Stream},
    world::{link, make_interfaces, node},
};
use crate::packets::{
    kernel::{TC_PROGRAMS, object_path},
    machine::Machine as _,
    uplink::{INGRESS, Uplink},
};

/// The object with the programs that make packets: `SHUNT_EBPF_REPLAY`, or beside the other object.
pub fn replay_object_path() -> PathBuf {
    std::env::var_os("SHUNT_EBPF_REPLAY")
        .map_or_else(|| object_path().with_file_name("shunt-ebpf-replay.o"), PathBuf::from)
}

/// A node with all programs, and what hands packets to them.
#[derive(Debug)]
pub struct Replayer {
    uplink: Uplink,
    tc: Ebpf,
    xdp: Ebpf,
    sequence: u32,
    measured: Option<Program>,
}

impl Replayer {
    /// Makes interfaces in the calling thread's network namespace, which is the caller's own, and
    /// loads everything; the tables have room for this many connection entries per family.
    pub fn new(capacity: usize) -> Self {
        let mut uplink = Uplink::of(&node(capacity));
        make_interfaces();
        for program in TC_PROGRAMS {
            uplink.machine.program(program).load().unwrap_or_else(|error| panic!("{error}"));
        }
        let path = replay_object_path();
        let object = std::fs::read(&path)
            .unwrap_or_else(|error| panic!("{}: {error}: `cargo xtask build`", path.display()));
        // An array of programs has those of one kind.
        let [mut tc, mut xdp] =
            [(); 2].map(|()| EbpfLoader::new().load(&object).expect("loading the replay object"));
        for name in ["nothing_tc", "replay_tc"] {
            classifier(&mut tc, name).load().unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        for name in ["nothing_xdp", "replay_xdp"] {
            xdp_program(&mut xdp, name).load().unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let nothing = classifier(&mut tc, "nothing_tc").fd().expect("loaded").try_clone();
        subjects(&mut tc).set(NOTHING, &nothing.expect("a descriptor"), 0).expect("a subject");
        let nothing = xdp_program(&mut xdp, "nothing_xdp").fd().expect("loaded").try_clone();
        subjects(&mut xdp).set(NOTHING, &nothing.expect("a descriptor"), 0).expect("a subject");
        Self { uplink, tc, xdp, sequence: 0, measured: None }
    }

    /// Forgets all flows and counts, and opens those that a case is about.
    pub fn prepare(&mut self, case: &Case) {
        self.sequence = 0;
        match &case.flows {
            Flows::OfTheCaseBefore => {}
            Flows::Unknown => self.forget_flows(),
            Flows::OpenedBy(stream) => {
                self.forget_flows();
                self.run_stream(stream, case.mask(), 1, MEASURED, case.flow_count());
            }
        }
    }

    /// Forgets all flows.
    pub fn forget_flows(&mut self) {
        self.uplink.machine.reset();
    }

    /// Runs a case's program on so many packets; the mean time of one.
    pub fn run(&mut self, case: &Case, packets: u32) -> Duration {
        let time = self.run_stream(&case.stream, case.mask(), case.stride(), MEASURED, packets);
        self.sequence = self.sequence.wrapping_add(packets);
        time
    }

    /// Hands so many packets to nobody; the mean time of one.
    pub fn run_nothing(&mut self, case: &Case, packets: u32) -> Duration {
        self.run_stream(&case.stream, case.mask(), case.stride(), NOTHING, packets)
    }

    /// Panics where a packet of a case was dropped or refused that should not have been.
    pub fn require_no_loss(&mut self, case: &Case) {
        let drops = self.uplink.machine.drops();
        assert_eq!(drops.is_empty(), !case.refused, "{case}: {drops:?}");
    }

    fn run_stream(
        &mut self,
        stream: &Stream,
        flow_mask: u32,
        stride: u32,
        subject: u32,
        packets: u32,
    ) -> Duration {
        self.measure_program(stream.program);
        let replay = replay(stream, self.sequence, stride, flow_mask, subject);
        let is_xdp = is_xdp(stream.program);
        let ebpf = if is_xdp { &mut self.xdp } else { &mut self.tc };
        let mut state: Array<&mut MapData, Replay> =
            Array::try_from(ebpf.map_mut(REPLAY).expect("the object has the map"))
                .expect("the map is an array");
        state.set(0, replay, 0).expect("saying what is replayed");
        let frame = stream.frame();
        let context = if is_xdp {
            self.uplink.context(frame.len()).to_vec()
        } else {
            skb_context(self.interface(stream.place))
        };
        let options = TestRunOptions {
            data_in: Some(&frame),
            ctx_in: Some(&context),
            repeat: packets,
            ..TestRunOptions::default()
        };
        let result = if is_xdp {
            xdp_program(&mut self.xdp, "replay_xdp").test_run(options)
        } else {
            classifier(&mut self.tc, "replay_tc").test_run(options)
        };
        let result = result.unwrap_or_else(|error| panic!("{}: {error:?}", stream.program.name()));
        if subject == MEASURED {
            assert_eq!(result.return_value, stream.result, "{}", stream.program.name());
        }
        result.duration
    }

    fn interface(&self, place: Place) -> u32 {
        match place {
            Place::Pod(number) => link(number).interface.get(),
            Place::Uplink => self.uplink.interface(),
        }
    }

    fn measure_program(&mut self, program: Program) {
        if self.measured == Some(program) {
            return;
        }
        let machine = &mut self.uplink.machine;
        if is_xdp(program) {
            let fd = machine.xdp(INGRESS).fd().expect("loaded");
            subjects(&mut self.xdp).set(MEASURED, fd, 0).expect("the same kind of program");
        } else {
            let fd = machine.program(program).fd().expect("loaded");
            subjects(&mut self.tc).set(MEASURED, fd, 0).expect("the same kind of program");
        }
        self.measured = Some(program);
    }
}

fn is_xdp(program: Program) -> bool {
    program == Program::XdpIngress
}

/// `struct __sk_buff`, of which only the interface is said.
fn skb_context(interface: u32) -> Vec<u8> {
    let mut context = vec![0; 192];
    context[40..44].copy_from_slice(&interface.to_ne_bytes());
    context
}

fn replay(stream: &Stream, sequence: u32, stride: u32, flow_mask: u32, subject: u32) -> Replay {
    let bytes = stream.frame();
    let mut frame = [0; REPLAYED_FRAME];
    frame[..bytes.len()].copy_from_slice(&bytes);
    let (port_offset, address_offset) = stream.offsets();
    Replay {
        frame,
        length: number(bytes.len()),
        subject,
        sequence,
        stride,
        flow_mask,
        port_offset: number(port_offset),
        address_offset: number(address_offset),
        address: frame[address_offset].into(),
        network: stream.network,
    }
}

fn number(length: usize) -> u32 {
    u32::try_from(length).expect("a frame is short")
}

fn subjects(ebpf: &mut Ebpf) -> ProgramArray<&mut MapData> {
    ProgramArray::try_from(ebpf.map_mut(SUBJECTS).expect("the object has the map"))
        .expect("the map is an array of programs")
}

fn classifier<'a>(ebpf: &'a mut Ebpf, name: &str) -> &'a mut SchedClassifier {
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .unwrap_or_else(|| panic!("the object has no TC program `{name}`"))
}

fn xdp_program<'a>(ebpf: &'a mut Ebpf, name: &str) -> &'a mut Xdp {
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .unwrap_or_else(|| panic!("the object has no XDP program `{name}`"))
}
