//! Stories of files that change.

use super::*;

fn path(name: &str) -> Arc<Path> {
    Path::new("/manifests").join(name).into()
}

fn content(name: &str, text: &str) -> (Arc<Path>, Reading) {
    (path(name), Reading::Content(text.as_bytes().to_vec()))
}

fn node(name: &str, zone: &str) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: Node, metadata: {{name: {name}, labels: \
         {{topology.kubernetes.io/zone: '{zone}'}}}}}}\n"
    )
}

fn node_of(name: &str, zone: &str, created: &str) -> String {
    node(name, zone).replace("labels:", &format!("creationTimestamp: '{created}', labels:"))
}

const BAD_NODE_A: &str =
    "---\n{apiVersion: v1, kind: Node, metadata: {name: a}, spec: {podCIDR: x}}\n";

fn told(batch: &Batch) -> Vec<String> {
    batch
        .changes
        .iter()
        .map(|change| match change {
            Change::Set(Object::Node(node), origin) => {
                let file = origin.file.file_name().unwrap().to_string_lossy();
                let zone = node.zone.as_deref().unwrap_or_default();
                format!("{} {zone} {file}:{}", node.name, origin.document.unwrap())
            }
            Change::Set(..) => panic!("only nodes are used here"),
            Change::Removed(_, name) => format!("{name} gone"),
        })
        .collect()
}

fn wrong(batch: &Batch) -> Vec<String> {
    batch
        .errors
        .iter()
        .map(|error| {
            format!(
                "{}:{} {} {}",
                error.file.file_name().unwrap().to_string_lossy(),
                error.document.unwrap_or_default(),
                error.name.as_deref().unwrap_or("-"),
                error.field.as_deref().unwrap_or("-")
            )
        })
        .collect()
}

/// Tells the folder of changes, and checks what it answers.
fn step(
    folder: &mut Folder,
    readings: Vec<(Arc<Path>, Reading)>,
    changes: &[&str],
    errors: &[&str],
) {
    let batch = folder.update(readings);
    assert_eq!(told(&batch), changes);
    assert_eq!(wrong(&batch), errors);
    assert!(batch.synced);
}

#[test]
fn objects_come_change_and_go_with_their_files() {
    let folder = &mut Folder::default();
    let both = node("a", "1") + &node("b", "1");
    step(folder, vec![], &[], &[]);
    step(folder, vec![content("x.yaml", &both)], &["a 1 x.yaml:1", "b 1 x.yaml:2"], &[]);
    step(folder, vec![content("x.yaml", &both)], &[], &[]);
    step(
        folder,
        vec![content("x.yaml", &(node("a", "1") + &node("b", "2")))],
        &["b 2 x.yaml:2"],
        &[],
    );
    step(folder, vec![content("x.yaml", &node("b", "2"))], &["a gone", "b 2 x.yaml:1"], &[]);
    step(folder, vec![(path("x.yaml"), Reading::Gone)], &["b gone"], &[]);
}

#[test]
fn what_a_file_said_stays_in_force_while_it_does_not_parse() {
    let folder = &mut Folder::default();
    step(folder, vec![content("x.yaml", &node("a", "1"))], &["a 1 x.yaml:1"], &[]);
    step(folder, vec![content("x.yaml", "{")], &[], &["x.yaml:1 - -"]);
    let unreadable = Reading::Unreadable("no".to_owned());
    step(folder, vec![(path("x.yaml"), unreadable)], &[], &["x.yaml:0 - -"]);
    step(folder, vec![content("x.yaml", &node("a", "1"))], &[], &[]);
    step(folder, vec![content("x.yaml", "{")], &[], &["x.yaml:1 - -"]);
    step(folder, vec![(path("x.yaml"), Reading::Gone)], &["a gone"], &[]);
}

#[test]
fn what_an_object_said_stays_in_force_while_it_is_not_valid_and_the_others_change() {
    let folder = &mut Folder::default();
    let good = node("a", "1") + &node("b", "1");
    step(folder, vec![content("x.yaml", &good)], &["a 1 x.yaml:1", "b 1 x.yaml:2"], &[]);
    let bad = node("b", "2") + BAD_NODE_A;
    step(folder, vec![content("x.yaml", &bad)], &["b 2 x.yaml:1"], &["x.yaml:2 a spec.podCIDR"]);
    step(folder, vec![content("x.yaml", BAD_NODE_A)], &["b gone"], &["x.yaml:1 a spec.podCIDR"]);
    step(folder, vec![content("x.yaml", &node("a", "3"))], &["a 3 x.yaml:1"], &[]);
    step(folder, vec![content("x.yaml", BAD_NODE_A)], &[], &["x.yaml:1 a spec.podCIDR"]);
    step(folder, vec![content("x.yaml", "")], &["a gone"], &[]);
}

#[test]
fn an_object_that_is_refused_from_the_start_is_not_in_force() {
    let folder = &mut Folder::default();
    let text = BAD_NODE_A.to_owned() + &node("b", "1");
    step(folder, vec![content("x.yaml", &text)], &["b 1 x.yaml:2"], &["x.yaml:1 a spec.podCIDR"]);
}

#[test]
fn nothing_is_removed_while_something_does_not_say_what_it_is() {
    let folder = &mut Folder::default();
    let good = node("a", "1") + &node("b", "1");
    step(folder, vec![content("x.yaml", &good)], &["a 1 x.yaml:1", "b 1 x.yaml:2"], &[]);
    let nameless = "---\n{apiVersion: v1, kind: Node, metadata: {}}\n".to_owned();
    let text = nameless + &node("b", "2");
    step(folder, vec![content("x.yaml", &text)], &["b 2 x.yaml:2"], &["x.yaml:1 - metadata.name"]);
}

#[test]
fn of_two_files_with_one_object_the_one_that_was_first_counts() {
    let folder = &mut Folder::default();
    step(folder, vec![content("m.yaml", &node("a", "1"))], &["a 1 m.yaml:1"], &[]);
    step(folder, vec![content("b.yaml", &node("a", "2"))], &[], &["b.yaml:1 a -"]);
    step(folder, vec![content("m.yaml", &node("a", "3"))], &["a 3 m.yaml:1"], &["b.yaml:1 a -"]);
    step(folder, vec![(path("m.yaml"), Reading::Gone)], &["a 2 b.yaml:1"], &[]);
}

#[test]
fn of_two_files_with_one_object_the_older_object_counts() {
    let folder = &mut Folder::default();
    let (old, new) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    step(folder, vec![content("m.yaml", &node("a", "1"))], &["a 1 m.yaml:1"], &[]);
    step(
        folder,
        vec![content("n.yaml", &node_of("a", "2", new))],
        &["a 2 n.yaml:1"],
        &["m.yaml:1 a -"],
    );
    step(
        folder,
        vec![content("o.yaml", &node_of("a", "3", old))],
        &["a 3 o.yaml:1"],
        &["m.yaml:1 a -", "n.yaml:1 a -"],
    );
    step(
        folder,
        vec![(path("o.yaml"), Reading::Gone), (path("m.yaml"), Reading::Gone)],
        &["a 2 n.yaml:1"],
        &[],
    );
}

#[test]
fn of_two_documents_with_one_object_the_first_counts() {
    let folder = &mut Folder::default();
    let text = node("a", "1") + &node("a", "2");
    step(folder, vec![content("x.yaml", &text)], &["a 1 x.yaml:1"], &["x.yaml:2 a -"]);
    step(folder, vec![content("x.yaml", &node("a", "2"))], &["a 2 x.yaml:1"], &[]);
}

#[test]
fn renaming_a_file_changes_nothing_but_where_objects_are() {
    let folder = &mut Folder::default();
    step(folder, vec![content("x.yaml", &node("a", "1"))], &["a 1 x.yaml:1"], &[]);
    step(
        folder,
        vec![content("y.yaml", &node("a", "1")), (path("x.yaml"), Reading::Gone)],
        &["a 1 y.yaml:1"],
        &[],
    );
}
