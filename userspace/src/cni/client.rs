//! The plugin's side of the agent's socket.
//!
//! Blocking, and one request: a runtime starts this program for each container, so what it brings
//! along is paid for each time.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    error::CniError,
    message::{Answer, PATH, Request},
};
use crate::api::socket_path;

/// The longest answer that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// How many header fields an answer may have.
const MOST_FIELDS: usize = 32;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no agent answers at {}: {source}", path.display())]
    NoAgent {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The agent took the request and went away, or takes too long.
    #[error("the agent at {} gave no answer: {source}", path.display())]
    Lost {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The answer is none of this version's.
    #[error(
        "the agent at {} answers in another way than shunt-cni {} reads: {reason}; install both of \
         one version",
        path.display(), env!("CARGO_PKG_VERSION")
    )]
    Shape {
        /// The socket.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The agent refuses.
    #[error("{0}")]
    Refused(CniError),
}

/// Asks the agent of one run directory.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// For the agent with this run directory.
    pub fn new(run_dir: &Path) -> Self {
        Self { path: socket_path(run_dir) }
    }

    /// Sends a request, and waits so long for the answer.
    pub fn ask(&self, request: &Request, patience: Duration) -> Result<Answer, ClientError> {
        let path = || self.path.clone();
        let lost = |source| ClientError::Lost { path: path(), source };
        let shape = |reason: String| ClientError::Shape { path: path(), reason };
        let mut stream = UnixStream::connect(&self.path)
            .map_err(|source| ClientError::NoAgent { path: path(), source })?;
        let body = serde_json::to_vec(request).map_err(|error| lost(error.into()))?;
        let head = format!(
            "POST {PATH} HTTP/1.1\r\nHost: shunt\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let mut bytes = Vec::new();
        stream
            .set_read_timeout(Some(patience))
            .and_then(|()| stream.set_write_timeout(Some(patience)))
            .and_then(|()| stream.write_all(&[head.as_bytes(), &body].concat()))
            .and_then(|()| stream.take(LONGEST).read_to_end(&mut bytes))
            .map_err(lost)?;
        if bytes.is_empty() {
            return Err(lost(io::ErrorKind::UnexpectedEof.into()));
        }
        let (status, body) = split(&bytes).map_err(shape)?;
        if status == 200 {
            return serde_json::from_slice(body).map_err(|error| shape(error.to_string()));
        }
        let refusal = serde_json::from_slice(body);
        let told = || format!("HTTP status {status}: {}", String::from_utf8_lossy(body));
        Err(refusal.map_or_else(|_| shape(told()), ClientError::Refused))
    }
}

/// The status and the body of an answer, which is whole: the connection was closed behind it.
fn split(bytes: &[u8]) -> Result<(u16, &[u8]), String> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let length = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Err("it ends in its head".to_owned()),
        Err(error) => return Err(error.to_string()),
    };
    let status = head.code.unwrap_or_default();
    let body = bytes.get(length..).unwrap_or_default();
    let told = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let number = |value| std::str::from_utf8(value).ok()?.trim().parse::<usize>().ok();
    let told = told.and_then(|field| number(field.value));
    match told {
        Some(told) if body.len() == told => Ok((status, body)),
        Some(told) => Err(format!("{} of its {told} bytes are there", body.len())),
        None => Err("it does not say its length".to_owned()),
    }
}
