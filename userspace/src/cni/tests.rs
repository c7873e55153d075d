use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::cni::message::{Attached, AttachedAddress, Interface};

const CONFIGURATION: &str = r#"{"cniVersion":"1.1.0","name":"pods","type":"shunt-cni",
    "runDir":"/nonexistent/shunt"}"#;
const POD: &str = "CNI_CONTAINERID=a CNI_NETNS=/n CNI_IFNAME=eth0 CNI_PATH=/p";

fn ask(variables: &str, stdin: &str) -> (bool, Value) {
    let lookup = |name: &str| {
        let mut pairs = variables.split(' ').filter_map(|pair| pair.split_once('='));
        pairs.find(|&(key, _)| key == name).map(|(_, value)| value.to_owned())
    };
    let Answer { stdout, success, .. } = answer(lookup, stdin.as_bytes());
    (success, serde_json::from_str(&stdout).unwrap_or(Value::Null))
}

fn code(variables: &str, stdin: &str) -> Option<u64> {
    let (success, error) = ask(variables, stdin);
    assert_eq!(success, error.is_null(), "{error}");
    error["code"].as_u64()
}

#[test]
fn version_needs_nothing_and_echoes_the_version() {
    let (success, result) = ask("CNI_COMMAND=VERSION", r#"{"cniVersion":"0.4.0"}"#);
    assert!(success);
    assert_eq!(result["cniVersion"], "0.4.0");
    assert_eq!(result["supportedVersions"], json!(SUPPORTED_VERSIONS));
    assert_eq!(ask("CNI_COMMAND=VERSION", "").1["cniVersion"], "1.1.0");
}

#[test]
fn all_missing_variables_are_named_in_one_error() {
    let message = |variables: &str| {
        let error = ask(variables, CONFIGURATION).1;
        assert_eq!(error["code"], 4);
        error["msg"].as_str().unwrap().to_owned()
    };
    let missing = |names: &str| format!("required env variables [{names}] missing");
    let all = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"];
    for command in ["ADD", "CHECK"] {
        let command = format!("CNI_COMMAND={command}");
        assert_eq!(message(&command), missing(&all.join(",")));
        for name in all {
            let but_one = POD.split(' ').filter(|pair| !pair.starts_with(name));
            let variables = but_one.chain([command.as_str()]).collect::<Vec<_>>().join(" ");
            assert_eq!(message(&variables), missing(name));
        }
    }
    assert_eq!(message("CNI_COMMAND=DEL"), missing("CNI_CONTAINERID,CNI_IFNAME,CNI_PATH"));
    assert_eq!(message("CNI_COMMAND=GC"), missing("CNI_PATH"));
    assert_eq!(message("CNI_COMMAND=STATUS"), missing("CNI_PATH"));
    assert_eq!(message(""), missing("CNI_COMMAND"));
    assert_eq!(message("CNI_COMMAND=MAKE"), "unknown CNI_COMMAND: MAKE");
}

#[test]
fn names_that_the_specification_does_not_allow_are_refused() {
    let with = |id: &str, interface: &str| {
        let variables = format!(
            "CNI_COMMAND=ADD CNI_CONTAINERID={id} CNI_NETNS=/n CNI_IFNAME={interface} CNI_PATH=/p"
        );
        code(&variables, CONFIGURATION)
    };
    for id in ["-a", ".a", "a/b", "a:b", "ä", "a*"] {
        assert_eq!(with(id, "eth0"), Some(4), "{id}");
    }
    for interface in [".", "..", "a/b", "a:b", "a\tb", "sixteen-bytes-xx"] {
        assert_eq!(with("a", interface), Some(4), "{interface}");
    }
    // These are good, and it is the agent that is missing.
    for (id, interface) in [("0", "e"), ("A_b.c-9", "fifteen-bytes-x")] {
        assert_eq!(with(id, interface), Some(11), "{id} {interface}");
    }
    let args = format!("CNI_COMMAND=ADD {POD} CNI_ARGS=K8S_POD_NAME");
    assert_eq!(code(&args, CONFIGURATION), Some(4));
    let args = format!("CNI_COMMAND=ADD {POD} CNI_ARGS=IgnoreUnknown=1;X=;K8S_POD_NAME=a=b");
    assert_eq!(code(&args, CONFIGURATION), Some(11));
}

#[test]
fn configurations_that_cannot_be_used_are_refused() {
    let add = format!("CNI_COMMAND=ADD {POD}");
    let of = |command: &str, stdin: &str| code(&format!("CNI_COMMAND={command} {POD}"), stdin);
    assert_eq!(code(&add, "no json"), Some(6));
    assert_eq!(code(&add, ""), Some(6));
    assert_eq!(code(&add, r#"{"cniVersion":1,"name":"a"}"#), Some(6));
    assert_eq!(code(&add, r#"{"cniVersion":"1.1.0"}"#), Some(7));
    assert_eq!(code(&add, r#"{"cniVersion":"1.1.0","name":""}"#), Some(7));
    assert_eq!(code(&add, r#"{"cniVersion":"1.1.0","name":"a b"}"#), Some(7));
    assert_eq!(code(&add, r#"{"cniVersion":"2.0.0","name":"a"}"#), Some(1));
    // No version means 0.1.0.
    assert_eq!(code(&add, r#"{"name":"a"}"#), Some(1));
    for (command, version) in [("STATUS", "1.0.0"), ("GC", "1.0.0"), ("CHECK", "0.3.1")] {
        let stdin = format!(r#"{{"cniVersion":"{version}","name":"a"}}"#);
        assert_eq!(of(command, &stdin), Some(1), "{command}");
    }
    // What is for others is no mistake.
    let unknown = r#"{"cniVersion":"1.1.0","name":"a","runDir":"/nonexistent","future":{"x":[1]},
        "ipam":{"type":"host-local"},"runtimeConfig":{"bandwidth":{"ingressRate":1}}}"#;
    assert_eq!(code(&add, unknown), Some(11));
}

#[test]
fn errors_have_the_version_that_was_asked_for() {
    let error = ask(&format!("CNI_COMMAND=CHECK {POD}"), r#"{"cniVersion":"0.3.1","name":"a"}"#).1;
    assert_eq!(error["cniVersion"], "0.3.1");
    assert_eq!(ask("CNI_COMMAND=ADD", "no json").1["cniVersion"], "1.1.0");
}

#[test]
fn port_mappings_are_read_in_any_case_and_checked_field_by_field() {
    let read = |mapping: &str| {
        let text = format!(
            r#"{{"cniVersion":"1.1.0","name":"a","runtimeConfig":{{"portMappings":[{mapping}]}}}}"#
        );
        let configuration = Configuration::read(text.as_bytes()).unwrap();
        configuration.port_mappings().map_err(|error| error.msg)
    };
    // As containerd writes them, and as the specification of the capability does.
    let go = read(r#"{"HostPort":8080,"ContainerPort":80,"Protocol":"tcp","HostIP":""}"#).unwrap();
    let json = read(r#"{"hostPort":8080,"containerPort":80}"#).unwrap();
    assert_eq!(go, json);
    let udp = read(
        r#"{"hostPort":53,"containerPort":5353,"protocol":"UDP","hostIP":"fd00:172:30:1::2"}"#,
    );
    let udp = &udp.unwrap()[0];
    assert_eq!(udp.host_ip, Some("fd00:172:30:1::2".parse().unwrap()));
    for (mapping, field) in [
        (r#"{"containerPort":80}"#, "hostPort null"),
        (r#"{"hostPort":0,"containerPort":80}"#, "hostPort 0"),
        (r#"{"hostPort":80,"containerPort":65536}"#, "containerPort 65536"),
        (r#"{"hostPort":80,"containerPort":80,"protocol":"icmp"}"#, "protocol \"icmp\""),
        (r#"{"hostPort":80,"containerPort":80,"hostIP":"node"}"#, "hostIP \"node\""),
    ] {
        let message = read(mapping).unwrap_err();
        let start = format!("runtimeConfig.portMappings[0].{field}: ");
        assert!(message.starts_with(&start), "{message}");
    }
    assert_eq!(read(""), Ok(vec![]));
}

#[test]
fn without_an_agent_it_is_told_what_to_do_and_del_leaves_word() {
    let run_dir = tempfile::tempdir().unwrap();
    let stdin = format!(
        r#"{{"cniVersion":"1.1.0","name":"a","runDir":{:?},"prevResult":{},
            "cni.dev/valid-attachments":null}}"#,
        run_dir.path(),
        r#"{"interfaces":[{"name":"eth0","sandbox":"/n"}],"ips":[]}"#,
    );
    for (command, expected) in [("ADD", 11), ("CHECK", 11), ("GC", 11), ("STATUS", 50)] {
        let (_, error) = ask(&format!("CNI_COMMAND={command} {POD}"), &stdin);
        assert_eq!(error["code"], expected, "{command}: {error}");
        assert!(error["details"].as_str().unwrap().contains("shunt agent"), "{error}");
    }
    assert_eq!(notes::read(run_dir.path()), []);
    assert_eq!(code(&format!("CNI_COMMAND=DEL {POD}"), &stdin), None);
    assert_eq!(notes::read(run_dir.path())[0].container_id, "a");
    // Not even a run directory that cannot be made is the runtime's business.
    let nowhere = stdin.replace(&run_dir.path().display().to_string(), "/proc/nowhere");
    assert_eq!(code(&format!("CNI_COMMAND=DEL {POD}"), &nowhere), None);
}

#[test]
fn what_check_and_gc_must_have_is_asked_for() {
    let check = format!("CNI_COMMAND=CHECK {POD}");
    assert_eq!(code(&check, CONFIGURATION), Some(7));
    let other =
        r#"{"cniVersion":"1.0.0","name":"a","prevResult":{"interfaces":[{"name":"eth0"}]}}"#;
    assert_eq!(code(&check, other), Some(100));
    assert_eq!(code("CNI_COMMAND=GC CNI_PATH=/p", CONFIGURATION), Some(7));
}

#[test]
fn the_nodes_own_namespace_is_refused_unless_it_is_asked_for() {
    let pod = POD.replace("/n", "/proc/self/ns/net");
    assert_eq!(code(&format!("CNI_COMMAND=ADD {pod}"), CONFIGURATION), Some(8));
    for allowed in ["1", "true", "TRUE"] {
        let add = format!("CNI_COMMAND=ADD {pod} CNI_NETNS_OVERRIDE={allowed}");
        assert_eq!(code(&add, CONFIGURATION), Some(11));
    }
}

fn attached() -> Attached {
    let interface =
        |name: &str| Interface { name: name.to_owned(), mac: "02:00:00:00:00:01".to_owned() };
    let address = |address: &str, gateway: &str| AttachedAddress {
        address: address.parse().unwrap(),
        gateway: Some(gateway.parse().unwrap()),
    };
    Attached {
        bridge: interface("cni0"),
        host: interface("veth1"),
        container: interface("eth0"),
        mtu: 1450,
        addresses: vec![
            address("192.168.1.2/24", "192.168.1.1"),
            address("fd10:1::2/64", "fd10:1::1"),
        ],
    }
}

fn result(version: &str, previous: &str) -> Value {
    let text = format!(r#"{{"cniVersion":"{version}","name":"a"{previous}}}"#);
    let configuration = Configuration::read(text.as_bytes()).unwrap();
    let version = SpecVersion::negotiate(version, Command::Add).unwrap();
    output::result(version, &configuration, Path::new("/run/netns/a"), &attached())
}

#[test]
fn results_have_the_shape_of_their_version() {
    for version in SUPPORTED_VERSIONS {
        let result = result(version, "");
        assert_eq!(result["cniVersion"], version);
        let names: Vec<&str> = result["interfaces"]
            .as_array()
            .unwrap()
            .iter()
            .map(|interface| interface["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["cni0", "veth1", "eth0"], "{version}");
        assert_eq!(result["interfaces"][2]["sandbox"], "/run/netns/a");
        assert_eq!(result["interfaces"][1]["sandbox"], Value::Null);
        let has_mtu = result["interfaces"][0]["mtu"] == 1450;
        assert_eq!(has_mtu, version == "1.1.0", "{version}");
        let (v4, v6) = (&result["ips"][0], &result["ips"][1]);
        assert_eq!(v4["address"], "192.168.1.2/24");
        assert_eq!(v4["gateway"], "192.168.1.1");
        assert_eq!((&v4["interface"], &v6["interface"]), (&json!(2), &json!(2)));
        let says_family = (v4["version"] == "4", v6["version"] == "6");
        let is_old = version.starts_with('0');
        assert_eq!(says_family, (is_old, is_old), "{version}");
        assert_eq!(
            result["routes"],
            json!([
                { "dst": "0.0.0.0/0", "gw": "192.168.1.1" },
                { "dst": "::/0", "gw": "fd10:1::1" },
            ])
        );
    }
}

#[test]
fn what_earlier_plugins_made_stays_in_the_result() {
    let previous = r#","dns":{"nameservers":["10.96.0.10"]},"prevResult":{"cniVersion":"1.0.0",
        "interfaces":[{"name":"x"}],"ips":[{"interface":0,"address":"172.16.0.2/32"}],
        "routes":[{"dst":"172.16.0.0/12"}],"dns":{"domain":"x"},"later":true}"#;
    let result = result("1.0.0", previous);
    assert_eq!(result["interfaces"].as_array().unwrap().len(), 4);
    assert_eq!(result["interfaces"][0], json!({ "name": "x" }));
    assert_eq!(result["ips"][0], json!({ "interface": 0, "address": "172.16.0.2/32" }));
    assert_eq!(result["ips"][1]["interface"], 3);
    assert_eq!(result["routes"].as_array().unwrap().len(), 3);
    assert_eq!(result["dns"], json!({ "nameservers": ["10.96.0.10"] }));
    assert_eq!(result["later"], true);
}
