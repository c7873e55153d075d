//! The ways that cases are carried out.
//!
//! A [`Machine`] is told settings and objects, and opens one connection at a time. [`run`] holds a
//! machine against the table; random worlds hold machines against each other.

#[cfg(feature = "agent")]
pub mod agent;
pub mod judge;
#[cfg(feature = "agent")]
pub mod kernel;
#[cfg(feature = "agent")]
pub mod model;
#[cfg(feature = "agent")]
pub mod native;
#[cfg(feature = "agent")]
pub mod tables;

use maps_schema::address::Family;
use serde_json::Value;

use super::{Cast, Config, Packet, Way, packet::Outcome, scenario::ObjectRef};

/// Something that connections are opened through.
pub trait Machine {
    /// Which way it is.
    fn way(&self) -> Way;

    /// Begins anew: a node of this cast, with these settings, and no objects.
    fn begin(&mut self, cast: &Cast, config: &Config);

    /// Changes objects, all at once: those that are set are new or as they now are.
    fn change(&mut self, set: &[Value], remove: &[ObjectRef]);

    /// Forgets all connections, and with them all affinity.
    fn forget(&mut self);

    /// Lets time pass.
    fn wait(&mut self, seconds: u32);

    /// Why such a packet cannot be shown to it, if it cannot.
    fn cannot(&self, packet: &Packet) -> Option<&'static str>;

    /// Opens a connection from a port that has none.
    fn open(&mut self, packet: &Packet) -> Outcome;
}

/// Both families, in the order of the table's casts.
pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
