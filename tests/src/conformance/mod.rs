//! The conformance table: what a Service shall do, case by case, as data that a reader can check
//! against the text.
//!
//! The data is in `tests/conformance/*.yaml`, written in IPv4; [`twin`] makes the same of it in
//! IPv6. [`table`] reads it, strictly, into [`Scenario`]s without any shorthand left, and
//! [`cast`] says who is who. Nothing here knows how a case is carried out.

pub mod cast;
pub mod file;
pub mod guide;
pub mod packet;
pub mod scenario;
pub mod table;
pub mod tally;
pub mod twin;
pub mod ways;

pub use self::{
    cast::{Cast, Side},
    packet::{Fate, Packet, Protocol},
    scenario::{Case, Config, Expected, Proxy, Scenario, Step, Way},
    table::Table,
};
