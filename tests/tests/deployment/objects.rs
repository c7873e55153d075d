//! Objects are what Kubernetes knows: no field is misspelt, and names lead to each other.

use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{ConfigMap, ServiceAccount},
    rbac::v1::{ClusterRole, ClusterRoleBinding},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{object, objects};

/// Reads an object as its kind; what it does not know would be lost.
fn typed<K: DeserializeOwned + Serialize>(object: &Value) -> K {
    let typed: K = serde_json::from_value(object.clone()).expect("an object of its kind");
    assert_eq!(serde_json::to_value(&typed).expect("JSON"), *object, "a field is unknown");
    typed
}

#[test]
fn the_base_is_of_kubernetes_kinds_and_its_names_lead_to_each_other() {
    let account: ServiceAccount = typed(&object("serviceaccount"));
    let role: ClusterRole = typed(&object("clusterrole"));
    let binding: ClusterRoleBinding = typed(&object("clusterrolebinding"));
    let config: ConfigMap = typed(&object("configmap"));
    let daemons: DaemonSet = typed(&object("daemonset"));

    let [subject] = &binding.subjects.expect("subjects")[..] else { panic!("one subject") };
    assert_eq!(Some(&subject.name), account.metadata.name.as_ref());
    assert_eq!(subject.namespace, account.metadata.namespace);
    assert_eq!(Some(binding.role_ref.name), role.metadata.name);

    let spec = daemons.spec;
    let pod = spec.template.spec.expect("a pod");
    assert_eq!(pod.service_account_name, account.metadata.name);
    assert_eq!(daemons.metadata.namespace, account.metadata.namespace);
    assert_eq!(config.metadata.namespace, account.metadata.namespace);
    assert_eq!(spec.selector.match_labels, spec.template.metadata.expect("metadata").labels);

    let volumes = pod.volumes.expect("volumes");
    let [container] = &pod.containers[..] else { panic!("one container") };
    for mount in container.volume_mounts.iter().flatten() {
        assert!(volumes.iter().any(|volume| volume.name == mount.name), "{}", mount.name);
    }
    let of_config = volumes.iter().find_map(|volume| volume.config_map.as_ref()).expect("one");
    assert_eq!(Some(&of_config.name), config.metadata.name.as_ref());
    let items = of_config.items.iter().flatten();
    let keys = container
        .env
        .iter()
        .flatten()
        .filter_map(|variable| variable.value_from.as_ref()?.config_map_key_ref.as_ref())
        .map(|reference| &reference.key)
        .chain(items.map(|item| &item.key));
    let data = config.data.expect("data");
    // The one that everybody has to add.
    for key in keys.filter(|key| *key != "api-server-host") {
        assert!(data.contains_key(key), "{key}");
    }
}

#[test]
fn every_agent_finds_the_api_server_without_the_service_that_it_serves() {
    let daemons = object("daemonset");
    let variables = &daemons["spec"]["template"]["spec"]["containers"][0]["env"];
    for (name, key) in [
        ("KUBERNETES_SERVICE_HOST", "api-server-host"),
        ("KUBERNETES_SERVICE_PORT", "api-server-port"),
    ] {
        let mut variables = variables.as_array().expect("a list").iter();
        let variable = variables.find(|variable| variable["name"] == name).expect(name);
        let reference = &variable["valueFrom"]["configMapKeyRef"];
        assert_eq!((&reference["name"], &reference["key"]), (&"shunt".into(), &key.into()));
        // Without it the pod would be given the Service's address.
        assert!(reference["optional"].is_null(), "{name}");
    }
}

#[test]
fn cleanup_sees_what_the_agent_has_made() {
    let cleanup = objects("kubernetes/cleanup/daemonset.yaml").remove(0);
    typed::<DaemonSet>(&cleanup);
    let paths = |object: &Value| -> Vec<String> {
        let volumes = object["spec"]["template"]["spec"]["volumes"].as_array().expect("a list");
        let paths = volumes.iter().filter_map(|volume| volume["hostPath"]["path"].as_str());
        // Cgroups hold links, which are pinned.
        paths.filter(|path| *path != "/sys/fs/cgroup").map(str::to_owned).collect()
    };
    assert_eq!(paths(&cleanup), paths(&object("daemonset")));
    let image =
        |object: &Value, kind: &str| object["spec"]["template"]["spec"][kind][0]["image"].clone();
    assert_eq!(image(&cleanup, "initContainers"), image(&object("daemonset"), "containers"));
}
