//! A load balancer that asks for a node's health checks.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

use crate::netns::refuse_the_machine;

/// What a health check was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The Service, `namespace/name`.
    pub service: String,
    /// `localEndpoints`, which the weight in the header repeats.
    pub local_endpoints: u64,
    /// `serviceProxyHealthy`.
    pub proxy_healthy: bool,
}

/// Asks once from the namespace of the calling thread. An answer whose header is not as it should
/// be is an error.
pub fn ask(target: SocketAddr) -> io::Result<HealthAnswer> {
    refuse_the_machine();
    let mut stream = TcpStream::connect_timeout(&target, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    parse(&text).ok_or_else(|| io::Error::other(format!("no answer to a health check: {text:?}")))
}

fn parse(text: &str) -> Option<HealthAnswer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    let body: Value = serde_json::from_str(body).ok()?;
    let local_endpoints = body["localEndpoints"].as_u64()?;
    let is_as_announced = header("Content-Type: ")? == "application/json"
        && header("X-Content-Type-Options: ")? == "nosniff"
        && header("X-Load-Balancing-Endpoint-Weight: ")? == local_endpoints.to_string();
    let service = &body["service"];
    is_as_announced.then_some(HealthAnswer {
        status: head.split(' ').nth(1)?.parse().ok()?,
        service: format!("{}/{}", service["namespace"].as_str()?, service["name"].as_str()?),
        local_endpoints,
        proxy_healthy: body["serviceProxyHealthy"].as_bool()?,
    })
}
