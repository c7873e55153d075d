//! Tables of files.

use proptest::prelude::*;

use super::*;

fn read(name: &str, text: &str) -> Result<Vec<(usize, String)>, String> {
    let file = read_file(Path::new(name), text.as_bytes(), &File::default());
    let file = file.map_err(|error| format!("{:?}: {}", error.document, error.message))?;
    Ok(file
        .documents
        .iter()
        .flat_map(|document| document.items.iter().map(|item| (document.number, short(item))))
        .collect())
}

fn short(item: &Item) -> String {
    match item {
        Item::Valid(object) => format!("{} {}", object.kind(), object.name()),
        Item::Refused(refusal) => format!(
            "refused {} {}",
            refusal.name.as_ref().map(ToString::to_string).unwrap_or_default(),
            refusal.field.as_deref().unwrap_or_default()
        ),
        Item::Skipped(kind) => format!("skipped {kind}"),
    }
}

const NODE_A: &str = "{apiVersion: v1, kind: Node, metadata: {name: a}}";

#[expect(clippy::unnecessary_wraps, reason = "to compare with what reading returns")]
fn some(items: &[(usize, &str)]) -> Result<Vec<(usize, String)>, String> {
    Ok(items.iter().map(|(number, item)| (*number, (*item).to_owned())).collect())
}

#[test]
fn documents_are_counted_as_people_count_them() {
    for (text, items) in [
        (String::new(), vec![]),
        ("# nothing\n".to_owned(), vec![]),
        ("---\n---\n".to_owned(), vec![]),
        (NODE_A.to_owned(), vec![(1, "Node a")]),
        (format!("\u{feff}---\n{NODE_A}\n---\n"), vec![(1, "Node a")]),
        (format!("%YAML 1.2\n---\n{NODE_A}"), vec![(1, "Node a")]),
        (
            format!("# head\r\n---\r\n{NODE_A}\r\n--- # b\r\n{NODE_A}"),
            vec![(1, "Node a"), (2, "Node a")],
        ),
        (format!("{NODE_A}\n---\n\n---\n--- {NODE_A}"), vec![(1, "Node a"), (4, "Node a")]),
        (format!("{NODE_A}\n...\n---\n{NODE_A}"), vec![(1, "Node a"), (2, "Node a")]),
    ] {
        assert_eq!(read("x.yaml", &text), some(&items), "{text:?}");
    }
}

#[test]
fn text_within_a_document_that_looks_like_a_marker_is_text() {
    let text = "apiVersion: v1\nkind: Node\nmetadata:\n  name: a\n  annotations:\n    x: |\n      ---\n      y\n";
    assert_eq!(read("x.yaml", text), some(&[(1, "Node a")]));
}

#[test]
fn json_files_may_hold_several_documents_too() {
    let node = r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a", "labels": null}}"#;
    assert_eq!(read("x.json", &format!("{node}\n{node}")), some(&[(1, "Node a"), (2, "Node a")]));
    let error = read("x.json", &format!("{node}\n{{")).unwrap_err();
    assert!(error.starts_with("Some(2): it does not parse as JSON"), "{error}");
}

#[test]
fn lists_of_every_kind_are_unpacked() {
    let text = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Pod, metadata: {name: p}}
- apiVersion: v1
  kind: ServiceList
  metadata: {resourceVersion: '1'}
  items:
  - {metadata: {name: s}, spec: {clusterIP: None}}
- {apiVersion: discovery.k8s.io/v1, kind: EndpointSliceList, items: [
    {metadata: {name: e, namespace: x}, addressType: FQDN}]}
- {apiVersion: v1, kind: NodeList, items: null}
- {apiVersion: apps/v1, kind: Deployment}
---
{apiVersion: v1, kind: PodList, items: 5}
";
    assert_eq!(
        read("x.yaml", text),
        some(&[
            (1, "Pod default/p"),
            (1, "Service default/s"),
            (1, "EndpointSlice x/e"),
            (1, "skipped apps/v1 Deployment"),
            (2, "refused  items"),
        ])
    );
}

#[test]
fn a_refusal_names_object_and_field() {
    for (text, item) in [
        (
            "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{port: 70000}], clusterIP: 10.96.0.1}}",
            "refused default/s spec.ports[0].port",
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{port: x}]}}",
            "refused default/s spec.ports[0].port",
        ),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: s, labels: {a: 1}}}",
            "refused default/s metadata.labels.a",
        ),
        ("{apiVersion: v1, kind: Pod, metadata: {}}", "refused  metadata.name"),
        ("{apiVersion: v1, metadata: {name: s}}", "refused  kind"),
        ("{kind: Pod, metadata: {name: s}}", "refused  apiVersion"),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: ../x}}",
            "refused default/../x metadata.name",
        ),
        ("[]", "refused  "),
        ("hello", "refused  "),
    ] {
        assert_eq!(read("x.yaml", text), some(&[(1, item)]), "{text}");
    }
}

#[test]
fn a_file_that_does_not_parse_says_where_counted_from_its_beginning() {
    let error = read("x.yaml", &format!("{NODE_A}\n---\n\nkind: [\n")).unwrap_err();
    assert!(error.starts_with("Some(2): it does not parse as YAML"), "{error}");
    assert!(error.contains("line 4") || error.contains("line 5"), "{error}");
    let error = read_file(Path::new("x"), b"a\n\xff", &File::default()).unwrap_err();
    assert!(error.message.contains("line 2"), "{}", error.message);
}

#[test]
fn unknown_fields_merge_keys_and_anchors_are_understood() {
    let text = "
apiVersion: v1
kind: Pod
metadata: &m {name: a, whatever: {b: [1]}}
spec: {futureField: 1}
x: {<<: *m}
";
    assert_eq!(read("x.yaml", text), some(&[(1, "Pod default/a")]));
}

#[test]
fn documents_that_did_not_change_are_not_read_again() {
    let text = format!("---\n{NODE_A}\n---\n{NODE_A}");
    let before = read_file(Path::new("x.yaml"), text.as_bytes(), &File::default()).unwrap();
    let after = read_file(Path::new("x.yaml"), format!("# c\n{text}").as_bytes(), &before).unwrap();
    let (Item::Valid(Object::Node(old)), Item::Valid(Object::Node(new))) =
        (&before.documents[0].items[0], &after.documents[0].items[0])
    else {
        panic!("{after:?}");
    };
    assert!(std::sync::Arc::ptr_eq(old, new));
}

#[test]
fn items_that_did_not_change_are_not_read_again() {
    let yaml = |name: &str| {
        format!(
            "apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Node\n  metadata: {{name: a}}\n\
             - {{apiVersion: v1, kind: Node, metadata: {{name: {name}}}}}\nkind: List\n"
        )
    };
    let json = |name: &str| {
        format!(
            r#"{{"kind": "NodeList", "items": [{{"metadata": {{"name": "a"}}}},
            {{"metadata": {{"name": "{name}"}}}}], "apiVersion": "v1"}}"#
        )
    };
    for (file, before, after) in
        [("x.yaml", yaml("b"), yaml("c")), ("x.json", json("b"), json("c"))]
    {
        let before = read_file(Path::new(file), before.as_bytes(), &File::default()).unwrap();
        let after = read_file(Path::new(file), after.as_bytes(), &before).unwrap();
        let node = |file: &File, index: usize| match &file.documents[index].items[0] {
            Item::Valid(Object::Node(node)) => std::sync::Arc::clone(node),
            other => panic!("{other:?}"),
        };
        assert!(std::sync::Arc::ptr_eq(&node(&before, 0), &node(&after, 0)));
        assert_eq!(node(&before, 1).name, "b");
        assert_eq!(node(&after, 1).name, "c");
        assert!(after.documents.iter().all(|document| document.number == 1));
    }
}

#[test]
fn lists_that_cannot_be_cut_are_read_whole() {
    let list = |items: &str| format!("kind: List\nitems:\n{items}apiVersion: v1\n");
    for (items, read_items) in [
        (
            "- &x {apiVersion: v1, kind: Node, metadata: {name: a}}\n- *x\n",
            vec![(1, "Node a"), (1, "Node a")],
        ),
        ("- {apiVersion: v1, kind: Node,\nmetadata: {name: a}}\n", vec![(1, "Node a")]),
        (
            "- apiVersion: v1\n  kind: Node\n  metadata: {name: a, annotations: {b: \"c\n- d\"}}\n",
            vec![(1, "Node a")],
        ),
        ("- null\n- 5\n", vec![(1, "refused  ")]),
    ] {
        let text = list(items);
        assert_eq!(read("x.yaml", &text), some(&read_items), "{text}");
    }
    let error = read("x.yaml", &format!("{NODE_A}\n---\n{}", list("- a: [\n"))).unwrap_err();
    assert!(error.starts_with("Some(2)"), "{error}");
    assert!(error.contains("line 5"), "{error}");
    // What looks like the next key after the items is more of their value.
    assert!(read("x.yaml", &list("- a\n>\n")).is_err());
    assert_eq!(
        read("x.yaml", "apiVersion: apps/v1\nkind: DeploymentList\nitems:\n- a\n"),
        some(&[(1, "skipped apps/v1 DeploymentList")])
    );
}

proptest! {
    #[test]
    fn cutting_a_list_changes_nothing(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), "[-: #\"'{}\\[\\]&*|>a\n ]{0,4}"), 0..4)
    ) {
        let mut text: Vec<char> = concat!(
            "apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Node\n  metadata:\n    name: a\n",
            "- apiVersion: v1\n  kind: Pod\n  metadata:\n    annotations:\n      x: |\n        - y\n",
            "    name: \"b\"\n- {apiVersion: v1, kind: Node, metadata: {name: c}}\nkind: List\n",
        ).chars().collect();
        for (index, piece) in cuts {
            let at = index.index(text.len());
            text.splice(at..=at, piece.chars());
        }
        let text: String = text.into_iter().collect();
        let items_of = |documents: Vec<Document>| -> Vec<Item> {
            documents.into_iter().flat_map(|document| document.items).collect()
        };
        let empty = File::default();
        if let Some(cut) = read_yaml_list(&text, 1, &Known::new(&empty)) {
            let whole: Vec<Document> = parse_yaml(&text)
                .unwrap_or_else(|error| panic!("{error}: {text}"))
                .into_iter()
                .filter_map(|value| document(1, items(value, None), 0))
                .collect();
            prop_assert_eq!(items_of(cut), items_of(whole), "{}", text);
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = read_file(Path::new("x.yaml"), &bytes, &File::default());
        let _ = read_file(Path::new("x.json"), &bytes, &File::default());
    }

    #[test]
    fn no_mangled_manifest_makes_the_reader_panic(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), ".{0,4}"), 0..8)
    ) {
        let mut text: Vec<char> = concat!(
            "apiVersion: v1\nkind: Service\nmetadata: {name: a, labels: {b: c}}\nspec:\n",
            "  clusterIP: 10.96.0.1\n  ports:\n  - {port: 80, targetPort: x}\n---\n",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nstatus: {podIP: 10.0.0.1}\n---\n",
            "{apiVersion: v1, kind: Node, metadata: {name: a}, spec: {podCIDR: 10.0.0.0/24}}\n---\n",
            "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a}, ",
            "addressType: IPv4, endpoints: [{addresses: [10.0.0.1]}], ports: [{port: 1}]}\n",
        ).chars().collect();
        for (index, piece) in cuts {
            let at = index.index(text.len());
            text.splice(at..=at, piece.chars());
        }
        let text: String = text.into_iter().collect();
        let _ = read_file(Path::new("x.yaml"), text.as_bytes(), &File::default());
    }
}
