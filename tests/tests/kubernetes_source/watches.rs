//! What the agent is told by an API server that does what it is to do.

use std::time::Duration;

use serde_json::{Value, json};
use tests::manifests;

use crate::told::{Told, service, with_control_plane};

#[test]
#[ignore = "needs root"]
fn what_was_removed_during_an_outage_is_removed_after_it_and_nothing_else_changes() {
    with_control_plane(|sandbox, mut control_plane| async move {
        control_plane.apply(&[service("a", 1), service("b", 2)]);
        let mut told = Told::by(&control_plane.write_kubeconfig(sandbox.root())).await;
        told.until_names(&["a", "b"]).await;
        control_plane.stop();
        told.until("an error", |told| told.errors.len() == 4).await;
        told.require_no_change(Duration::from_secs(1)).await;
        control_plane.delete(&[service("a", 1)]);
        control_plane.apply(&[service("c", 3)]);
        control_plane.resume();
        told.until_names(&["b", "c"]).await;
        told.until_well().await;
    });
}

#[test]
#[ignore = "needs root"]
fn thousands_of_objects_come_in_pages_and_before_anything_is_told() {
    with_control_plane(|sandbox, control_plane| async move {
        let service = |number: u32| {
            let address = format!("10.97.{}.{}", number / 250, number % 250);
            let ports = [("http", "TCP", 80, 8080)];
            manifests::service(&format!("s-{number}"), &[&address], &ports)
        };
        let services: Vec<Value> = (0..3000).map(service).collect();
        control_plane.apply_all(&services);
        let mut told = Told::by(&control_plane.write_kubeconfig(sandbox.root())).await;
        told.until("all", |told| told.objects.len() == 3000).await;
        assert_eq!(told.batches_taken, 1);
        if let Some(store) = control_plane.double("how many pages there were") {
            assert!(store.lists() >= 6 + 3);
        }
    });
}

#[test]
#[ignore = "needs root"]
fn labels_take_endpoint_slices_out_and_in() {
    with_control_plane(|sandbox, control_plane| async move {
        let plain = manifests::slice("s-1", "s", "n", &["10.244.0.3"], &[("http", "TCP", 8080)]);
        let mut headless = plain.clone();
        headless["metadata"]["labels"]["service.kubernetes.io/headless"] = json!("");
        control_plane.apply(std::slice::from_ref(&plain));
        let mut told = Told::by(&control_plane.write_kubeconfig(sandbox.root())).await;
        told.until_names(&["s-1"]).await;
        for _ in 0..3 {
            control_plane.apply(std::slice::from_ref(&headless));
            told.until_names(&[]).await;
            control_plane.apply(std::slice::from_ref(&plain));
            told.until_names(&["s-1"]).await;
        }
    });
}

/// Their addresses are theirs: what goes there is neither served nor refused.
#[test]
#[ignore = "needs root"]
fn services_of_other_proxies_are_told_too() {
    with_control_plane(|sandbox, control_plane| async move {
        let label = "service.kubernetes.io/service-proxy-name";
        let others = manifests::with_label(service("others", 1), label, "theirs");
        control_plane.apply(&[service("ours", 2), others]);
        let mut told = Told::by(&control_plane.write_kubeconfig(sandbox.root())).await;
        told.until_names(&["others", "ours"]).await;
        control_plane.delete(&[service("others", 1)]);
        told.until_names(&["ours"]).await;
    });
}
