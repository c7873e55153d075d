//! What the agent is told while an API server does what it should not.

use std::{fs, time::Duration};

use tests::api_server::Fault;

use crate::told::{Told, service, with_control_plane};

#[test]
#[ignore = "needs root"]
fn a_history_that_is_forgotten_is_listed_anew() {
    with_control_plane(|sandbox, control_plane| async move {
        let Some(store) = control_plane.double("a history that is forgotten at will") else {
            return;
        };
        control_plane.apply(&[service("a", 1), service("b", 2)]);
        let mut told = Told::by(&control_plane.write_kubeconfig(sandbox.root())).await;
        told.until_names(&["a", "b"]).await;
        for number in 0..5 {
            store.forget();
            store.delete(&[service("b", 2)]);
            store.forget();
            told.until_names(&["a"]).await;
            store.apply(&[service("b", 2)]);
            told.until_names(&["a", "b"]).await;
            assert!(told.errors.is_empty(), "{number}: {:?}", told.errors);
        }
    });
}

/// What changes while a fault lasts is told when it is over, whether the server still knows what
/// has changed or not, and nothing else is.
#[test]
#[ignore = "needs root"]
fn whatever_a_server_says_instead_of_objects_changes_nothing() {
    with_control_plane(|sandbox, control_plane| async move {
        let Some(store) = control_plane.double("wrong answers") else { return };
        control_plane.apply(&[service("a", 1)]);
        let mut told = Told::by(&control_plane.write_kubeconfig(sandbox.root())).await;
        told.until_names(&["a"]).await;
        let faults = [
            Fault::Status(500),
            Fault::Status(403),
            Fault::Status(429),
            Fault::WrongContent,
            Fault::WrongKind,
            Fault::Half,
            Fault::Cut,
        ];
        for (fault, is_forgotten) in faults.into_iter().flat_map(|it| [(it, false), (it, true)]) {
            store.fail(fault);
            if is_forgotten {
                store.forget();
            }
            store.apply(&[service("b", 2)]);
            told.require_no_change(Duration::from_millis(700)).await;
            assert!(told.objects.keys().eq(["a"]), "{fault:?}: {:?}", told.objects);
            store.fail(Fault::None);
            told.until_names(&["a", "b"]).await;
            told.until_well().await;
            store.delete(&[service("b", 2)]);
            told.until_names(&["a"]).await;
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_list_that_cannot_be_had_is_asked_for_ever_more_slowly() {
    with_control_plane(|sandbox, control_plane| async move {
        let Some(store) = control_plane.double("a count of requests") else { return };
        store.fail(Fault::WrongKind);
        let mut told = Told::by(&control_plane.write_kubeconfig(sandbox.root())).await;
        told.until("errors", |told| told.errors.len() == 4).await;
        assert!(told.errors[0].contains("PodList"), "{:?}", told.errors);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = store.lists();
        tokio::time::sleep(Duration::from_secs(5)).await;
        // Every 350 ms to 700 ms each of four kinds asks.
        let asked = store.lists() - before;
        assert!((4..=60).contains(&asked), "{asked} lists in five seconds");
    });
}

#[test]
#[ignore = "needs root"]
fn a_server_that_is_slow_is_waited_for_and_told_once() {
    with_control_plane(|sandbox, control_plane| async move {
        let Some(store) = control_plane.double("slow answers") else { return };
        control_plane.apply(&[service("a", 1)]);
        store.fail(Fault::Slow(Duration::from_millis(700)));
        let mut told = Told::by(&control_plane.write_kubeconfig(sandbox.root())).await;
        told.until_names(&["a"]).await;
        assert!(told.errors.is_empty());
        assert_eq!(told.objects["a"], 1);
    });
}

#[test]
#[ignore = "needs root"]
fn a_token_that_is_not_taken_any_more_is_read_anew() {
    with_control_plane(|sandbox, control_plane| async move {
        let Some(store) = control_plane.double("tokens that end at will") else { return };
        let token = sandbox.root().join("token");
        fs::write(&token, "first").unwrap();
        store.require_token("first");
        store.apply(&[service("a", 1)]);
        let mut told =
            Told::by(&control_plane.write_kubeconfig_with(sandbox.root(), Some(&token))).await;
        told.until_names(&["a"]).await;
        for new in ["second", "third"] {
            store.require_token(new);
            // Watches that are open would go on.
            store.fail(Fault::Cut);
            told.until("an end of the watches", |told| !told.errors.is_empty()).await;
            store.fail(Fault::None);
            store.apply(&[service("b", 2)]);
            told.until("a refusal", |told| {
                told.errors.iter().any(|error| error.contains("Unauthorized"))
            })
            .await;
            told.require_no_change(Duration::from_secs(2)).await;
            fs::write(&token, new).unwrap();
            let begun = tokio::time::Instant::now();
            told.until_names(&["a", "b"]).await;
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
            told.until_well().await;
            store.delete(&[service("b", 2)]);
            told.until_names(&["a"]).await;
        }
    });
}
