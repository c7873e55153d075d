//! What the agent is told, through outages of the API server.

use std::{
    collections::BTreeMap,
    future::Future,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tests::{
    api_server::{ApiServer, Fault},
    manifests,
    process::{mortal_command, must},
    sandbox::Sandbox,
};
use tokio::{sync::mpsc::Receiver, time::timeout};
use userspace::source::{Batch, Change, kubernetes};

/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the agent has been told: the names and the numbers of changes of each.
struct Told {
    batches: Receiver<Batch>,
    objects: BTreeMap<String, u32>,
    errors: Vec<String>,
    batches_taken: u32,
}

impl Told {
    async fn from(server: &ApiServer, sandbox: &Sandbox) -> Self {
        let path = server.write_kubeconfig(sandbox.root());
        let (client, origin) = kubernetes::from_kubeconfig(&path).await.unwrap();
        let batches = kubernetes::watch(&client, origin);
        Self { batches, objects: BTreeMap::new(), errors: Vec::new(), batches_taken: 0 }
    }

    async fn take(&mut self) {
        let batch = timeout(PATIENCE, self.batches.recv()).await;
        let batch = batch.expect("there is nothing to tell").expect("the watch has ended");
        self.batches_taken += 1;
        assert!(batch.synced || batch.changes.is_empty(), "told before all was listed");
        self.errors = batch.errors.iter().map(|error| error.message.clone()).collect();
        for change in batch.changes {
            match change {
                Change::Set(object, _) => *self.objects.entry(object.name().name).or_default() += 1,
                Change::Removed(_, name) => {
                    self.objects.remove(&name.name);
                }
            }
        }
    }

    /// Takes batches until something is the case.
    async fn until(&mut self, what: &str, is_it: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is_it(self) {
            assert!(begun.elapsed() < PATIENCE, "{what}: {:?} {:?}", self.objects, self.errors);
            self.take().await;
        }
    }

    async fn until_names(&mut self, names: &[&str]) {
        self.until(&format!("{names:?}"), |told| told.objects.keys().eq(names)).await;
    }

    /// Requires that only errors are told for some time.
    async fn require_no_change(&mut self, time: Duration) {
        let before = self.objects.clone();
        let _ = timeout(time, async {
            loop {
                self.take().await;
            }
        })
        .await;
        assert_eq!(self.objects, before);
    }
}

fn service(name: &str, host: u8) -> Value {
    manifests::service(name, &[&format!("10.96.1.{host}")], &[("http", "TCP", 80, 8080)])
}

fn with_server<T: Future<Output = ()>>(test: impl FnOnce(Sandbox, ApiServer) -> T) {
    let Some(sandbox) = Sandbox::enter() else { return };
    must(mortal_command("ip").args(["link", "set", "lo", "up"]));
    let server = ApiServer::start("127.0.0.1:0".parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test(sandbox, server));
}

#[test]
#[ignore = "needs root"]
fn what_was_removed_during_an_outage_is_removed_after_it_and_nothing_else_changes() {
    with_server(|sandbox, server| async move {
        server.store().apply(&[service("a", 1), service("b", 2)]);
        let mut told = Told::from(&server, &sandbox).await;
        told.until_names(&["a", "b"]).await;
        let stopped = server.stop();
        told.until("an error", |told| told.errors.len() == 4).await;
        told.require_no_change(Duration::from_secs(1)).await;
        stopped.store().delete(&[service("a", 1)]);
        stopped.store().apply(&[service("c", 3)]);
        let _server = stopped.start();
        told.until_names(&["b", "c"]).await;
        told.until("no error", |told| told.errors.is_empty()).await;
    });
}

#[test]
#[ignore = "needs root"]
fn a_history_that_is_forgotten_is_listed_anew() {
    with_server(|sandbox, server| async move {
        server.store().apply(&[service("a", 1), service("b", 2)]);
        let mut told = Told::from(&server, &sandbox).await;
        told.until_names(&["a", "b"]).await;
        for number in 0..5 {
            server.store().forget();
            server.store().delete(&[service("b", 2)]);
            server.store().forget();
            told.until_names(&["a"]).await;
            server.store().apply(&[service("b", 2)]);
            told.until_names(&["a", "b"]).await;
            assert!(told.errors.is_empty(), "{number}: {:?}", told.errors);
        }
    });
}

#[test]
#[ignore = "needs root"]
fn whatever_a_server_says_instead_of_objects_changes_nothing() {
    with_server(|sandbox, server| async move {
        server.store().apply(&[service("a", 1)]);
        let mut told = Told::from(&server, &sandbox).await;
        told.until_names(&["a"]).await;
        for fault in [Fault::Status(500), Fault::Status(403), Fault::WrongContent, Fault::Cut] {
            server.store().fail(fault);
            server.store().forget();
            server.store().apply(&[service("b", 2)]);
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert!(told.objects.contains_key("a"));
            server.store().fail(Fault::None);
            told.until_names(&["a", "b"]).await;
            told.until("no error", |told| told.errors.is_empty()).await;
            server.store().delete(&[service("b", 2)]);
            told.until_names(&["a"]).await;
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_server_that_is_slow_is_waited_for_and_told_once() {
    with_server(|sandbox, server| async move {
        server.store().apply(&[service("a", 1)]);
        server.store().fail(Fault::Slow(Duration::from_millis(700)));
        let mut told = Told::from(&server, &sandbox).await;
        told.until_names(&["a"]).await;
        assert!(told.errors.is_empty());
        assert_eq!(told.objects["a"], 1);
    });
}

#[test]
#[ignore = "needs root"]
fn thousands_of_objects_come_in_pages_and_before_anything_is_told() {
    with_server(|sandbox, server| async move {
        for number in 0..3000_u32 {
            let address = format!("10.97.{}.{}", number / 250, number % 250);
            let ports = [("http", "TCP", 80, 8080)];
            let service = manifests::service(&format!("s-{number}"), &[&address], &ports);
            server.store().apply(&[service]);
        }
        let mut told = Told::from(&server, &sandbox).await;
        told.until("all", |told| told.objects.len() == 3000).await;
        assert_eq!(told.batches_taken, 1);
        assert!(server.store().lists() >= 6 + 3);
    });
}

#[test]
#[ignore = "needs root"]
fn labels_take_endpoint_slices_out_and_in() {
    with_server(|sandbox, server| async move {
        let plain = manifests::slice("s-1", "s", "n", &["10.244.0.3"], &[("http", "TCP", 8080)]);
        let mut headless = plain.clone();
        headless["metadata"]["labels"]["service.kubernetes.io/headless"] = json!("");
        server.store().apply(std::slice::from_ref(&plain));
        let mut told = Told::from(&server, &sandbox).await;
        told.until_names(&["s-1"]).await;
        for _ in 0..3 {
            server.store().apply(std::slice::from_ref(&headless));
            told.until_names(&[]).await;
            server.store().apply(std::slice::from_ref(&plain));
            told.until_names(&["s-1"]).await;
        }
    });
}
