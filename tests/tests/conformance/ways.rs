//! The ways.

use tests::conformance::{
    Table,
    tally::Tally,
    ways::{model::ModelMachine, native::NativeMachine},
};

#[test]
fn the_reference_model_agrees_with_the_table() {
    Tally::of(&Table::read(), &mut ModelMachine::default()).conclude();
}

#[test]
fn the_agents_compiler_and_the_datapath_as_native_code_agree_with_the_table() {
    Tally::of(&Table::read(), &mut NativeMachine::default()).conclude();
}
