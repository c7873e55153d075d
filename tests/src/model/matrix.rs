//! Section 1.4: which endpoints a packet may reach, and whose address they see, by where it comes
//! from and which address it was sent to.

use super::service::{Policy, Proxied, Target};
use crate::conformance::{Config, Side, scenario::DetectLocal};

/// Which of a service port's endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backends {
    Cluster,
    Local,
}

/// What decides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix<'a> {
    pub(super) config: &'a Config,
    pub(super) service: &'a Proxied,
    pub(super) target: Target,
    pub(super) side: Side,
}

impl Matrix<'_> {
    pub(super) fn backends(&self) -> Backends {
        let is_local = match self.target {
            Target::ClusterIp => self.service.internal == Policy::Local,
            // What comes from within the cluster reaches all of it.
            Target::ExternalIp | Target::LoadBalancer | Target::NodePort => {
                self.service.external == Policy::Local && self.is_from_outside()
            }
        };
        if is_local { Backends::Local } else { Backends::Cluster }
    }

    /// But for a backend that is the sender itself, which is always masqueraded.
    pub(super) fn masquerades(&self) -> bool {
        match self.target {
            Target::ClusterIp => {
                self.config.masquerade_all || (self.has_detector() && self.side != Side::Pod)
            }
            Target::ExternalIp | Target::LoadBalancer | Target::NodePort => {
                self.service.external == Policy::Cluster || self.side == Side::Node
            }
        }
    }

    /// Pods are told apart from the outside by the detector; the node's own processes always are.
    fn is_from_outside(&self) -> bool {
        match self.side {
            Side::Pod => !self.has_detector(),
            Side::Node => false,
            Side::Outside => true,
        }
    }

    fn has_detector(&self) -> bool {
        self.config.detect_local == DetectLocal::Pods
    }
}
