//! What a packet to a Service costs, in instructions, by the kernel's own packet generator.
//!
//! It is measured in a virtual machine that counts instructions: there, a nanosecond is one
//! instruction, whatever else the machine outside does. The generator's thread makes a packet and
//! hands it to the client's interface; all that becomes of it until a pod's interface drops it
//! happens in the same thread, before the next packet is made. A time is the difference between that
//! of many packets and that of half as many, so that nothing counts that is done once.

mod contenders;
mod generator;
mod place;
mod pods;
mod uplink;

use std::{ops::Range, thread, time::Duration};

use maps_schema::address::Family;
use serde::{Deserialize, Serialize};

pub use self::contenders::Contender;
use self::{generator::Packets, place::Place, pods::Pods, uplink::Uplink};
use crate::{process, sandbox::Sandbox};

/// How long one number of Services may take.
const LONGEST: Duration = Duration::from_hours(1);

/// The source port of the flow that is established.
const ESTABLISHED: u16 = 1000;
/// The first source port of flows that are not.
const NEW: u16 = 2000;
/// The same for XDP: its flows are TC's, too.
const NEW_TO_XDP: u16 = 20_000;

/// How long nothing is asked after something was put in force: the kernel has work to do later.
const SETTLING: Duration = Duration::from_secs(3);

/// How many additions a filter has; `tc` takes no more than 2,047 instructions.
const ADDITIONS: [u32; 2] = [1000, 2000];

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

/// Which way they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// From a pod to a ClusterIP, and to a pod of the same node.
    ClusterIp,
    /// From outside to a node port, and to a pod of another node.
    NodePort,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// Which way packets went.
    pub way: Way,
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
    for (number, &services) in plan.services.iter().enumerate() {
        // What has no Services is measured once.
        let is_first = number == 0;
        in_a_sandbox(|sandbox| by_uplink(sandbox, &mut report, plan, services, is_first));
        in_a_sandbox(|sandbox| to_pods(sandbox, &mut report, plan, services, is_first));
    }
    report
}

/// A sandbox is entered once by a thread, and is gone with it.
fn in_a_sandbox(work: impl FnOnce(&Sandbox) + Send) {
    let inside = || work(&Sandbox::enter_for(LONGEST).expect("root"));
    thread::scope(|scope| scope.spawn(inside).join()).expect("what was measured");
}

fn to_pods(sandbox: &Sandbox, report: &mut Report, plan: &Plan, services: u32, is_first: bool) {
    let pods = Pods::make(sandbox, services);
    let mut add = |contender, services| {
        report.measured.extend(all_of(&pods, plan, contender, services));
    };
    add(Contender::Shunt, Some(services));
    pods.leave_to_others();
    for contender in [Contender::Iptables, Contender::Nftables, Contender::Ipvs] {
        add(contender, Some(services));
    }
    if is_first {
        for contender in [Contender::Nothing, Contender::Bridge, Contender::Routes] {
            add(contender, None);
        }
        report.additions = additions(&pods, plan);
    }
}

fn by_uplink(sandbox: &Sandbox, report: &mut Report, plan: &Plan, services: u32, is_first: bool) {
    let mut uplink = Uplink::make(sandbox, services);
    let mut add = |uplink: &Uplink, contender, services| {
        report.measured.extend(all_of(uplink, plan, contender, services));
    };
    add(&uplink, Contender::ShuntXdp, Some(services));
    uplink.take_xdp_away();
    add(&uplink, Contender::Shunt, Some(services));
    uplink.leave_to_others();
    for contender in [Contender::Iptables, Contender::Nftables] {
        add(&uplink, contender, Some(services));
    }
    if is_first {
        for contender in [Contender::Nothing, Contender::Routes] {
            add(&uplink, contender, None);
        }
    }
}

/// Both families' flows, known ones and new ones.
fn all_of(
    place: &impl Place,
    plan: &Plan,
    contender: Contender,
    services: Option<u32>,
) -> Vec<Measured> {
    contender.begin(place);
    thread::sleep(SETTLING);
    let mut all = Vec::new();
    for family in [Family::V4, Family::V6] {
        for flow in [Flow::Established, Flow::New] {
            let measured = of(place, plan, contender, services, family, flow);
            eprintln!("{measured:?}");
            all.push(measured);
        }
    }
    contender.end(place);
    all
}

fn of(
    place: &impl Place,
    plan: &Plan,
    contender: Contender,
    services: Option<u32>,
    family: Family,
    flow: Flow,
) -> Measured {
    let mut destination = place.service(family);
    if services.is_none() {
        destination.set_ip(place.endpoint(family));
    } else if flow == Flow::Established {
        place.establish(destination, ESTABLISHED);
    }
    let ends = match contender {
        Contender::Nothing => Vec::new(),
        _ => place.ends(),
    };
    for (netns, interface) in &ends {
        place::drop_at(netns, interface);
    }
    let packets = |source_ports: Range<u16>| Packets {
        source: place.source(family),
        destination,
        next_hop: place.next_hop(contender),
        source_ports,
    };
    let (few, many) = (plan.packets / 2, plan.packets);
    let (warm, first, second) = match flow {
        Flow::Established => {
            let port = || ESTABLISHED..ESTABLISHED;
            (port(), port(), port())
        }
        // No port comes twice; both families' flows are apart anyway.
        Flow::New => {
            let begin = if contender == Contender::ShuntXdp { NEW_TO_XDP } else { NEW };
            let (middle, end) = (begin + few, begin + many);
            (begin..middle, middle..end, end..end + many)
        }
    };
    let sender = place.sender();
    generator::send(&sender, &packets(warm), u32::from(few));
    let short = generator::send(&sender, &packets(first), u32::from(few));
    let long = generator::send(&sender, &packets(second), u32::from(many));
    let sent = u64::from(few) * 2 + u64::from(many);
    let arrived = match contender {
        Contender::Nothing => place::dropped_at(place.netns(), &place.arrival()),
        _ => ends.iter().map(|(netns, interface)| place::dropped_at(netns, interface)).sum(),
    };
    for (netns, interface) in &ends {
        place::hear_at(netns, interface);
    }
    Measured {
        way: place.way(),
        contender,
        services,
        ip: if family == Family::V4 { 4 } else { 6 },
        flow,
        instructions: long.saturating_sub(short) / u64::from(many - few),
        arrived_per_mille: arrived.min(sent) * 1000 / sent,
    }
}

/// What filters of known length take: no addition, and each of [`ADDITIONS`].
fn additions(place: &impl Place, plan: &Plan) -> Vec<(u32, u64)> {
    let arrival = place.arrival();
    let sender = place.sender();
    let time = |additions: u32| {
        let mut program = vec!["4 0 0 1".to_owned(); additions as usize];
        // "Let it go on": -1.
        program.push("6 0 0 4294967295".to_owned());
        let program = format!("{},{}", program.len(), program.join(","));
        place::drop_at(place.netns(), &arrival);
        let filter = ["filter", "add", "dev", &arrival, "ingress", "pref", "1", "bpf", "bytecode"];
        process::must(
            place.netns().command("tc").args(filter).args([&program, "action", "continue"]),
        );
        let packets = Packets {
            source: place.source(Family::V4),
            destination: place.service(Family::V4),
            next_hop: place.next_hop(Contender::Nothing),
            source_ports: ESTABLISHED..ESTABLISHED,
        };
        let (few, many) = (u32::from(plan.packets / 2), u32::from(plan.packets));
        generator::send(&sender, &packets, few);
        let short = generator::send(&sender, &packets, few);
        let long = generator::send(&sender, &packets, many);
        place::hear_at(place.netns(), &arrival);
        long.saturating_sub(short) / u64::from(many - few)
    };
    let none = time(0);
    ADDITIONS.map(|count| (count, time(count).saturating_sub(none))).to_vec()
}
