//! The kernel's modules that nodes and tests need, with what modprobe reads to find them.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use super::{archive::Archive, package::KernelPackage};
use crate::process::run;

/// Folders of modules, and modules by the beginning of their names: networks, what the rules of
/// other proxies are made of, the packet generator, the copy-on-write file system of sandboxes.
const WANTED: [&str; 18] = [
    "arch/x86/crypto",
    "crypto",
    "drivers/net/dummy",
    "drivers/net/macvlan",
    "drivers/net/tun",
    "drivers/net/veth",
    "drivers/net/vxlan",
    "fs/overlayfs",
    "lib",
    "net/802",
    "net/8021q",
    "net/bridge",
    "net/core",
    "net/ipv4",
    "net/ipv6",
    "net/llc",
    "net/netfilter",
    "net/sc",
];

/// Adds the modules of a kernel, and what finds them.
pub(super) fn add(archive: &mut Archive, package: &KernelPackage) -> Result<()> {
    let release = package.release();
    let chosen = package.folder().join("chosen");
    let folder = chosen.join("lib/modules").join(release);
    // The last file that depmod writes.
    if !folder.join("modules.devname").is_file() {
        copy_wanted(&package.modules(), &folder)?;
        run(Command::new("depmod").arg("-b").arg(&chosen).arg(release)).context(
            "finding out which module needs which; `apt-get install kmod` brings depmod",
        )?;
    }
    archive.add_tree(&Path::new("/usr/lib/modules").join(release), &folder, &|_| true)
}

/// Copies those modules that are wanted, and the lists of those that are in the kernel itself.
fn copy_wanted(from: &Path, to: &Path) -> Result<()> {
    let mut folders = vec![from.to_owned()];
    while let Some(folder) = folders.pop() {
        let reading = || format!("reading folder {}", folder.display());
        for entry in fs::read_dir(&folder).with_context(reading)? {
            let entry = entry.with_context(reading)?;
            let path = entry.path();
            let relative = path.strip_prefix(from).with_context(reading)?;
            let kind = entry.file_type().with_context(reading)?;
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() && is_wanted(relative) {
                let place = to.join(relative);
                let copying = || format!("copying {} to {}", path.display(), place.display());
                fs::create_dir_all(place.parent().unwrap_or(to)).with_context(copying)?;
                fs::copy(&path, &place).with_context(copying)?;
            }
        }
    }
    Ok(())
}

fn is_wanted(relative: &Path) -> bool {
    match relative.strip_prefix("kernel") {
        Ok(module) => WANTED.iter().any(|wanted| module.to_string_lossy().starts_with(wanted)),
        Err(_) => relative.to_string_lossy().starts_with("modules."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_have_their_interfaces_and_nothing_of_wireless_networks() {
        for wanted in ["drivers/net/veth.ko", "net/sctp/sctp.ko.xz", "net/sched/cls_bpf.ko"] {
            assert!(is_wanted(&Path::new("kernel").join(wanted)), "{wanted}");
        }
        assert!(is_wanted(Path::new("modules.builtin")));
        for other in ["net/wireless/cfg80211.ko", "drivers/gpu/drm/drm.ko"] {
            assert!(!is_wanted(&Path::new("kernel").join(other)), "{other}");
        }
    }
}
