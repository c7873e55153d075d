//! What the programs cost, in figures that are the same at each run: instructions per packet, and
//! accesses to maps on each path. A figure that has grown fails.
#![expect(
    unused_crate_dependencies,
    reason = "the library beside these tests uses more than they do themselves"
)]

mod accesses;
mod instructions;
