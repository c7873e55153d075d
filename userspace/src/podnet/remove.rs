//! Taking a pod's network down.

use std::{fs, io, path::Path};

use rtnetlink::{LinkUnspec, packet_route::link::InfoKind};

use super::{
    Error, PodNet, error::gone_is_fine, etc_folder, names, netlink, netns, netns_path,
    records::PodRecord,
};
use crate::cluster::model::ObjectName;

/// The group (`ip link set … group`) of interfaces that are being removed: "shun", a number nobody
/// else has.
const REMOVAL_GROUP: u32 = 0x7368_756e;

/// Where the host ends are that a record speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostEnds {
    /// In the namespace that this [`PodNet`] works in.
    Here,
    /// Gone, with the namespace that they were in.
    Gone,
}

impl PodNet {
    /// Removes everything that was made for the pod: the veth pair too, even while a process still
    /// holds the namespace. A pod that has nothing is a success. Goes on after an error, and
    /// reports the first one.
    pub async fn remove_pod(&self, pod: &ObjectName) -> Result<(), Error> {
        let netns = names::netns_name(pod)?;
        let Some(record) = self.records.pod(&netns)? else {
            return Ok(());
        };
        let mut errors = self.remove_recorded(&record, HostEnds::Here).await.into_iter();
        let first = errors.next();
        for error in errors {
            log::error!("pod={pod} {error}");
        }
        first.map_or(Ok(()), Err)
    }

    /// Removes the host ends of many pods at one time, because the kernel waits tens of
    /// milliseconds for each removal, and no longer for a whole group of interfaces. What goes
    /// wrong here is left to the removal of each pod.
    pub(super) async fn remove_host_ends_together(&self, names: &[&str]) {
        if names.len() > 1
            && let Err(error) = self.remove_group(names).await
        {
            log::debug!("removing {} interfaces one by one: {error}", names.len());
        }
    }

    async fn remove_group(&self, names: &[&str]) -> Result<(), Error> {
        if netlink::group_has_members(&self.handle, REMOVAL_GROUP).await? {
            // Someone else's, or another removal's: theirs is not to be touched.
            return Ok(());
        }
        for name in names {
            if let Some(link) = netlink::link(&self.handle, name).await?
                && link.kind == Some(InfoKind::Veth)
            {
                let mark = LinkUnspec::new_with_index(link.index).link_group(REMOVAL_GROUP);
                netlink::change(&self.handle, format!("marking {name} for removal"), mark).await?;
            }
        }
        gone_is_fine(netlink::delete_group(&self.handle, REMOVAL_GROUP).await)
    }

    /// Removes what a record speaks of, then the record, where all of that succeeded.
    pub(super) async fn remove_recorded(
        &self,
        record: &PodRecord,
        host_ends: HostEnds,
    ) -> Vec<Error> {
        let mut results = Vec::new();
        if host_ends == HostEnds::Here {
            let bridge = record.routed_over.as_deref();
            results.push(self.remove_host_routes(bridge, &record.addresses).await);
            results.push(self.remove_host_end(&record.host_interface).await);
        }
        results.push(remove_namespace(record).await);
        results.push(remove_files(record));
        let errors: Vec<Error> = results.into_iter().filter_map(Result::err).collect();
        if !errors.is_empty() {
            return errors;
        }
        self.records.remove_pod(&record.netns).err().into_iter().collect()
    }
}

async fn remove_namespace(record: &PodRecord) -> Result<(), Error> {
    let path = netns_path(&record.netns);
    match netns::open(path.clone()).await? {
        Some(netns) if netns.cookie != record.netns_cookie => {
            log::warn!("leaving {}: it is not the one that shunt made", path.display());
            Ok(())
        }
        _ => netns::unmount(&path),
    }
}

fn remove_files(record: &PodRecord) -> Result<(), Error> {
    let folder = etc_folder(&record.netns);
    if record.made_resolv_conf {
        done_or_absent(fs::remove_file(folder.join("resolv.conf")), &folder)?;
    }
    if record.made_etc_folder {
        match fs::remove_dir(&folder) {
            // Someone put a file of their own there.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            result => done_or_absent(result, &folder)?,
        }
    }
    Ok(())
}

fn done_or_absent(result: io::Result<()>, path: &Path) -> Result<(), Error> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::kernel(format!("removing {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}
