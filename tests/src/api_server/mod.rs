//! A Kubernetes API server for tests: lists and watches as the real one has them, and the ways in
//! which it may fail, at will.
//!
//! Objects have resource versions, which count changes. A watch begins at one and is told what has
//! changed since; one that is older than what is [remembered](Store::forget) is answered 410 Gone, as
//! by an etcd that was compacted.

mod events;
mod serve;
mod store;

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
};

use serde_json::Value;

pub use self::{
    events::PostedEvents,
    store::{Fault, Store},
};
use crate::control_plane;

/// A server, in the network namespace that it was started in. It ends when it is dropped.
#[derive(Debug)]
pub struct ApiServer {
    store: Arc<Store>,
    address: SocketAddr,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ApiServer {
    /// Starts a server without any object.
    pub fn start(address: SocketAddr) -> Self {
        Self::serve(Arc::default(), address)
    }

    /// Ends it, with all its connections; what it knows is returned.
    pub fn stop(mut self) -> Stopped {
        self.end();
        Stopped { store: Arc::clone(&self.store), address: self.address }
    }

    /// What it knows.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Writes a kubeconfig that names it.
    pub fn write_kubeconfig(&self, folder: &Path) -> PathBuf {
        control_plane::write_kubeconfig(folder, &format!("http://{}", self.address), None, "{}")
    }

    fn serve(store: Arc<Store>, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("listening as an API server");
        let address = listener.local_addr().expect("the address of a socket");
        listener.set_nonblocking(true).expect("a socket of the runtime's");
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let known = Arc::clone(&store);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime for the API server");
            runtime.block_on(serve::until(stopped, listener, known));
        });
        Self { store, address, stop: Some(stop), thread: Some(thread) }
    }

    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.end();
    }
}

/// A server that is down: its objects may change all the same, as by another one of its cluster.
#[derive(Debug)]
pub struct Stopped {
    store: Arc<Store>,
    address: SocketAddr,
}

impl Stopped {
    /// What it will know.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Starts it again, at the same address.
    pub fn start(self) -> ApiServer {
        ApiServer::serve(self.store, self.address)
    }
}

/// The resource that objects of a kind are listed as.
pub(crate) fn resource_of(object: &Value) -> &'static str {
    match object["kind"].as_str() {
        Some("Node") => "nodes",
        Some("Pod") => "pods",
        Some("Service") => "services",
        Some("EndpointSlice") => "endpointslices",
        Some("ServiceCIDR") => "servicecidrs",
        other => panic!("the API server has no {other:?}"),
    }
}
