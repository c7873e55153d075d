//! Labels that take a Service or a slice out of the proxy's hands, put on and off while it runs.

use tests::{
    manifests::{self, ManifestDir},
    one_node::{NODE, OneNode, pod_at, slices, wait_for_slices, web, web_service, write_slices},
    traffic::{
        Protocol, client,
        fate::{Fate, assert_fate, by},
    },
    wait,
};

/// Waits until the pod `client` is answered, or is not, by both protocols and in both families.
fn wait_until_answered(stage: &OneNode, is_answered: bool) {
    let pod = stage.pod("client");
    for target in web() {
        for protocol in Protocol::ALL {
            let what = format!("{protocol:?} to {target}: answered={is_answered}");
            let patience = std::time::Duration::from_millis(300);
            wait::until(&what, wait::PATIENCE, || {
                match pod.run(|| client::ask_within(protocol, target, patience)) {
                    Ok(_) if is_answered => Ok(()),
                    Err(_) if !is_answered => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            });
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_service_is_another_proxys_while_it_is_labelled_so() {
    let Some(stage) = OneNode::with_web(&["a"]) else { return };
    let _servers = stage.serve(&["a"]);
    wait_until_answered(&stage, true);
    for value in ["other", ""] {
        let labelled =
            manifests::with_label(web_service(), "service.kubernetes.io/service-proxy-name", value);
        stage.manifests.write("web.yaml", &[labelled]);
        wait_until_answered(&stage, false);
        // Nor is it refused, which would be an answer of this proxy's.
        assert_fate("labelled", stage.node.netns(), &web(), &Fate::Nothing);
        stage.manifests.write("web.yaml", &[web_service()]);
        wait_until_answered(&stage, true);
    }
}

#[test]
#[ignore = "needs root"]
fn slices_of_a_headless_service_are_no_endpoints_while_they_are_labelled_so() {
    let fill = |manifests: &ManifestDir| {
        manifests.write("web.yaml", &[web_service()]);
        manifests.write("client.yaml", &[manifests::pod("client", NODE, "client", &[])]);
        manifests.write("a.yaml", &[pod_at("a", 11)]);
        write_slices(manifests, &[11]);
    };
    let Some(stage) = OneNode::start(fill) else { return };
    let _servers = stage.serve(&["a"]);
    assert_fate("as usual", &stage.pod("client"), &web(), &by(&["a"]));
    for value in ["", "true"] {
        let label = "service.kubernetes.io/headless";
        let labelled = slices(&[11]).map(|slice| manifests::with_label(slice, label, value));
        stage.manifests.write("slices.yaml", &labelled);
        wait_for_slices(&stage.agent, &[]);
        assert_fate("labelled", &stage.pod("client"), &web(), &Fate::Refused);
        write_slices(&stage.manifests, &[11]);
        wait_for_slices(&stage.agent, &[11]);
        assert_fate("as usual", &stage.pod("client"), &web(), &by(&["a"]));
    }
}
