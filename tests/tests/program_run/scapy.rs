//! Scapy builds the same packets from their descriptions, and finds nothing to correct in what
//! comes out.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use datapath::testing::packet::{Packet, Transport};
use serde_json::{Value, json};
use tests::packets::{
    describe::describe,
    fixture::{Expected, Input},
    fixtures,
};

/// Every packet of the tables, those that come out included.
fn packets() -> Vec<Value> {
    let mut packets = Vec::new();
    for fixture in fixtures::all() {
        for (number, step) in fixture.steps.iter().enumerate() {
            if let Input::Packet(packet) = &step.input {
                packets.push(named(packet, &format!("{}, packet {number} in", fixture.name)));
            }
            if let Expected::Translate { output, .. }
            | Expected::Forward { output, .. }
            | Expected::Refuse { output, .. } = &step.expected
            {
                packets.push(named(output, &format!("{}, packet {number} out", fixture.name)));
            }
        }
    }
    packets
}

fn named(packet: &Packet, name: &str) -> Value {
    let mut description = describe(packet);
    description["name"] = json!(name);
    // What Scapy would take apart differently: bytes that are no message of their protocol.
    let whole = packet.fragment.is_none()
        && !matches!(packet.transport, Transport::Raw { .. })
        && !matches!(&packet.transport, Transport::Icmp { kind, .. } if ![1, 2, 3, 8, 11, 128].contains(kind));
    description["remake"] = json!(whole);
    description
}

#[test]
#[ignore = "needs root"]
fn scapy_builds_the_same_packets_and_corrects_none() {
    let packets = packets();
    assert!(packets.len() >= 200, "{} packets", packets.len());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/program_run/scapy_check.py");
    // Debian's Python: Debian's Scapy is for no other.
    let mut child = Command::new("/usr/bin/python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("/usr/bin/python3 starts: `cargo xtask setup` installs it");
    let mut stdin = child.stdin.take().unwrap();
    let text = serde_json::to_vec(&packets).unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&text));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().expect("the script reads its input");
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
