//! The stages.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use ipnet::IpNet;
use maps_schema::{
    maps::Limits,
    way::{NodeId, Way},
};
use nix::time::{ClockId, clock_gettime};
use userspace::{
    cluster::Cluster,
    compile::{CompileOptions, CompiledService, Owner, compile},
    loader::{LoadConfig, Programs, pins::Pins, probe::TcMode},
    source::{
        Batch,
        manifests::folder::{Folder, Reading},
    },
    sync::{
        Sync,
        tables::{NetworkTables, ServiceTables},
    },
};

/// The node that everything is seen from. It need not be among the objects.
const NODE: &str = "here";

/// Files, read.
pub(crate) struct Manifests {
    files: Vec<(Arc<Path>, Vec<u8>)>,
    changed: (Arc<Path>, Vec<u8>),
}

impl Manifests {
    pub(crate) fn load(folder: &Path, changed: &Path) -> anyhow::Result<Self> {
        let read = |path: &Path| fs::read(path).with_context(|| path.display().to_string());
        let listed = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
        let mut paths = listed
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<Vec<PathBuf>, std::io::Error>>()?;
        paths.sort();
        let files = paths.into_iter().map(|path| Ok((Arc::from(&*path), read(&path)?)));
        let files = files.collect::<anyhow::Result<Vec<_>>>()?;
        let name = changed.file_name().context("the changed file has a name")?;
        Ok(Self { files, changed: (folder.join(name).into(), read(changed)?) })
    }
}

/// How long each stage took, by the wall's clock and by the processors', in microseconds.
pub(crate) type Times = BTreeMap<&'static str, [u64; 2]>;

type Compiled = Vec<(Owner, Option<CompiledService>)>;

pub(crate) fn run<T>(manifests: Manifests, tables: T) -> anyhow::Result<Times>
where
    T: ServiceTables + NetworkTables,
{
    let mut times = Times::new();
    let mut note = |name, begun: &Begin| times.insert(name, begun.elapsed());
    let mut folder = Folder::default();
    let mut cluster = Cluster::new(NODE);
    let mut sync = Sync::new(tables)?;

    let begun = Begin::now();
    let batch = stage_read(&mut folder, manifests.files);
    note("read", &begun);
    ensure!(batch.errors.is_empty(), "{:?}", batch.errors);

    let begun = Begin::now();
    let owners = stage_take(&mut cluster, batch);
    note("take", &begun);

    sync.set_networks(&networks(&cluster))?;
    let begun = Begin::now();
    let compiled = stage_compile(&cluster, owners);
    note("compile", &begun);

    let begun = Begin::now();
    stage_write(&mut sync, &compiled)?;
    note("write", &begun);

    let begun = Begin::now();
    let changes = stage_change(&mut folder, &mut cluster, &mut sync, manifests.changed)?;
    note("change", &begun);
    ensure!(changes > 0, "the changed file changes nothing");
    Ok(times)
}

#[inline(never)]
fn stage_read(folder: &mut Folder, files: Vec<(Arc<Path>, Vec<u8>)>) -> Batch {
    read(folder, files)
}

#[inline(never)]
fn stage_take(cluster: &mut Cluster, batch: Batch) -> BTreeSet<Owner> {
    take(cluster, batch)
}

#[inline(never)]
fn stage_compile(cluster: &Cluster, owners: BTreeSet<Owner>) -> Compiled {
    compile_all(cluster, owners)
}

#[inline(never)]
fn stage_write<T>(sync: &mut Sync<T>, compiled: &Compiled) -> anyhow::Result<()>
where
    T: ServiceTables + NetworkTables,
{
    write(sync, compiled)
}

/// How many elements were written.
#[inline(never)]
fn stage_change<T>(
    folder: &mut Folder,
    cluster: &mut Cluster,
    sync: &mut Sync<T>,
    changed: (Arc<Path>, Vec<u8>),
) -> anyhow::Result<u64>
where
    T: ServiceTables + NetworkTables,
{
    let before = sync.changes();
    let batch = read(folder, vec![changed]);
    let owners = take(cluster, batch);
    let compiled = compile_all(cluster, owners);
    write(sync, &compiled)?;
    // What the agent asks after each change.
    ensure!(cluster.conflicts().is_empty(), "{:?}", cluster.conflicts());
    ensure!(sync.usage().services > 0, "nothing is in use");
    Ok(sync.changes() - before)
}

fn read(folder: &mut Folder, files: Vec<(Arc<Path>, Vec<u8>)>) -> Batch {
    folder.update(files.into_iter().map(|(path, bytes)| (path, Reading::Content(bytes))))
}

fn take(cluster: &mut Cluster, batch: Batch) -> BTreeSet<Owner> {
    for change in batch.changes {
        cluster.apply(change);
    }
    cluster.take_dirty().owners()
}

fn compile_all(cluster: &Cluster, owners: BTreeSet<Owner>) -> Compiled {
    let options = CompileOptions::default();
    let compiled = |owner: Owner| {
        let compiled = match &owner {
            Owner::Service(name) => compile(cluster, NODE, &options, name),
            Owner::HostPorts(_) => None,
        };
        (owner, compiled)
    };
    owners.into_iter().map(compiled).collect()
}

fn write<T>(sync: &mut Sync<T>, compiled: &Compiled) -> anyhow::Result<()>
where
    T: ServiceTables + NetworkTables,
{
    let services = compiled.iter().map(|(owner, compiled)| (owner, compiled.as_ref()));
    let failed = sync.apply(services, Instant::now());
    ensure!(failed.is_empty(), "{failed:?}");
    Ok(())
}

/// The ways to the pods of other nodes.
fn networks(cluster: &Cluster) -> BTreeMap<IpNet, Way> {
    let cidrs = cluster.nodes().zip(1..).flat_map(|(node, number)| {
        node.pod_cidrs.iter().map(move |&cidr| (cidr, Way::Tunnel(NodeId(number))))
    });
    cidrs.collect()
}

/// Loads the programs, whose maps are then pinned; where.
pub(crate) fn load_programs(bpffs: &Path) -> anyhow::Result<PathBuf> {
    Programs::load(&LoadConfig {
        bpffs: bpffs.to_owned(),
        limits: Limits::DEFAULT,
        bridge: Vec::new(),
        masquerade_ports: (32768, 60999),
        vxlan_port: 8472,
        tc_mode: TcMode::Tcx,
        run_dir: bpffs.to_owned(),
    })?;
    Ok(Pins::below(bpffs).maps())
}

/// When a stage begins.
struct Begin {
    wall: Instant,
    processors: Duration,
}

impl Begin {
    fn now() -> Self {
        Self { wall: Instant::now(), processors: processors() }
    }

    fn elapsed(&self) -> [u64; 2] {
        let elapsed = [self.wall.elapsed(), processors().saturating_sub(self.processors)];
        elapsed.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
    }
}

/// How much of the processors' time this process has had.
fn processors() -> Duration {
    // The clock is there on every Linux; reading it does not fail.
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
