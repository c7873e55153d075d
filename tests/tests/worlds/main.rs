//! Random worlds: the model, native code and the kernel's programs agree on them.
#![expect(
    unused_crate_dependencies,
    reason = "the library beside these tests uses more than they do"
)]

use tests::{
    conformance::{
        Table,
        ways::{Machine, kernel::ProgramMachine, native::NativeMachine},
    },
    counts,
    sandbox::Sandbox,
    worlds::{Judge, Limits, Seen, found, run},
};

/// How many packets each test run shows to each machine.
const CASES: u64 = 100_000;

fn native() -> Box<dyn Machine> {
    Box::new(NativeMachine::default())
}

#[test]
fn native_code_agrees_with_the_model_on_worlds_that_nobody_thought_of() {
    let outcome = run(&mut Judge::new(vec![native()]), Limits::from_environment(CASES));
    counts::leave("worlds-native", &format_args!("native code agrees with the model on {outcome}"));
    for word in ["reached", "reached, masqueraded", "refused", "dropped", "passed"] {
        assert!(outcome.seen.outcomes.get(word).is_some_and(|count| *count > 0), "none {word}");
    }
}

#[test]
fn native_code_agrees_with_the_model_on_all_that_was_ever_found() {
    let mut judge = Judge::new(vec![native()]);
    for (name, world) in found().unwrap() {
        let agreed = judge.agree(&world, &mut Seen::default());
        assert!(agreed.is_ok(), "{name}: {}", agreed.unwrap_err());
    }
}

#[test]
#[ignore = "needs root"]
fn the_programs_in_the_kernel_agree_with_the_model_on_worlds_that_nobody_thought_of() {
    let limits = Limits::from_environment(CASES);
    let Some(_sandbox) = Sandbox::enter_for(limits.patience()) else {
        return;
    };
    let mut judge = Judge::new(vec![kernel()]);
    for (name, world) in found().unwrap() {
        let agreed = judge.agree(&world, &mut Seen::default());
        assert!(agreed.is_ok(), "{name}: {}", agreed.unwrap_err());
    }
    let outcome = run(&mut judge, limits);
    counts::leave(
        "worlds-kernel",
        &format_args!("the programs in the kernel agree with the model on {outcome}"),
    );
}

fn kernel() -> Box<dyn Machine> {
    Box::new(ProgramMachine::new(&Table::read().casts))
}
