//! `docs/layers.md` tells the demo's story. Its commands, what they print and what that proves are
//! a run's: `--guide write` puts them there, and `--guide check` finds where they are no longer so.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::record::Record;
use crate::{Outcome, process::say, repository::Repository};

/// Where the guide is, in the repository.
const PATH: &str = "docs/layers.md";

/// What a run is for, beside being seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Purpose {
    /// Fail where the guide to the layers tells another story.
    Check,
    /// Write into the guide what this run has shown.
    Write,
}

/// Checks or writes the guide.
pub(super) fn serve(purpose: Purpose, repository: &Repository, record: &Record) -> Result<Outcome> {
    let path = repository.path(PATH);
    let guide = fs::read_to_string(&path).with_context(|| format!("reading {PATH}"))?;
    let retold = retell(&guide, record)?;
    match purpose {
        Purpose::Write => {
            fs::write(&path, retold).with_context(|| format!("writing {PATH}"))?;
            Ok(Outcome::Done)
        }
        Purpose::Check => Ok(match difference(&guide, &retold) {
            None => Outcome::Done,
            Some(difference) => {
                say(&format!(
                    "{PATH} tells another story: {difference}\n\
                     write it anew with `cargo xtask demo --guide write`, and read what has changed"
                ));
                Outcome::Negative
            }
        }),
    }
}

/// The guide with this run's transcripts, each in the block below its step's headline.
fn retell(guide: &str, record: &Record) -> Result<String> {
    let mut parts = Vec::new();
    let mut rest = guide;
    for (headline, transcript) in record.transcripts() {
        let (before, block) = rest
            .split_once(&format!("\n### {headline}\n\n```\n"))
            .with_context(|| format!("{PATH} has no block below `### {headline}`, in its place"))?;
        let (_, after) = block
            .split_once("\n```\n")
            .with_context(|| format!("{PATH}: the block below `### {headline}` does not end"))?;
        let told = transcript.join("\n");
        parts.push(format!("{before}\n### {headline}\n\n```\n{told}\n```\n"));
        rest = after;
    }
    ensure!(!rest.contains("\n### "), "{PATH} tells of a step that the demo does not have");
    Ok(parts.concat() + rest)
}

/// The first line that differs in more than is another at each run.
fn difference(guide: &str, retold: &str) -> Option<String> {
    let (mut told, mut shown) = (guide.lines(), retold.lines());
    loop {
        match (told.next(), shown.next()) {
            (None, None) => return None,
            (told, shown) if told.map(essence) == shown.map(essence) => {}
            (told, shown) => {
                let [told, shown] = [told, shown].map(|line| line.unwrap_or("nothing"));
                return Some(format!("it has\n  {told}\nand a run has shown\n  {shown}"));
            }
        }
    }
}

/// A line without what is another at each run: numbers, which are ports, counts, times, or of pods
/// that a connection went to by chance; names and addresses of interfaces that are drawn; the width
/// of columns.
fn essence(line: &str) -> String {
    let words = line.split_whitespace().map(|word| {
        let ethernet = word.split(':').filter(|part| part.len() == 2).count() == 6;
        if let Some(drawn) = ["veth", "fe80::"].into_iter().find(|start| word.starts_with(start)) {
            return drawn.to_owned();
        }
        if ethernet {
            return "Ethernet".to_owned();
        }
        let mut essence = String::new();
        for letter in word.chars() {
            match letter {
                '0'..='9' if essence.ends_with('0') => {}
                '0'..='9' => essence.push('0'),
                other => essence.push(other),
            }
        }
        essence
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::steps::Layer;

    const GUIDE: &str = "# A\n\nProse.\n\n### One\n\n```\n$ ls\n  web-1 80\n```\n\n### Two\n\n```\nold\n```\n\nEnd.\n";

    fn record(lines: [&str; 2]) -> Record {
        let mut record = Record::default();
        for (headline, line) in ["One", "Two"].into_iter().zip(lines) {
            record.begin(1, Layer::Veth, headline);
            line.lines().for_each(|line| record.seen(line));
        }
        record
    }

    #[test]
    fn a_run_takes_the_place_of_the_former_and_prose_stays() {
        let retold = retell(GUIDE, &record(["$ ls\n  web-12  443", "new"])).unwrap();
        assert_eq!(retold, GUIDE.replace("web-1 80", "web-12  443").replace("old", "new"));
    }

    #[test]
    fn only_what_is_another_at_each_run_may_differ() {
        let differs = |lines| difference(GUIDE, &retell(GUIDE, &record(lines)).unwrap());
        assert_eq!(differs(["$ ls\n  web-12  443", "old"]), None);
        assert!(differs(["$ ls\n  api-1 80", "old"]).unwrap().contains("api-1"));
        assert!(differs(["$ ls\n  web-1 80\n  more", "old"]).unwrap().contains("more"));
        assert!(differs(["$ ls -l\n  web-1 80", "old"]).unwrap().contains("ls -l"));
    }

    #[test]
    fn a_step_that_only_one_of_them_has_is_named() {
        let mut more = record(["a", "b"]);
        more.begin(3, Layer::Veth, "Three");
        assert!(retell(GUIDE, &more).unwrap_err().to_string().contains("Three"));
        let mut less = Record::default();
        less.begin(1, Layer::Veth, "One");
        assert!(retell(GUIDE, &less).is_err());
    }

    #[test]
    fn addresses_that_are_drawn_are_left_out() {
        assert_eq!(
            essence("eth0@if8  UP 192.168.0.3/24 fe80::d4c4:baff:feb2:54b6/64 4e:00:aa:bb:cc:dd"),
            essence("eth0@if12 UP 192.168.0.3/24 fe80::1/64 00:11:22:33:44:55")
        );
    }
}
