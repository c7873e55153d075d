//! A Debian package, as deb(5) has it: an `ar` archive of two tar archives.

use anyhow::{Context as _, Result};
use ar::{Builder, Header};

use super::tree::{Mode, Timestamp, Tree, gzip};

/// What a package says of itself.
#[derive(Clone, Debug)]
pub(super) struct Package<'a> {
    /// Its version.
    pub(super) version: &'a str,
    /// The architecture, as Debian calls it.
    pub(super) architecture: &'a str,
    /// Its files.
    pub(super) files: Tree,
}

/// After the files are there. Nothing is started: the settings are to be made first.
const POSTINST: &str = r#"#!/bin/sh
set -e
if [ "$1" = configure ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
    # After an upgrade. Packets do not notice.
    if [ -n "$2" ]; then
        systemctl try-restart shunt.service || true
    fi
fi
"#;

/// Before the files go.
const PRERM: &str = r#"#!/bin/sh
set -e
if [ "$1" = remove ]; then
    if [ -d /run/systemd/system ]; then
        systemctl disable --now shunt.service || true
    fi
    if [ -d /run/shunt ]; then
        echo "shunt: the datapath stays as it is; 'shunt cleanup' before the removal takes it down" >&2
    fi
fi
"#;

/// After the files are gone.
const POSTRM: &str = "#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
fi
";

/// The package.
pub(super) fn package(package: &Package<'_>, time: Timestamp) -> Result<Vec<u8>> {
    let mut control = Tree::default();
    control.add("control", Mode::Data, description(package));
    let is_settings = |path: &&std::path::Path| path.starts_with("etc");
    let settings = package.files.paths().filter(is_settings);
    let settings: Vec<String> = settings.map(|path| format!("/{}", path.display())).collect();
    control.add("conffiles", Mode::Data, settings.join("\n") + "\n");
    for (name, script) in [("postinst", POSTINST), ("prerm", PRERM), ("postrm", POSTRM)] {
        control.add(name, Mode::Program, script);
    }
    let members = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.gz", gzip(&control.to_tar("./", time)?)?),
        ("data.tar.gz", gzip(&package.files.to_tar("./", time)?)?),
    ];
    let mut archive = Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = Header::new(name.as_bytes().to_vec(), content.len() as u64);
        header.set_mode(0o100_644);
        header.set_mtime(time.as_secs());
        archive.append(&header, &content[..]).with_context(|| format!("writing {name}"))?;
    }
    archive.into_inner().context("ending an archive")
}

fn description(package: &Package<'_>) -> String {
    format!(
        "Package: shunt\n\
         Version: {}\n\
         Architecture: {}\n\
         Maintainer: The shunt authors <shunt@shunt.dev>\n\
         Installed-Size: {}\n\
         Section: net\n\
         Priority: optional\n\
         Description: Services and pod networking of Kubernetes nodes in eBPF\n \
         shunt does on Kubernetes nodes what kube-proxy and the bridge CNI plugin do, without\n \
         iptables: BPF programs turn a service's address into a pod, and carry the packet there.\n \
         .\n \
         The programs are linked statically. The service is not started by the installation: see\n \
         /etc/shunt/config.toml first.\n",
        package.version,
        package.architecture,
        package.files.size().div_ceil(1024),
    )
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    fn small() -> Package<'static> {
        let mut files = Tree::default();
        files.add("usr/bin/shunt", Mode::Program, "program");
        files.add("etc/shunt/config.toml", Mode::Data, "settings");
        Package { version: "1.2.3", architecture: "amd64", files }
    }

    /// The files of one of the two tar archives, by path.
    fn files(package: &[u8], member: &str) -> Vec<(String, String)> {
        let mut archive = ar::Archive::new(package);
        while let Some(entry) = archive.next_entry() {
            let entry = entry.unwrap();
            if entry.header().identifier() != member.as_bytes() {
                continue;
            }
            let mut archive = tar::Archive::new(GzDecoder::new(entry));
            let files = archive.entries().unwrap().map(|file| {
                let mut file = file.unwrap();
                let mut content = String::new();
                file.read_to_string(&mut content).unwrap();
                (file.path().unwrap().display().to_string(), content)
            });
            return files.collect();
        }
        panic!("no {member}");
    }

    #[test]
    fn a_package_has_its_files_and_says_which_are_settings() {
        let package = package(&small(), Timestamp::from_secs(7)).unwrap();
        assert!(package.starts_with(
            b"!<arch>\ndebian-binary   7           0     0     100644  4         `\n2.0\n"
        ));
        let control = files(&package, "control.tar.gz");
        let has = |name: &str, text: &str| {
            let (_, content) = control.iter().find(|(path, _)| path == name).expect("a file");
            assert!(content.contains(text), "{name}: {content}");
        };
        has("./conffiles", "/etc/shunt/config.toml\n");
        has("./control", "Package: shunt\nVersion: 1.2.3\nArchitecture: amd64\n");
        has("./control", "\nDescription: Services and pod");
        has("./control", "kube-proxy and the bridge CNI plugin do, without\n iptables:");
        let data = files(&package, "data.tar.gz");
        assert!(data.contains(&("./usr/bin/shunt".to_owned(), "program".to_owned())), "{data:?}");
    }

    #[test]
    fn the_same_files_make_the_same_package() {
        let time = Timestamp::from_secs(7);
        assert_eq!(package(&small(), time).unwrap(), package(&small(), time).unwrap());
    }
}
