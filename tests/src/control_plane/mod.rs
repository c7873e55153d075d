//! What an agent is told by: a double of an API server, or a real one.
//!
//! Tests say the same to both. Where the environment variable [`VARIABLE`] names a folder with
//! `kube-apiserver` and `etcd`, these are started, in the test's namespace; else there is the
//! double. What only the double can do, a test asks [`ControlPlane::double`] for.

mod certificates;
mod real;
mod writer;

use std::{
    env, fs, mem,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use self::real::Real;
use crate::{
    api_server::{ApiServer, Stopped, Store},
    netns::NetNamespace,
    sandbox::Sandbox,
};

/// Names the folder with `kube-apiserver` and `etcd`.
pub const VARIABLE: &str = "SHUNT_CONTROL_PLANE";

/// Where the agent finds it.
const ADDRESS: &str = "127.0.0.1:6443";

/// How long a test may take: real servers need their time to start.
const DEADLINE: Duration = Duration::from_mins(10);

/// A control plane, in a network namespace. It ends when it is dropped.
#[derive(Debug)]
pub struct ControlPlane {
    kind: Kind,
    netns: NetNamespace,
}

#[derive(Debug)]
enum Kind {
    Double(Double),
    Real(Box<Real>),
}

#[derive(Debug)]
enum Double {
    Running(ApiServer),
    Down(Stopped),
    /// Between the two.
    Changing,
}

impl ControlPlane {
    /// Enters a sandbox, for as long as a test with a control plane may take. None without root.
    pub fn sandbox() -> Option<Sandbox> {
        if is_real() { Sandbox::enter_for(DEADLINE) } else { Sandbox::enter_for(DEADLINE / 2) }
    }

    /// Starts one at 127.0.0.1:6443 of the namespace, and waits until it answers. Its files are
    /// below the sandbox's folder.
    pub fn start(sandbox: &Sandbox, netns: &NetNamespace) -> Self {
        let kind = match folder() {
            Some(programs) => {
                let files = sandbox.root().join("control-plane");
                Kind::Real(Box::new(Real::start(&programs, &files, netns)))
            }
            None => Kind::Double(Double::Running(netns.run(|| {
                let address = ADDRESS.parse().expect("an address that is written above");
                ApiServer::start(address)
            }))),
        };
        Self { kind, netns: netns.clone() }
    }

    /// The double's objects and faults. None, and a line that says what is not tested, where the
    /// control plane is real.
    pub fn double(&self, what: &str) -> Option<&Store> {
        match &self.kind {
            Kind::Double(Double::Running(server)) => Some(server.store()),
            Kind::Double(Double::Down(stopped)) => Some(stopped.store()),
            Kind::Double(Double::Changing) => None,
            Kind::Real(_) => {
                eprintln!("SKIPPED on a real control plane: {what}: only the double does that");
                None
            }
        }
    }

    /// Sets objects, one after the other, whether the server that the agent knows is up or not.
    pub fn apply(&self, objects: &[Value]) {
        match &self.kind {
            Kind::Real(real) => real.write(|writer| writer.apply(objects)),
            Kind::Double(_) => self.store().apply(objects),
        }
    }

    /// Sets many objects in any order.
    pub fn apply_all(&self, objects: &[Value]) {
        match &self.kind {
            Kind::Real(real) => real.write(|writer| writer.apply_all(objects)),
            Kind::Double(_) => self.store().apply(objects),
        }
    }

    /// Removes objects.
    pub fn delete(&self, objects: &[Value]) {
        match &self.kind {
            Kind::Real(real) => real.write(|writer| writer.delete(objects)),
            Kind::Double(_) => self.store().delete(objects),
        }
    }

    /// Ends the server that the agent knows, with all its connections.
    pub fn stop(&mut self) {
        match &mut self.kind {
            Kind::Real(real) => real.stop(),
            Kind::Double(double) => {
                *double = match mem::replace(double, Double::Changing) {
                    Double::Running(server) => Double::Down(server.stop()),
                    down => down,
                }
            }
        }
    }

    /// Starts it again, and waits until it answers.
    pub fn resume(&mut self) {
        match &mut self.kind {
            Kind::Real(real) => real.resume(),
            Kind::Double(double) => {
                *double = match mem::replace(double, Double::Changing) {
                    Double::Down(stopped) => Double::Running(self.netns.run(|| stopped.start())),
                    running => running,
                }
            }
        }
    }

    /// Writes the kubeconfig of an agent.
    pub fn write_kubeconfig(&self, folder: &Path) -> PathBuf {
        self.write_kubeconfig_with(folder, None)
    }

    /// The same, with the file where the agent finds its token; a real control plane has its own.
    pub fn write_kubeconfig_with(&self, folder: &Path, token: Option<&Path>) -> PathBuf {
        match &self.kind {
            Kind::Real(real) => real.write_kubeconfig(folder),
            Kind::Double(_) => {
                let user = token.map(|path| format!("{{tokenFile: '{}'}}", path.display()));
                let user = user.as_deref().unwrap_or("{}");
                write_kubeconfig(folder, &format!("http://{ADDRESS}"), None, user)
            }
        }
    }

    fn store(&self) -> &Store {
        match &self.kind {
            Kind::Double(Double::Running(server)) => server.store(),
            Kind::Double(Double::Down(stopped)) => stopped.store(),
            Kind::Double(Double::Changing) | Kind::Real(_) => panic!("this is no double"),
        }
    }
}

/// Whether the control plane will be a real one.
pub fn is_real() -> bool {
    folder().is_some()
}

fn folder() -> Option<PathBuf> {
    env::var_os(VARIABLE).filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

/// Writes a kubeconfig; `user` is in YAML.
pub fn write_kubeconfig(
    folder: &Path,
    server: &str,
    authority: Option<&Path>,
    user: &str,
) -> PathBuf {
    let path = folder.join("kubeconfig.yaml");
    let authority = authority
        .map(|path| format!(", certificate-authority: '{}'", path.display()))
        .unwrap_or_default();
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
         clusters: [{{name: test, cluster: {{server: '{server}'{authority}}}}}]\n\
         users: [{{name: test, user: {user}}}]\n\
         contexts: [{{name: test, context: {{cluster: test, user: test}}}}]\n",
    );
    fs::write(&path, text).expect("writing a kubeconfig");
    path
}
