use std::{
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{view::*, *};
use crate::cni::{
    client::{Client as PluginClient, ClientError as PluginError},
    error::{CniError, Code},
    message::{Answer, Check, Request},
};

/// Answers with one of each.
struct Fake {
    orders: mpsc::Sender<Order>,
    is_ready: bool,
}

impl Fake {
    fn new(is_ready: bool) -> (Arc<Self>, mpsc::Receiver<Order>) {
        let (orders, ordered) = mpsc::channel(1);
        (Arc::new(Self { orders, is_ready }), ordered)
    }
}

impl Agent for Fake {
    fn status(&self) -> StatusView {
        StatusView {
            ready: true,
            reason: None,
            node: "node01".to_owned(),
            version: "0.1.0".to_owned(),
            kernel: "6.18.0".to_owned(),
            source: SourceView::default(),
            service_cidrs: vec![],
            programs: vec![],
            maps: vec![],
            last_sync: None,
        }
    }

    fn services(&self) -> Vec<ServiceView> {
        vec![]
    }

    fn endpoints(&self) -> Vec<ServiceEndpointView> {
        let endpoint = EndpointView {
            address: [192, 168, 0, 2].into(),
            port: 8080,
            node: None,
            local: true,
            ready: true,
            serving: true,
            terminating: false,
        };
        vec![ServiceEndpointView {
            namespace: "default".to_owned(),
            service: "web".to_owned(),
            port_name: String::new(),
            protocol: "TCP".to_owned(),
            endpoint,
        }]
    }

    fn pods(&self) -> Vec<PodView> {
        panic!("an agent that fails to answer")
    }

    fn nodes(&self) -> Vec<NodeView> {
        vec![]
    }

    fn connections(&self) -> Vec<ConnectionView> {
        vec![ConnectionView {
            protocol: "UDP".to_owned(),
            source: "192.168.0.2:1".to_owned(),
            destination: "10.96.0.10:53".to_owned(),
            backend: "192.168.0.3:53".to_owned(),
            state: "established".to_owned(),
            age_seconds: 7,
            idle_seconds: 1,
        }]
    }

    fn drops(&self) -> Vec<DropView> {
        std::thread::sleep(Duration::from_millis(50));
        vec![]
    }

    fn can_attach(&self) -> Result<(), CniError> {
        let refusal = || CniError::new(Code::NotAvailable, "not ready");
        if self.is_ready { Ok(()) } else { Err(refusal()) }
    }

    fn orders(&self) -> &mpsc::Sender<Order> {
        &self.orders
    }
}

#[tokio::test]
async fn the_client_reads_what_the_agent_says() {
    let run_dir = tempfile::tempdir().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let listener = Listener::bind(run_dir.path()).unwrap();
    let socket = socket_path(run_dir.path());
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let server = tokio::spawn(listener.serve(Fake::new(true).0, async {
        let _ = stopped.await;
    }));

    let client = Client::new(run_dir.path());
    assert!(client.status().await.unwrap().ready);
    let (endpoints, connections, drops) =
        tokio::try_join!(client.endpoints(), client.connections(), client.drops()).unwrap();
    assert_eq!(endpoints[0].endpoint.port, 8080);
    assert_eq!((connections[0].age_seconds, connections[0].idle_seconds), (7, 1));
    assert!(drops.is_empty());
    assert!(client.services().await.unwrap().is_empty());
    assert!(client.nodes().await.unwrap().is_empty());
    let error = client.pods().await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { .. }) && !error.is_absent(), "{error}");

    // A connection that stays open does not keep the agent from ending.
    let _idle = tokio::net::UnixStream::connect(&socket).await.unwrap();
    let begin = Instant::now();
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(1));
    assert!(client.status().await.unwrap_err().is_absent());
    assert!(!socket.exists());
}

#[test]
fn a_second_agent_is_refused_and_a_dead_ones_socket_replaced() {
    let run_dir = tempfile::tempdir().unwrap();
    let socket = socket_path(run_dir.path());
    drop(UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());

    let first = Listener::bind(run_dir.path()).unwrap();
    let second = Listener::bind(run_dir.path()).unwrap_err();
    assert!(second.to_string().starts_with("another agent serves "), "{second}");
    drop(first);
    Listener::bind(run_dir.path()).unwrap();
}

#[tokio::test]
async fn without_an_agent_the_client_says_so() {
    let run_dir = tempfile::tempdir().unwrap();
    let error = Client::new(run_dir.path()).status().await.unwrap_err();
    assert!(error.is_absent());
    assert!(error.to_string().starts_with("no agent answers at "), "{error}");
}

fn check() -> Request {
    let key = crate::attachments::AttachmentKey {
        container_id: "a".to_owned(),
        interface: "eth0".to_owned(),
    };
    Request::Check(Check { key, netns: "/run/netns/a".into(), addresses: vec![] })
}

/// Asks as the plugin does, which blocks.
async fn ask(run_dir: &std::path::Path, request: Request) -> Result<Answer, PluginError> {
    let client = PluginClient::new(run_dir);
    tokio::task::spawn_blocking(move || client.ask(&request, Duration::from_secs(5))).await.unwrap()
}

fn code(result: Result<Answer, PluginError>) -> Code {
    match result {
        Err(PluginError::Refused(refusal)) => refusal.code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn orders_reach_the_loop_and_its_answers_the_plugin() {
    let run_dir = tempfile::tempdir().unwrap();
    let (fake, mut ordered) = Fake::new(true);
    let _server = tokio::spawn(serve_for_ever(run_dir.path().to_owned(), fake));
    let carry_out = tokio::spawn(async move {
        let Order { request, reply } = ordered.recv().await.unwrap();
        assert_eq!(request, check());
        reply.send(Err(CniError::new(Code::NotAsMade, "eth0 is missing"))).unwrap();
        let Order { reply, .. } = ordered.recv().await.unwrap();
        reply.send(Ok(Answer::Done)).unwrap();
        // An agent that ends without an answer.
        drop(ordered.recv().await.unwrap());
        // From now on nobody takes orders.
    });
    wait_for(run_dir.path()).await;
    assert_eq!(code(ask(run_dir.path(), check()).await), Code::NotAsMade);
    assert_eq!(ask(run_dir.path(), check()).await.unwrap(), Answer::Done);
    assert_eq!(code(ask(run_dir.path(), check()).await), Code::TryAgainLater);
    carry_out.await.unwrap();
    assert_eq!(code(ask(run_dir.path(), check()).await), Code::TryAgainLater);
    assert_eq!(ask(run_dir.path(), Request::Status).await.unwrap(), Answer::Done);
}

#[tokio::test]
async fn an_agent_that_is_not_ready_says_so_at_once_and_still_detaches() {
    let run_dir = tempfile::tempdir().unwrap();
    let (fake, mut ordered) = Fake::new(false);
    let _server = tokio::spawn(serve_for_ever(run_dir.path().to_owned(), fake));
    wait_for(run_dir.path()).await;
    assert_eq!(code(ask(run_dir.path(), check()).await), Code::TryAgainLater);
    assert_eq!(code(ask(run_dir.path(), Request::Status).await), Code::NotAvailable);
    assert!(ordered.try_recv().is_err(), "none of this waits for the loop");
    let key = crate::attachments::AttachmentKey {
        container_id: "a".to_owned(),
        interface: "eth0".to_owned(),
    };
    let run_dir_path = run_dir.path().to_owned();
    let asked = tokio::spawn(async move { ask(&run_dir_path, Request::Del(key)).await });
    let Order { reply, .. } = ordered.recv().await.unwrap();
    reply.send(Ok(Answer::Done)).unwrap();
    assert_eq!(asked.await.unwrap().unwrap(), Answer::Done);
}

async fn serve_for_ever(run_dir: std::path::PathBuf, fake: Arc<Fake>) {
    serve(&run_dir, fake, std::future::pending()).await.unwrap();
}

async fn wait_for(run_dir: &std::path::Path) {
    while !socket_path(run_dir).exists() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
