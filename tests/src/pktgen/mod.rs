//! What a packet to a Service costs, in instructions, by the kernel's own packet generator.
//!
//! It is measured in a virtual machine that counts instructions: there, a nanosecond is one
//! instruction, whatever else the machine outside does. The generator's thread makes a packet and
//! hands it to the client's interface; all that becomes of it until a pod's interface drops it
//! happens in the same thread, before the next packet is made. A time is the difference between that
//! of many packets and that of half as many, so that nothing counts that is done once.

mod contenders;
mod generator;
mod stage;

use std::ops::Range;

use maps_schema::address::Family;
use serde::{Deserialize, Serialize};

pub use self::contenders::Contender;
use self::{generator::Packets, stage::Stage};
use crate::{process, sandbox::Sandbox};

/// The source port of the flow that is established.
const ESTABLISHED: u16 = 1000;
/// How many additions a filter has; `tc` takes no more than 2,047 instructions.
const ADDITIONS: [u32; 2] = [1000, 2000];
/// The first source port of flows that are not.
const NEW: u16 = 2000;

/// What is measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Numbers of Services.
    pub services: Vec<u32>,
    /// How many packets.
    pub packets: u16,
}

/// Which packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flow {
    /// Of a flow that has been answered.
    Established,
    /// Each the first of its flow.
    New,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// Who had the packets.
    pub contender: Contender,
    /// How many Services there were; none where packets went from pod to pod.
    pub services: Option<u32>,
    /// 4 or 6.
    pub ip: u8,
    /// Which packets.
    pub flow: Flow,
    /// Instructions for each packet, the generator's included.
    pub instructions: u64,
    /// How many of a thousand packets arrived.
    pub arrived_per_mille: u64,
}

/// All that was measured, and what shows that it is instructions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The kernel's release.
    pub kernel: String,
    /// A filter of so many additions, each compiled to one instruction, and how many nanoseconds it
    /// took more than one of none.
    pub additions: Vec<(u32, u64)>,
    /// The table.
    pub measured: Vec<Measured>,
}

/// Measures it all. Only a virtual machine that counts instructions is asked for it.
pub fn measure(plan: &Plan) -> Report {
    let release = nix::sys::utsname::uname().expect("a kernel tells its release");
    let mut report = Report {
        kernel: release.release().to_string_lossy().into_owned(),
        additions: Vec::new(),
        measured: Vec::new(),
    };
    generator::load();
    for (number, services) in plan.services.iter().enumerate() {
        // A sandbox is entered once by a thread, and is gone with it.
        let (part, services, plan) = (report.clone(), *services, plan.clone());
        let is_first = number == 0;
        report = std::thread::spawn(move || with_services(part, &plan, services, is_first))
            .join()
            .expect("what was measured");
    }
    report
}

fn with_services(mut report: Report, plan: &Plan, services: u32, is_first: bool) -> Report {
    let sandbox = Sandbox::enter_for(std::time::Duration::from_hours(1)).expect("root");
    let mut stage = Stage::make(&sandbox, services);
    eprintln!("{services} Services are served");
    let mut add = |stage: &Stage, contender: Contender, services: Option<u32>| {
        contender.begin(stage);
        for family in [Family::V4, Family::V6] {
            for flow in [Flow::Established, Flow::New] {
                let measured = of(stage, plan, contender, services, family, flow);
                eprintln!("{measured:?}");
                report.measured.push(measured);
            }
        }
        contender.end(stage);
    };
    stage.stop_the_agent();
    add(&stage, Contender::Shunt, Some(services));
    stage.leave_to_others();
    for contender in Contender::OTHERS {
        add(&stage, contender, Some(services));
    }
    if is_first {
        for contender in Contender::WITHOUT_SERVICES {
            add(&stage, contender, None);
        }
        report.additions = additions(&stage, plan);
    }
    report
}

fn of(
    stage: &Stage,
    plan: &Plan,
    contender: Contender,
    services: Option<u32>,
    family: Family,
    flow: Flow,
) -> Measured {
    let destination = match services {
        Some(_) => stage.service_address(family),
        None => Stage::pod_address(family),
    };
    let next_hop = match contender {
        Contender::Bridge => Stage::pod_hardware_address(),
        _ => stage.gateway(),
    };
    if services.is_some() && flow == Flow::Established {
        Stage::establish(destination, ESTABLISHED);
    }
    if contender != Contender::Nothing {
        Stage::drop_at_pods();
    }
    let packets = |source_ports: Range<u16>| Packets {
        source: Stage::client_address(family),
        destination,
        port: stage::PORT,
        next_hop: next_hop.clone(),
        source_ports,
    };
    let (few, many) = (plan.packets / 2, plan.packets);
    let (warm, first, second) = match flow {
        Flow::Established => {
            let port = || ESTABLISHED..ESTABLISHED;
            (port(), port(), port())
        }
        // No port comes twice; both families' flows are apart anyway.
        Flow::New => (NEW..NEW + few, NEW + few..NEW + 2 * few, NEW + many..NEW + 2 * many),
    };
    let client = Stage::client();
    generator::send(&client, &packets(warm), u32::from(few));
    let short = generator::send(&client, &packets(first), u32::from(few));
    let long = generator::send(&client, &packets(second), u32::from(many));
    let sent = u64::from(few) * 2 + u64::from(many);
    let arrived = if contender == Contender::Nothing {
        stage::dropped_at(stage.netns(), &stage.client_port())
    } else {
        let dropped = Stage::dropped();
        Stage::let_pods_hear();
        dropped
    };
    Measured {
        contender,
        services,
        ip: if family == Family::V4 { 4 } else { 6 },
        flow,
        instructions: long.saturating_sub(short) / u64::from(many - few),
        arrived_per_mille: arrived.min(sent) * 1000 / sent,
    }
}

/// What filters of known length take: no addition, and each of [`ADDITIONS`].
fn additions(stage: &Stage, plan: &Plan) -> Vec<(u32, u64)> {
    let port = stage.client_port();
    let time = |additions: u32| {
        let mut program = vec!["4 0 0 1".to_owned(); additions as usize];
        // "Let it go on": -1.
        program.push("6 0 0 4294967295".to_owned());
        let program = format!("{},{}", program.len(), program.join(","));
        stage::drop_at(stage.netns(), &port);
        let filter = ["filter", "add", "dev", &port, "ingress", "pref", "1", "bpf", "bytecode"];
        process::must(
            stage.netns().command("tc").args(filter).args([&program, "action", "continue"]),
        );
        let packets = Packets {
            source: Stage::client_address(Family::V4),
            destination: Stage::pod_address(Family::V4),
            port: stage::PORT,
            next_hop: stage.gateway(),
            source_ports: ESTABLISHED..ESTABLISHED,
        };
        let (few, many) = (u32::from(plan.packets / 2), u32::from(plan.packets));
        let client = Stage::client();
        generator::send(&client, &packets, few);
        let short = generator::send(&client, &packets, few);
        let long = generator::send(&client, &packets, many);
        stage::hear_at(stage.netns(), &port);
        long.saturating_sub(short) / u64::from(many - few)
    };
    let none = time(0);
    ADDITIONS.map(|count| (count, time(count).saturating_sub(none))).to_vec()
}
