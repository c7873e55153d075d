//! How many tests passed, added up from what the test runner prints.

use std::fmt;

/// How many tests passed, failed and were skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Summary {
    /// Takes one line of the runner's output: one `test result:` per test binary from libtest, one
    /// `Summary` at the end from nextest, which shows what libtest said of a failure further in.
    /// Other lines say nothing.
    pub(crate) fn observe(&mut self, line: &str) {
        let counts = line.strip_prefix("test result: ").or_else(|| {
            line.trim_start()
                .strip_prefix("Summary [")
                .and_then(|rest| rest.split_once(':'))
                .map(|parts| parts.1)
        });
        let Some(counts) = counts else { return };
        for part in counts.split([';', ',', '.']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(what)) = (words.next(), words.next()) else {
                continue;
            };
            let Ok(number) = number.parse::<u32>() else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" | "skipped" => self.skipped += number,
                _ => {}
            }
        }
    }

    /// Whether any test ran.
    pub(crate) fn ran_any(&self) -> bool {
        self.passed + self.failed > 0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(formatter, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(lines: &[&str]) -> String {
        let mut summary = Summary::default();
        for line in lines {
            summary.observe(line);
        }
        summary.to_string()
    }

    #[test]
    fn the_results_of_all_test_binaries_are_added_up() {
        let lines = [
            "running 3 tests",
            "test a ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 9 filtered out; finished in 0.02s",
            "test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s",
        ];
        assert_eq!(summary(&lines), "7 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn a_run_that_skipped_every_test_ran_none() {
        let mut summary = Summary::default();
        summary.observe("Summary [   0.000s] 0 tests run: 0 passed, 32 skipped");
        assert!(!summary.ran_any());
        summary.observe("test result: FAILED. 0 passed; 1 failed; 0 ignored");
        assert!(summary.ran_any());
    }

    #[test]
    fn the_summary_of_nextest_is_taken() {
        let lines = [
            "    test result: FAILED. 0 passed; 1 failed; 0 ignored",
            "     Summary [   0.123s] 10 tests run: 9 passed (1 slow), 1 failed, 3 skipped",
        ];
        assert_eq!(summary(&lines), "9 passed, 1 failed, 3 skipped");
    }
}
