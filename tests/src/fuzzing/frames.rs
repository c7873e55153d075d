//! The frames of the packet fixtures, to begin with.

use maps_schema::counters::Program;

use crate::packets::{
    fixture::{Fixture, Step},
    fixtures,
};

/// The frames of every fixture, in their order, with the programs that they meet.
pub(super) fn of_fixtures() -> impl Iterator<Item = Vec<(Program, Vec<u8>)>> {
    let frames = |Fixture { steps, .. }: Fixture| {
        let frame = |Step { program, input, .. }: &Step| (*program, input.bytes());
        steps.iter().map(frame).collect()
    };
    fixtures::all().into_iter().map(frames)
}
