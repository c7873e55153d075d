//! The plugin beside others in a chain.

use serde_json::json;
use tests::{
    cni::{self, Container, Runtime},
    manifests::ip,
    one_node::OneNode,
};

#[test]
#[ignore = "needs root"]
fn what_earlier_plugins_made_is_passed_on() {
    let Some(stage) = OneNode::start(|_| ()) else { return };
    for version in ["0.4.0", "1.0.0", "1.1.0"] {
        let runtime = Runtime::of(&stage.node).with_version(version);
        let (container, _namespace) = Container::create(&format!("c-{version}"));
        let previous = json!({
            "cniVersion": version,
            "interfaces": [{ "name": "net0", "sandbox": container.netns }],
            "ips": [{ "version": "4", "interface": 0, "address": "172.16.0.2/24" }],
            "routes": [{ "dst": "172.16.9.0/24" }],
            "dns": { "nameservers": ["10.96.0.10"] },
        });
        let result = runtime.add_with(&container, &json!({ "prevResult": previous })).result();
        assert_eq!(result["interfaces"].as_array().unwrap().len(), 4);
        assert_eq!(result["interfaces"][0], previous["interfaces"][0]);
        assert_eq!(result["interfaces"][3]["name"], "eth0");
        assert_eq!(result["ips"][0], previous["ips"][0]);
        assert_eq!(result["ips"][1]["interface"], 3);
        assert_eq!(result["routes"][0], previous["routes"][0]);
        assert_eq!(result["dns"], previous["dns"]);
        assert_eq!(cni::addresses(&result).first(), Some(&ip("172.16.0.2")));
        assert_eq!(runtime.check(&container, &result).code(), None, "{version}");
        assert_eq!(runtime.del(&container).code(), None);
    }
}
