//! Pages on loopback addresses, asked over real sockets.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream},
    sync::mpsc,
    time::Instant,
};

use serde_json::Value;

use super::*;
use crate::{
    config::Settings,
    health::{NodeState, ProxyHealth},
    metrics::{Metrics, Snapshot},
};

struct Nothing;

impl Scraped for Nothing {
    fn snapshot(&self) -> Snapshot {
        Snapshot { services: 7, ..Snapshot::default() }
    }
}

/// A port that nobody listens on.
fn free() -> u16 {
    TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap().local_addr().unwrap().port()
}

/// Asks for a page; the head and the body of what is answered.
async fn ask(address: SocketAddr, path: &str, headers: &str) -> io::Result<(String, String)> {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n{headers}\r\n");
    let talk = move || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(request.as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Ok((head.to_owned(), body.to_owned()))
    };
    tokio::task::spawn_blocking(talk).await.unwrap()
}

async fn json(address: SocketAddr, path: &str, status: &str) -> Value {
    let (head, body) = ask(address, path, "").await.unwrap();
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {head}");
    assert!(head.contains("Content-Type: application/json\r\n"), "{head}");
    assert!(head.contains("X-Content-Type-Options: nosniff\r\n"), "{head}");
    serde_json::from_str(&body).unwrap()
}

fn fails(_: Result<(), DoorError>) {
    panic!("the address is free");
}

#[tokio::test]
async fn health_is_answered_for_both_families_with_kube_proxys_rules_and_fields() {
    let health = Arc::new(ProxyHealth::new(Duration::from_mins(1)));
    let metrics = Arc::new(Metrics::default());
    let pages = Arc::new(HealthPages::new(Arc::clone(&health), Arc::clone(&metrics)));
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, free()));
    let failure = BindFailure::EndsTheAgent;
    let _open = Opening::new(Door::Healthz, address, failure).open(pages, fails).unwrap();
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, address.port()));
    for address in [v4, v6] {
        let body = json(address, "/healthz", "200").await;
        let keys: Vec<&String> = body.as_object().unwrap().keys().collect();
        for key in ["lastUpdated", "currentTime", "nodeEligible", "healthy", "status"] {
            assert!(keys.iter().any(|other| *other == key), "{body}");
        }
        assert_eq!(body["lastUpdated"], body["currentTime"]);
        assert_eq!((&body["nodeEligible"], &body["healthy"]), (&true.into(), &true.into()));
        assert_eq!(body["status"]["IPv6"]["healthy"], true);
        assert!(body["status"]["IPv4"]["lastUpdated"].is_string());
        assert!(json(address, "/livez", "200").await.get("nodeEligible").is_none());
    }

    health.set_node(NodeState::Leaving);
    let body = json(v4, "/healthz", "503").await;
    assert_eq!((&body["nodeEligible"], &body["healthy"]), (&false.into(), &true.into()));
    assert_ne!(body["lastUpdated"], body["currentTime"]);
    json(v4, "/livez", "200").await;

    health.set_node(NodeState::Staying);
    let long_ago = Instant::now().checked_sub(Duration::from_secs(61)).unwrap();
    health.update_waits(long_ago);
    let body = json(v4, "/healthz", "503").await;
    assert_eq!((&body["nodeEligible"], &body["healthy"]), (&true.into(), &false.into()));
    assert_eq!(body["status"]["IPv4"]["healthy"], false);
    json(v4, "/livez", "503").await;
    health.updated();
    json(v4, "/livez", "200").await;

    assert!(ask(v4, "/metrics", "").await.unwrap().0.starts_with("HTTP/1.1 404 "));
    let text = Snapshot::default().encode(&metrics, crate::metrics::Format::Prometheus).unwrap();
    assert!(text.contains("kubeproxy_proxy_healthz_total{code=\"503\"} 2\n"), "{text}");
    assert!(text.contains("kubeproxy_proxy_livez_total{code=\"503\"} 1\n"), "{text}");
}

#[tokio::test]
async fn metrics_mode_and_settings_are_shown() {
    let settings = Settings::defaults();
    let pages = MetricsPages::new(Arc::new(Nothing), Arc::default(), settings);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free()));
    let failure = BindFailure::EndsTheAgent;
    let opening = Opening::new(Door::Metrics, address, failure);
    let _open = opening.open(Arc::new(pages), fails).unwrap();
    let (head, body) = ask(address, "/metrics", "").await.unwrap();
    assert!(head.contains("Content-Type: text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("\nshunt_services 7\n"), "{body}");
    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let (head, body) = ask(address, "/metrics", accept).await.unwrap();
    assert!(head.contains("Content-Type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(body.ends_with("# EOF\n"), "{body}");
    assert_eq!(ask(address, "/proxyMode", "").await.unwrap().1, "shunt");
    assert_eq!(ask(address, "/healthz", "").await.unwrap().1, "ok");
    let configz = json(address, "/configz", "200").await;
    assert_eq!(configz["shunt.dev/agent"]["routing"], "vxlan");
    assert!(ask(address, "/", "").await.unwrap().0.starts_with("HTTP/1.1 404 "));
}

#[tokio::test]
async fn an_address_that_is_taken_is_told_once_and_tried_again() {
    let in_the_way = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = in_the_way.local_addr().unwrap();
    let pages = Arc::new(HealthPages::new(
        Arc::new(ProxyHealth::new(Duration::from_mins(1))),
        Arc::default(),
    ));
    let hard = Opening::new(Door::Healthz, address, BindFailure::EndsTheAgent);
    let error = hard.open(Arc::clone(&pages), fails).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&format!("--healthz-bind-address {address}: ")), "{text}");

    let (sender, told) = mpsc::channel();
    let tell = move |result: Result<(), DoorError>| sender.send(result.is_ok()).unwrap();
    let retry = Duration::from_millis(50);
    let opening =
        Opening { retry, ..Opening::new(Door::Healthz, address, BindFailure::IsTriedAgain) };
    let _open = opening.open(pages, tell).unwrap();
    sleep(4 * retry).await;
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [false]);
    drop(in_the_way);
    sleep(10 * retry).await;
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [true]);
}
