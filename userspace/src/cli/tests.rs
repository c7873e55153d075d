use std::{collections::BTreeSet, path::PathBuf};

use clap::ValueEnum as _;
use clap_complete::Shell;
use insta::assert_snapshot;

use super::{check, definition, generate, status};
use crate::{
    api::view::*,
    loader::probe::{Capabilities, Feature, Missing, Need, TcMode},
};

const VERBS: [&str; 7] = ["agent", "status", "get", "check", "cleanup", "completions", "man"];

#[test]
fn status_says_what_is_wrong_in_full() {
    let view = StatusView {
        ready: false,
        reason: Some("node `node01` is not among the objects".to_owned()),
        node: "node01".to_owned(),
        version: "0.1.0".to_owned(),
        kernel: "6.18.0".to_owned(),
        source: SourceView {
            kind: "manifests".to_owned(),
            synced: true,
            last_change: Some("2026-01-02T03:04:05Z".to_owned()),
            errors: vec![
                ErrorView {
                    file: Some(PathBuf::from("/m/web.yaml")),
                    document: Some(2),
                    kind: Some("Service".to_owned()),
                    namespace: Some("default".to_owned()),
                    name: Some("web".to_owned()),
                    field: Some("spec.ports[0].port".to_owned()),
                    message: "70000 is no port: use 1 to 65535".to_owned(),
                },
                ErrorView { message: "pod CIDR is full".to_owned(), ..ErrorView::default() },
            ],
        },
        service_cidrs: vec!["10.96.0.0/16".to_owned()],
        programs: vec![ProgramView {
            name: "tc_pod_ingress".to_owned(),
            interface: "veth1".to_owned(),
            hook: "tc ingress".to_owned(),
            mode: "tcx".to_owned(),
            run_count: 0,
        }],
        maps: vec![MapView {
            name: "CONNECTIONS_V4".to_owned(),
            entries: 2,
            capacity: 1 << 20,
            bytes: 4096,
        }],
        last_sync: Some(SyncView {
            duration_micros: 250,
            changes: 7,
            at: "2026-01-02T03:04:05Z".to_owned(),
        }),
    };
    assert_snapshot!(status::table(&view), @r"
    Ready:      no: node `node01` is not among the objects
    Node:       node01
    Version:    0.1.0
    Kernel:     6.18.0
    Services:   addresses from 10.96.0.0/16
    Source:     manifests, all read, last change 2026-01-02T03:04:05Z
    Last sync:  2026-01-02T03:04:05Z, 7 changes in 250 µs

    Errors:
      /m/web.yaml (document 2): Service default/web: spec.ports[0].port: 70000 is no port: use 1 to 65535
      pod CIDR is full

    PROGRAM          INTERFACE   HOOK         MODE   RUNS
    tc_pod_ingress   veth1       tc ingress   tcx    0

    MAP              ENTRIES   CAPACITY   BYTES
    CONNECTIONS_V4   2         1048576    4096
    ");
}

#[test]
fn check_names_what_is_missing() {
    let feature = Feature {
        name: "tcx",
        present: true,
        need: Need::Optional,
        used_for: "attaching TC programs",
        remedy: "",
    };
    let absent = Feature { name: "veth", present: false, need: Need::Required, ..feature.clone() };
    let capabilities = Capabilities {
        kernel: "6.18.0".to_owned(),
        tc_mode: TcMode::Tcx,
        cgroup2: None,
        features: vec![feature, absent],
        missing: vec![Missing {
            what: "veth".to_owned(),
            need: Need::Required,
            why_needed: "the pods' interfaces".to_owned(),
            remedy: "modprobe veth".to_owned(),
        }],
    };
    assert_snapshot!(check::table(&capabilities), @r"
    FEATURE   PRESENT   NEED       USED FOR
    tcx       yes       optional   attaching TC programs
    veth      no        required   attaching TC programs

    Kernel:  6.18.0
    TC:      tcx
    Cgroup:  none

    Missing: veth: needed for the pods' interfaces: modprobe veth
    ");
}

#[test]
fn every_command_has_help_a_man_page_and_completions() {
    let command = definition::command();
    let names: BTreeSet<_> = command.get_subcommands().map(clap::Command::get_name).collect();
    assert_eq!(names, BTreeSet::from(VERBS));
    let pages = generate::pages().unwrap();
    for verb in VERBS {
        assert!(command.find_subcommand(verb).unwrap().get_about().is_some(), "{verb}");
        let (_, page) = pages.iter().find(|(name, _)| *name == format!("shunt-{verb}")).unwrap();
        assert!(page.contains(&format!("shunt\\-{verb}")) && page.contains(".SH SYNOPSIS"));
    }
    assert_eq!(pages.len(), VERBS.len() + 1);
    for shell in Shell::value_variants() {
        let text = generate::completions_text(*shell).unwrap();
        for verb in VERBS {
            assert!(text.contains(verb), "{shell}: {verb}");
        }
        assert!(text.contains("connections") && text.contains("max-connections"), "{shell}");
    }
}
