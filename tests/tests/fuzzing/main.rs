//! The bodies of the fuzz targets, on what they begin with and on all that ever failed.
#![expect(unused_crate_dependencies, reason = "they are the library's")]

use tests::fuzzing::TARGETS;

#[test]
fn every_seed_is_as_it_should_be() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{} begins with nothing", target.name);
        for seed in seeds {
            target.check(&seed);
        }
    }
}

#[test]
fn every_input_that_once_failed_is_as_it_should_be() {
    for target in TARGETS {
        for (name, input) in target.found().unwrap() {
            eprintln!("{}: {name}", target.name);
            target.check(&input);
        }
    }
}

#[test]
fn every_beginning_of_a_seed_is_as_it_should_be() {
    for target in TARGETS {
        for seed in (target.seeds)() {
            let step = seed.len() / 12 + 1;
            (0..seed.len()).step_by(step).for_each(|end| target.check(&seed[..end]));
        }
    }
}
