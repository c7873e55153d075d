//! The ClusterRole has the rights that the agent uses, and no others.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use serde_json::Value;
use tests::{
    agent::Agent, api_server::ApiServer, control_plane::write_kubeconfig, manifests, node::Node,
    one_node, sandbox::Sandbox, wait,
};

use crate::object;

/// A verb, an API group and a resource.
type Right = (String, String, String);

fn right(verb: &str, group: &str, resource: &str) -> Right {
    (verb.to_owned(), group.to_owned(), resource.to_owned())
}

/// What the ClusterRole allows.
fn allowed() -> BTreeSet<Right> {
    let role = object("clusterrole");
    let words = |list: &Value| -> Vec<String> {
        let list = list.as_array().expect("a list").iter();
        list.map(|word| word.as_str().expect("a word").to_owned()).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in role["rules"].as_array().expect("rules") {
        for verb in words(&rule["verbs"]) {
            for group in words(&rule["apiGroups"]) {
                for resource in words(&rule["resources"]) {
                    assert_ne!("*", resource);
                    rights.insert(right(&verb, &group, &resource));
                }
            }
        }
    }
    rights
}

/// The right that a request takes, by its first line.
fn taken(line: &str) -> Option<Right> {
    let mut words = line.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    words.next().filter(|version| *version == "HTTP/1.1")?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut parts = path.trim_matches('/').split('/');
    let group = match parts.next()? {
        "api" => "",
        "apis" => parts.next()?,
        _ => return None,
    };
    let _version = parts.next()?;
    let mut resource = parts.next()?;
    if resource == "namespaces"
        && let (Some(_), Some(inner)) = (parts.next(), parts.next())
    {
        resource = inner;
    }
    let verb = match (method, parts.next()) {
        ("GET", None) if query.split('&').any(|part| part == "watch=true") => "watch",
        ("GET", None) => "list",
        ("GET", Some(_)) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        _ => "delete",
    };
    Some(right(verb, group, resource))
}

/// Listens in place of an API server, passes everything on, and notes what is asked for.
fn listen(at: SocketAddr, server: SocketAddr) -> Arc<Mutex<BTreeSet<Right>>> {
    let listener = TcpListener::bind(at).expect("listening in place of the API server");
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let noted = Arc::clone(&seen);
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, noted) = (client.expect("a connection"), Arc::clone(&noted));
            thread::spawn(move || pass_on(client, server, &noted));
        }
    });
    seen
}

fn pass_on(mut client: TcpStream, server: SocketAddr, noted: &Mutex<BTreeSet<Right>>) {
    let Ok(mut server) = TcpStream::connect(server) else { return };
    let (Ok(mut from), Ok(mut to)) = (server.try_clone(), client.try_clone()) else { return };
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    // A request's head comes in one piece: it is small, and the client writes it at once.
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..length]);
        noted.lock().unwrap_or_else(PoisonError::into_inner).extend(text.lines().filter_map(taken));
        if server.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
}

#[test]
fn requests_take_the_rights_that_kubernetes_asks_for() {
    for (line, expected) in [
        ("GET /api/v1/nodes?limit=500 HTTP/1.1", Some(right("list", "", "nodes"))),
        ("GET /api/v1/nodes?a=b&watch=true&c=d HTTP/1.1", Some(right("watch", "", "nodes"))),
        ("GET /api/v1/nodes/one HTTP/1.1", Some(right("get", "", "nodes"))),
        (
            "POST /apis/events.k8s.io/v1/namespaces/default/events? HTTP/1.1",
            Some(right("create", "events.k8s.io", "events")),
        ),
        ("Host: 127.0.0.1", None),
        ("GET /version HTTP/1.1", None),
    ] {
        assert_eq!(taken(line), expected, "{line}");
    }
}

#[test]
#[ignore = "needs root"]
fn the_agent_uses_the_rights_that_it_has_and_no_others() {
    let Some(sandbox) = Sandbox::enter() else { return };
    let node = Node::new(&sandbox, one_node::NODE);
    let [server_at, listener_at] =
        ["127.0.0.1:6443", "127.0.0.1:6444"].map(|at| at.parse().expect("an address"));
    let server = node.netns().run(|| ApiServer::start(server_at));
    let seen = node.netns().run(|| listen(listener_at, server_at));
    server.store().apply(&[
        manifests::node(one_node::NODE, &one_node::POD_CIDRS, &one_node::NODE_ADDRESSES),
        one_node::web_service(),
    ]);
    let through_listener = format!("http://{listener_at}");
    let kubeconfig = write_kubeconfig(sandbox.root(), &through_listener, None, "{}");
    let kubeconfig = kubeconfig.display().to_string();
    let mut agent = Agent::of_source(&node, ["--kubeconfig", &kubeconfig], &[]);
    agent.start();
    agent.wait_ready();
    let allowed = allowed();
    wait::until("the use of every right", wait::PATIENCE, || {
        let used = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if used == allowed { Ok(()) } else { Err(format!("{used:?}, not {allowed:?}")) }
    });
}
