//! The connection entries after they were made: which are over, and how they are listed. Programs
//! write entries; here they are only read, and removed on condition that they did not change.
//! Likewise what is remembered of translated sockets, which has no such condition.

mod destroy;
pub mod judge;
mod list;
mod peers;
mod reaper;

pub(crate) use self::list::protocol_name;
pub use self::{list::list, reaper::Reaper};
