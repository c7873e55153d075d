//! A change on disk is in the datapath within a second, on the busiest machine.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tests::netns::NetNamespace;

use crate::{
    demo::{
        before::NETNS,
        cast::{ADDED, HTTP, pod_namespace},
        scene::{Scene, seen},
    },
    interrupt,
};

/// How soon a change has to be in the datapath.
const SOON: Duration = Duration::from_secs(1);
/// How many connections are made after the first that reached the pod.
const AFTERWARDS: u32 = 100;
/// How long is waited for anything.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn one_more(scene: &mut Scene) -> Result<()> {
    scene.run("cp xtask/demo/added/web-4.yaml /run/shunt-demo/manifests/    # not ready yet")?;
    let namespace = pod_namespace(ADDED);
    let begun = Instant::now();
    while !Path::new(NETNS).join(&namespace).exists()
        || scene.addresses(&namespace, "eth0").map_or(0, |addresses| addresses.len()) < 2
    {
        interrupt::check()?;
        ensure!(begun.elapsed() < PATIENCE, "{namespace} does not appear");
        thread::sleep(Duration::from_millis(5));
    }
    scene.run(&format!("ip -n {namespace} -brief address show dev eth0"))?;
    scene.proves("the pod's network appears with its object", Ok(()));
    scene.stage.start_server(&namespace, ADDED, HTTP)?;

    let stop = AtomicBool::new(false);
    let client = NetNamespace::open("default.client").map_err(anyhow::Error::msg)?;
    let (changed, seen) = thread::scope(|scope| {
        let asking = scope.spawn(|| client.run(|| ask_until(ADDED, &stop)));
        thread::sleep(Duration::from_millis(300));
        let changed = Instant::now();
        let command = "sed -i 's/\"False\"/\"True\"/' /run/shunt-demo/manifests/web-4.yaml";
        let answer = scene.run(command);
        let begun = Instant::now();
        while !asking.is_finished() && begun.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(1));
        }
        stop.store(true, Ordering::Relaxed);
        let seen = asking.join();
        answer.map(|_| (changed, seen))
    })?;
    let Ok(seen) = seen else {
        bail!("the client panicked");
    };
    let took = seen.first.map(|first| first.saturating_duration_since(changed));
    scene.printer.output(&format!(
        "a client that asks all the time: {} connections, {} failed, first answer of {ADDED} after \
         {}",
        seen.connections,
        seen.failures.len(),
        took.map_or("never".to_owned(), |took| format!("{} ms", took.as_millis()))
    ));
    let verdict = (|| {
        let took = took.context("it never answered")?;
        ensure!(seen.first > Some(changed), "it answered before it was ready");
        ensure!(took < SOON, "it took {} ms", took.as_millis());
        Ok(())
    })();
    scene.proves(
        "traffic reaches a pod within a second of its getting ready, and not before",
        verdict,
    );
    let verdict = (|| {
        ensure!(seen.connections > AFTERWARDS, "only {} connections", seen.connections);
        ensure!(seen.failures.is_empty(), "{:?}", seen.failures);
        Ok(())
    })();
    scene.proves("no connection failed over the change", verdict);
    Ok(())
}

/// What a client saw that asked again and again.
#[derive(Debug, Default)]
struct Seen {
    connections: u32,
    failures: Vec<String>,
    /// When the pod that was waited for first answered.
    first: Option<Instant>,
}

/// Asks Service `web` over new connections until `pod` answers, and [`AFTERWARDS`] times more; in
/// the client's namespace.
fn ask_until(pod: &str, stop: &AtomicBool) -> Seen {
    let mut report = Seen::default();
    let mut afterwards = 0;
    while afterwards < AFTERWARDS && !stop.load(Ordering::Relaxed) {
        report.connections += 1;
        afterwards += u32::from(report.first.is_some());
        match ask_once() {
            Ok(server) if server == pod => {
                report.first.get_or_insert_with(Instant::now);
            }
            Ok(_) => {}
            Err(error) => report.failures.push(format!("{error:#}")),
        }
        thread::sleep(Duration::from_millis(1));
    }
    report
}

fn ask_once() -> Result<String> {
    let web: SocketAddr = ([10, 96, 45, 123], 80).into();
    let mut stream = TcpStream::connect_timeout(&web, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (_, body) =
        text.split_once("\r\n\r\n").with_context(|| format!("not an HTTP answer: {text:?}"))?;
    Ok(seen(body)?.0)
}
