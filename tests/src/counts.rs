//! What tests have counted, left for `cargo xtask test` to show: a test runner keeps what tests print
//! to itself.

use std::{
    fmt::Display,
    fs,
    path::{Path, PathBuf},
};

/// Prints some counts, and leaves them in a file of this name in the folder `SHUNT_TEST_COUNTS`, or
/// `target/counts`.
///
/// # Panics
///
/// They cannot be written.
pub fn leave(name: &str, counts: &impl Display) {
    let folder = std::env::var_os("SHUNT_TEST_COUNTS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/counts"),
        PathBuf::from,
    );
    fs::create_dir_all(&folder).expect("making the folder of counts");
    fs::write(folder.join(format!("{name}.txt")), counts.to_string()).expect("writing counts");
    eprintln!("{counts}");
}
