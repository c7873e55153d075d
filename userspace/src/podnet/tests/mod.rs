//! Tests that make real namespaces. Each has a node of its own: a thread with its own network and
//! mount namespaces, whose `/run` and `/etc` are empty. All of it goes with the thread, also on
//! panic. `ip` is asked for a second opinion.

mod adoption;
mod nodes;
mod removal;
mod traffic;
mod tunnel;

use std::{
    fs::File,
    future::Future,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread,
    time::Duration,
};

use ipnet::IpNet;
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
};
use serde_json::Value;
use tempfile::TempDir;

use super::{Bridge, Error, PodDns, PodNet, PodNetwork, gateway_of};
use crate::cluster::model::ObjectName;

const PATIENCE: Duration = Duration::from_secs(5);

struct Node {
    folder: Arc<TempDir>,
    podnet: PodNet,
    bridge: Bridge,
}

/// Runs a test on a new node, or says why not.
fn on_node<T, F>(test: T)
where
    T: FnOnce(Node) -> F + Send + 'static,
    F: Future<Output = ()>,
{
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: making network namespaces takes root");
        return;
    }
    let node = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).unwrap();
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        for folder in ["/run", "/etc"] {
            mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        }
        run("ip", &["link", "set", "lo", "up"]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            // Held here too: a test that names only other fields of its node drops this one.
            let folder = Arc::new(tempfile::tempdir().unwrap());
            let podnet = PodNet::open(&folder.path().join("run")).unwrap();
            let bridge = podnet.ensure_bridge("cni0", &gateways()).await.unwrap();
            test(Node { folder: Arc::clone(&folder), podnet, bridge }).await;
        });
    });
    if let Err(panic) = node.join() {
        std::panic::resume_unwind(panic);
    }
}

impl Node {
    fn run_dir(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    async fn pod(&self, name: &str, addresses: &[&str]) -> PodNetwork {
        self.try_pod(name, addresses).await.unwrap()
    }

    async fn try_pod(&self, name: &str, addresses: &[&str]) -> Result<PodNetwork, Error> {
        let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
        self.podnet.ensure_pod(&self.bridge, &dns(), &pod(name), &addresses).await
    }
}

fn gateways() -> Vec<IpNet> {
    ["192.168.1.0/24", "fd10:1::/64"]
        .map(|cidr| gateway_of(cidr.parse().unwrap()).unwrap())
        .to_vec()
}

fn dns() -> PodDns {
    PodDns { servers: vec!["10.96.0.10".parse().unwrap()], ..PodDns::default() }
}

fn pod(name: &str) -> ObjectName {
    ObjectName { namespace: "default".to_owned(), name: name.to_owned() }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {talk}");
    String::from_utf8(output.stdout).unwrap()
}

/// `ip -j …` in the node's namespace.
fn ip(arguments: &str) -> Value {
    let mut all = vec!["-j"];
    all.extend(arguments.split_whitespace());
    let answer = run("ip", &all);
    serde_json::from_str(if answer.trim().is_empty() { "[]" } else { &answer }).unwrap()
}

/// Runs `work` on a thread in the namespace that `ip netns` knows as `netns`.
fn inside<T: Send + 'static>(netns: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    start_inside(netns, work).join().unwrap()
}

fn start_inside<T: Send + 'static>(
    netns: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let file = File::open(Path::new("/run/netns").join(netns)).unwrap();
    thread::spawn(move || {
        setns(file, CloneFlags::CLONE_NEWNET).unwrap();
        work()
    })
}

/// A server in a pod that echoes on one connection until it is closed.
fn serve(netns: &str, address: &str) -> SocketAddr {
    let address: IpAddr = address.parse().unwrap();
    serve_on(inside(netns, move || TcpListener::bind((address, 0)).unwrap()))
}

fn serve_on(listener: TcpListener) -> SocketAddr {
    let at = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut buffer = [0; 64];
        while let Ok(length @ 1..) = connection.read(&mut buffer) {
            connection.write_all(&buffer[..length]).unwrap();
        }
    });
    at
}

/// A connection from a pod.
fn connect(netns: &str, to: SocketAddr) -> TcpStream {
    let connection = inside(netns, move || TcpStream::connect_timeout(&to, PATIENCE).unwrap());
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    connection
}

fn assert_echoes(connection: &mut TcpStream) {
    connection.write_all(b"are you there").unwrap();
    let mut answer = [0; 13];
    connection.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"are you there");
}

/// The addresses of an interface, as `ip -j addr show` with these arguments lists them; link-local
/// ones aside.
fn global_addresses(of: &str) -> Vec<String> {
    let found = ip(of);
    let infos = found[0]["addr_info"].as_array().unwrap().iter();
    // Some versions of `ip` leave an empty object for each address that was filtered out.
    let global = infos.filter(|info| info["scope"] == "global");
    global.map(|info| info["local"].as_str().unwrap().to_owned()).collect()
}
