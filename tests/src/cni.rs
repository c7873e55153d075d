//! A container runtime, as far as the CNI plugin sees one: it starts the plugin with variables and a
//! configuration on standard input, and reads what it prints.

use std::{
    env, fs,
    io::Write as _,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{agent, manifests::ip, netns::NetNamespace, node::Node, process};

/// The version of the specification that tests use where it does not matter.
pub const VERSION: &str = "1.1.0";

/// How a call of the plugin ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Whether it exited with 0.
    pub success: bool,
    /// What it printed, null where it printed nothing.
    pub stdout: Value,
    /// What it said.
    pub stderr: String,
}

impl Outcome {
    /// The error's code; none where it succeeded.
    pub fn code(&self) -> Option<u64> {
        assert_eq!(self.success, self.stdout["code"].is_null(), "{self:?}");
        self.stdout["code"].as_u64()
    }

    /// The result, where it succeeded.
    pub fn result(self) -> Value {
        assert!(self.success, "{self:?}");
        self.stdout
    }

    /// The addresses of the container in a result.
    pub fn addresses(&self) -> Vec<IpAddr> {
        addresses(&self.stdout)
    }
}

/// The addresses in a result.
pub fn addresses(result: &Value) -> Vec<IpAddr> {
    let ips = result["ips"].as_array().map(Vec::as_slice).unwrap_or_default();
    let address = |ip: &Value| ip["address"].as_str().map(str::to_owned);
    let addresses = ips.iter().filter_map(address);
    addresses.map(|it| ip(it.split('/').next().unwrap_or_default())).collect()
}

/// A container, or rather a pod's sandbox: an id and a namespace that the runtime has made.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// The path of its network namespace.
    pub netns: PathBuf,
    /// Its interface.
    pub interface: String,
    /// The Pod that it is, in namespace `default`.
    pub pod: String,
}

impl Container {
    /// Makes a container with a namespace of its own, both called so.
    pub fn create(name: &str) -> (Self, NetNamespace) {
        let namespace = NetNamespace::create(name);
        (Self::of(name, &NetNamespace::path(name)), namespace)
    }

    /// A container whose namespace is there, or not.
    pub fn of(id: &str, netns: &Path) -> Self {
        Self {
            id: id.to_owned(),
            netns: netns.to_owned(),
            interface: "eth0".to_owned(),
            pod: id.to_owned(),
        }
    }

    /// The same with another interface.
    #[must_use]
    pub fn with_interface(&self, interface: &str) -> Self {
        Self { interface: interface.to_owned(), ..self.clone() }
    }

    /// How it is named among what GC is to leave.
    pub fn attachment(&self) -> Value {
        json!({ "containerID": self.id, "ifname": self.interface })
    }
}

/// The runtime of a node.
#[derive(Clone, Debug)]
pub struct Runtime {
    run_dir: PathBuf,
    /// The configuration's version.
    pub version: String,
}

impl Runtime {
    /// The runtime of this node.
    pub fn of(node: &Node) -> Self {
        Self { run_dir: node.run_dir(), version: VERSION.to_owned() }
    }

    /// The same by another version of the specification.
    #[must_use]
    pub fn with_version(&self, version: &str) -> Self {
        Self { version: version.to_owned(), ..self.clone() }
    }

    /// The configuration, as a runtime takes it out of a list.
    pub fn configuration(&self) -> Value {
        json!({
            "cniVersion": self.version,
            "name": "shunt",
            "type": "shunt-cni",
            "runDir": self.run_dir,
        })
    }

    /// ADD.
    pub fn add(&self, container: &Container) -> Outcome {
        self.add_with(container, &json!({}))
    }

    /// ADD with more keys in the configuration.
    pub fn add_with(&self, container: &Container, more: &Value) -> Outcome {
        call("ADD", Some(container), &with(self.configuration(), more))
    }

    /// CHECK against the result of ADD.
    pub fn check(&self, container: &Container, result: &Value) -> Outcome {
        let more = json!({ "prevResult": result });
        call("CHECK", Some(container), &with(self.configuration(), &more))
    }

    /// DEL without the result of ADD, as after a restart of the runtime.
    pub fn del(&self, container: &Container) -> Outcome {
        call("DEL", Some(container), &self.configuration())
    }

    /// GC with these to stay.
    pub fn gc(&self, valid: &[&Container]) -> Outcome {
        let valid: Vec<Value> = valid.iter().map(|container| container.attachment()).collect();
        let more = json!({ "cni.dev/valid-attachments": valid });
        call("GC", None, &with(self.configuration(), &more))
    }

    /// STATUS.
    pub fn status(&self) -> Outcome {
        call("STATUS", None, &self.configuration())
    }
}

/// An object with the keys of another added.
fn with(mut object: Value, more: &Value) -> Value {
    for (key, value) in more.as_object().into_iter().flatten() {
        object[key] = value.clone();
    }
    object
}

/// Runs the plugin as containerd does.
pub fn call(command: &str, container: Option<&Container>, configuration: &Value) -> Outcome {
    let mut plugin = Command::new(binary());
    plugin.env_clear().env("CNI_COMMAND", command).env("CNI_PATH", "/opt/cni/bin");
    if let Some(Container { id, netns, interface, pod }) = container {
        let args = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod};\
             K8S_POD_INFRA_CONTAINER_ID={id};K8S_POD_UID=uid-{pod}"
        );
        plugin.env("CNI_CONTAINERID", id).env("CNI_IFNAME", interface).env("CNI_ARGS", args);
        plugin.env("CNI_NETNS", netns);
    }
    run(plugin, configuration.to_string().as_bytes())
}

/// Runs the plugin with a configuration on standard input.
pub fn run(mut plugin: Command, stdin: &[u8]) -> Outcome {
    let mut child = plugin
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starting shunt-cni");
    // One that refuses the command need not read its configuration.
    let _ = child.stdin.take().expect("stdin is a pipe").write_all(stdin);
    let output = child.wait_with_output().expect("waiting for shunt-cni");
    let stdout = String::from_utf8(output.stdout).expect("shunt-cni prints text");
    let stdout = if stdout.is_empty() {
        Value::Null
    } else {
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("no JSON ({error}): {stdout}"))
    };
    Outcome {
        success: output.status.success(),
        stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The `shunt-cni` under test, beside `shunt`.
pub fn binary() -> PathBuf {
    agent::binary().with_file_name("shunt-cni")
}

/// The names of a node's interfaces that are host ends of pods.
pub fn host_ends(node: &Node) -> Vec<String> {
    let names = node.netns().ip("-j link show type veth");
    let links: Value = serde_json::from_str(&names).unwrap_or(Value::Null);
    let names = links.as_array().into_iter().flatten();
    let names = names.filter_map(|link| link["ifname"].as_str().map(str::to_owned));
    names.filter(|name| name.starts_with("veth")).collect()
}

/// The addresses that are leased, and to whom, as the agent's store of a node has it.
pub fn leases(node: &Node) -> Vec<Value> {
    let text = fs::read_to_string(node.run_dir().join("ipam.json")).unwrap_or_default();
    let store: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    store["leases"].as_array().cloned().unwrap_or_default()
}

/// What the agent's store of a node knows of attachments.
pub fn attachments(node: &Node) -> Vec<Value> {
    let text = fs::read_to_string(node.run_dir().join("attachments.json")).unwrap_or_default();
    let store: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    store["attachments"].as_array().cloned().unwrap_or_default()
}

/// Panics unless nothing of any container is left on a node: no interface, no lease, no record, no
/// pin, no word of a DEL.
pub fn assert_nothing_is_left(node: &Node) {
    assert_eq!(host_ends(node), [] as [String; 0], "interfaces");
    assert_eq!(leases(node), [] as [Value; 0], "leases");
    assert_eq!(attachments(node), [] as [Value; 0], "attachments");
    // Where there is no folder, there is no pin.
    if node.bpffs().exists() {
        let mut find = Command::new("find");
        find.arg(node.bpffs()).args(["-name", "tc_pod_*@*"]);
        assert_eq!(process::must(&mut find), "", "pins");
    }
    let words = fs::read_dir(node.run_dir().join("cni-deleted")).into_iter().flatten().count();
    assert_eq!(words, 0, "words of DELs");
}

/// A number that the environment gives, or another one.
pub fn number_from_environment(variable: &str, default: usize) -> usize {
    let text = env::var(variable).ok();
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}
