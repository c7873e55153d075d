//! The entries: one file per place in the kernel.

mod reap;
mod socket;
mod tc;
mod xdp;

pub(crate) use self::xdp::{ANSWERS, NextHop, Pending};
