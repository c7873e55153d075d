//! Reading a file, and all that follows from it.

use std::{path::Path, sync::Arc};

use userspace::{
    cluster::Cluster,
    compile::{CompileOptions, CompiledPort, compile},
    source::{
        Change, SourceError,
        manifests::{
            documents::{File, Item, read_file},
            folder::{Folder, Reading},
        },
    },
};

use crate::fuzzing::bytes::Bytes;

/// The input is a file's bytes, and where it ended when it was read before.
pub fn check(input: &[u8]) {
    let mut bytes = Bytes::new(input);
    let path = Path::new(bytes.one_of(["any.yaml", "any.json"]));
    let part = usize::from(bytes.byte());
    let content = bytes.slice(usize::MAX);
    let before = &content[..content.len() * part / 256];

    // What is read of a file does not depend on what was read of it before.
    let fresh = read_file(path, content, &File::default());
    let previous = read_file(path, before, &File::default()).unwrap_or_default();
    let again = read_file(path, content, &previous);
    assert_eq!(says(&fresh), says(&again), "read again");

    let mut folder = Folder::default();
    let mut cluster = Cluster::new("node01");
    let path: Arc<Path> = path.into();
    for content in [before, content, b""] {
        let reading = Reading::Content(content.to_vec());
        let batch = folder.update([(Arc::clone(&path), reading)]);
        batch.errors.iter().for_each(require_name);
        for change in batch.changes {
            if let Change::Set(object, _) = &change {
                assert!(!object.name().name.is_empty(), "an object without a name: {object:?}");
            }
            cluster.apply(change);
        }
        cluster.conflicts().iter().for_each(require_name);
        compile_all(&mut cluster);
    }
    assert_eq!(cluster.services().count(), 0, "an empty file says nothing");
}

type Says<'a> = Result<Vec<(usize, &'a [Item])>, &'a SourceError>;

fn says(read: &Result<File, Box<SourceError>>) -> Says<'_> {
    let file = read.as_ref().map_err(AsRef::as_ref)?;
    Ok(file.documents.iter().map(|document| (document.number, &*document.items)).collect())
}

/// An error names the file, says something, and says about which document unless it is about none.
fn require_name(error: &SourceError) {
    assert!(!error.file.as_os_str().is_empty() && !error.message.is_empty(), "{error:?}");
    let is_about_file = error.message.starts_with("it is not UTF-8");
    assert_eq!(error.document.is_none(), is_about_file, "{error:?}");
}

fn compile_all(cluster: &mut Cluster) {
    let dirty = cluster.take_dirty();
    for service in &dirty.services {
        for node in ["node01", "other"] {
            let options = CompileOptions::default();
            let Some(compiled) = compile(cluster, node, &options, service) else { continue };
            compiled.ports.iter().for_each(require_order);
        }
    }
}

/// Frontends and backends are of the port's family, sorted, and there once.
fn require_order(port: &CompiledPort) {
    let is_v4 = port.name.family == maps_schema::address::Family::V4;
    assert!(port.frontends.is_sorted_by(|one, other| one < other), "{port:?}");
    assert!(port.backends.is_sorted_by(|one, other| one < other), "{port:?}");
    assert!(port.frontends.iter().all(|frontend| frontend.address.is_ipv4() == is_v4), "{port:?}");
    for backend in &port.backends {
        assert_eq!(backend.is_ipv4(), is_v4, "{port:?}");
        assert!(port.endpoints.iter().any(|endpoint| endpoint.address == *backend), "{port:?}");
    }
}
