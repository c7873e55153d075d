//! The programs in the kernel, run on packets that nobody sent (`BPF_PROG_TEST_RUN`).

mod clients;
mod fill;
pub mod refill;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader, Pod, TestRun as _, TestRunOptions,
    maps::{Array, HashMap, MapData, PerCpuArray, PerCpuValues},
    programs::{CgroupSockAddr, SchedClassifier, Xdp},
    util::nr_cpus,
};
use datapath::testing::node::{Node, NodeFamily};
use maps_schema::{
    address::{Address, AddressPair, IfIndex, Ipv4Wire, Ipv6Wire},
    affinity::{Affinity, AffinityKey},
    connection::{Connection, FlowKey},
    counters::{DROP_COUNTERS, Program, ServiceCounters},
    fragment::{FirstFragment, FragmentKey, HeldFragment, HeldKey},
    maps,
    service::ServiceId,
    socket::SocketNamespace,
    way::{Node as PeerNode, NodeId},
};

use super::{
    fixture::Memory,
    machine::{Code, Machine, entry},
    world::interface,
};

/// Where the object file is: `SHUNT_EBPF_OBJECT`, or where `cargo xtask build` leaves it.
pub fn object_path() -> PathBuf {
    std::env::var_os("SHUNT_EBPF_OBJECT").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/shunt-ebpf.o"),
        PathBuf::from,
    )
}

/// The programs that packets meet outside of drivers.
pub const TC_PROGRAMS: [Program; 6] = [
    Program::TcPodIngress,
    Program::TcBridgeEgress,
    Program::TcUplinkIngress,
    Program::TcUplinkEgress,
    Program::TcOverlayIngress,
    Program::TcOverlayEgress,
];

/// The programs, loaded with small maps of their own, nothing pinned.
#[derive(Debug)]
pub struct KernelMachine {
    ebpf: Ebpf,
}

/// The names of a family's maps.
trait Named: NodeFamily + Pod {
    const CONNECTIONS: &str;
    const FRONTENDS: &str;
    const ADDRESSES: &str;
    const NETWORKS: &str;
    const AFFINITIES: &str;
    const SOURCE_RANGES: &str;
}

impl Named for Ipv4Wire {
    const CONNECTIONS: &str = maps::CONNECTIONS_V4;
    const FRONTENDS: &str = maps::FRONTENDS_V4;
    const ADDRESSES: &str = maps::ADDRESSES_V4;
    const NETWORKS: &str = maps::NETWORKS_V4;
    const AFFINITIES: &str = maps::AFFINITIES_V4;
    const SOURCE_RANGES: &str = maps::SOURCE_RANGES_V4;
}

impl Named for Ipv6Wire {
    const CONNECTIONS: &str = maps::CONNECTIONS_V6;
    const FRONTENDS: &str = maps::FRONTENDS_V6;
    const ADDRESSES: &str = maps::ADDRESSES_V6;
    const NETWORKS: &str = maps::NETWORKS_V6;
    const AFFINITIES: &str = maps::AFFINITIES_V6;
    const SOURCE_RANGES: &str = maps::SOURCE_RANGES_V6;
}

impl KernelMachine {
    /// Loads the TC programs, and copies a node's tables into their maps.
    pub fn load(node: &Node) -> Self {
        let mut machine = Self::open(node);
        for program in TC_PROGRAMS {
            machine.program(program).load().unwrap_or_else(|error| panic!("{error}"));
        }
        machine
    }

    /// Makes the maps, and copies a node's tables into them. No program is loaded.
    pub fn open(node: &Node) -> Self {
        let sizes = node.v4.arrays.sizes;
        let capacity = u32::try_from(node.v4.connection_capacity).expect("a small table");
        let path = object_path();
        let object = std::fs::read(&path)
            .unwrap_or_else(|error| panic!("{}: {error}: `cargo xtask build`", path.display()));
        let (v4, v6) = (words(node.bridge.0), words(node.bridge.1));
        let mut loader = EbpfLoader::new();
        loader.override_global("BRIDGE_V4", &v4, true).override_global("BRIDGE_V6", &v6, true);
        for (name, size) in [
            (maps::CONNECTIONS_V4, capacity),
            (maps::CONNECTIONS_V6, capacity),
            (maps::SERVICES, sizes.services),
            (maps::AFFINITY_RULES, sizes.services),
            (maps::SERVICE_COUNTERS, sizes.services),
            (maps::SLOTS, sizes.slots),
            (maps::BACKENDS, sizes.backends),
            (maps::SOCKET_PEERS, 64),
        ] {
            loader.map_max_entries(name, size);
        }
        let ebpf = loader
            .load(&object)
            .unwrap_or_else(|error| panic!("loading {}: {error}", path.display()));
        let mut machine = Self { ebpf };
        machine.fill(node);
        machine
    }

    /// A program, to be attached somewhere.
    pub fn program(&mut self, program: Program) -> &mut SchedClassifier {
        classifier(&mut self.ebpf, program.name())
    }

    /// An XDP program.
    pub fn xdp(&mut self, name: &str) -> &mut Xdp {
        self.ebpf
            .program_mut(name)
            .and_then(|program| program.try_into().ok())
            .unwrap_or_else(|| panic!("the object has no XDP program `{name}`"))
    }

    /// A program of a cgroup's sockets.
    pub fn socket_program(&mut self, name: &str) -> &mut CgroupSockAddr {
        self.ebpf
            .program_mut(name)
            .and_then(|program| program.try_into().ok())
            .unwrap_or_else(|| panic!("the object has no socket program `{name}`"))
    }

    /// Has the sockets of a network namespace translated.
    pub fn add_socket_namespace(&mut self, cookie: u64, namespace: SocketNamespace) {
        let mut namespaces: HashMap<&mut MapData, u64, SocketNamespace> =
            self.map_mut(maps::SOCKET_NAMESPACES, HashMap::try_from);
        namespaces.insert(cookie, namespace, 0).expect("writing a namespace");
    }

    /// Tells of an uplink.
    pub fn add_uplink(&mut self, interface: IfIndex, addresses: AddressPair) {
        let mut uplinks: HashMap<&mut MapData, u32, AddressPair> =
            self.map_mut(maps::UPLINKS, HashMap::try_from);
        uplinks.insert(interface.get(), addresses, 0).expect("writing an uplink");
    }

    /// Tells of another node.
    pub fn add_node(&mut self, NodeId(number): NodeId, peer: PeerNode) {
        let mut nodes: Array<&mut MapData, PeerNode> = self.map_mut(maps::NODES, Array::try_from);
        nodes.set(number.into(), peer, 0).expect("writing a node");
    }

    /// Forgets all connections, clients, fragments and counts.
    pub fn reset(&mut self) {
        self.clear_flows::<Ipv4Wire>();
        self.clear_flows::<Ipv6Wire>();
        self.clear::<FragmentKey<Ipv4Wire>, FirstFragment>(maps::FRAGMENTS_V4);
        self.clear::<FragmentKey<Ipv6Wire>, FirstFragment>(maps::FRAGMENTS_V6);
        self.clear::<HeldKey, HeldFragment>(maps::HELD_FRAGMENTS);
        let cpus = nr_cpus().expect("the number of processors is known");
        let zeros = || PerCpuValues::try_from(vec![0_u64; cpus]).expect("one per processor");
        let mut drops = self.per_cpu_mut(maps::DROP_COUNTERS);
        for (index, _) in nonzero(&drops) {
            drops.set(index, zeros(), 0).expect("clearing a counter");
        }
        let mut counters = self.per_cpu_mut::<ServiceCounters>(maps::SERVICE_COUNTERS);
        for index in 0..counters.len() {
            let zeros = vec![ServiceCounters::default(); cpus];
            let zeros = PerCpuValues::try_from(zeros).expect("one per processor");
            counters.set(index, zeros, 0).expect("clearing a counter");
        }
    }

    fn test_run(&mut self, program: Program, interface: IfIndex, frame: &[u8]) -> (Code, Vec<u8>) {
        // `struct __sk_buff`, of which only the interface is said.
        let mut context = [0_u8; 192];
        context[40..44].copy_from_slice(&interface.get().to_ne_bytes());
        let mut output = vec![0; 16 * 1024];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut output),
            ctx_in: Some(&context),
            ..TestRunOptions::default()
        };
        let result = self
            .program(program)
            .test_run(options)
            .unwrap_or_else(|error| panic!("{} bytes: {error:?}", frame.len()));
        output.truncate(result.data_size_out as usize);
        let code = match result.return_value {
            0 => Code::Ok,
            2 => Code::Shot,
            7 => Code::Redirect,
            other => panic!("the program returned {other}"),
        };
        (code, output)
    }

    fn clear_flows<A: Named>(&mut self)
    where
        FlowKey<A>: Pod,
        Connection<A>: Pod,
        AffinityKey<A>: Pod,
        Affinity<A>: Pod,
    {
        self.clear::<FlowKey<A>, Connection<A>>(A::CONNECTIONS);
        self.clear::<AffinityKey<A>, Affinity<A>>(A::AFFINITIES);
    }

    fn clear<K: Pod, V: Pod>(&mut self, name: &str) {
        let mut map: HashMap<&mut MapData, K, V> = self.map_mut(name, HashMap::try_from);
        let keys: Vec<_> = map.keys().flatten().collect();
        for key in keys {
            map.remove(&key).expect("removing an entry");
        }
    }

    fn entries_of<A: Named>(&self) -> Vec<String>
    where
        FlowKey<A>: Pod,
        Connection<A>: Pod,
    {
        let map = self.ebpf.map(A::CONNECTIONS).expect("the object has the map");
        let connections: HashMap<&MapData, FlowKey<A>, Connection<A>> =
            HashMap::try_from(map).expect("the map is a hash");
        connections.iter().flatten().map(|(flow, connection)| entry(&flow, &connection)).collect()
    }

    fn map_mut<'a, M>(
        &'a mut self,
        name: &str,
        take: impl FnOnce(&'a mut aya::maps::Map) -> Result<M, aya::maps::MapError>,
    ) -> M {
        let map = self.ebpf.map_mut(name).expect("the object has the map");
        take(map).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn per_cpu_mut<V: Pod>(&mut self, name: &str) -> PerCpuArray<&mut MapData, V> {
        self.map_mut(name, PerCpuArray::try_from)
    }

    fn per_cpu<V: Pod>(&self, name: &str) -> PerCpuArray<&MapData, V> {
        let map = self.ebpf.map(name).expect("the object has the map");
        PerCpuArray::try_from(map).expect("the map is a per-CPU array")
    }
}

impl Machine for KernelMachine {
    fn remember(&mut self, memory: &Memory) {
        self.remember_in::<Ipv4Wire>(memory);
        self.remember_in::<Ipv6Wire>(memory);
    }

    fn run(&mut self, program: Program, frame: &[u8]) -> (Code, Option<u32>, Vec<u8>) {
        let (code, output) = self.test_run(program, interface(frame), frame);
        (code, None, output)
    }

    fn drops(&self) -> BTreeMap<u32, u64> {
        nonzero(&self.per_cpu(maps::DROP_COUNTERS)).into_iter().collect()
    }

    fn counters(&self) -> BTreeMap<ServiceId, ServiceCounters> {
        let counters: PerCpuArray<_, ServiceCounters> = self.per_cpu(maps::SERVICE_COUNTERS);
        (0..counters.len())
            .filter_map(|index| {
                let mut sum = ServiceCounters::default();
                for value in counters.get(&index, 0).expect("reading a counter").iter() {
                    sum += *value;
                }
                (sum != ServiceCounters::default()).then_some((ServiceId(index), sum))
            })
            .collect()
    }

    fn entries(&self) -> Vec<String> {
        let mut entries = self.entries_of::<Ipv4Wire>();
        entries.extend(self.entries_of::<Ipv6Wire>());
        entries
    }

    fn regulars(&self) -> Vec<String> {
        let mut regulars = self.regulars_of::<Ipv4Wire>();
        regulars.extend(self.regulars_of::<Ipv6Wire>());
        regulars
    }
}

fn nonzero<M: std::borrow::Borrow<MapData>>(drops: &PerCpuArray<M, u64>) -> Vec<(u32, u64)> {
    (0..DROP_COUNTERS)
        .map(|index| {
            let values = drops.get(&index, 0).expect("reading a counter");
            (index, values.iter().sum())
        })
        .filter(|(_, count)| *count != 0)
        .collect()
}

fn classifier<'a>(ebpf: &'a mut Ebpf, name: &str) -> &'a mut SchedClassifier {
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .unwrap_or_else(|| panic!("the object has no TC program `{name}`"))
}

fn words<A: Address>(address: A) -> [u64; 2] {
    let slot = address.to_slot();
    let (halves, _) = slot.as_chunks::<8>();
    [0, 1].map(|index| u64::from_ne_bytes(halves[index]))
}
