//! What `deploy/` says is true of the agent: objects are Kubernetes', settings are the agent's, and
//! the rights of its service account are those that it uses.
#![expect(clippy::expect_used, reason = "tests fail by panicking, in their helpers too")]
#![expect(
    unused_crate_dependencies,
    reason = "the library beside these tests uses more than they do"
)]

mod objects;
mod rights;
mod settings;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize as _;
use serde_json::Value;

/// A file of `deploy/`.
fn path(relative: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    workspace.expect("the crate is in a workspace").join("deploy").join(relative)
}

fn read(relative: &str) -> String {
    let path = path(relative);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The objects of a file.
fn objects(relative: &str) -> Vec<Value> {
    serde_yaml_ng::Deserializer::from_str(&read(relative))
        .map(|document| Value::deserialize(document).expect("YAML"))
        .collect()
}

/// The one object of a file of the Kustomize base.
fn object(name: &str) -> Value {
    let mut objects = objects(&format!("kubernetes/{name}.yaml"));
    assert_eq!(objects.len(), 1, "{name}");
    objects.remove(0)
}
