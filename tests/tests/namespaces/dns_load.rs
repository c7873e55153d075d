//! Cluster DNS under load, while much changes, and while the agent starts anew.

use std::{
    collections::HashMap,
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tests::{
    dns::{self, RecordType, kube_dns, query, read},
    manifests,
    one_node::{self, NODE, OneNode},
    traffic::client,
    wait,
};

const WEB: &str = "web.default.svc.cluster.local";

/// After so long glibc's resolver asks anew: the delay by which a lost packet is known.
const RETRY: Duration = Duration::from_secs(5);
/// What has waited so long, on however busy a machine, has waited for a packet that was lost.
const LATE: Duration = Duration::from_secs(4);

fn stage() -> Option<OneNode> {
    let mut stage = OneNode::prepare(|manifests| {
        manifests.write("kube-dns.yaml", &[kube_dns()]);
        one_node::write_web(manifests, &["a"]);
    })?;
    stage.agent = stage.node.run_agent(&stage.manifests, &["--dns"]);
    stage.agent.wait_ready();
    Some(stage)
}

fn socket(server: usize) -> UdpSocket {
    let any = ["0.0.0.0:0", "[::]:0"][server];
    let socket = UdpSocket::bind(any).expect("a port is free");
    socket.connect(dns::servers()[server]).expect("the server's address has a route");
    socket.set_read_timeout(Some(RETRY)).expect("sockets have timeouts");
    socket
}

/// Sends so many lookups over one socket, each as glibc does: the A and the AAAA query at once, and
/// the answers as they come; at most `window` lookups wait at a time. Returns how long each query
/// waited for its answer, the longest last.
fn lookups(socket: &UdpSocket, count: usize, window: usize) -> Vec<Duration> {
    let mut waiting: HashMap<u16, Instant> = HashMap::new();
    let mut took = Vec::with_capacity(2 * count);
    let (mut sent, mut next_id) = (0, 0_u16);
    let mut buffer = [0; 4096];
    while took.len() < 2 * count {
        while sent < count && waiting.len() + 2 <= 2 * window {
            for asked in [RecordType::A, RecordType::Aaaa] {
                next_id = next_id.wrapping_add(1);
                let before = waiting.insert(next_id, Instant::now());
                assert!(before.is_none(), "a query was not answered before its number came again");
                socket.send(&query(next_id, WEB, asked)).expect("sending a query");
            }
            sent += 1;
        }
        let length = socket.recv(&mut buffer).unwrap_or_else(|error| {
            panic!("{error}: {} of {sent} lookups are without an answer", waiting.len())
        });
        let response = read(&buffer[..length]).expect("an answer");
        assert_eq!((response.code, response.addresses.len()), (0, 1), "{response:?}");
        let begun = waiting.remove(&response.id).expect("the answer to a question, once");
        took.push(begun.elapsed());
    }
    took.sort();
    took
}

#[test]
#[ignore = "needs root"]
fn no_query_of_fifty_thousand_is_lost_or_late() {
    let Some(stage) = stage() else { return };
    let client = stage.pod("client");
    for server in [0, 1] {
        let begun = Instant::now();
        let took = client.run(|| lookups(&socket(server), 25_000, 32));
        let all = begun.elapsed();
        let (median, last) = (took[took.len() / 2], took[took.len() - 1]);
        eprintln!("50,000 queries in {all:?}: median {median:?}, longest {last:?}");
        assert_eq!(took.len(), 50_000);
        assert!(last < LATE, "the longest one took {last:?}");
    }
    // Both queries are the first packets of a flow of their own.
    let longest = client.run(|| (0..2_000).filter_map(|_| lookups(&socket(0), 1, 1).pop()).max());
    assert!(longest.unwrap() < LATE, "{longest:?}");
}

#[test]
#[ignore = "needs root"]
fn queries_wait_for_a_new_agent_and_are_answered() {
    let Some(mut stage) = stage() else { return };
    let client = stage.pod("client");
    let over = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&over);
    // As a resolver does: a second try after a second, then another one.
    let asking = client.spawn(move || {
        let (mut asked, mut longest) = (0, Duration::ZERO);
        while !ends.load(Ordering::Relaxed) {
            let ((), took) = wait::until("an answer", Duration::from_mins(1), || {
                match dns::ask(dns::servers()[0], WEB, RecordType::A) {
                    // Never that there is no such name.
                    Ok(found) => {
                        assert_eq!((found.code, found.addresses.len()), (0, 1));
                        Ok(())
                    }
                    Err(error) => Err(error.to_string()),
                }
            });
            longest = longest.max(took);
            asked += 1;
        }
        (asked, longest)
    });
    let mut slowest = Duration::ZERO;
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(300));
        let begun = Instant::now();
        stage.agent.kill9();
        stage.agent.start();
        stage.agent.wait_ready();
        slowest = slowest.max(begun.elapsed());
    }
    over.store(true, Ordering::Relaxed);
    let (asked, longest) = asking.join().expect("every query is answered");
    eprintln!("{asked} queries through three new agents, each there within {slowest:?}");
    eprintln!("the longest query took {longest:?}");
    // One try of a client takes three seconds.
    let limit = slowest + Duration::from_secs(4);
    assert!(asked > 100 && longest < limit, "{asked} {longest:?} {slowest:?}");
}

/// So many Services over the pods of Service `web`.
fn many(count: usize) -> Vec<Value> {
    (0..count)
        .map(|number| {
            let address = format!("10.97.{}.{}", number / 250, number % 250 + 1);
            let ports = [("http", "TCP", 80, 8080)];
            let mut service = manifests::service(&format!("many-{number}"), &[&address], &ports);
            service["spec"]["selector"] = json!({"app": "web"});
            service
        })
        .collect()
}

#[test]
#[ignore = "needs root"]
fn no_name_of_a_thousand_new_ones_leads_nowhere() {
    const COUNT: usize = 1_000;
    let Some(stage) = stage() else { return };
    let _servers = stage.serve(&["a"]);
    let client = stage.pod("client");
    // Others ask at the same time, for what is to come.
    let asking: Vec<_> = (0..2_usize)
        .map(|half| {
            client.spawn(move || {
                let (mut asked, begun) = (0, Instant::now());
                let mut found = 0;
                while found < COUNT / 2 {
                    let name = format!("many-{}.default.svc.cluster.local", 2 * found + half);
                    asked += 1;
                    let answer = dns::ask(dns::servers()[0], &name, RecordType::A);
                    let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
                    if let [address] = answer.addresses[..] {
                        let served = client::ask_tcp((address, 80).into());
                        let served = served.unwrap_or_else(|error| panic!("{name}: {error}"));
                        assert_eq!(served.server, "a");
                        found += 1;
                    } else {
                        assert_eq!(answer.code, 3, "{name}");
                        assert!(begun.elapsed() < Duration::from_mins(1), "{name} does not come");
                    }
                }
                asked
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    stage.manifests.write("many.yaml", &many(COUNT));
    let asked: usize =
        asking.into_iter().map(|one| one.join().expect("no name leads nowhere")).sum();
    eprintln!("{COUNT} names found and used in {:?}, with {asked} queries", begun.elapsed());
    assert!(asked > COUNT, "nobody asked too early");
    // As they came they go: no name is left.
    stage.manifests.remove("many.yaml");
    client.run(|| {
        for number in 0..COUNT {
            let name = format!("many-{number}.default.svc.cluster.local");
            wait::until("no such name", wait::PATIENCE, || {
                match dns::ask(dns::servers()[0], &name, RecordType::A) {
                    Ok(found) if found.code == 3 => Ok(()),
                    other => Err(format!("{name}: {other:?}")),
                }
            });
        }
    });
    assert_eq!(NODE, stage.node.name());
}
