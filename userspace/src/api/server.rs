//! The agent's side of the socket.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    future::Future,
    io,
    os::unix::{
        fs::{DirBuilderExt as _, PermissionsExt as _},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::{
    Order, orders, socket_path,
    view::{
        ConnectionView, DropView, NodeView, PodView, ServiceEndpointView, ServiceView, StatusView,
    },
};
use crate::cni::{error::CniError, message};

/// How long requests may go on after the shutdown.
const GRACE: Duration = Duration::from_millis(300);

/// What there is to tell. Methods may block for a moment; they are called outside the async
/// workers, several at a time.
pub trait Agent: Send + Sync + 'static {
    /// Whether everything is in force, and what is not.
    fn status(&self) -> StatusView;
    /// The Services.
    fn services(&self) -> Vec<ServiceView>;
    /// The endpoints of all service ports.
    fn endpoints(&self) -> Vec<ServiceEndpointView>;
    /// The pods.
    fn pods(&self) -> Vec<PodView>;
    /// The nodes.
    fn nodes(&self) -> Vec<NodeView>;
    /// The connections.
    fn connections(&self) -> Vec<ConnectionView>;
    /// The drop counters that are not zero.
    fn drops(&self) -> Vec<DropView>;
    /// Whether containers can be attached now; for the CNI plugin's STATUS.
    fn can_attach(&self) -> Result<(), CniError>;
    /// Where the CNI plugin's requests are carried out.
    fn orders(&self) -> &mpsc::Sender<Order>;
}

/// Why the socket is not served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A live agent has this run directory.
    #[error(
        "another agent serves {}: stop it, or give this one a --run-dir of its own", run_dir.display()
    )]
    AnotherAgent {
        /// The run directory.
        run_dir: PathBuf,
    },
    /// The run directory or the socket cannot be made.
    #[error("{doing} {}", path.display())]
    Io {
        /// What failed.
        doing: &'static str,
        /// The directory or socket.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// The socket of a run directory, held by this process alone; dropped, it is removed.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
    /// Held as long as this process lives, so that a socket without lock is a dead agent's.
    _run_dir: Flock<File>,
}

impl Listener {
    /// Takes the run directory, which is made where it is missing, and listens. The socket of a
    /// dead agent is replaced.
    pub fn bind(run_dir: &Path) -> Result<Self, ServeError> {
        let failed = |doing: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| ServeError::Io { doing, path, source }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(run_dir)
            .map_err(failed("making run directory", run_dir))?;
        let directory = File::open(run_dir).map_err(failed("opening run directory", run_dir))?;
        let lock =
            Flock::lock(directory, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
                match errno {
                    Errno::EWOULDBLOCK => ServeError::AnotherAgent { run_dir: run_dir.to_owned() },
                    other => failed("locking run directory", run_dir)(other.into()),
                }
            })?;

        // The socket gets its name when it has its mode, so that nobody else can connect before.
        let path = socket_path(run_dir);
        let nameless = path.with_extension("new");
        match fs::remove_file(&nameless) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("removing stale socket", &nameless)(error));
            }
            _ => {}
        }
        let socket = UnixListener::bind(&nameless).map_err(failed("listening on", &nameless))?;
        fs::set_permissions(&nameless, Permissions::from_mode(0o600))
            .and_then(|()| socket.set_nonblocking(true))
            .and_then(|()| fs::rename(&nameless, &path))
            .map_err(failed("making socket", &path))?;
        Ok(Self { socket, path, _run_dir: lock })
    }

    /// Answers until `shutdown` is done; requests under way then get a moment to end.
    pub async fn serve(
        self,
        agent: Arc<dyn Agent>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        let failed =
            |source| ServeError::Io { doing: "listening on", path: self.path.clone(), source };
        let listener =
            self.socket.try_clone().and_then(tokio::net::UnixListener::from_std).map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let server = axum::serve(listener, router(agent)).with_graceful_shutdown(async move {
            shutdown.await;
            let _ = stop.send(());
        });
        tokio::select! {
            result = server => result.map_err(failed),
            // A client that keeps its connection open must not keep the agent from ending.
            () = async { let _ = stopped.await; tokio::time::sleep(GRACE).await } => Ok(()),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // A socket that stays behind is replaced by the next agent.
        let _ = fs::remove_file(&self.path);
    }
}

/// [`Listener::bind`] and [`Listener::serve`].
pub async fn serve(
    run_dir: &Path,
    agent: Arc<dyn Agent>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    Listener::bind(run_dir)?.serve(agent, shutdown).await
}

fn router(agent: Arc<dyn Agent>) -> Router {
    Router::new()
        .route("/v1/status", get(|State(agent)| answer(agent, <dyn Agent>::status)))
        .route("/v1/services", get(|State(agent)| answer(agent, <dyn Agent>::services)))
        .route("/v1/endpoints", get(|State(agent)| answer(agent, <dyn Agent>::endpoints)))
        .route("/v1/pods", get(|State(agent)| answer(agent, <dyn Agent>::pods)))
        .route("/v1/nodes", get(|State(agent)| answer(agent, <dyn Agent>::nodes)))
        .route("/v1/connections", get(|State(agent)| answer(agent, <dyn Agent>::connections)))
        .route("/v1/drops", get(|State(agent)| answer(agent, <dyn Agent>::drops)))
        .route(message::PATH, post(orders::carry_out))
        .with_state(agent)
}

/// Asks the agent where blocking is allowed.
async fn answer<View: Serialize + Send + 'static>(
    agent: Arc<dyn Agent>,
    ask: impl FnOnce(&dyn Agent) -> View + Send + 'static,
) -> Response {
    match tokio::task::spawn_blocking(move || ask(&*agent)).await {
        Ok(view) => Json(view).into_response(),
        Err(error) => {
            log::error!("answering a request: {error}");
            (StatusCode::INTERNAL_SERVER_ERROR, "the agent failed to answer; see its log")
                .into_response()
        }
    }
}
