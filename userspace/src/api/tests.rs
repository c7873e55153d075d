use std::{
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{view::*, *};

/// Answers with one of each.
struct Fake;

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
}

#[tokio::test]
async fn the_client_reads_what_the_agent_says() {
    let run_dir = tempfile::tempdir().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let listener = Listener::bind(run_dir.path()).unwrap();
    let socket = socket_path(run_dir.path());
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let server = tokio::spawn(listener.serve(Arc::new(Fake), async {
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
