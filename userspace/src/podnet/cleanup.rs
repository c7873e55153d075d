//! Removing everything that shunt made for a node's pods, and nothing else.

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt, path::Path};

use rtnetlink::LinkUnspec;

use super::{
    Error, NETNS_FOLDER, PodNet,
    error::gone_is_fine,
    netlink, netns,
    netns::Netns,
    reconcile::host_interfaces,
    records::{BridgeRecord, NodeRecord, Records, boot_id},
    remove::HostEnds,
    settings,
};
use crate::attachments::Attachment;

/// Removes what the records under `run_dir` speak of, and then the records: the pods' namespaces,
/// pairs, routes and files, the pairs of `attachments`, the bridge or the addresses that it was given, and the settings' former
/// values. Where the caller is not in the node's network namespace, it is looked for and entered.
/// Goes on after an error, and returns them all; what failed stays in the records, for another try.
pub async fn cleanup(run_dir: &Path, attachments: &[Attachment]) -> Vec<Error> {
    let records = Records::new(run_dir);
    let node = match records.node() {
        Ok(node) => node,
        Err(error) => return vec![error],
    };
    match clean(run_dir.to_owned(), node, attachments.to_vec()).await {
        Ok(errors) => errors,
        Err(error) => vec![error],
    }
}

async fn clean(
    run_dir: std::path::PathBuf,
    node: Option<NodeRecord>,
    attachments: Vec<Attachment>,
) -> Result<Vec<Error>, Error> {
    let this_boot = boot_id()?;
    let here = netns::current_cookie()?;
    let Some(node) = node.filter(|node| node.boot_id == this_boot) else {
        return Ok(clean_here(&open(&run_dir)?, None, &[]).await);
    };
    if node.netns_cookie == here {
        return Ok(clean_here(&open(&run_dir)?, Some(node), &attachments).await);
    }
    match find(node.netns_cookie).await {
        None => Ok(clean_here(&open(&run_dir)?, None, &[]).await),
        Some(netns) => {
            let action = format!("cleaning up {}", run_dir.display());
            let work = |handle| async move {
                let podnet = PodNet::with_handle(handle, &run_dir);
                Ok(clean_here(&podnet, Some(node), &attachments).await)
            };
            netns.run(action, work).await
        }
    }
}

fn open(run_dir: &Path) -> Result<PodNet, Error> {
    let (connection, handle, _) = rtnetlink::new_connection()
        .map_err(Error::kernel("opening a netlink socket (NETLINK_ROUTE)"))?;
    tokio::spawn(connection);
    Ok(PodNet::with_handle(handle, run_dir))
}

/// `node` is what was made in this very namespace; `None` where that namespace is gone, and with it
/// one end of each pair.
async fn clean_here(
    podnet: &PodNet,
    node: Option<NodeRecord>,
    attachments: &[Attachment],
) -> Vec<Error> {
    let host_ends = if node.is_some() { HostEnds::Here } else { HostEnds::Gone };
    let (pods, mut errors) = podnet.records.pods();
    if host_ends == HostEnds::Here {
        podnet.remove_host_ends_together(&host_interfaces(&pods)).await;
    }
    for record in &pods {
        errors.extend(podnet.remove_recorded(record, host_ends).await);
    }
    podnet.records.remove_pods_folder();
    if let Some(node) = &node {
        let bridge = node.bridges.first().map_or("", |bridge| bridge.name.as_str());
        let detached = podnet.detach_all(bridge, attachments).await;
        errors.extend(detached.into_iter().filter_map(Result::err));
        if node.peer_routes {
            errors.extend(podnet.remove_peer_routes().await);
        }
        if node.overlay {
            errors.extend(podnet.delete_overlay().await.err());
        }
        errors.extend(node.settings.iter().filter_map(|setting| settings::restore(setting).err()));
        for bridge in &node.bridges {
            errors.extend(remove_bridge(podnet, bridge).await.err());
        }
    }
    if errors.is_empty() {
        errors.extend(podnet.records.remove_node().err());
    }
    errors
}

async fn remove_bridge(podnet: &PodNet, bridge: &BridgeRecord) -> Result<(), Error> {
    let Some(link) = netlink::link(&podnet.handle, &bridge.name).await? else {
        return Ok(());
    };
    if bridge.made {
        return gone_is_fine(netlink::delete(&podnet.handle, &bridge.name, &link).await);
    }
    if let Some(mtu) = bridge.former_mtu {
        let former = LinkUnspec::new_with_index(link.index).mtu(mtu);
        let action = format!("restoring the MTU of {}", bridge.name);
        netlink::change(&podnet.handle, action, former).await?;
    }
    for (address, message) in netlink::addresses(&podnet.handle, &link).await? {
        if bridge.addresses.contains(&address) {
            let removed = netlink::delete_address(&podnet.handle, &bridge.name, message).await;
            gone_is_fine(removed)?;
        }
    }
    Ok(())
}

/// Looks for a namespace by its cookie, among those that have a name and those that a process is
/// in.
async fn find(cookie: u64) -> Option<Netns> {
    let named = fs::read_dir(NETNS_FOLDER).into_iter().flatten().flatten();
    let of_processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_process = |name: &std::ffi::OsStr| {
        name.to_str().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let paths = named.map(|entry| entry.path()).chain(
        of_processes
            .filter(|entry| is_process(&entry.file_name()))
            .map(|entry| entry.path().join("ns/net")),
    );
    let mut seen = BTreeSet::new();
    for path in paths {
        let Ok(metadata) = fs::metadata(&path) else {
            continue;
        };
        if !seen.insert((metadata.dev(), metadata.ino())) {
            continue;
        }
        if let Ok(Some(netns)) = netns::open(path).await
            && netns.cookie == cookie
        {
            return Some(netns);
        }
    }
    None
}
