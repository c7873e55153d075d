//! Somebody who asks a node for a page over HTTP.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::netns::refuse_the_machine;

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The HTTP status.
    pub status: u16,
    /// The header `Content-Type`.
    pub content_type: String,
    /// All that follows the headers.
    pub body: String,
}

impl Page {
    /// The value of a metric with its labels, written as Prometheus' text has them.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let line = self.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok())
    }
}

/// Asks once from the namespace of the calling thread.
pub fn page(target: SocketAddr, path: &str) -> io::Result<Page> {
    refuse_the_machine();
    let mut stream = TcpStream::connect_timeout(&target, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    parse(&text).ok_or_else(|| io::Error::other(format!("no page: {text:?}")))
}

fn parse(text: &str) -> Option<Page> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let content_type = head.lines().find_map(|line| line.strip_prefix("Content-Type: "))?;
    Some(Page {
        status: head.split(' ').nth(1)?.parse().ok()?,
        content_type: content_type.to_owned(),
        body: body.to_owned(),
    })
}
