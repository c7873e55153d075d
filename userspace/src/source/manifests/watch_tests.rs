//! Real folders.

use std::{fs, os::unix::fs::symlink};

use super::*;
use crate::source::Change;

fn node(name: &str) -> String {
    format!("{{apiVersion: v1, kind: Node, metadata: {{name: {name}}}}}\n")
}

/// What the next batch says, waited for no longer than five seconds.
async fn next(batches: &mut mpsc::Receiver<Batch>) -> (Vec<String>, usize, bool) {
    let batch = tokio::time::timeout(Duration::from_secs(5), batches.recv())
        .await
        .expect("a batch within five seconds")
        .expect("a watcher that lives");
    let changes = batch.changes.iter().map(|change| match change {
        Change::Set(object, _) => object.name().to_string(),
        Change::Removed(_, name) => format!("{name} gone"),
    });
    (changes.collect(), batch.errors.len(), batch.synced)
}

fn said(changes: &[&str], errors: usize) -> (Vec<String>, usize, bool) {
    (changes.iter().map(|change| (*change).to_owned()).collect(), errors, true)
}

#[tokio::test]
async fn an_empty_folder_is_read_at_once_and_every_change_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let mut batches = watch(folder.path()).unwrap();
    assert_eq!(next(&mut batches).await, said(&[], 0));
    fs::write(file("a.yaml"), node("a")).unwrap();
    assert_eq!(next(&mut batches).await, said(&["a"], 0));
    fs::write(file("notes.txt"), node("x")).unwrap();
    fs::write(file(".hidden.yaml"), node("x")).unwrap();
    fs::write(file("tmp"), node("b")).unwrap();
    fs::rename(file("tmp"), file("a.yaml")).unwrap();
    assert_eq!(next(&mut batches).await, said(&["a gone", "b"], 0));
    fs::write(file("a.yaml"), "{").unwrap();
    assert_eq!(next(&mut batches).await, said(&[], 1));
    fs::write(file("a.yaml"), node("b")).unwrap();
    assert_eq!(next(&mut batches).await, said(&[], 0));
    fs::remove_file(file("a.yaml")).unwrap();
    assert_eq!(next(&mut batches).await, said(&["b gone"], 0));
}

#[tokio::test]
async fn a_change_is_out_long_before_a_fifth_of_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let mut batches = watch(folder.path()).unwrap();
    next(&mut batches).await;
    let start = Instant::now();
    fs::write(folder.path().join("a.yaml"), node("a")).unwrap();
    assert_eq!(next(&mut batches).await, said(&["a"], 0));
    assert!(start.elapsed() < Duration::from_millis(150), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_symbolic_link_to_another_version_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    for (version, name) in [("..1", "a"), ("..2", "b")] {
        fs::create_dir(file(version)).unwrap();
        fs::write(file(version).join("x.yaml"), node(name)).unwrap();
    }
    symlink("..1", file("..data")).unwrap();
    symlink("..data/x.yaml", file("x.yaml")).unwrap();
    let mut batches = watch(folder.path()).unwrap();
    assert_eq!(next(&mut batches).await, said(&["a"], 0));
    symlink("..2", file("..tmp")).unwrap();
    fs::rename(file("..tmp"), file("..data")).unwrap();
    assert_eq!(next(&mut batches).await, said(&["a gone", "b"], 0));
}

#[tokio::test]
async fn a_folder_that_is_missing_is_waited_for_and_keeps_what_it_said() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("manifests");
    let mut batches = watch(&folder).unwrap();
    assert_eq!(next(&mut batches).await, (vec![], 1, false));
    let new = parent.path().join("new");
    fs::create_dir(&new).unwrap();
    fs::write(new.join("a.yaml"), node("a")).unwrap();
    fs::rename(&new, &folder).unwrap();
    assert_eq!(next(&mut batches).await, said(&["a"], 0));
    fs::rename(&folder, &new).unwrap();
    assert_eq!(next(&mut batches).await, said(&[], 1));
    fs::write(new.join("b.yaml"), node("b")).unwrap();
    fs::rename(&new, &folder).unwrap();
    assert_eq!(next(&mut batches).await, said(&["b"], 0));
    fs::write(folder.join("c.yaml"), node("c")).unwrap();
    assert_eq!(next(&mut batches).await, said(&["c"], 0));
}

#[tokio::test]
async fn what_is_no_file_does_not_stop_the_reader() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.yaml");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::create_dir(folder.path().join("folder.yaml")).unwrap();
    symlink("nowhere", folder.path().join("link.yaml")).unwrap();
    fs::write(folder.path().join("a.yaml"), node("a")).unwrap();
    let mut batches = watch(folder.path()).unwrap();
    assert_eq!(next(&mut batches).await, said(&["a"], 1));
}
