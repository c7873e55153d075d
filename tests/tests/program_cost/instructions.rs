//! Instructions per packet, in a virtual machine whose clock counts them: there, a time that is
//! measured in nanoseconds is a number of instructions.

use std::{collections::BTreeMap, env, fmt::Write as _, fs, path::Path, time::Duration};

use tests::{
    measure::{
        Effort,
        cases::{Table, all},
        measure,
        replay::Replayer,
    },
    sandbox::Sandbox,
};

/// Set where the clock counts instructions.
const COUNTS_INSTRUCTIONS: &str = "SHUNT_TIME_IS_INSTRUCTIONS";

/// What is recorded, and for which kernel: its major and minor version.
const RECORD: &str = include_str!("instructions.txt");

/// A figure may differ from what is recorded by so many of a thousand, and by so many instructions:
/// of what an interrupt adds, a median is not wholly free.
const TOLERANCE: (f64, f64) = (20.0, 4.0);

#[test]
#[ignore = "needs root"]
fn packets_cost_as_many_instructions_as_are_recorded() {
    if env::var_os(COUNTS_INSTRUCTIONS).is_none() {
        eprintln!(
            "SKIPPED: this clock counts time; `cargo xtask vm --kernel 6.12 --icount -- program_cost` counts \
             instructions"
        );
        return;
    }
    let Some(_sandbox) = Sandbox::enter_for(Duration::from_mins(30)) else {
        return;
    };
    let counted = count();
    let mut text = format!("kernel {}\n", kernel());
    for (name, instructions) in &counted {
        let _ = writeln!(text, "{instructions:6} {name}");
    }
    eprintln!("{text}");
    if let Some(file) = env::var_os("SHUNT_RECORD_INSTRUCTIONS") {
        fs::write(Path::new(&file), &text).expect("writing the record");
    }
    let (recorded_for, recorded) = read(RECORD);
    if recorded_for != kernel() {
        eprintln!("SKIPPED: the record is of Linux {recorded_for}, and this is {}", kernel());
        return;
    }
    let differences = differences(&recorded, &counted);
    assert!(
        differences.is_empty(),
        "instructions per packet differ from tests/tests/program_cost/instructions.txt:\n{}\nIf \
         that is as it should be, write there what stands above.",
        differences.join("\n")
    );
}

/// The instructions of each case's packet.
fn count() -> BTreeMap<String, u32> {
    let mut replayer = Replayer::new(1 << 12);
    let effort = Effort { rounds: 3, packets: 1 << 10 };
    let warm = all().into_iter().filter(|case| case.table == Table::Warm);
    warm.map(|case| {
        let instructions = measure(&mut replayer, &case, effort).net().round();
        eprintln!("{instructions:6} {case}");
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a few thousand, and never less than nothing"
        )]
        (case.to_string(), instructions as u32)
    })
    .collect()
}

/// Major and minor version.
fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.split('.').take(2).collect::<Vec<_>>().join(".")
}

/// The kernel and the figures of a record.
fn read(record: &str) -> (String, BTreeMap<String, u32>) {
    let mut lines = record.lines();
    let kernel = lines.next().and_then(|line| line.strip_prefix("kernel ")).unwrap_or_default();
    let figures = lines.filter_map(|line| {
        let (instructions, name) = line.trim().split_once(' ')?;
        Some((name.to_owned(), instructions.parse().ok()?))
    });
    (kernel.to_owned(), figures.collect())
}

/// What is not as it is recorded, a line each: also what has become less, so that the record stays
/// true.
fn differences(recorded: &BTreeMap<String, u32>, counted: &BTreeMap<String, u32>) -> Vec<String> {
    let (share, few) = TOLERANCE;
    let mut lines = Vec::new();
    for (name, now) in counted {
        match recorded.get(name).map(|then| (f64::from(*then), f64::from(*now))) {
            Some((then, now)) if (then - now).abs() <= few.max(then * share / 1000.0) => {}
            Some((then, now)) => lines.push(format!("{name}: {then} are recorded, {now} counted")),
            None => lines.push(format!("{name}: nothing is recorded, {now} counted")),
        }
    }
    let gone = recorded.keys().filter(|name| !counted.contains_key(*name));
    lines.extend(gone.map(|name| format!("{name}: is recorded, and not counted")));
    lines
}

#[test]
fn a_figure_that_has_grown_or_shrunk_is_a_difference() {
    let figures = |all: &[(&str, u32)]| {
        all.iter().map(|(name, figure)| ((*name).to_owned(), *figure)).collect::<BTreeMap<_, _>>()
    };
    let recorded = figures(&[("a", 1000), ("b", 50), ("c", 1000), ("gone", 1)]);
    let counted = figures(&[("a", 1020), ("b", 54), ("c", 970), ("new", 1)]);
    let lines = differences(&recorded, &counted);
    assert_eq!(
        lines,
        [
            "c: 1000 are recorded, 970 counted",
            "new: nothing is recorded, 1 counted",
            "gone: is recorded, and not counted",
        ]
    );
    assert_eq!(differences(&recorded, &recorded), Vec::<String>::new());
}

#[test]
fn a_record_is_read_as_it_is_written() {
    let (kernel, figures) = read("kernel 6.12\n   350 tc: known, IPv4\n  1200 tc: new, IPv6\n");
    assert_eq!(kernel, "6.12");
    let wanted = [("tc: known, IPv4".to_owned(), 350), ("tc: new, IPv6".to_owned(), 1200)];
    assert_eq!(figures, BTreeMap::from(wanted));
}
