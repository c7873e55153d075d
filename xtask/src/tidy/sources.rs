//! Rules about source files, all of them about single lines or lengths.

use anyhow::Result;

use crate::repository::Repository;

/// The longest that a source file may be, in lines.
const LONGEST: usize = 500;

/// The one file that knows the byte order of wire values.
const BYTE_ORDER_FILE: &str = "maps-schema/src/address.rs";

/// Programs that userspace does with netlink or BPF, and so never calls.
const FOREIGN_PROGRAMS: [&str; 9] = [
    "ip",
    "ip6tables",
    "iptables",
    "iptables-restore",
    "ipvsadm",
    "nft",
    "tc",
    "bridge",
    "bpftool",
];

/// No source file is longer than [`LONGEST`] lines.
pub(super) fn files_are_short(repository: &Repository) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for path in repository.files(&[".rs"])? {
        let lines = repository.read(&path)?.lines().count();
        if lines > LONGEST {
            findings.push(format!("{path}: {lines} lines; split it (at most {LONGEST})"));
        }
    }
    Ok(findings)
}

/// A note about something left to do names its issue: `(#12)` right after the word.
pub(super) fn open_tasks_have_issues(repository: &Repository) -> Result<Vec<String>> {
    // In two parts, so that this file does not find itself.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME")];
    find_lines(repository, &[".rs", ".sh", ".toml", ".yaml", ".yml"], |_, line| {
        words
            .iter()
            .filter_map(|word| line.split_once(word))
            .any(|(_, rest)| !names_issue(rest))
            .then_some("name the issue, as in `(#12)`")
    })
}

fn names_issue(after_word: &str) -> bool {
    after_word.strip_prefix("(#").is_some_and(|rest| {
        rest.split_once(')').is_some_and(|(number, _)| number.parse::<u32>().is_ok())
    })
}

/// Conversions between byte orders are in [`BYTE_ORDER_FILE`] alone.
pub(super) fn byte_order_is_in_one_file(repository: &Repository) -> Result<Vec<String>> {
    let calls = [
        concat!("to_", "be("),
        concat!("from_", "be("),
        concat!("hto", "ns("),
        concat!("nto", "hs("),
    ];
    find_lines(repository, &[".rs"], |path, line| {
        (path != BYTE_ORDER_FILE && calls.iter().any(|call| line.contains(call)))
            .then_some("use a wire type of maps-schema/src/address.rs")
    })
}

/// Userspace calls none of [`FOREIGN_PROGRAMS`].
pub(super) fn no_foreign_programs(repository: &Repository) -> Result<Vec<String>> {
    find_lines(repository, &[".rs"], |path, line| {
        let (_, rest) = line.split_once("Command::new(")?;
        let name = rest.trim_start().strip_prefix('"')?.split('"').next()?.rsplit('/').next()?;
        (path.starts_with("userspace/src/") && FOREIGN_PROGRAMS.contains(&name))
            .then_some("use rtnetlink or aya; shunt calls no program of others")
    })
}

/// Tests are ignored for one reason only, want of root; `cargo xtask test` runs those as root.
pub(super) fn ignored_tests_need_root(repository: &Repository) -> Result<Vec<String>> {
    let attribute = concat!("#[", "ignore");
    find_lines(repository, &[".rs"], |_, line| {
        let reason = line.trim_start().strip_prefix(attribute)?;
        (!reason.starts_with(" = \"needs root"))
            .then_some("say `ignore = \"needs root\"`, or run it")
    })
}

/// The lines of files named `*suffix` for which `judge` has a remedy; it is given the path and the
/// line.
fn find_lines(
    repository: &Repository,
    suffixes: &[&str],
    judge: impl Fn(&str, &str) -> Option<&'static str>,
) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for path in repository.files(suffixes)? {
        for (index, line) in repository.read(&path)?.lines().enumerate() {
            if let Some(remedy) = judge(&path, line) {
                findings.push(format!("{path}:{}: {remedy}", index + 1));
            }
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::repository_of, *};

    type Check = fn(&Repository) -> Result<Vec<String>>;

    fn count(check: Check, path: &str, content: &str) -> usize {
        let (_folder, repository) = repository_of(&[(path, content)]);
        check(&repository).unwrap().len()
    }

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(count(files_are_short, "a.rs", &"\n".repeat(LONGEST)), 0);
        assert_eq!(count(files_are_short, "a.rs", &"\n".repeat(LONGEST + 1)), 1);
    }

    #[test]
    fn a_task_without_an_issue_is_found() {
        let word = concat!("TO", "DO");
        for (rest, expected) in [("(#12): x", 0), (": x", 1), ("(#): x", 1), ("(me)", 1), ("", 1)] {
            let line = format!("// {word}{rest}\n");
            assert_eq!(count(open_tasks_have_issues, "a.rs", &line), expected, "{line}");
        }
    }

    #[test]
    fn a_conversion_of_byte_order_elsewhere_is_found() {
        let line = concat!("let x = y.to_", "be();\n");
        assert_eq!(count(byte_order_is_in_one_file, "a.rs", line), 1);
        assert_eq!(count(byte_order_is_in_one_file, BYTE_ORDER_FILE, line), 0);
        let bytes = concat!("let x = y.to_", "be_bytes();\n");
        assert_eq!(count(byte_order_is_in_one_file, "a.rs", bytes), 0);
    }

    #[test]
    fn a_call_of_a_foreign_program_is_found() {
        let line = "Command::new(\"/sbin/ip\")\n";
        assert_eq!(count(no_foreign_programs, "userspace/src/a.rs", line), 1);
        assert_eq!(count(no_foreign_programs, "tests/src/a.rs", line), 0);
        assert_eq!(
            count(no_foreign_programs, "userspace/src/a.rs", "Command::new(\"sleep\")\n"),
            0
        );
    }

    #[test]
    fn a_test_ignored_for_another_reason_is_found() {
        let attribute = concat!("#[", "ignore");
        for (rest, expected) in [(" = \"needs root\"]", 0), ("]", 1), (" = \"slow\"]", 1)] {
            let line = format!("    {attribute}{rest}\n");
            assert_eq!(count(ignored_tests_need_root, "a.rs", &line), expected, "{line}");
        }
    }
}
