//! What the programs cost the kernel's verifier, against what is written down of this kernel.
//!
//! The verifier gives up at a million instructions, and a program that comes near that on one kernel
//! may be beyond it on the next. It also is most of what an agent's start takes.
#![expect(clippy::expect_used, reason = "tests fail by panicking, in their helpers too")]
#![expect(
    unused_crate_dependencies,
    reason = "the library beside these tests uses more than they do"
)]

mod measure;
mod record;

use std::{env, fs, path::Path};

use nix::{sys::utsname::uname, unistd::geteuid};

use self::record::{Record, complaints};

/// The one test here: it takes all file descriptors from its process.
#[test]
#[ignore = "needs root"]
fn no_program_costs_the_verifier_a_tenth_more_than_is_written_down() {
    if !geteuid().is_root() {
        eprintln!("SKIPPED: needs root, for BPF programs");
        return;
    }
    let release = uname().expect("a kernel tells its release").release().display().to_string();
    let line: Vec<&str> = release.split('.').take(2).collect();
    let place = format!("tests/verifier/{}.yaml", line.join("."));
    let measured = Record { kernel: release, programs: measure::all() };

    if env::var_os("SHUNT_RECORD_VERIFIER").is_some() {
        // A virtual machine's files are not the repository's.
        let root = env::var_os("SHUNT_TEST_LEAVES").map_or_else(repository, Into::into);
        let path = root.join(place);
        fs::create_dir_all(path.parent().expect("a folder")).expect("making the folder");
        fs::write(&path, measured.to_yaml()).expect("writing the record");
        eprintln!("written: {}", path.display());
        return;
    }
    let Ok(text) = fs::read_to_string(repository().join(&place)) else {
        eprintln!("SKIPPED: nothing is written down of this kernel ({place})");
        return;
    };
    let complaints = complaints(&Record::from_yaml(&text), &measured);
    assert!(
        complaints.is_empty(),
        "{place}:\n{}\nIf that is as it has to be, write it down: `cargo xtask vm \
         --record-verifier`, and here SHUNT_RECORD_VERIFIER=1 cargo xtask test -- tenth_more",
        complaints.join("\n")
    );
}

fn repository() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in a workspace").to_owned()
}
