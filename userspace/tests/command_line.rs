//! The built `shunt`: exit statuses, and what goes to which stream.
#![expect(unused_crate_dependencies, reason = "the library uses them")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    path::Path,
    process::{Command, Output, Stdio},
    sync::Arc,
};

use tokio::sync::mpsc;
use userspace::{
    api::{
        Agent, Listener, Order,
        view::{
            ConnectionView, DropView, NodeView, PodView, ServiceEndpointView, ServiceView,
            SourceView, StatusView,
        },
    },
    cni::error::CniError,
};

struct Fake {
    ready: bool,
    orders: mpsc::Sender<Order>,
}

impl Agent for Fake {
    fn status(&self) -> StatusView {
        StatusView {
            ready: self.ready,
            reason: (!self.ready).then(|| "starting".to_owned()),
            node: "node01".to_owned(),
            version: "0.1.0".to_owned(),
            kernel: "6.18.0".to_owned(),
            source: SourceView::default(),
            service_cidrs: vec![],
            programs: vec![],
            maps: vec![],
            last_sync: None,
        }
    }

    fn services(&self) -> Vec<ServiceView> {
        vec![]
    }

    fn endpoints(&self) -> Vec<ServiceEndpointView> {
        vec![]
    }

    fn pods(&self) -> Vec<PodView> {
        vec![]
    }

    fn nodes(&self) -> Vec<NodeView> {
        let node = |name: &str| NodeView {
            name: name.to_owned(),
            creation_timestamp: None,
            addresses: vec![],
            pod_cidrs: vec![],
            route: "none".to_owned(),
        };
        vec![node("node02"), node("node01")]
    }

    fn connections(&self) -> Vec<ConnectionView> {
        vec![]
    }

    fn drops(&self) -> Vec<DropView> {
        vec![]
    }

    fn can_attach(&self) -> Result<(), CniError> {
        Ok(())
    }

    fn orders(&self) -> &mpsc::Sender<Order> {
        &self.orders
    }
}

fn shunt(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shunt"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

/// Runs a command; exit status, standard output, standard error.
fn run(mut command: Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// Runs a command while a fake agent serves the folder.
async fn run_served(run_dir: &Path, ready: bool, arguments: &[&str]) -> (i32, String, String) {
    let listener = Listener::bind(run_dir).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (orders, _) = mpsc::channel(1);
    let server = tokio::spawn(listener.serve(Arc::new(Fake { ready, orders }), async {
        let _ = stopped.await;
    }));
    let mut command = shunt(arguments);
    command.env("SHUNT_RUN_DIR", run_dir);
    let result = tokio::task::spawn_blocking(move || run(command)).await.unwrap();
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
    result
}

#[tokio::test]
async fn status_exits_with_0_when_ready_and_1_when_not() {
    let run_dir = tempfile::tempdir().unwrap();
    let (code, stdout, stderr) = run_served(run_dir.path(), true, &["status"]).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.starts_with("Ready:      yes\nNode:       node01\n"), "{stdout}");

    let (code, stdout, _) = run_served(run_dir.path(), false, &["status", "-o", "json"]).await;
    assert_eq!(code, 1);
    let status: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(status["ready"], false);
    assert_eq!(status["reason"], "starting");
}

#[tokio::test]
async fn listings_are_sorted() {
    let run_dir = tempfile::tempdir().unwrap();
    let (code, stdout, _) = run_served(run_dir.path(), true, &["get", "nodes"]).await;
    assert_eq!(code, 0);
    let names: Vec<_> = stdout.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, ["NAME", "node01", "node02"]);
    let (_, stdout, _) = run_served(run_dir.path(), true, &["get", "drops", "-o", "json"]).await;
    assert_eq!(stdout, "[]\n");
}

#[test]
fn without_an_agent_status_is_a_negative_answer_and_get_an_error() {
    let run_dir = tempfile::tempdir().unwrap();
    let run_dir = run_dir.path().to_str().unwrap();
    for (arguments, expected) in [
        (["status", "-o", "json"], 1),
        (["get", "pods", "-ojson"], 2),
        (["status", "-o", "table"], 1),
    ] {
        let mut command = shunt(&arguments);
        command.args(["--run-dir", run_dir]);
        let (code, stdout, stderr) = run(command);
        assert_eq!((code, stdout.as_str()), (expected, ""), "{arguments:?}");
        assert!(stderr.starts_with("shunt: error: no agent answers at "), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[test]
fn usage_errors_exit_with_2_and_help_with_0() {
    for arguments in
        [&["get", "everything"][..], &["status", "-o", "xml"], &["fly"], &[], &["man", "fly"]]
    {
        let (code, stdout, stderr) = run(shunt(arguments));
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(!stderr.is_empty(), "{arguments:?}");
    }
    for arguments in [&["--help"][..], &["--version"], &["agent", "-h"], &["get", "--help"]] {
        let (code, stdout, stderr) = run(shunt(arguments));
        assert_eq!((code, stderr.as_str()), (0, ""), "{arguments:?}");
        assert!(!stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    for arguments in [&["completions", "bash"][..], &["agent", "--help"], &["man"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = shunt(arguments);
        let status = command.stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(status.status.code(), Some(0), "{arguments:?}");
        assert!(status.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn bad_settings_of_the_agent_exit_with_2_and_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shunt.toml");
    std::fs::write(&file, "node_name = 'a'\n").unwrap();
    let file = file.to_str().unwrap();
    let failure = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = shunt(&["agent"]);
        command.args(arguments).envs(variables.iter().copied());
        let (code, stdout, stderr) = run(command);
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}");
        stderr
    };
    let no_file = failure(&["--node-name", "a", "--kubeconfig", "f"], &[]);
    assert!(no_file.starts_with("shunt: error: --kubeconfig f: failed to read"), "{no_file}");
    let no_pod = failure(&["--node-name", "a", "--in-cluster"], &[]);
    assert!(no_pod.contains("use --kubeconfig FILE"), "{no_pod}");
    let dns = failure(&["--node-name", "a", "--in-cluster", "--dns"], &[]);
    assert!(dns.contains("leave --dns out, or say --manifests DIR"), "{dns}");
    let unknown = failure(&["--config", file], &[]);
    assert!(unknown.contains("did you mean `node-name`?"), "{unknown}");
    assert_eq!(failure(&[], &[("SHUNT_CONFIG", file)]), unknown);
    let environment = failure(&[], &[("SHUNT_TC", "ebpf")]);
    assert!(environment.contains("SHUNT_TC=ebpf: use one of auto, tcx, clsact"), "{environment}");
    let missing = failure(&["--node-name", "a"], &[]);
    assert!(missing.contains("no source of objects: give --manifests DIR"), "{missing}");
    let nameless = failure(&["--node-name", " ", "--manifests", "m", "--socket-lb", "off"], &[]);
    assert!(nameless.contains("--node-name ``: a Node's name has"), "{nameless}");
    let no_config = failure(&["--node-name", "a", "--kube-proxy-config", "none"], &[]);
    assert!(no_config.contains("reading --kube-proxy-config none: No such file"), "{no_config}");
}

#[test]
fn man_pages_are_written_to_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("man1");
    let (code, ..) = run(shunt(&["man", "--dir", folder.to_str().unwrap()]));
    assert_eq!(code, 0);
    assert!(folder.join("shunt.1").exists() && folder.join("shunt-agent.1").exists());
}

#[test]
fn the_cni_plugin_answers_on_standard_output() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shunt-cni"));
    command.env_clear().stdin(Stdio::null());
    let (code, stdout, stderr) = run(command);
    assert_eq!((code, stderr.as_str()), (1, ""));
    let error: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(error["code"], 4);
    let mut command = Command::new(env!("CARGO_BIN_EXE_shunt-cni"));
    command.env_clear().env("CNI_COMMAND", "VERSION").stdin(Stdio::null());
    assert_eq!(run(command).0, 0);
}
