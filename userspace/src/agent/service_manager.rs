//! What systemd is told of the agent.

use std::{future::pending, time::Duration};

use sd_notify::NotifyState::{self, Ready, Status, Stopping, Watchdog};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::model::Readiness;

/// What it was told last; without a service manager, nobody.
#[derive(Debug, Default)]
pub(super) struct ServiceManager {
    said: String,
    is_ready: bool,
}

impl ServiceManager {
    /// Notes whether the node is served, and says so when it begins to be.
    pub(super) fn note(&mut self, readiness: &Readiness) {
        let was_ready = std::mem::replace(&mut self.is_ready, *readiness == Readiness::Ready);
        if self.is_ready && !was_ready {
            log::info!("ready");
            notify(&Ready);
        }
    }

    /// Whether the node is served, as far as was noted.
    pub(super) const fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Says in a line what the agent is at, where that is another than before.
    pub(super) fn say(&mut self, text: String) {
        if self.said != text {
            notify(&Status(&text));
            self.said = text;
        }
    }
}

/// Says that the agent ends.
pub(super) fn stopping() {
    notify(&Stopping);
}

/// Who has no service manager has nobody to tell, and who has one that does not listen cannot help
/// it.
fn notify(state: &NotifyState<'_>) {
    let _ = sd_notify::notify(std::slice::from_ref(state));
}

/// The signs of life that the service manager wants (`WatchdogSec=`), from the agent's loop, so that
/// one that is stuck is noticed.
#[derive(Debug)]
pub(super) struct SignsOfLife(Option<Interval>);

impl SignsOfLife {
    /// Twice as often as they are wanted; never where they are not.
    pub(super) fn wanted() -> Self {
        Self(sd_notify::watchdog_enabled().map(|longest| {
            let mut often = interval((longest / 2).max(Duration::from_millis(1)));
            often.set_missed_tick_behavior(MissedTickBehavior::Delay);
            often
        }))
    }

    /// Waits until one is due, and gives it.
    pub(super) async fn give(&mut self) {
        match &mut self.0 {
            Some(often) => {
                often.tick().await;
                notify(&Watchdog);
            }
            None => pending().await,
        }
    }
}
