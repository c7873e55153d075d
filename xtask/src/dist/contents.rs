//! What is in each artefact, and where.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::{
    static_build::StaticPrograms,
    tree::{Mode, Tree, gzip},
};
use crate::{chart, process::answer, repository::Repository};

/// Documents for users, as they are in the repository.
const DOCUMENTS: [&str; 4] = ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"];
/// The systemd unit, and the settings that it starts with.
const UNIT: &str = "deploy/systemd/shunt.service";
const SETTINGS: &str = "deploy/systemd/config.toml";
/// Where the unit finds the agent; packages have it elsewhere.
const LOCAL: &str = "/usr/local/bin/";

/// What all artefacts are made of.
#[derive(Clone, Debug)]
pub(super) struct Contents<'a> {
    pub(super) repository: &'a Repository,
    pub(super) programs: &'a StaticPrograms,
    /// The text of [`super::licences`].
    pub(super) licences: &'a str,
}

impl Contents<'_> {
    /// Everything, to be unpacked anywhere.
    pub(super) fn of_tarball(&self) -> Result<Tree> {
        let mut tree = Tree::default();
        tree.add_from("bin/shunt", Mode::Program, &self.programs.shunt)?;
        tree.add_from("bin/shunt-cni", Mode::Program, &self.programs.shunt_cni)?;
        for document in DOCUMENTS {
            tree.add(document, Mode::Data, self.repository.read(document)?);
        }
        tree.add("LICENSES-OTHERS", Mode::Data, self.licences);
        for path in self.repository.files(&[".md"])? {
            if path.starts_with("docs/") {
                tree.add(&path, Mode::Data, self.repository.read(&path)?);
            }
        }
        for path in self.repository.files(&[".md", ".yaml", ".toml", ".service"])? {
            if path.starts_with("deploy/") {
                tree.add(&path, Mode::Data, self.repository.read(&path)?);
            }
        }
        for (name, page) in self.man_pages()? {
            tree.add(format!("man/man1/{name}"), Mode::Data, page);
        }
        for (name, text) in self.completions()? {
            tree.add(format!("completions/{name}"), Mode::Data, text);
        }
        Ok(tree)
    }

    /// Files where Debian has them.
    pub(super) fn of_deb(&self) -> Result<Tree> {
        let mut tree = Tree::default();
        tree.add_from("usr/bin/shunt", Mode::Program, &self.programs.shunt)?;
        tree.add_from("usr/bin/shunt-cni", Mode::Program, &self.programs.shunt_cni)?;
        let unit = self.repository.read(UNIT)?.replace(LOCAL, "/usr/bin/");
        tree.add("usr/lib/systemd/system/shunt.service", Mode::Data, unit);
        tree.add("etc/shunt/config.toml", Mode::Data, self.repository.read(SETTINGS)?);
        for (name, page) in self.man_pages()? {
            tree.add(format!("usr/share/man/man1/{name}.gz"), Mode::Data, gzip(page.as_bytes())?);
        }
        for (name, text) in self.completions()? {
            let path = match name {
                "shunt.bash" => "usr/share/bash-completion/completions/shunt",
                "shunt.fish" => "usr/share/fish/vendor_completions.d/shunt.fish",
                _ => "usr/share/zsh/vendor-completions/_shunt",
            };
            tree.add(path, Mode::Data, text);
        }
        let documents = Path::new("usr/share/doc/shunt");
        tree.add(documents.join("README.md"), Mode::Data, self.repository.read("README.md")?);
        let changes = gzip(self.repository.read("CHANGELOG.md")?.as_bytes())?;
        tree.add(documents.join("changelog.gz"), Mode::Data, changes);
        tree.add(documents.join("copyright"), Mode::Data, self.copyright()?);
        Ok(tree)
    }

    /// What the agent's pod needs, which is nothing but the programs.
    pub(super) fn of_image(&self) -> Result<Tree> {
        let mut tree = Tree::default();
        tree.add_from("usr/local/bin/shunt", Mode::Program, &self.programs.shunt)?;
        tree.add_from("usr/local/bin/shunt-cni", Mode::Program, &self.programs.shunt_cni)?;
        tree.add("usr/share/doc/shunt/copyright", Mode::Data, self.copyright()?);
        tree.add_folder("tmp", 0o1777);
        Ok(tree)
    }

    /// The chart, as `helm package` packs it.
    pub(super) fn of_chart(&self) -> Result<Tree> {
        let mut tree = Tree::default();
        for path in self.repository.files(&[".yaml"])? {
            if let Some(name) = path.strip_prefix(chart::CHART) {
                let content = self.repository.read(&path)?;
                tree.add(name.trim_start_matches('/'), Mode::Data, content);
            }
        }
        Ok(tree)
    }

    fn copyright(&self) -> Result<String> {
        let licences =
            [self.repository.read("LICENSE-MIT")?, self.repository.read("LICENSE-APACHE")?];
        let [mit, apache] = licences;
        Ok(format!(
            "shunt is under the MIT licence or the Apache licence 2.0, as you like.\n\n{mit}\n\n\
             {apache}\n\n{}",
            self.licences
        ))
    }

    /// The man pages by file name.
    fn man_pages(&self) -> Result<Vec<(String, String)>> {
        let page = |command: &str| {
            let arguments = ["man", command];
            let arguments = arguments.iter().filter(|argument| !argument.is_empty());
            answer(&self.programs.shunt, arguments)
                .with_context(|| format!("`shunt man {command}` failed"))
        };
        let mut pages = vec![("shunt.1".to_owned(), page("")?)];
        for command in self.commands()? {
            pages.push((format!("shunt-{command}.1"), page(&command)?));
        }
        Ok(pages)
    }

    /// shunt's commands, as its own help lists them.
    fn commands(&self) -> Result<Vec<String>> {
        let help = answer(&self.programs.shunt, ["--help"]).context("`shunt --help` failed")?;
        let list = help.split_once("Commands:\n").context("`shunt --help` lists no commands")?.1;
        let lines = list.lines().take_while(|line| !line.is_empty());
        let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
        Ok(names.filter(|name| !name.is_empty()).map(str::to_owned).collect())
    }

    fn completions(&self) -> Result<Vec<(&'static str, String)>> {
        [("bash", "shunt.bash"), ("fish", "shunt.fish"), ("zsh", "_shunt")]
            .into_iter()
            .map(|(shell, name)| {
                let text = answer(&self.programs.shunt, ["completions", shell])
                    .with_context(|| format!("`shunt completions {shell}` failed"))?;
                Ok((name, text))
            })
            .collect()
    }
}
