//! Filters of clsact qdiscs on interfaces that outlive shunt: the bridge, the uplinks. Nothing is
//! pinned that would go with them, so a file in the run directory remembers each interface, and
//! whether its qdisc is shunt's too.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::programs::TcAttachType;
use nix::net::if_::if_nametoindex;
use rtnetlink::packet_route::tc::TcHandle;

use super::filter;

const PREFIX: &str = "clsact@";
const MADE: &str = "made\n";
const FOUND: &str = "found\n";

/// Notes an interface before it gets a filter. That its qdisc was made is never forgotten.
pub(super) fn note(run_dir: &Path, interface: &str, is_made: bool) -> io::Result<()> {
    let path = run_dir.join(format!("{PREFIX}{interface}"));
    if is_made {
        return fs::write(path, MADE);
    }
    if path.exists() { Ok(()) } else { fs::write(path, FOUND) }
}

/// Removes the filters that are noted, the qdiscs that were made for them, and the notes. Returns
/// what could not be removed.
pub async fn remove_filters(run_dir: &Path) -> Vec<String> {
    let mut errors = Vec::new();
    for (interface, path) in noted(run_dir) {
        let is_made = fs::read(&path).is_ok_and(|text| text == MADE.as_bytes());
        for direction in [TcAttachType::Ingress, TcAttachType::Egress] {
            // The filter goes with the handle to it.
            drop(filter(&interface, direction));
        }
        if is_made && let Err(error) = remove_clsact(&interface).await {
            errors.push(format!("removing the clsact qdisc of {interface}: {error}"));
            continue;
        }
        if let Err(error) = fs::remove_file(&path) {
            errors.push(format!("removing {}: {error}", path.display()));
        }
    }
    errors
}

fn noted(run_dir: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(run_dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some((name.strip_prefix(PREFIX)?.to_owned(), entry.path()))
        })
        .collect()
}

async fn remove_clsact(interface: &str) -> io::Result<()> {
    let Ok(index) = if_nametoindex(interface) else {
        return Ok(()); // With the interface went the qdisc.
    };
    let (connection, handle, _) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    let mut request = handle.qdisc().del(index.cast_signed());
    let header = &mut request.message_mut().header;
    header.parent = TcHandle { major: 0xffff, minor: 0xfff1 };
    header.handle = TcHandle { major: 0xffff, minor: 0 };
    match request.execute().await {
        Err(rtnetlink::Error::NetlinkError(error))
            if [libc::ENOENT, libc::EINVAL].contains(&-error.raw_code()) =>
        {
            Ok(()) // It is gone already.
        }
        Err(error) => Err(io::Error::other(error)),
        Ok(()) => Ok(()),
    }
}
