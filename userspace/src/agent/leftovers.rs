//! What a former agent made and no object asks for. It is removed only once the source was read
//! without anything refused that might be its object: a file that does not parse when the agent
//! starts must not cost its pods their networks, nor its services their addresses.

use std::collections::BTreeSet;

use crate::{
    cluster::{
        Cluster,
        model::{Kind, ObjectName},
    },
    source::SourceError,
};

/// Whether what is left may go.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    may_go: bool,
    /// The pods that were wanted meanwhile: those that are not any more were taken away for good.
    seen: BTreeSet<ObjectName>,
}

impl Leftovers {
    /// Takes note of a reading of the source and of what it refused. Returns whether leftovers may
    /// go from now on, and might not before. Once they may, they always may: what is refused later
    /// stays in force as it was.
    pub(super) fn read(&mut self, errors: &[SourceError], cluster: &Cluster) -> bool {
        if self.may_go {
            return false;
        }
        let mut hiding = errors.iter().filter(|error| may_hide(error, cluster));
        if let Some(error) = hiding.next() {
            log::warn!(
                "what a former agent left stays until file={} is read without an error",
                error.file.display()
            );
            return false;
        }
        self.may_go = true;
        self.seen.clear();
        true
    }

    /// Takes note of the pods that shall be here.
    pub(super) fn see(&mut self, wanted: &BTreeSet<ObjectName>) {
        if !self.may_go {
            self.seen.extend(wanted.iter().cloned());
        }
    }

    /// Whether a pod stays that no object asks for.
    pub(super) fn keeps(&self, pod: &ObjectName) -> bool {
        !self.may_go && !self.seen.contains(pod)
    }

    /// Whether what no object asks for may be removed.
    pub(super) const fn may_go(&self) -> bool {
        self.may_go
    }
}

/// Whether an object was refused of which no version is known: then it may be anything that is
/// left.
fn may_hide(error: &SourceError, cluster: &Cluster) -> bool {
    let Some(name) = &error.name else { return true };
    let namespace = error.namespace.clone().unwrap_or_default();
    let object = ObjectName { namespace, name: name.clone() };
    let is_kind = |kind: Kind| error.kind.as_deref() == Some(kind.to_string().as_str());
    if is_kind(Kind::Pod) {
        cluster.pod_origin(&object).is_none()
    } else if is_kind(Kind::Service) {
        cluster.service_origin(&object).is_none()
    } else {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn pod(name: &str) -> ObjectName {
        ObjectName { namespace: "default".to_owned(), name: name.to_owned() }
    }

    fn about(kind: Kind, name: &str) -> SourceError {
        SourceError {
            kind: Some(kind.to_string()),
            namespace: Some("default".to_owned()),
            name: Some(name.to_owned()),
            ..SourceError::about_file(Path::new("a.yaml"), "broken".to_owned())
        }
    }

    #[test]
    fn a_broken_file_keeps_what_was_left_until_it_is_read() {
        let (mut leftovers, cluster) = (Leftovers::default(), Cluster::new("node"));
        let broken = [SourceError::about_file(Path::new("a.yaml"), "broken".to_owned())];
        assert!(!leftovers.read(&broken, &cluster));
        assert!(leftovers.keeps(&pod("left")));
        assert!(leftovers.read(&[], &cluster));
        assert!(!leftovers.keeps(&pod("left")));
        assert!(leftovers.may_go());
    }

    #[test]
    fn what_breaks_later_keeps_nothing() {
        let (mut leftovers, cluster) = (Leftovers::default(), Cluster::new("node"));
        assert!(leftovers.read(&[], &cluster));
        let broken = [SourceError::about_file(Path::new("a.yaml"), "broken".to_owned())];
        assert!(!leftovers.read(&broken, &cluster));
        assert!(!leftovers.keeps(&pod("left")));
    }

    #[test]
    fn a_pod_that_was_wanted_meanwhile_is_not_kept_when_it_is_removed() {
        let (mut leftovers, cluster) = (Leftovers::default(), Cluster::new("node"));
        leftovers.read(&[about(Kind::Pod, "broken")], &cluster);
        leftovers.see(&BTreeSet::from([pod("wanted")]));
        assert!(!leftovers.keeps(&pod("wanted")));
        assert!(leftovers.keeps(&pod("broken")));
    }

    #[test]
    fn a_refused_slice_or_node_hides_neither_pod_nor_service() {
        let (mut leftovers, cluster) = (Leftovers::default(), Cluster::new("node"));
        assert!(leftovers.read(&[about(Kind::EndpointSlice, "a")], &cluster));
    }
}
