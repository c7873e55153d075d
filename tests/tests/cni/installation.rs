//! The plugin and its configuration, put where the container runtime looks for them.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command, time::SystemTime};

use serde_json::{Value, json};
use tests::{
    cni::{self, Container},
    manifests,
    one_node::{NODE, NODE_ADDRESSES, OneNode, POD_CIDRS},
    wait,
};

fn changed(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

#[test]
#[ignore = "needs root"]
fn the_list_is_installed_when_the_node_is_ready_and_works() {
    let Some(mut stage) = OneNode::prepare(|manifests| manifests.remove("node.yaml")) else {
        return;
    };
    let root = stage.sandbox.root().to_owned();
    let text = |name: &str| root.join(name).display().to_string();
    let (conf_dir, bin_dir, state_dir) = (text("net.d"), text("bin"), text("state"));
    let arguments =
        ["--cni-conf-dir", &conf_dir, "--cni-bin-dir", &bin_dir, "--state-dir", &state_dir];
    stage.agent = stage.node.run_agent(&stage.manifests, &arguments);
    wait::until("an agent that waits", wait::PATIENCE, || {
        let finished = stage.agent.shunt(&["status"]);
        if finished.code == 1 && finished.stdout.contains("waiting for the Node") {
            Ok(())
        } else {
            Err(format!("{finished:?}"))
        }
    });
    let list = root.join("net.d/05-shunt.conflist");
    assert!(!list.exists(), "not before the node is ready");
    let node = manifests::node(NODE, &POD_CIDRS, &NODE_ADDRESSES);
    stage.manifests.write("node.yaml", &[node]);
    stage.agent.wait_ready();
    wait::until("the list", wait::PATIENCE, || {
        if list.exists() { Ok(()) } else { Err("it is not there".to_owned()) }
    });
    let plugin = root.join("bin/shunt-cni");
    assert_eq!(fs::read(&plugin).unwrap(), fs::read(cni::binary()).unwrap());
    assert_eq!(fs::metadata(&plugin).unwrap().permissions().mode() & 0o111, 0o111);

    // As a runtime does: what is in the list, with name and version, to the plugin.
    let read: Value = serde_json::from_slice(&fs::read(&list).unwrap()).unwrap();
    assert_eq!(read["name"], "shunt");
    assert_eq!(read["cniVersion"], "1.1.0");
    assert_eq!(read["plugins"][0]["capabilities"], json!({ "portMappings": true }));
    let mut configuration = read["plugins"][0].clone();
    configuration["name"] = read["name"].clone();
    configuration["cniVersion"] = read["cniVersion"].clone();
    let mut command = Command::new(&plugin);
    let (container, _namespace) = Container::create("c1");
    command.env_clear().env("CNI_COMMAND", "ADD").env("CNI_PATH", &bin_dir);
    command.env("CNI_CONTAINERID", "c1").env("CNI_IFNAME", "eth0");
    command.env("CNI_NETNS", &container.netns);
    let result = cni::run(command, configuration.to_string().as_bytes());
    assert_eq!(result.code(), None, "{result:?}");
    let stored = fs::read_to_string(root.join("state/attachments.json")).unwrap();
    assert!(stored.contains("\"c1\""), "{stored}");
    assert!(root.join("state/ipam.json").exists());
    assert!(!stage.node.run_dir().join("ipam.json").exists());

    // What is right already is not touched, and an agent that ends leaves it.
    let before = (changed(&list), changed(&plugin));
    stage.agent.restart();
    assert_eq!((changed(&list), changed(&plugin)), before);
    fs::write(&list, "{}").unwrap();
    stage.agent.restart();
    wait::until("the list as it was", wait::PATIENCE, || {
        let now = fs::read(&list).unwrap();
        if serde_json::from_slice::<Value>(&now).ok() == Some(read.clone()) {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&now).into_owned())
        }
    });
    assert_eq!(stage.agent.sigterm().0, 0);
    assert!(list.exists());

    let finished = stage.agent.cleanup();
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(!list.exists() && !plugin.exists());
    assert!(!root.join("state").exists());
    assert!(!stage.node.run_dir().exists());
}

#[test]
#[ignore = "needs root"]
fn a_folder_that_cannot_be_written_is_an_error_that_holds_up_nothing_else() {
    let Some(mut stage) = OneNode::prepare(|_| ()) else { return };
    let file = stage.sandbox.root().join("file");
    fs::write(&file, "").unwrap();
    let folder = file.join("net.d").display().to_string();
    stage.agent = stage.node.run_agent(&stage.manifests, &["--cni-conf-dir", &folder]);
    stage.agent.wait_ready();
    wait::until("the error", wait::PATIENCE, || {
        let errors = stage.agent.source_errors();
        let is_it = |error: &Value| {
            error["file"].as_str().is_some_and(|file| file.ends_with("05-shunt.conflist"))
        };
        if errors.iter().any(is_it) { Ok(()) } else { Err(format!("{errors:?}")) }
    });
    fs::remove_file(&file).unwrap();
    let list = file.join("net.d/05-shunt.conflist");
    wait::until("the list, once it can be written", wait::PATIENCE, || {
        if list.exists() { Ok(()) } else { Err("it is not there".to_owned()) }
    });
    wait::until("the error to go", wait::PATIENCE, || {
        let errors = stage.agent.source_errors();
        if errors.is_empty() { Ok(()) } else { Err(format!("{errors:?}")) }
    });
}
