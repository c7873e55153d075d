//! Packets whose checksum is still to be filled in, and packets that are still to be cut, through
//! the attached program from one pod to another: what a pod's own stack sends on a veth pair.

mod vectors;
mod wire;

use std::collections::BTreeMap;

use aya::programs::tc::TcAttachType;
use maps_schema::{address::Family, counters::Program};
use serde_json::{Value, json};
use tests::{
    netns::NetNamespace,
    packets::{
        kernel::KernelMachine,
        machine::hex,
        world::{BACKEND, CLIENT, OTHER_BACKEND, node, payload},
    },
    sandbox::Sandbox,
};

use self::{
    vectors::{NEEDS_CSUM, Vector, refusals, tagged, vectors},
    wire::{Listener, Sender, make_pod},
};

/// A frame without its payload.
fn shown(frame: &Value) -> String {
    let mut frame = frame.clone();
    if let Some(bytes) = frame["bytes"].as_str() {
        let head: String = bytes.chars().take(180).collect();
        frame["bytes"] = json!(head);
    }
    frame.to_string()
}

const COMPARED: [&str; 7] = [
    "bytes",
    "flags",
    "gso_type",
    "gso_size",
    "checksum_start",
    "checksum_offset",
    "checksum_not_ready",
];

#[test]
#[ignore = "needs root"]
fn unfinished_checksums_and_segments_stay_right_on_their_way() {
    let Some(sandbox) = Sandbox::enter() else {
        return;
    };
    let pods = [CLIENT, BACKEND, OTHER_BACKEND].map(|number| (number, make_pod(number)));
    let mut machine = KernelMachine::load(&node(10_000));
    let program = machine.program(Program::TcPodIngress);
    for (number, _) in &pods {
        program
            .attach(&format!("host{number}"), TcAttachType::Ingress)
            .expect("attaching to the host end of a veth pair");
    }
    let listeners: Vec<_> = pods
        .iter()
        .map(|(number, namespace)| (*number, Listener::start(namespace, sandbox.root())))
        .collect();
    let mut vectors: Vec<_> = [Family::V4, Family::V6].into_iter().flat_map(vectors).collect();
    vectors.extend([Family::V4, Family::V6].into_iter().flat_map(refusals));
    assert!(vectors.len() >= 100, "{} vectors", vectors.len());
    send_all(&pods, &vectors);
    let received: Vec<(u8, Vec<Value>)> =
        listeners.into_iter().map(|(number, listener)| (number, listener.received())).collect();
    let mut wrong = Vec::new();
    for vector in &vectors {
        let frames = received
            .iter()
            .find(|(number, _)| *number == vector.receiver)
            .map(|(_, frames)| frames.as_slice())
            .unwrap_or_default();
        let found = frames.iter().any(|frame| {
            let agrees = |name: &&str| {
                vector.expected.get(*name).is_none_or(|wanted| frame.get(*name) == Some(wanted))
            };
            COMPARED.iter().filter(|name| **name != "flags").all(agrees)
                && vector.expected.get("flags").is_none_or(|flags| {
                    let needs = |flags: &Value| flags.as_u64().unwrap_or(0) & u64::from(NEEDS_CSUM);
                    needs(flags) == needs(&frame["flags"])
                })
        });
        if !found {
            wrong.push(format!("{}: expected {}", vector.name, shown(&vector.expected)));
        }
    }
    let frames = received
        .iter()
        .flat_map(|(number, frames)| frames.iter().map(move |frame| (*number, frame)));
    let all: Vec<_> =
        frames.clone().map(|(number, frame)| format!("pod {number}: {}", shown(frame))).collect();
    assert!(
        wrong.is_empty(),
        "{} of {}: {wrong:#?}\nreceived {all:#?}",
        wrong.len(),
        vectors.len()
    );
    let in_vlan = hex(&payload(77));
    let strayed = frames
        .filter(|(_, frame)| frame["bytes"].as_str().is_some_and(|bytes| bytes.ends_with(&in_vlan)))
        .count();
    assert_eq!(strayed, 0, "a frame of a VLAN reached a pod");
}

/// Sends the vectors one after the other, and a VLAN's frames last.
fn send_all(pods: &[(u8, NetNamespace)], vectors: &[Vector]) {
    let mut senders: BTreeMap<u8, Sender> =
        pods.iter().map(|(number, namespace)| (*number, Sender::start(namespace))).collect();
    let tagged = [Family::V4, Family::V6].map(tagged);
    let all = vectors.iter().map(|vector| (vector.sender, &vector.sent));
    for (sender, frame) in all.chain(tagged.iter().map(|frame| (CLIENT, frame))) {
        senders.get_mut(&sender).expect("a pod sends").send(frame);
    }
}
