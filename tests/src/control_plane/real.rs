//! etcd, and two API servers of one cluster: the agent's, which may be stopped, and the test's.

use std::{
    fs::{self, File},
    future::Future,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use nix::sys::signal::Signal;
use tokio::time::sleep;

use super::{certificates::Certificates, write_kubeconfig, writer::Writer};
use crate::{netns::NetNamespace, process, sandbox::Sandbox};

/// How long a server may take to start, on a machine that is busy.
const START: Duration = Duration::from_secs(90);
/// How long one may take to end before it is killed.
const END: Duration = Duration::from_secs(2);

/// How many lines of a log are shown.
const SHOWN: usize = 20;

const ETCD: &str = "http://127.0.0.1:2379";
const AGENTS_PORT: u16 = 6443;
const TESTS_PORT: u16 = 6444;

/// Who may do everything, and who may do what kube-proxy may.
const TOKENS: &str = "tests-token,tests,tests,system:masters\n\
                      agents-token,system:kube-proxy,agent\n";

/// A real control plane without controllers.
#[derive(Debug)]
pub(super) struct Real {
    programs: PathBuf,
    files: PathBuf,
    netns: NetNamespace,
    certificates: Certificates,
    /// The one that the agent knows; none while it is stopped. Fields are dropped in order.
    agents: Option<Server>,
    _tests: Server,
    _etcd: Server,
}

/// One of the programs; its warnings are printed if the test fails.
#[derive(Debug)]
struct Server {
    child: Child,
    log: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        process::signal(&self.child, Signal::SIGTERM);
        if process::wait(&mut self.child, END).is_none() {
            process::stop(&mut self.child);
        }
        if thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let warnings: Vec<&str> = log.lines().filter(|line| !line.starts_with('I')).collect();
            let skipped = warnings.len().saturating_sub(SHOWN);
            eprintln!("--- {}\n{}\n---", self.log.display(), warnings[skipped..].join("\n"));
        }
    }
}

impl Real {
    pub(super) fn start(programs: &Path, files: &Path, netns: &NetNamespace) -> Self {
        fs::create_dir_all(files).expect("making the control plane's folder");
        let certificates = Certificates::make(files, &["127.0.0.1", "localhost", "10.96.0.1"]);
        fs::write(files.join("tokens.csv"), TOKENS).expect("writing tokens");
        fs::write(files.join("token"), "agents-token").expect("writing a token");
        let etcd = etcd(programs, files, netns);
        let start = |port| api_server(programs, files, netns, &certificates, port);
        let (tests, agents) = (start(TESTS_PORT), start(AGENTS_PORT));
        let real = Self {
            programs: programs.to_owned(),
            files: files.to_owned(),
            netns: netns.clone(),
            certificates,
            agents: Some(agents),
            _tests: tests,
            _etcd: etcd,
        };
        real.wait_for(TESTS_PORT);
        real.wait_for(AGENTS_PORT);
        real
    }

    pub(super) fn stop(&mut self) {
        // Killed: one that ends well first waits for its watches.
        if let Some(mut server) = self.agents.take() {
            process::stop(&mut server.child);
        }
    }

    pub(super) fn resume(&mut self) {
        let Self { programs, files, netns, certificates, .. } = self;
        self.agents = Some(api_server(programs, files, netns, certificates, AGENTS_PORT));
        self.wait_for(AGENTS_PORT);
    }

    /// Has the test's own server written to.
    pub(super) fn write<F: Future<Output = ()>>(&self, work: impl FnOnce(Writer) -> F + Send) {
        let path = self.admins_kubeconfig(TESTS_PORT);
        self.run(async || work(Writer::new(client(&path).await)).await);
    }

    pub(super) fn write_kubeconfig(&self, folder: &Path) -> PathBuf {
        let user = format!("{{tokenFile: '{}'}}", self.files.join("token").display());
        self.kubeconfig(folder, AGENTS_PORT, &user)
    }

    fn admins_kubeconfig(&self, port: u16) -> PathBuf {
        let folder = self.files.join(port.to_string());
        fs::create_dir_all(&folder).expect("making a folder");
        self.kubeconfig(&folder, port, "{token: tests-token}")
    }

    fn kubeconfig(&self, folder: &Path, port: u16, user: &str) -> PathBuf {
        let authority = Some(self.certificates.authority.as_path());
        write_kubeconfig(folder, &format!("https://127.0.0.1:{port}"), authority, user)
    }

    fn wait_for(&self, port: u16) {
        let path = self.admins_kubeconfig(port);
        self.run(async || {
            let client = client(&path).await;
            let begun = Instant::now();
            loop {
                let request = hyper::Request::get("/readyz").body(Vec::new());
                let request = request.expect("a request that is written above");
                match client.request_text(request).await {
                    Ok(_) => return,
                    Err(error) => {
                        assert!(begun.elapsed() < START, "kube-apiserver is not ready: {error}");
                    }
                }
                sleep(Duration::from_millis(50)).await;
            }
        });
    }

    /// Runs work in the servers' namespace, to its end.
    fn run(&self, work: impl AsyncFnOnce() + Send) {
        self.netns.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime for the test").block_on(work());
        });
    }
}

async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig of the test's");
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    Client::try_from(config.expect("a configuration")).expect("a client")
}

fn etcd(programs: &Path, files: &Path, netns: &NetNamespace) -> Server {
    let peers = "http://127.0.0.1:2380";
    let data = files.join("etcd").display().to_string();
    let arguments = [
        ("--data-dir", data.as_str()),
        ("--listen-client-urls", ETCD),
        ("--advertise-client-urls", ETCD),
        ("--listen-peer-urls", peers),
        ("--initial-advertise-peer-urls", peers),
        ("--initial-cluster", &format!("default={peers}")),
        ("--log-level", "warn"),
    ];
    // What is lost with the machine is lost with the test.
    let arguments = arguments.map(|(name, value)| format!("{name}={value}"));
    let arguments = arguments.into_iter().chain(["--unsafe-no-fsync=true".to_owned()]);
    start(netns, &programs.join("etcd"), arguments, &files.join("etcd.log"))
}

fn api_server(
    programs: &Path,
    files: &Path,
    netns: &NetNamespace,
    certificates: &Certificates,
    port: u16,
) -> Server {
    let text = |path: &Path| path.display().to_string();
    let arguments = [
        ("--etcd-servers", ETCD.to_owned()),
        ("--secure-port", port.to_string()),
        ("--bind-address", "127.0.0.1".to_owned()),
        ("--advertise-address", "172.30.1.2".to_owned()),
        ("--endpoint-reconciler-type", "none".to_owned()),
        ("--service-cluster-ip-range", "10.96.0.0/12,fd00:10:96::/108".to_owned()),
        ("--tls-cert-file", text(&certificates.server)),
        ("--tls-private-key-file", text(&certificates.server_key)),
        ("--token-auth-file", text(&files.join("tokens.csv"))),
        ("--authorization-mode", "RBAC".to_owned()),
        ("--service-account-issuer", "https://kubernetes.default.svc".to_owned()),
        ("--service-account-key-file", text(&certificates.accounts_public_key)),
        ("--service-account-signing-key-file", text(&certificates.accounts_key)),
    ];
    let arguments = arguments.map(|(name, value)| format!("{name}={value}"));
    let log = files.join(format!("kube-apiserver-{port}.log"));
    start(netns, &programs.join("kube-apiserver"), arguments, &log)
}

fn start(
    netns: &NetNamespace,
    program: &Path,
    arguments: impl IntoIterator<Item = String>,
    log: &Path,
) -> Server {
    let output = File::options().create(true).append(true).open(log).expect("opening a log");
    Sandbox::show_at_deadline(log);
    let child = netns
        .command(&program.display().to_string())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a second handle of the log"))
        .stderr(output)
        .spawn();
    let child = child.unwrap_or_else(|error| panic!("starting {}: {error}", program.display()));
    Server { child, log: log.to_owned() }
}
