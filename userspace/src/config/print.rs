//! `--print-default-config`: a config file that says what holds anyway, with every knob's text.

use std::fmt::Write as _;

use clap::{Args as _, Command};

use super::{environment, settings::Settings};

/// The text of the file.
pub fn default_config() -> String {
    let defaults = toml::Table::try_from(Settings::defaults()).unwrap_or_default();
    let mut text = String::from(
        "# Settings of `shunt agent`. A flag is stronger than an environment variable, which is\n\
         # stronger than this file, which is stronger than the default.\n",
    );
    let command = Settings::augment_args(Command::new("print"));
    for argument in command.get_arguments() {
        let Some(key) = argument.get_long() else {
            continue;
        };
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let values: Vec<_> = argument
            .get_possible_values()
            .iter()
            .map(|value| value.get_name().to_owned())
            .collect();
        let _ = write!(text, "\n{}", comment(&help));
        if values.len() > 1 {
            let _ = writeln!(text, "# One of {}.", values.join(", "));
        }
        let _ = writeln!(text, "# --{key}, {}", environment::variable(key));
        let _ = match defaults.get(key) {
            Some(value) => writeln!(text, "{key} = {value}"),
            None => writeln!(text, "#{key} = "),
        };
    }
    text
}

/// The text as lines of a comment, none much longer than 90 characters.
fn comment(text: &str) -> String {
    let mut lines = vec![String::from("#")];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() < 90 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("# {word}")),
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::file;

    #[test]
    fn the_printed_file_says_exactly_the_defaults() {
        let settings = file::parse(Path::new("printed"), &default_config()).unwrap();
        assert_eq!(settings, Settings::defaults());
    }

    #[test]
    fn every_knob_is_printed_with_its_text() {
        let text = default_config();
        for key in file::keys() {
            assert!(text.contains(&format!("\n# --{key}, SHUNT_")), "{key}");
        }
        assert!(text.contains("# One of auto, tcx, clsact.\n# --tc, SHUNT_TC\ntc = \"auto\"\n"));
        assert!(text.contains("# Name of this node"));
    }

    #[test]
    fn every_knob_is_documented_with_its_variable_and_default() {
        let document = include_str!("../../../docs/configuration.md");
        let defaults = toml::Table::try_from(Settings::defaults()).unwrap();
        for key in file::keys() {
            let variable = environment::variable(&key);
            let default =
                defaults.get(&key).map_or_else(|| "none".to_owned(), |value| format!("`{value}`"));
            let row = format!("| `--{key}` | `{variable}` | {default} |");
            assert!(document.contains(&row), "docs/configuration.md lacks: {row}");
        }
        let rows = document.lines().filter(|line| line.starts_with("| `--"));
        assert_eq!(rows.count(), file::keys().len());
    }
}
