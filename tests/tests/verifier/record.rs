//! What is written down, and what is too much.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How many instructions the verifier looks at before it gives up.
const LIMIT: u64 = 1_000_000;

/// How much stack all functions of a program that call each other may have, in bytes.
const STACK_LIMIT: u64 = 512;

/// Below so many, a tenth is noise.
const FEW: u64 = 50;

/// The programs' costs on one kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// Its release.
    pub(crate) kernel: String,
    /// By name.
    pub(crate) programs: BTreeMap<String, Cost>,
}

/// What one program costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Cost {
    /// Instructions that were looked at, on all paths.
    pub(crate) instructions: u64,
    /// States that were remembered, in all.
    pub(crate) total_states: u64,
    /// States that were remembered at one time.
    pub(crate) peak_states: u64,
    /// The deepest of the stacks of functions that are verified by themselves, in bytes.
    pub(crate) stack: u64,
}

impl Record {
    /// As it is written down.
    pub(crate) fn to_yaml(&self) -> String {
        let text = serde_yaml_ng::to_string(self).expect("numbers and names");
        format!(
            "# What the programs cost this kernel's verifier. Written by `cargo xtask vm \
             --record-verifier`,\n# or, of the machine's own kernel, by SHUNT_RECORD_VERIFIER=1 \
             cargo xtask test -- tenth_more\n{text}"
        )
    }

    /// What was written down.
    pub(crate) fn from_yaml(text: &str) -> Self {
        serde_yaml_ng::from_str(text)
            .unwrap_or_else(|error| panic!("the record is damaged: {error}"))
    }
}

impl Cost {
    fn numbers(self) -> [(&'static str, u64, u64); 4] {
        let Self { instructions, total_states, peak_states, stack } = self;
        [
            ("instructions", instructions, LIMIT),
            ("total states", total_states, u64::MAX),
            ("peak states", peak_states, u64::MAX),
            ("bytes of stack", stack, STACK_LIMIT),
        ]
    }
}

/// What has grown by more than a tenth, or is within a tenth of what the kernel allows; programs that
/// one of the two does not have.
pub(crate) fn complaints(written: &Record, measured: &Record) -> Vec<String> {
    let mut complaints = Vec::new();
    for name in written.programs.keys().filter(|name| !measured.programs.contains_key(*name)) {
        complaints.push(format!("{name} is written down, and is no program any more"));
    }
    for (name, cost) in &measured.programs {
        let Some(before) = written.programs.get(name) else {
            complaints.push(format!("{name} is not written down"));
            continue;
        };
        for ((what, now, limit), (_, then, _)) in cost.numbers().into_iter().zip(before.numbers()) {
            if now.saturating_mul(10) > then.saturating_mul(11) && now > then + FEW {
                complaints.push(format!("{name}: {now} {what}, where {then} are written down"));
            }
            // What is near the limit by what is written down was accepted by who wrote it.
            if limit != u64::MAX && now * 10 > limit * 9 && now > then {
                complaints.push(format!("{name}: {now} {what}, of {limit} that the kernel allows"));
            }
        }
    }
    complaints
}

#[test]
fn a_jump_of_a_tenth_and_a_limit_that_is_near_are_complained_about() {
    let record = |instructions, stack| Record {
        kernel: "6.1".to_owned(),
        programs: BTreeMap::from([(
            "x".to_owned(),
            Cost { instructions, total_states: 10, peak_states: 10, stack },
        )]),
    };
    let of = |now: (u64, u64)| complaints(&record(10_000, 200), &record(now.0, now.1));
    assert!(of((10_999, 200)).is_empty());
    assert_eq!(of((11_001, 200)), ["x: 11001 instructions, where 10000 are written down"]);
    assert_eq!(of((10_000, 480)).len(), 2, "a jump, and a limit: {:?}", of((10_000, 480)));
    assert!(of((5_000, 100)).is_empty());
    let none = Record { kernel: String::new(), programs: BTreeMap::new() };
    assert_eq!(complaints(&none, &record(1, 1)), ["x is not written down"]);
    assert_eq!(complaints(&record(1, 1), &none).len(), 1);
}

#[test]
fn what_is_written_is_what_is_read() {
    let cost = Cost { instructions: 1, total_states: 2, peak_states: 3, stack: 4 };
    let record =
        Record { kernel: "6.1.0".to_owned(), programs: BTreeMap::from([("x".to_owned(), cost)]) };
    assert_eq!(Record::from_yaml(&record.to_yaml()), record);
}
