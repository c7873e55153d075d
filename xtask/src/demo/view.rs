//! One connection, as both of its ends saw it.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};

use super::scene::{Scene, seen};

/// What the server's answer and curl's own report say about a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// The server's name.
    pub(super) server: String,
    /// The client, as the server saw it.
    pub(super) seen: SocketAddr,
    /// The client's own end.
    pub(super) own: SocketAddr,
    /// The other end, as the client saw it.
    pub(super) target: SocketAddr,
}

impl View {
    /// Shows and runs one request over HTTP from a network namespace.
    pub(super) fn ask(scene: &Scene, namespace: &str, target: SocketAddr) -> Result<Self> {
        let answer = scene.run(&format!(
            "ip netns exec {namespace} curl -sS -m 5 -w \"$CLIENT\" 'http://{target}'"
        ))?;
        let view = Self::read(&answer.succeeded()?.text)?;
        ensure!(view.target == target, "the client talked to {}", view.target);
        Ok(view)
    }

    fn read(text: &str) -> Result<Self> {
        let (server, seen) = seen(text)?;
        let incomplete = || format!("no client's view in {text:?}");
        let ends = text.lines().find_map(|line| line.strip_prefix("client: "));
        let (own, target) =
            ends.and_then(|ends| ends.split_once(" to ")).with_context(incomplete)?;
        let end = |text: &str| {
            let (address, port) = text.split_once(" port ")?;
            Some(SocketAddr::new(address.parse().ok()?, port.parse().ok()?))
        };
        let own = end(own).with_context(incomplete)?;
        Ok(Self { server, seen, own, target: end(target).with_context(incomplete)? })
    }

    /// Fails unless this server answered.
    pub(super) fn answered_by(&self, server: &str) -> Result<()> {
        ensure!(self.server == server, "{} answered", self.server);
        Ok(())
    }

    /// Fails unless the client has this address.
    pub(super) fn client_is(&self, address: IpAddr) -> Result<()> {
        ensure!(self.own.ip() == address, "the client is {}, not {address}", self.own.ip());
        Ok(())
    }

    /// Fails unless the server saw the client's own address and port.
    pub(super) fn untouched(&self) -> Result<()> {
        ensure!(self.seen == self.own, "{} is seen as {}", self.own, self.seen);
        Ok(())
    }

    /// Fails unless the server saw this address, which is not the client's.
    pub(super) fn seen_as(&self, address: IpAddr) -> Result<()> {
        ensure!(self.own.ip() != address, "{address} is the client's own address");
        ensure!(self.seen.ip() == address, "the server saw {}, not {address}", self.seen.ip());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_read_in_both_families() {
        let text = "web-3 [fd00::2]:4444\nclient: fd00::2 port 4444 to fd00::9 port 80\n";
        let view = View::read(text).unwrap();
        assert_eq!(view.server, "web-3");
        assert_eq!(view.own, "[fd00::2]:4444".parse().unwrap());
        assert_eq!(view.target, "[fd00::9]:80".parse().unwrap());
        view.untouched().unwrap();
        assert!(view.answered_by("web-1").is_err());
        assert!(View::read("web-3 [fd00::2]:4444\n").is_err());
    }

    #[test]
    fn an_address_that_was_not_changed_is_no_masquerade() {
        let text = "outside 10.0.0.1:4\nclient: 10.0.0.1 port 4 to 10.0.0.9 port 80\n";
        let view = View::read(text).unwrap();
        assert!(view.seen_as("10.0.0.1".parse().unwrap()).is_err());
        assert!(view.seen_as("10.0.0.2".parse().unwrap()).is_err());
        let text = "outside 10.0.0.2:4\nclient: 10.0.0.1 port 4 to 10.0.0.9 port 80\n";
        let view = View::read(text).unwrap();
        view.seen_as("10.0.0.2".parse().unwrap()).unwrap();
        assert!(view.untouched().is_err());
    }
}
