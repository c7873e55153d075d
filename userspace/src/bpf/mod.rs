//! The calls of bpf(2) that aya has no function for.

mod syscall;

pub(crate) use syscall::{BatchCursor, count_entries, link_update, lookup_batch, obj_get};
