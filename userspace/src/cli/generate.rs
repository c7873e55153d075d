//! `shunt completions` and `shunt man`: both from the definitions of the commands.

use std::{fs, path::Path, process::ExitCode};

use anyhow::{Context as _, anyhow};
use clap::Command;
use clap_complete::Shell;

use super::{definition, output};

pub(super) fn completions(shell: Shell) -> anyhow::Result<ExitCode> {
    output::print(&completions_text(shell)?)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn man(command: Option<&str>, dir: Option<&Path>) -> anyhow::Result<ExitCode> {
    let pages = pages()?;
    if let Some(dir) = dir {
        fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        for (name, text) in pages {
            let path = dir.join(format!("{name}.1"));
            fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = command.map_or_else(|| "shunt".to_owned(), |command| format!("shunt-{command}"));
    let (_, text) = pages
        .iter()
        .find(|(name, _)| *name == wanted)
        .ok_or_else(|| anyhow!("shunt has no command `{}`", command.unwrap_or_default()))?;
    output::print(text)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn completions_text(shell: Shell) -> anyhow::Result<String> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut definition::command(), "shunt", &mut text);
    Ok(String::from_utf8(text)?)
}

/// The man pages by name: `shunt`, and one for each command.
pub(super) fn pages() -> anyhow::Result<Vec<(String, String)>> {
    let mut shunt = definition::command();
    shunt.build();
    let mut pages = vec![page(shunt.clone(), "shunt".to_owned())?];
    for command in shunt.get_subcommands().filter(|command| command.get_name() != "help") {
        let name = format!("shunt-{}", command.get_name());
        pages.push(page(command.clone(), name)?);
    }
    Ok(pages)
}

fn page(command: Command, name: String) -> anyhow::Result<(String, String)> {
    let mut text = Vec::new();
    let command = command.display_name(name.clone());
    clap_mangen::Man::new(command)
        .title(name.to_uppercase())
        .source(format!("shunt {}", crate::VERSION))
        .manual("shunt")
        .render(&mut text)?;
    Ok((name, String::from_utf8(text)?))
}
