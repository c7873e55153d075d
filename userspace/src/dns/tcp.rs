//! Connections: messages one after the other, each with its length before it (RFC 7766).

use std::{collections::HashMap, net::IpAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{answer::Transport, server::Service};

/// How many connections are open at once, and how many of them are one client's: whoever can reach
/// the server shall not take the agent's files, nor others' turn.
const MAX_CONNECTIONS: usize = 128;
const MAX_PER_CLIENT: usize = 16;
/// How long a connection may say nothing, or take nothing.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long is waited where no connection can be taken, for want of files mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Takes connections for ever. One that is too many is closed at once.
pub(super) async fn serve(listener: TcpListener, service: Service) {
    let mut connections = JoinSet::new();
    let mut clients: HashMap<IpAddr, usize> = HashMap::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    let client = address.ip();
                    let open = clients.entry(client).or_default();
                    if *open < MAX_PER_CLIENT && connections.len() < MAX_CONNECTIONS {
                        *open += 1;
                        let service = service.clone();
                        connections.spawn(async move {
                            talk(stream, &service).await;
                            client
                        });
                    }
                }
                Err(error) => {
                    log::warn!("a connection to the DNS server is not taken: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(Ok(client)) = connections.join_next() => {
                if let Some(open) = clients.get_mut(&client) {
                    *open -= 1;
                    if *open == 0 {
                        clients.remove(&client);
                    }
                }
            }
        }
    }
}

/// Answers until the client is gone, or silent for too long.
async fn talk(mut stream: TcpStream, service: &Service) {
    loop {
        let Ok(Some(request)) = timeout(PATIENCE, read(&mut stream)).await else { return };
        let Some(answer) = service.answer(&request, Transport::Tcp).await else { return };
        let Ok(length) = u16::try_from(answer.len()) else { return };
        let message = [&length.to_be_bytes(), &answer[..]].concat();
        if !matches!(timeout(PATIENCE, stream.write_all(&message)).await, Ok(Ok(()))) {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let length = stream.read_u16().await.ok()?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await.ok()?;
    Some(message)
}
