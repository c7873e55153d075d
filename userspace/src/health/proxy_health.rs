//! Whether what is known of the cluster is in force on this node, as kube-proxy judges it
//! (`pkg/proxy/healthcheck/proxy_health.go`).
//!
//! An update that waits is no reason to take the node out of service; one that waits for too long
//! is: whatever the agent does then, it does not follow the cluster. So an agent that is stuck is
//! found out by whoever asks, and not by the agent.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;

/// What is known of this node's Node object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// The objects have not been read yet.
    Unknown,
    /// It is there, and stays.
    Staying,
    /// It is being deleted, or is to be by the cluster autoscaler.
    Leaving,
    /// There is none.
    Missing,
}

/// What is judged by.
#[derive(Debug)]
pub struct ProxyHealth {
    /// How long an update may wait.
    timeout: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    node: NodeState,
    /// When the last update was in force.
    last_updated: Timestamp,
    /// Since when updates wait that are not in force.
    waiting_since: Option<Instant>,
}

/// A judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whether no update waits for too long.
    pub is_healthy: bool,
    /// Whether new traffic may be sent to this node, as far as its Node object says.
    pub is_node_eligible: bool,
    /// When an update was in force last; at first, when the agent began.
    pub last_updated: Timestamp,
}

impl ProxyHealth {
    /// Healthy, as an agent is that has just begun. An update may wait for as long as `timeout`.
    pub fn new(timeout: Duration) -> Self {
        let state =
            State { node: NodeState::Unknown, last_updated: Timestamp::now(), waiting_since: None };
        Self { timeout, state: Mutex::new(state) }
    }

    /// Says what is known of the Node object.
    pub fn set_node(&self, node: NodeState) {
        self.state().node = node;
    }

    /// Notes that there is an update.
    pub fn update_waits(&self, now: Instant) {
        self.state().waiting_since.get_or_insert(now);
    }

    /// Notes that all updates are in force.
    pub fn updated(&self) {
        let mut state = self.state();
        state.waiting_since = None;
        state.last_updated = Timestamp::now();
    }

    /// Notes that updates wait for something else than the agent, such as the Node object.
    pub fn put_off(&self) {
        self.state().waiting_since = None;
    }

    /// Judges by what is so now.
    pub fn judge(&self, now: Instant) -> Judgement {
        let state = self.state();
        let is_late = |since: Instant| now.saturating_duration_since(since) >= self.timeout;
        Judgement {
            is_healthy: !state.waiting_since.is_some_and(is_late),
            is_node_eligible: matches!(state.node, NodeState::Unknown | NodeState::Staying),
            last_updated: state.last_updated,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_mins(1);

    #[test]
    fn an_update_that_waits_too_long_is_unhealthy_until_it_is_in_force() {
        let health = ProxyHealth::new(TIMEOUT);
        let begun = Instant::now();
        assert!(health.judge(begun + 10 * TIMEOUT).is_healthy, "nothing waits");
        health.update_waits(begun);
        assert!(health.judge(begun + TIMEOUT * 59 / 60).is_healthy);
        // Another one does not make the first one younger.
        health.update_waits(begun + TIMEOUT / 2);
        assert!(!health.judge(begun + TIMEOUT).is_healthy);
        let before = health.judge(begun).last_updated;
        health.updated();
        let after = health.judge(begun + TIMEOUT);
        assert!(after.is_healthy && after.last_updated > before);
        health.update_waits(begun + TIMEOUT);
        assert!(health.judge(begun + TIMEOUT).is_healthy);
    }

    #[test]
    fn a_node_that_is_gone_or_goes_is_not_eligible_and_the_agent_is_healthy() {
        let health = ProxyHealth::new(TIMEOUT);
        for (node, is_eligible) in [
            (NodeState::Unknown, true),
            (NodeState::Missing, false),
            (NodeState::Staying, true),
            (NodeState::Leaving, false),
        ] {
            health.set_node(node);
            let judgement = health.judge(Instant::now());
            assert_eq!(judgement.is_node_eligible, is_eligible, "{node:?}");
            assert!(judgement.is_healthy);
        }
    }
}
