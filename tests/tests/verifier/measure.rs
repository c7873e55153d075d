//! What the verifier says of its own work.
//!
//! aya shows the verifier's log of programs that the kernel has refused only. The kernel verifies a
//! program first and gives it a file descriptor last: where none is to be had, a program is refused
//! for that alone, with the whole log.

use std::{collections::BTreeMap, fs, io};

use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel,
    programs::{CgroupSockAddr, Program, ProgramError, SchedClassifier, Xdp},
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tests::packets::kernel::object_path;

use super::record::Cost;

/// What each program of the object costs.
pub(crate) fn all() -> BTreeMap<String, Cost> {
    let object = fs::read(object_path()).expect("reading the object: run `cargo xtask build`");
    let mut ebpf = EbpfLoader::new()
        .verifier_log_level(VerifierLogLevel::STATS)
        .load(&object)
        .expect("making the maps");
    let names: Vec<String> = ebpf.programs().map(|(name, _)| name.to_owned()).collect();
    names.into_iter().map(|name| (name.clone(), of(&mut ebpf, &name))).collect()
}

fn of(ebpf: &mut Ebpf, name: &str) -> Cost {
    let program = ebpf.program_mut(name).expect("a program of the object");
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("asking for the limit");
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).expect("lowering the limit");
    let refused = load(program);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("raising the limit again");
    match refused {
        Err(ProgramError::LoadError { io_error, verifier_log })
            if io_error.raw_os_error() == Some(EMFILE) =>
        {
            let log = verifier_log.to_string();
            cost(&log).unwrap_or_else(|| panic!("{name}: no statistics in {log:?}"))
        }
        Err(error) => panic!("{name}: {error}"),
        Ok(()) => panic!("{name} has a descriptor where there are none"),
    }
}

/// "Too many open files".
const EMFILE: i32 = 24;

fn load(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::SchedClassifier(program) => SchedClassifier::load(program),
        Program::Xdp(program) => Xdp::load(program),
        Program::CgroupSockAddr(program) => CgroupSockAddr::load(program),
        other => Err(ProgramError::IOError(io::Error::other(format!(
            "programs of type {:?} are not measured",
            other.prog_type()
        )))),
    }
}

/// The statistics at the end of a log:
///
/// ```text
/// verification time 4321 usec
/// stack depth 96+0+32
/// processed 1234 insns (limit 1000000) max_states_per_insn 4 total_states 90 peak_states 80 mark_read 7
/// ```
fn cost(log: &str) -> Option<Cost> {
    let depths = log.lines().find_map(|line| line.strip_prefix("stack depth "))?;
    let counts = log.lines().find(|line| line.starts_with("processed "))?;
    let words: Vec<&str> = counts.split_whitespace().collect();
    let after = |name: &str| {
        let place = words.iter().position(|word| *word == name)?;
        words.get(place + 1)?.parse().ok()
    };
    Some(Cost {
        instructions: after("processed")?,
        total_states: after("total_states")?,
        peak_states: after("peak_states")?,
        stack: depths.split('+').filter_map(|depth| depth.trim().parse().ok()).max()?,
    })
}

#[test]
fn the_statistics_of_a_log_are_read() {
    let log = "verification time 4321 usec\nstack depth 96+0+432\nprocessed 1234 insns (limit \
               1000000) max_states_per_insn 4 total_states 90 peak_states 80 mark_read 7\n";
    let expected = Cost { instructions: 1234, total_states: 90, peak_states: 80, stack: 432 };
    assert_eq!(cost(log), Some(expected));
    assert_eq!(cost("processed 1234 insns"), None);
}
