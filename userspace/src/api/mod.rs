//! What the agent tells the command line, and does for the CNI plugin: HTTP over a unix socket, in
//! the shapes of `-o json`.
//!
//! A unix socket, because its file's mode says who may ask, and because agents that share a
//! machine need no ports. HTTP, so that `curl --unix-socket` reads it too.

pub mod client;
mod orders;
pub mod server;
pub mod view;

use std::path::{Path, PathBuf};

pub use client::{Client, ClientError};
pub use orders::{MOST_ORDERS, Order};
pub use server::{Agent, Listener, ServeError, serve};

/// Where an agent with this run directory listens.
pub fn socket_path(run_dir: &Path) -> PathBuf {
    run_dir.join("shunt.sock")
}

#[cfg(test)]
mod tests;
