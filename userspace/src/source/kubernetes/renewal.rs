//! A client that reads anew how to reach the server where it is refused or finds nobody: tokens,
//! certificates and the server's address are changed on disk while the agent runs.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use hyper::{Request, Response, StatusCode};
use kube::{
    Client,
    client::{Body, ClientBuilder},
};
use tower::Service;

use super::{answers, causes::with_causes, client::Access};

/// How long after what is on disk was read it is not read again, where the server refuses the
/// client.
const WHERE_REFUSED: Duration = Duration::from_secs(1);
/// The same where nobody answers, which seldom has its cause on disk. A program may have to be run
/// to read it.
const WHERE_SILENT: Duration = Duration::from_secs(10);

/// The client that is in use, as a service for another client.
#[derive(Clone)]
pub(super) struct Renewal {
    access: Access,
    current: Arc<Mutex<Current>>,
}

struct Current {
    client: Client,
    read: Instant,
}

impl Renewal {
    /// A client that is `client` until that is refused.
    pub(super) fn of(access: Access, client: Client) -> Client {
        let namespace = client.default_namespace().to_owned();
        let current = Arc::new(Mutex::new(Current { client, read: Instant::now() }));
        ClientBuilder::new(Self { access, current }, namespace).build()
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn renew(&self, after: Duration) {
        {
            let mut current = self.current();
            if current.read.elapsed() < after {
                return;
            }
            current.read = Instant::now();
        }
        match self.access.connect().await {
            Ok((client, _)) => self.current().client = client,
            // The one that there is may come to be right again; what is wrong with it is told.
            Err(error) => log::debug!("the API server's client stays: {}", with_causes(&error)),
        }
    }

    async fn ask(self, request: Request<Body>) -> Result<Response<Body>, kube::Error> {
        let asked = answers::Asked::by(&request);
        let client = self.current().client.clone();
        match client.send(request).await {
            Ok(answer) => {
                if answer.status() == StatusCode::UNAUTHORIZED {
                    self.renew(WHERE_REFUSED).await;
                }
                asked.check(answer).await
            }
            Err(error) => {
                self.renew(WHERE_SILENT).await;
                Err(error)
            }
        }
    }
}

impl Service<Request<Body>> for Renewal {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, kube::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), kube::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().ask(request))
    }
}
