//! From the object file to programs in the kernel: load, attach, pin.

mod attach;
pub mod object;
pub mod pins;
pub mod probe;

use std::{
    io,
    net::IpAddr,
    num::NonZero,
    panic::resume_unwind,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
};

use aya::{
    Ebpf, EbpfError, EbpfLoader, TestRun as _, TestRunOptions,
    maps::lpm_trie::Key,
    programs::{Program, ProgramError, ProgramInfo, SchedClassifier},
};
use maps_schema::{
    address::{Address, AddressPair, Ipv4Wire, Ipv6Wire},
    maps::{self, Limits},
    reap::{REAP_BATCH, REAP_OFFSET, ReapRequest},
};

pub use self::attach::{AttachError, Attachment, XdpMode, forget_pod_link, remove_filters};
use self::{
    pins::{MapShape, Pins, check_pin},
    probe::TcMode,
};

/// What the programs are loaded with.
#[derive(Clone, Debug)]
pub struct LoadConfig {
    /// Below what maps and links are pinned.
    pub bpffs: PathBuf,
    /// How much the maps hold.
    pub limits: Limits,
    /// The bridge's addresses.
    pub bridge: Vec<IpAddr>,
    /// The first and the last source port of flows that have an address of the node.
    pub masquerade_ports: (u16, u16),
    /// The UDP port of VXLAN packets between nodes.
    pub vxlan_port: u16,
    /// How TC programs are attached.
    pub tc_mode: TcMode,
    /// Where a verifier's log is kept whole, and it is noted what was mounted.
    pub run_dir: PathBuf,
}

/// Why the programs could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The build has no object.
    #[error("this build of shunt holds no eBPF programs; build it with `cargo xtask build`")]
    NoObject,
    /// A directory could not be made, or the BPF file system not be mounted.
    #[error("preparing {path}: {error}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A pinned map is not the one that is needed.
    #[error(
        "map {path}: {error}; if limits were changed, run `shunt cleanup` once to start afresh \
         (connections in progress are lost), or put the former limits back"
    )]
    Pin {
        /// The pin.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// The object does not fit this kernel.
    #[error("loading the eBPF object")]
    Object(#[from] EbpfError),
    /// The kernel refused a program.
    #[error("loading {program}: {error}{}", log.as_ref().map_or(String::new(), |log| format!("; the verifier's log is in {}", log.display())))]
    Program {
        /// The program.
        program: String,
        /// Why.
        error: Box<ProgramError>,
        /// The verifier's log, if there is one.
        log: Option<PathBuf>,
    },
    /// The object lacks a program or a map: agent and object are of different versions.
    #[error("the eBPF object has no {0}: it is of another version than this agent")]
    Missing(String),
}

/// The loaded programs. They stay attached when this is dropped.
#[derive(Debug)]
pub struct Programs {
    ebpf: Ebpf,
    pins: Pins,
    tc_mode: TcMode,
    run_dir: PathBuf,
    attachments: Vec<Attachment>,
}

const TC_PROGRAMS: [&str; 7] = [
    "tc_pod_ingress",
    "tc_bridge_egress",
    "tc_uplink_ingress",
    "tc_uplink_egress",
    "tc_overlay_ingress",
    "tc_overlay_egress",
    "reap_connections",
];

const XDP_PROGRAM: &str = "xdp_ingress";

/// The cgroup programs.
pub(crate) const SOCKET_PROGRAMS: [&str; 8] = [
    "socket_connect4",
    "socket_connect6",
    "socket_sendmsg4",
    "socket_sendmsg6",
    "socket_recvmsg4",
    "socket_recvmsg6",
    "socket_getpeername4",
    "socket_getpeername6",
];

impl Programs {
    /// Loads every program, on the maps that are pinned already where there are such.
    pub fn load(config: &LoadConfig) -> Result<Self, LoadError> {
        if !object::is_embedded() {
            return Err(LoadError::NoObject);
        }
        let pins = Pins::below(&config.bpffs);
        pins.create(&config.run_dir)?;
        let (v4, v6) = bridge_globals(&config.bridge);
        let mut loader = EbpfLoader::new();
        let (first, last) = config.masquerade_ports;
        let ports = u32::from(first) | u32::from(last) << 16;
        let vxlan_port = u32::from(config.vxlan_port);
        loader
            .override_global("BRIDGE_V4", &v4, true)
            .override_global("BRIDGE_V6", &v6, true)
            .override_global("MASQUERADE_PORTS", &ports, true)
            .override_global("VXLAN_PORT", &vxlan_port, true);
        for (name, shape) in shapes(&config.limits) {
            let path = pins.maps().join(name);
            check_pin(&path, shape)?;
            loader.map_max_entries(name, shape.max_entries).map_pin_path(name, path);
        }
        let mut ebpf = loader.load(object::EBPF_OBJECT)?;
        for name in TC_PROGRAMS.into_iter().chain([XDP_PROGRAM]).chain(SOCKET_PROGRAMS) {
            if ebpf.program(name).is_none() {
                return Err(LoadError::Missing(format!("program {name}")));
            }
        }
        verify(&mut ebpf, &config.run_dir)?;
        Ok(Self {
            ebpf,
            pins,
            tc_mode: config.tc_mode,
            run_dir: config.run_dir.clone(),
            attachments: Vec::new(),
        })
    }

    /// How often a program ran, on all interfaces together; zero unless the kernel counts
    /// (`kernel.bpf_stats_enabled`).
    pub fn run_count(&self, name: &str) -> u64 {
        self.info(name).map_or(0, |info| info.run_count())
    }

    /// The kernel's number for a program, where it is loaded.
    pub(super) fn program_id(&self, name: &str) -> Option<u32> {
        self.info(name).map(|info| info.id())
    }

    fn info(&self, name: &str) -> Option<ProgramInfo> {
        let info = match self.ebpf.program(name)? {
            Program::SchedClassifier(program) => program.info(),
            Program::CgroupSockAddr(program) => program.info(),
            Program::Xdp(program) => program.info(),
            _ => return None,
        };
        info.ok()
    }

    /// Asks for flows' entries to be removed if nothing was seen of them since they were judged.
    /// Returns how many were.
    pub fn reap(&mut self, requests: &[ReapRequest]) -> Result<usize, ProgramError> {
        let name = "reap_connections";
        let program: &SchedClassifier =
            self.ebpf.program(name).ok_or(ProgramError::NotLoaded)?.try_into()?;
        let mut reaped = 0;
        for batch in requests.chunks(REAP_BATCH as usize) {
            let mut frame = vec![0; REAP_OFFSET as usize];
            for request in batch {
                frame.extend_from_slice(&request.to_bytes());
            }
            let result = program
                .test_run(TestRunOptions { data_in: Some(&frame), ..TestRunOptions::default() })?;
            reaped += result.return_value as usize;
        }
        Ok(reaped)
    }
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P, LoadError>
where
    &'a mut P: TryFrom<&'a mut Program>,
{
    let missing = || LoadError::Missing(format!("program {name}"));
    ebpf.program_mut(name).ok_or_else(missing)?.try_into().map_err(|_| missing())
}

/// Has the kernel take all programs, on each processor one at a time: nearly all of a start is the
/// verifier's work, and it looks at each program by itself.
fn verify(ebpf: &mut Ebpf, log_dir: &Path) -> Result<(), LoadError> {
    let left = Mutex::new(ebpf.programs_mut());
    let load_some = || {
        loop {
            let next = left.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((name, program)) = next else { return Ok(()) };
            load_program(program).map_err(|error| refused(name, error, log_dir))?;
        }
    };
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..processors).map(|_| scope.spawn(load_some)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

fn load_program(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::SchedClassifier(program) => program.load(),
        Program::Xdp(program) => program.load(),
        Program::CgroupSockAddr(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// Keeps the verifier's log, which says why in its last lines, in a file of its own.
fn refused(program: &str, error: ProgramError, log_dir: &Path) -> LoadError {
    let log = match &error {
        ProgramError::LoadError { verifier_log, .. } => {
            let path = log_dir.join(format!("verifier-{program}.log"));
            std::fs::write(&path, verifier_log.to_string()).ok().map(|()| path)
        }
        _ => None,
    };
    LoadError::Program { program: program.to_owned(), error: Box::new(error), log }
}

/// The bridge's addresses as the programs' globals hold them.
fn bridge_globals(bridge: &[IpAddr]) -> ([u8; 16], [u8; 16]) {
    let mut globals = ([0; 16], [0; 16]);
    for address in bridge {
        match address {
            IpAddr::V4(address) => globals.0 = Ipv4Wire::from(*address).to_slot(),
            IpAddr::V6(address) => globals.1 = Ipv6Wire::from(*address).to_slot(),
        }
    }
    globals
}

/// Every map's shape under these limits.
#[expect(clippy::cast_possible_truncation, reason = "sizes of small structs")]
fn shapes(limits: &Limits) -> Vec<(&'static str, MapShape)> {
    use maps_schema::{
        affinity::{Affinity, AffinityKey, AffinityRule},
        connection::{Connection, FlowKey},
        counters::{DROP_COUNTERS, ServiceCounters},
        fragment::{FirstFragment, FragmentKey, HeldFragment, HeldKey},
        maps::{
            MAX_AFFINITIES, MAX_FRAGMENTS, MAX_HELD_FRAGMENTS, MAX_NETWORKS, MAX_NODES,
            MAX_SOCKET_NAMESPACES, MAX_SOCKET_PEERS, MAX_SOURCE_RANGES, MAX_SOURCES, MAX_UPLINKS,
        },
        service::{
            AddressEntry, Backend, BackendId, Frontend, FrontendKey, ServiceRecord, SourceKey,
        },
        socket::{SocketNamespace, SocketPeer, SocketPeerKey},
        way::{Network, Node},
    };
    fn shape<K, V>(max_entries: u32) -> MapShape {
        MapShape { key_size: size_of::<K>() as u32, value_size: size_of::<V>() as u32, max_entries }
    }
    let Limits { services, endpoints, connections } = *limits;
    vec![
        (
            maps::CONNECTIONS_V4,
            shape::<FlowKey<Ipv4Wire>, Connection<Ipv4Wire>>(connections.saturating_mul(2)),
        ),
        (
            maps::CONNECTIONS_V6,
            shape::<FlowKey<Ipv6Wire>, Connection<Ipv6Wire>>(connections.saturating_mul(2)),
        ),
        (maps::FRONTENDS_V4, shape::<FrontendKey<Ipv4Wire>, Frontend>(limits.frontends())),
        (maps::FRONTENDS_V6, shape::<FrontendKey<Ipv6Wire>, Frontend>(limits.frontends())),
        (maps::ADDRESSES_V4, shape::<Ipv4Wire, AddressEntry>(limits.addresses())),
        (maps::ADDRESSES_V6, shape::<Ipv6Wire, AddressEntry>(limits.addresses())),
        (maps::SERVICES, shape::<u32, ServiceRecord>(services)),
        (maps::SLOTS, shape::<u32, BackendId>(limits.slots())),
        (maps::BACKENDS, shape::<u32, Backend>(endpoints)),
        (maps::SOCKET_PEERS, shape::<SocketPeerKey, SocketPeer>(MAX_SOCKET_PEERS)),
        (maps::SOCKET_NAMESPACES, shape::<u64, SocketNamespace>(MAX_SOCKET_NAMESPACES)),
        (maps::SERVICE_COUNTERS, shape::<u32, ServiceCounters>(services)),
        (maps::DROP_COUNTERS, shape::<u32, u64>(DROP_COUNTERS)),
        (maps::NETWORKS_V4, shape::<Key<Ipv4Wire>, Network>(MAX_NETWORKS)),
        (maps::NETWORKS_V6, shape::<Key<Ipv6Wire>, Network>(MAX_NETWORKS)),
        (maps::NODES, shape::<u32, Node>(MAX_NODES)),
        (maps::SOURCES, shape::<u32, AddressPair>(MAX_SOURCES)),
        (maps::UPLINKS, shape::<u32, AddressPair>(MAX_UPLINKS)),
        (maps::FRAGMENTS_V4, shape::<FragmentKey<Ipv4Wire>, FirstFragment>(MAX_FRAGMENTS)),
        (maps::FRAGMENTS_V6, shape::<FragmentKey<Ipv6Wire>, FirstFragment>(MAX_FRAGMENTS)),
        (maps::HELD_FRAGMENTS, shape::<HeldKey, HeldFragment>(MAX_HELD_FRAGMENTS)),
        (maps::AFFINITY_RULES, shape::<u32, AffinityRule>(services)),
        (maps::AFFINITIES_V4, shape::<AffinityKey<Ipv4Wire>, Affinity<Ipv4Wire>>(MAX_AFFINITIES)),
        (maps::AFFINITIES_V6, shape::<AffinityKey<Ipv6Wire>, Affinity<Ipv6Wire>>(MAX_AFFINITIES)),
        (maps::SOURCE_RANGES_V4, shape::<Key<SourceKey<Ipv4Wire>>, u8>(MAX_SOURCE_RANGES)),
        (maps::SOURCE_RANGES_V6, shape::<Key<SourceKey<Ipv6Wire>>, u8>(MAX_SOURCE_RANGES)),
        (maps::NODE_ADDRESSES, shape::<u32, AddressPair>(1)),
    ]
}
