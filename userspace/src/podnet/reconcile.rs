//! From the pods that are there to the pods that shall be.

use std::{collections::BTreeSet, net::IpAddr};

use futures_util::{StreamExt, stream};

use super::{Bridge, Error, PodDns, PodNet, PodNetwork, PodRecord};
use crate::cluster::model::ObjectName;

/// How many pods are worked on at one time. The kernel changes interfaces one at a time (the RTNL
/// lock); more than a few only wait there.
pub(super) const AT_ONCE: usize = 8;

/// A pod that shall have a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredPod {
    /// The pod.
    pub pod: ObjectName,
    /// Its addresses, as assigned; at most one per family.
    pub addresses: Vec<IpAddr>,
}

/// What came of [`PodNet::reconcile`].
#[derive(Debug, Default)]
pub struct Reconciled {
    /// Each pod that was removed, in the order of their namespaces' names.
    pub removed: Vec<(ObjectName, Result<(), Error>)>,
    /// Each desired pod, in their order.
    pub pods: Vec<(ObjectName, Result<PodNetwork, Error>)>,
    /// Records that could not be read.
    pub unreadable: Vec<Error>,
}

impl PodNet {
    /// Removes the pods that are not desired, then makes or repairs those that are. A pod that
    /// fails stops no other.
    pub async fn reconcile(
        &self,
        bridge: &Bridge,
        dns: &PodDns,
        desired: &[DesiredPod],
    ) -> Reconciled {
        let wanted: BTreeSet<&ObjectName> = desired.iter().map(|desired| &desired.pod).collect();
        let (mut surplus, unreadable) = self.list();
        surplus.retain(|record| !wanted.contains(&record.pod()));
        self.remove_host_ends_together(&host_interfaces(&surplus)).await;
        let remove = |record: &PodRecord| {
            let pod = record.pod();
            async move {
                let result = self.remove_pod(&pod).await;
                (pod, result)
            }
        };
        let removals: Vec<_> = surplus.iter().map(remove).collect();
        // First, because their addresses may be another pod's now.
        let removed = stream::iter(removals).buffered(AT_ONCE).collect().await;
        let ensure = |desired: &DesiredPod| {
            let (pod, addresses) = (desired.pod.clone(), desired.addresses.clone());
            async move {
                let result = self.ensure_pod(bridge, dns, &pod, &addresses).await;
                (pod, result)
            }
        };
        let ensures: Vec<_> = desired.iter().map(ensure).collect();
        let pods = stream::iter(ensures).buffered(AT_ONCE).collect().await;
        Reconciled { removed, pods, unreadable }
    }
}

/// The host ends that records speak of.
pub(super) fn host_interfaces(records: &[PodRecord]) -> Vec<&str> {
    records.iter().map(|record| record.host_interface.as_str()).collect()
}
