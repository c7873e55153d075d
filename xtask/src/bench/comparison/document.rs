//! What a run leaves: JSON, plots, and the part of `docs/benchmarks/README.md` that is made of them.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{
    plot,
    results::Results,
    tables::{self, Table},
};

/// The folder of the repository's own results, relative to its top.
pub(super) const FOLDER: &str = "docs/benchmarks";
/// The file of all values.
pub(super) const JSON: &str = "comparison.json";
/// The file whose part between the markers is made.
const README: &str = "README.md";
const BEGIN: &str = "<!-- comparison: begin. Written by `cargo xtask bench`; not by hand. -->\n";
const END: &str = "<!-- comparison: end -->\n";

/// Writes everything into a folder; the files.
pub(super) fn write(results: &Results, folder: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let json = serde_json::to_string_pretty(results).context("writing results as JSON")? + "\n";
    // What is read of a number is not always its last digit; the rest is made of what is read.
    let results = &serde_json::from_str::<Results>(&json).context("reading results as JSON")?;
    let readme = folder.join(README);
    let before = fs::read_to_string(&readme).unwrap_or_else(|_| format!("{BEGIN}{END}"));
    let mut files = vec![(folder.join(JSON), json), (readme, replaced(&before, &section(results)))];
    files.extend(plot::draw(results).map(|(name, text)| (folder.join(name), text)));
    for (path, text) in &files {
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(files.into_iter().map(|(path, _)| path).collect())
}

/// A text with another part between the markers; at its end, where it has none.
fn replaced(text: &str, section: &str) -> String {
    let part = format!("{BEGIN}\n{section}\n{END}");
    match (text.find(BEGIN), text.find(END)) {
        (Some(begin), Some(end)) if begin < end => {
            let (before, after) = (text.get(..begin), text.get(end + END.len()..));
            format!("{}{part}{}", before.unwrap_or_default(), after.unwrap_or_default())
        }
        _ => format!("{text}\n{part}"),
    }
}

fn section(results: &Results) -> String {
    let mut text = String::new();
    let [building, measuring] = results.seconds;
    let _ = writeln!(
        text,
        "Begun {}, {} rounds of samples of {} ms{}; building took {building} s, measuring \
         {measuring} s. Every value is in [{JSON}]({JSON}).\n",
        results.begun,
        results.rounds,
        results.sample_milliseconds,
        if results.complete { "" } else { ", interrupted" },
    );
    text.push_str("| on | |\n|---|---|\n");
    for (what, value) in &results.machine {
        let _ = writeln!(text, "| {what} | {value} |");
    }
    text.push('\n');
    for file in plot::FILES {
        let name = file.trim_end_matches(".svg").replace('-', " ");
        let _ = writeln!(text, "![{name}]({file})\n");
    }
    let tables: Vec<String> = tables::of(results).iter().map(Table::markdown).collect();
    text.push_str(&tables.join("\n"));
    if !results.failures.is_empty() {
        let _ = writeln!(text, "\n{} samples were not counted:\n", results.failures.len());
        for failure in &results.failures {
            let _ = writeln!(text, "- {failure}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::Repository;

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let text = format!("a\n{BEGIN}old\n{END}b\n");
        assert_eq!(replaced(&text, "new"), format!("a\n{BEGIN}\nnew\n{END}b\n"));
        assert_eq!(replaced("a\n", "new"), format!("a\n\n{BEGIN}\nnew\n{END}"));
    }

    #[test]
    fn the_repositorys_results_are_whole() {
        let repository = Repository::find().unwrap();
        let folder = repository.path(FOLDER);
        let readme = repository.read(&format!("{FOLDER}/{README}")).unwrap();
        assert_eq!([BEGIN, END].map(|marker| readme.matches(marker).count()), [1, 1]);
        let Ok(json) = repository.read(&format!("{FOLDER}/{JSON}")) else {
            // Before the first full run there is nothing at all.
            assert!(readme.contains(&format!("{BEGIN}{END}")), "values without {JSON}");
            return;
        };
        let results: Results = serde_json::from_str(&json).unwrap();
        assert_eq!(results.schema, super::super::results::SCHEMA);
        assert!(results.complete && !results.cells.is_empty());
        assert_eq!(replaced(&readme, &section(&results)), readme, "run `cargo xtask bench`");
        for (name, text) in plot::draw(&results) {
            assert_eq!(fs::read_to_string(folder.join(name)).unwrap(), text, "{name}");
        }
    }
}
