//! Settings under `/proc/sys/net`. The kernel shows each thread those of its own network namespace.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Error,
    records::{NodeRecord, Records, SettingRecord},
};

/// IPv4 forwarding between interfaces.
pub(super) fn forward_v4() -> PathBuf {
    PathBuf::from("/proc/sys/net/ipv4/ip_forward")
}

/// IPv6 forwarding between interfaces.
pub(super) fn forward_v6() -> PathBuf {
    PathBuf::from("/proc/sys/net/ipv6/conf/all/forwarding")
}

/// One of an interface's IPv4 settings.
pub(super) fn interface_v4(interface: &str, setting: &str) -> PathBuf {
    ["/proc/sys/net/ipv4/conf", interface, setting].iter().collect()
}

/// One of an interface's IPv6 settings.
pub(super) fn interface_v6(interface: &str, setting: &str) -> PathBuf {
    ["/proc/sys/net/ipv6/conf", interface, setting].iter().collect()
}

/// Gives a setting a value, where it is there and has another.
pub(super) fn set_if_present(path: &Path, value: &str) -> Result<(), Error> {
    match read(path)? {
        Some(present) if present != value => write(path, value),
        _ => Ok(()),
    }
}

/// Gives a setting a value, and notes the value it had before.
///
/// # Errors
/// The setting does not exist: this kernel is without that address family.
pub(super) fn set_and_note(
    records: &Records,
    node: &mut NodeRecord,
    path: &Path,
    value: &str,
) -> Result<(), Error> {
    if read(path)?.is_none() {
        let action = format!("setting {} to {value}", path.display());
        return Err(Error::kernel::<io::Error>(action)(io::ErrorKind::NotFound.into()));
    }
    set_and_note_if_present(records, node, path, value)
}

/// Gives a setting a value, where it is there and has another, and notes the value it had before.
pub(super) fn set_and_note_if_present(
    records: &Records,
    node: &mut NodeRecord,
    path: &Path,
    value: &str,
) -> Result<(), Error> {
    let Some(former) = read(path)?.filter(|present| present != value) else {
        return Ok(());
    };
    if !node.settings.iter().any(|noted| noted.path == path) {
        node.settings.push(SettingRecord { path: path.to_owned(), former });
        records.write_node(node)?;
    }
    write(path, value)
}

/// Whether a setting is there and has a value.
pub(super) fn has_value(path: &Path, value: &str) -> Result<bool, Error> {
    Ok(read(path)?.as_deref() == Some(value))
}

/// Whether an interface refuses a packet from an address that another interface's route leads to.
/// The kernel takes the larger one of the interface's `rp_filter` and that of `all`.
pub(super) fn is_strict(interface: &str) -> Result<bool, Error> {
    let values =
        [read(&interface_v4("all", "rp_filter"))?, read(&interface_v4(interface, "rp_filter"))?];
    Ok(values.iter().flatten().max().is_some_and(|largest| largest == "1"))
}

/// Gives a setting its former value, where it still exists.
pub(super) fn restore(setting: &SettingRecord) -> Result<(), Error> {
    set_if_present(&setting.path, &setting.former)
}

fn read(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::kernel(format!("reading {}", path.display()))(error)),
    }
}

fn write(path: &Path, value: &str) -> Result<(), Error> {
    fs::write(path, value).map_err(Error::kernel(format!("setting {} to {value}", path.display())))
}
