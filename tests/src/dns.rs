//! Cluster DNS as its clients see it: `dig` and `getent` in pods, and queries by hand where there
//! are too many for a program each. The bytes are written here anew, so that the agent's own
//! library has a witness.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    manifests::{self, ip},
    netns::NetNamespace,
    process::{self, Finished},
};

/// The cluster IPs of the Service that pods ask for names, IPv4 first.
pub const KUBE_DNS: [&str; 2] = ["10.96.0.10", "fd00:10:96::a"];

/// A record's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum RecordType {
    /// An IPv4 address.
    A = 1,
    /// An IPv6 address.
    Aaaa = 28,
}

/// The Service that pods ask for names.
pub fn kube_dns() -> Value {
    let ports = [("dns", "UDP", 53, 53), ("dns-tcp", "TCP", 53, 53)];
    let mut service = manifests::service("kube-dns", &KUBE_DNS, &ports);
    service["metadata"]["namespace"] = json!("kube-system");
    service["spec"]["selector"] = json!({"k8s-app": "kube-dns"});
    service
}

/// Where it is asked, IPv4 first.
pub fn servers() -> [SocketAddr; 2] {
    KUBE_DNS.map(|address| SocketAddr::new(ip(address), 53))
}

/// The object in another namespace.
pub fn in_namespace(mut object: Value, namespace: &str) -> Value {
    object["metadata"]["namespace"] = json!(namespace);
    object
}

/// A Service without a cluster IP, for the Pods labelled `app: NAME`.
pub fn headless(name: &str, ports: &[(&str, &str, u32, u32)]) -> Value {
    let mut service = manifests::service(name, &["None"], ports);
    for field in ["ipFamilies", "ipFamilyPolicy"] {
        service["spec"][field] = Value::Null;
    }
    service
}

/// A Service that stands for another name.
pub fn external_name(name: &str, target: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "default", "name": name},
        "spec": {"type": "ExternalName", "externalName": target},
    })
}

/// Runs a command in a pod as `ip netns exec` does, which shows it the pod's own `resolv.conf`.
pub fn in_pod(pod: &str, command: &[&str]) -> Finished {
    let mut all = process::mortal_command("ip");
    process::finish(all.args(["netns", "exec", pod]).args(command), Duration::from_secs(30))
}

/// What `dig` says in a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dug {
    /// `NOERROR`, `NXDOMAIN`, …
    pub status: String,
    /// The flags, with blanks between them.
    pub flags: String,
    /// The answers, each in one line with one blank between its parts, and without its TTL; sorted.
    pub answers: Vec<String>,
    /// The TTLs of all records, of every section.
    pub ttls: Vec<u32>,
    /// Everything that it printed.
    pub text: String,
}

/// Runs `dig` in a pod.
pub fn dig(pod: &str, arguments: &[&str]) -> Dug {
    let all = [&["dig", "+tries=1", "+time=3"], arguments].concat();
    let finished = in_pod(pod, &all);
    let text = finished.stdout.clone();
    let after = |sign: &str, end: char| {
        let rest = text.split_once(sign).map(|(_, rest)| rest).unwrap_or_default();
        rest.split(end).next().unwrap_or_default().trim().to_owned()
    };
    let mut dug = Dug {
        status: after("status: ", ','),
        flags: after("flags: ", ';'),
        answers: Vec::new(),
        ttls: Vec::new(),
        text: text.clone(),
    };
    assert!(!dug.status.is_empty(), "dig {arguments:?}: {finished:?}");
    let mut section = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix(";; ") {
            section = rest.split(' ').next().unwrap_or_default();
        } else if !line.starts_with(';') && !line.is_empty() {
            let mut words: Vec<&str> = line.split_whitespace().collect();
            if words.len() > 3 {
                dug.ttls.push(words.remove(1).parse().expect("the second word is a TTL"));
            }
            if section == "ANSWER" {
                dug.answers.push(words.join(" "));
            }
        }
    }
    dug.answers.sort();
    dug
}

/// A query as a stub resolver sends it: recursion desired, no EDNS.
pub fn query(id: u16, name: &str, asked: RecordType) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        message.push(u8::try_from(label.len()).expect("a label is short"));
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend((asked as u16).to_be_bytes());
    message.extend([0, 1]);
    message
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Its number.
    pub id: u16,
    /// Its code: 0, or 3 where there is no such name.
    pub code: u8,
    /// The addresses among its answers.
    pub addresses: Vec<IpAddr>,
}

/// Reads an answer; none where it is no whole one.
pub fn read(message: &[u8]) -> Option<Response> {
    let word = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
    let flags = word(2)?;
    let (questions, answers) = (word(4)?, word(6)?);
    if flags & 0x8000 == 0 {
        return None;
    }
    let mut at = 12;
    for _ in 0..questions {
        at = after_name(message, at)? + 4;
    }
    let mut addresses = Vec::new();
    for _ in 0..answers {
        at = after_name(message, at)?;
        let (kind, length) = (word(at)?, usize::from(word(at + 8)?));
        let data = message.get(at + 10..at + 10 + length)?;
        match kind {
            1 => addresses.push(<[u8; 4]>::try_from(data).ok().map(Ipv4Addr::from)?.into()),
            28 => addresses.push(<[u8; 16]>::try_from(data).ok().map(Ipv6Addr::from)?.into()),
            _ => {}
        }
        at += 10 + length;
    }
    let code = u8::try_from(flags & 15).ok()?;
    Some(Response { id: word(0)?, code, addresses })
}

fn after_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match usize::from(*message.get(at)?) {
            0 => return Some(at + 1),
            label @ 1..64 => at += 1 + label,
            _ => return Some(at + 2),
        }
    }
}

/// Asks once over a new socket, in the namespace of the calling thread.
pub fn ask(server: SocketAddr, name: &str, asked: RecordType) -> io::Result<Response> {
    crate::netns::refuse_the_machine();
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(3)))?;
    socket.connect(server)?;
    let id = socket.local_addr()?.port();
    socket.send(&query(id, name, asked))?;
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer)?;
        let response = read(&buffer[..length]).filter(|response| response.id == id);
        if let Some(response) = response {
            return Ok(response);
        }
    }
}

/// A DNS server that is no part of the cluster: it knows one address for every name, and answers
/// nothing but A. It ends when dropped.
#[derive(Debug)]
pub struct Elsewhere {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Elsewhere {
    /// Starts it in a namespace, on port 53 of all addresses.
    pub fn start(netns: &NetNamespace, address: Ipv4Addr) -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (ended, counted) = (Arc::clone(&stop), Arc::clone(&asked));
        let socket =
            netns.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 53)).expect("port 53 is free"));
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("sockets have timeouts");
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !ended.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                counted.fetch_add(1, Ordering::Relaxed);
                if let Some(answer) = answer(&buffer[..length], address) {
                    // A client that is gone is its own affair.
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Self { stop, asked, thread: Some(thread) }
    }

    /// How many queries it got.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(query: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    let end = after_name(query, 12)? + 4;
    let is_a = query.get(end - 4..end - 2)? == [0, 1];
    let mut answer = query.get(..end)?.to_vec();
    answer[2] |= 0x80;
    answer[3] |= 0x80;
    answer[6..12].copy_from_slice(&[0, u8::from(is_a), 0, 0, 0, 0]);
    if is_a {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_answered_elsewhere_can_be_read() {
        let asked = query(7, "www.example.com", RecordType::A);
        let address = Ipv4Addr::new(192, 0, 2, 53);
        let response = read(&answer(&asked, address).unwrap()).unwrap();
        assert_eq!(response, Response { id: 7, code: 0, addresses: vec![address.into()] });
        let asked = query(8, "www.example.com", RecordType::Aaaa);
        assert!(read(&answer(&asked, address).unwrap()).unwrap().addresses.is_empty());
        assert_eq!(read(&asked), None);
    }
}
