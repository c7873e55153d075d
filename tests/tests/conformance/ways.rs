//! The ways.

use tests::{
    conformance::{
        Table,
        tally::Tally,
        ways::{kernel::ProgramMachine, model::ModelMachine, native::NativeMachine},
    },
    sandbox::Sandbox,
};

#[test]
fn the_reference_model_agrees_with_the_table() {
    Tally::of(&Table::read(), &mut ModelMachine::default()).conclude();
}

#[test]
fn the_agents_compiler_and_the_datapath_as_native_code_agree_with_the_table() {
    Tally::of(&Table::read(), &mut NativeMachine::default()).conclude();
}

#[test]
#[ignore = "needs root"]
fn the_programs_in_the_kernel_agree_with_the_table() {
    let Some(_sandbox) = Sandbox::enter() else {
        return;
    };
    let table = Table::read();
    Tally::of(&table, &mut ProgramMachine::new(&table.casts)).conclude();
}
