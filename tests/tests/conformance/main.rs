//! Every case of the conformance table, carried out in three ways that must agree with it.
#![expect(
    unused_crate_dependencies,
    reason = "the library beside these tests uses more than they do"
)]

mod counts;
mod ways;
