//! Listeners on loopback addresses, asked over real sockets.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream},
    time::Duration,
};

use super::*;

/// Listeners of an agent that is as healthy as `health` has it.
fn servers() -> (HealthServers, Arc<ProxyHealth>) {
    let health = Arc::new(ProxyHealth::new(Duration::ZERO));
    (HealthServers::new(Arc::clone(&health)), health)
}

fn name(name: &str) -> ObjectName {
    ObjectName { namespace: "shop".to_owned(), name: name.to_owned() }
}

fn checks(rows: &[(SocketAddr, &str, usize)]) -> BTreeMap<SocketAddr, Check> {
    let check = |&(address, service, local_endpoints): &(SocketAddr, &str, usize)| {
        (address, Check { service: name(service), local_endpoints })
    };
    rows.iter().map(check).collect()
}

/// An address that nobody listens on.
fn free(ip: impl Into<std::net::IpAddr>) -> SocketAddr {
    TcpListener::bind((ip.into(), 0)).unwrap().local_addr().unwrap()
}

/// Sends a request line, and returns all of the answer.
async fn ask(address: SocketAddr, request: &'static str) -> io::Result<String> {
    let talk = move || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "{request} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    tokio::task::spawn_blocking(talk).await.unwrap()
}

async fn status(address: SocketAddr) -> String {
    let answer = ask(address, "GET /healthz").await.unwrap();
    answer.split(' ').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn the_answer_is_kube_proxys() {
    let (mut servers, _health) = servers();
    for address in [free(Ipv4Addr::LOCALHOST), free(Ipv6Addr::LOCALHOST)] {
        assert!(servers.serve(checks(&[(address, "web", 2)])).await.is_empty());
        for request in ["GET /", "GET /healthz?x=1", "POST /any", "DELETE /"] {
            let answer = ask(address, request).await.unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{request}: {head}");
            for header in [
                "Content-Type: application/json",
                "X-Content-Type-Options: nosniff",
                "X-Load-Balancing-Endpoint-Weight: 2",
            ] {
                assert!(head.lines().any(|line| line == header), "{request}: {head}");
            }
            assert_eq!(
                body,
                "{\n\t\"service\": {\n\t\t\"namespace\": \"shop\",\n\t\t\"name\": \"web\"\n\t},\n\
                 \t\"localEndpoints\": 2,\n\t\"serviceProxyHealthy\": true\n}"
            );
        }
        let answer = ask(address, "HEAD /").await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n"));
    }
}

#[tokio::test]
async fn no_endpoint_and_an_unhealthy_agent_are_503() {
    let (mut servers, health) = servers();
    health.update_waits(std::time::Instant::now());
    let address = free(Ipv4Addr::LOCALHOST);
    servers.serve(checks(&[(address, "web", 1)])).await;
    let answer = ask(address, "GET /").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
    assert!(answer.contains("\"serviceProxyHealthy\": false"), "{answer}");
    health.updated();
    assert_eq!(status(address).await, "200");
    servers.serve(checks(&[(address, "web", 0)])).await;
    let answer = ask(address, "GET /").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\"localEndpoints\": 0"), "{answer}");
    assert!(answer.contains("X-Load-Balancing-Endpoint-Weight: 0\r\n"), "{answer}");
}

#[tokio::test]
async fn a_service_that_goes_is_no_longer_answered_for_and_its_port_is_free_at_once() {
    let (mut servers, _health) = servers();
    let address = free(Ipv4Addr::LOCALHOST);
    servers.serve(checks(&[(address, "web", 1)])).await;
    // Somebody who stays connected is no obstacle, and hears no more.
    let mut kept = TcpStream::connect(address).unwrap();
    kept.write_all(b"GET / HTTP/1.1\r\nHost: node\r\n\r\n").unwrap();
    kept.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(status(address).await, "200");
    assert!(servers.serve(checks(&[(address, "other", 0)])).await.is_empty());
    assert!(ask(address, "GET /").await.unwrap().contains("\"name\": \"other\""));
    let all = tokio::task::spawn_blocking(move || {
        let mut all = Vec::new();
        // A reset ends it as well.
        let _ = kept.read_to_end(&mut all);
        String::from_utf8(all).unwrap()
    });
    assert_eq!(all.await.unwrap().matches("HTTP/1.1").count(), 1);
    servers.serve(BTreeMap::new()).await;
    assert!(ask(address, "GET /").await.is_err());
}

#[tokio::test]
async fn an_address_that_is_taken_is_told_and_leaves_the_others_alone() {
    let (mut servers, _health) = servers();
    let in_the_way = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (taken, other) = (in_the_way.local_addr().unwrap(), free(Ipv6Addr::LOCALHOST));
    let wanted = checks(&[(taken, "web", 1), (other, "web", 1)]);
    let failed = servers.serve(wanted.clone()).await;
    let [(service, error)] = failed.as_slice() else { panic!("{failed:?}") };
    assert_eq!((service, error.address), (&name("web"), taken));
    assert!(error.to_string().contains("in use"), "{error}");
    assert_eq!(status(other).await, "200");
    drop(in_the_way);
    assert!(servers.serve(wanted).await.is_empty());
    assert_eq!(status(taken).await, "200");
}

#[tokio::test]
async fn silent_connections_keep_others_out_for_a_while_only() {
    let address = free(Ipv4Addr::LOCALHOST);
    let health = Arc::new(ProxyHealth::new(Duration::ZERO));
    let subject = Arc::new(Subject::new(name("web"), 1, health));
    let _server = HttpServer::listen(address, subject, Duration::from_millis(200)).unwrap();
    let silent: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(address).unwrap()).collect();
    assert_eq!(status(address).await, "200");
    drop(silent);
}
