//! What a source has told, without an agent.

use std::{
    collections::BTreeMap,
    future::Future,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;
use tests::{control_plane::ControlPlane, manifests, netns::NetNamespace, sandbox::Sandbox};
use tokio::{sync::mpsc::Receiver, time::timeout};
use userspace::source::{Batch, Change, kubernetes};

/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a control plane has without anybody's doing: a Service and a ServiceCIDR of this name.
const OWN: &str = "kubernetes";

/// What the agent has been told: the names and the numbers of changes of each.
pub(crate) struct Told {
    batches: Receiver<Batch>,
    pub(crate) objects: BTreeMap<String, u32>,
    pub(crate) errors: Vec<String>,
    pub(crate) batches_taken: u32,
}

impl Told {
    pub(crate) async fn by(kubeconfig: &Path) -> Self {
        let (client, origin) = kubernetes::from_kubeconfig(kubeconfig).await.unwrap();
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
                Change::Set(object, _) if object.name().name == OWN => {}
                Change::Set(object, _) => *self.objects.entry(object.name().name).or_default() += 1,
                Change::Removed(_, name) => {
                    self.objects.remove(&name.name);
                }
            }
        }
    }

    /// Takes batches until something is the case.
    pub(crate) async fn until(&mut self, what: &str, is_it: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is_it(self) {
            assert!(begun.elapsed() < PATIENCE, "{what}: {:?} {:?}", self.objects, self.errors);
            self.take().await;
        }
    }

    pub(crate) async fn until_names(&mut self, names: &[&str]) {
        self.until(&format!("{names:?}"), |told| told.objects.keys().eq(names)).await;
    }

    pub(crate) async fn until_well(&mut self) {
        self.until("no error", |told| told.errors.is_empty()).await;
    }

    /// Takes what is told in some time, and requires that it is only errors.
    pub(crate) async fn require_no_change(&mut self, time: Duration) {
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

pub(crate) fn service(name: &str, host: u8) -> Value {
    manifests::service(name, &[&format!("10.96.1.{host}")], &[("http", "TCP", 80, 8080)])
}

/// Runs a test in a control plane's namespace.
pub(crate) fn with_control_plane<T: Future<Output = ()>>(
    test: impl FnOnce(Sandbox, ControlPlane) -> T + Send,
) {
    let Some(sandbox) = ControlPlane::sandbox() else { return };
    let netns = NetNamespace::create("control-plane");
    let control_plane = ControlPlane::start(&sandbox, &netns);
    netns.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test(sandbox, control_plane));
    });
}
