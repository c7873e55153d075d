use serde_json::{Value, json};

use super::*;

fn service(name: &str, cluster_ip: &str) -> Service {
    let service: Value = json!({
        "metadata": {"namespace": "default", "name": name},
        "spec": {"clusterIP": cluster_ip, "ports": [{"port": 80}]},
    });
    serde_json::from_value(service).unwrap()
}

fn name(name: &str) -> ObjectName {
    ObjectName { namespace: "default".to_owned(), name: name.to_owned() }
}

/// Everything was listed once: two Services, and nothing else.
fn mirror() -> Mirror {
    let mut mirror = Mirror::new(Origin::server("https://172.30.1.2:6443"));
    mirror.hear::<Node>(Event::InitDone);
    mirror.hear::<EndpointSlice>(Event::InitDone);
    mirror.hear::<ServiceCIDR>(Event::InitDone);
    list(&mut mirror, &[("a", "10.96.0.1"), ("b", "10.96.0.2")]);
    mirror
}

fn list(mirror: &mut Mirror, services: &[(&str, &str)]) {
    mirror.hear::<Service>(Event::Init);
    for (name, address) in services {
        mirror.hear(Event::InitApply(service(name, address)));
    }
    mirror.hear::<Service>(Event::InitDone);
}

/// The names of what is set and of what is removed.
fn told(mirror: &mut Mirror) -> (Vec<String>, Vec<String>) {
    let (mut set, mut removed) = (Vec::new(), Vec::new());
    for change in mirror.take().changes {
        match change {
            Change::Set(object, _) => set.push(object.name().name),
            Change::Removed(_, name) => removed.push(name.name),
        }
    }
    (set, removed)
}

fn names<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).into()
}

#[test]
fn nothing_is_told_before_every_kind_was_listed() {
    let mut mirror = Mirror::new(Origin::server("https://172.30.1.2:6443"));
    list(&mut mirror, &[("a", "10.96.0.1")]);
    mirror.hear::<Node>(Event::InitDone);
    mirror.hear::<EndpointSlice>(Event::InitDone);
    assert!(!mirror.has_news());
    mirror.go_without(Kind::ServiceCidr);
    assert!(mirror.has_news());
    let batch = mirror.take();
    assert!(batch.synced && batch.errors.is_empty());
    assert_eq!(batch.changes.len(), 1);
    assert!(!mirror.has_news());
}

#[test]
fn a_list_that_begins_anew_removes_what_it_does_not_show_when_it_is_whole() {
    let mut mirror = mirror();
    told(&mut mirror);
    mirror.hear::<Service>(Event::Init);
    mirror.hear(Event::InitApply(service("b", "10.96.0.2")));
    assert_eq!(told(&mut mirror), (names(["b"]), names([])));
    mirror.hear(Event::InitApply(service("c", "10.96.0.3")));
    mirror.hear::<Service>(Event::InitDone);
    assert_eq!(told(&mut mirror), (names(["c"]), names(["a"])));
    list(&mut mirror, &[]);
    assert_eq!(told(&mut mirror), (names([]), names(["b", "c"])));
}

#[test]
fn of_an_object_that_changes_twice_the_second_is_told() {
    let mut mirror = mirror();
    told(&mut mirror);
    for number in 0..1000 {
        mirror.hear(Event::Apply(service("a", &format!("10.96.1.{}", number % 200))));
    }
    mirror.hear(Event::Delete(service("b", "10.96.0.2")));
    mirror.hear(Event::Apply(service("b", "10.96.0.9")));
    assert_eq!(told(&mut mirror), (names(["a", "b"]), names([])));
    mirror.hear(Event::Apply(service("b", "10.96.0.2")));
    mirror.hear(Event::Delete(service("b", "10.96.0.2")));
    assert_eq!(told(&mut mirror), (names([]), names(["b"])));
}

#[test]
fn what_cannot_be_read_keeps_what_it_said_and_is_named() {
    let mut mirror = mirror();
    told(&mut mirror);
    mirror.hear(Event::Apply(service("a", "10.96.0.999")));
    let batch = mirror.take();
    assert!(batch.changes.is_empty());
    let [error] = &batch.errors[..] else { panic!("{:?}", batch.errors) };
    assert_eq!(
        (error.name.as_deref(), error.field.as_deref()),
        (Some("a"), Some("spec.clusterIP"))
    );
    // It is the same error; nothing is news.
    mirror.hear(Event::Apply(service("a", "10.96.0.999")));
    assert!(!mirror.has_news());
    mirror.hear(Event::Apply(service("a", "10.96.0.1")));
    let batch = mirror.take();
    assert!(batch.errors.is_empty() && batch.changes.len() == 1);
}

#[test]
fn an_outage_changes_nothing_and_is_told_until_it_ends() {
    let mut mirror = mirror();
    told(&mut mirror);
    let begun = Instant::now();
    mirror.lose(Kind::Service, "connection refused".to_owned(), begun);
    let batch = mirror.take();
    assert!(batch.changes.is_empty() && batch.synced);
    let [error] = &batch.errors[..] else { panic!("{:?}", batch.errors) };
    assert_eq!(error.kind.as_deref(), Some("Service"));
    assert_eq!(error.message, "connection refused");
    mirror.lose(Kind::Service, "connection refused".to_owned(), begun);
    assert!(!mirror.has_news());
    mirror.hear::<Service>(Event::Init);
    assert!(mirror.take().errors.is_empty());
    assert_eq!(mirror.kinds[&Kind::Service].known, BTreeSet::from([name("a"), name("b")]));
}

#[test]
fn an_outage_that_is_not_heard_of_again_is_over() {
    let mut mirror = mirror();
    told(&mut mirror);
    let begun = Instant::now();
    mirror.lose(Kind::Service, "connection refused".to_owned(), begun);
    mirror.lose(Kind::Service, "connection refused".to_owned(), begun + OUTAGE);
    mirror.forget_outages(begun + OUTAGE + OUTAGE / 2);
    assert_eq!(mirror.take().errors.len(), 1);
    mirror.forget_outages(begun + OUTAGE * 3);
    assert!(mirror.has_news());
    assert!(mirror.take().errors.is_empty());
}
