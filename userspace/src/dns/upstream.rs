//! Others that are asked for what is outside of the zone.
//!
//! What came is sent on as it is, but for the number that an answer is known by, and what comes back
//! likewise: nothing is read of it, so nothing is lost of it. Each question has a socket of its
//! own, and so a port that nobody can guess (RFC 5452).

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use hickory_proto::op::{Edns, Message, Query};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::answer::{LARGEST_DATAGRAM, Transport};

/// How long one of them may take: two of them, before whoever asked asks again after five seconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many of them are asked, one after the other.
const TRIES: usize = 2;
/// The length of a message's header.
const HEADER: usize = 12;

/// Asks one after the other, until one answers.
pub(super) async fn forward(
    upstreams: &[SocketAddr],
    request: &[u8],
    transport: Transport,
) -> Option<Vec<u8>> {
    let [first, second, ..] = *request else { return None };
    for upstream in upstreams.iter().take(TRIES) {
        let asked = match transport {
            Transport::Udp => timeout(PATIENCE, ask_by_udp(*upstream, request)).await,
            Transport::Tcp => timeout(PATIENCE, ask_by_tcp(*upstream, request)).await,
        };
        match asked {
            Ok(Ok(mut answer)) => {
                if let Some(id) = answer.get_mut(..2) {
                    id.copy_from_slice(&[first, second]);
                }
                return Some(answer);
            }
            Ok(Err(error)) => log::debug!("upstream={upstream} not asked: {error}"),
            Err(_) => log::debug!("upstream={upstream} does not answer"),
        }
    }
    None
}

/// Asks a question of our own; by TCP where the answer is too long otherwise.
pub(super) async fn resolve(upstreams: &[SocketAddr], question: &Query) -> Option<Message> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(question.clone());
    let mut edns = Edns::new();
    edns.set_max_payload(LARGEST_DATAGRAM);
    message.set_edns(edns);
    let request = message.to_vec().ok()?;
    for transport in [Transport::Udp, Transport::Tcp] {
        let answer = forward(upstreams, &request, transport).await?;
        let answer = Message::from_vec(&answer).ok()?;
        if !answer.metadata.truncation {
            return Some(answer);
        }
    }
    None
}

async fn ask_by_udp(upstream: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let any: SocketAddr = match upstream {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(upstream).await?;
    let request = renumbered(request);
    socket.send(&request).await?;
    let mut answer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut answer).await?;
        answer.truncate(length);
        if is_answer(&request, &answer) {
            return Ok(answer);
        }
        answer.resize(usize::from(u16::MAX), 0);
    }
}

async fn ask_by_tcp(upstream: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(upstream).await?;
    let request = renumbered(request);
    let length = u16::try_from(request.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), &request[..]].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    if is_answer(&request, &answer) {
        Ok(answer)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "it answers something else"))
    }
}

/// The message with a number that nobody can guess.
fn renumbered(request: &[u8]) -> Vec<u8> {
    let id = Message::query().metadata.id;
    let rest = request.get(2..).unwrap_or_default();
    [&id.to_be_bytes(), rest].concat()
}

/// Whether it is the answer: by its number, and by its question, in the same letters. An error may
/// be without the question.
fn is_answer(request: &[u8], answer: &[u8]) -> bool {
    let (Some(asked), Some(header)) = (question(request), answer.get(..HEADER)) else {
        return false;
    };
    let is_same = request.get(..2) == header.get(..2);
    let [_, _, flags, code, _, questions, ..] = *header else { return false };
    let is_response = flags & 0x80 != 0;
    let is_bare_error = questions == 0 && code & 0x0f != 0;
    is_same && is_response && (is_bare_error || question(answer) == Some(asked))
}

/// The bytes of a message's first question. A first question has nothing before it that it could
/// point to, so its name is written out.
fn question(message: &[u8]) -> Option<&[u8]> {
    let rest = message.get(HEADER..)?;
    let mut end = 0;
    loop {
        match usize::from(*rest.get(end)?) {
            0 => return rest.get(..end + 5),
            label @ 1..64 => end += 1 + label,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use hickory_proto::{
        op::{MessageType, ResponseCode},
        rr::{Name, RecordType},
    };

    use super::*;

    fn request(name: &str) -> Message {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_str(name).unwrap(), RecordType::A));
        message
    }

    fn answer_to(request: &Message, change: impl FnOnce(&mut Message)) -> Vec<u8> {
        let mut answer = request.clone();
        answer.metadata.message_type = MessageType::Response;
        change(&mut answer);
        answer.to_vec().unwrap()
    }

    #[test]
    fn an_answer_is_known_by_its_number_and_its_question() {
        let asked = request("www.example.com.");
        let bytes = asked.to_vec().unwrap();
        assert!(is_answer(&bytes, &answer_to(&asked, |_| ())));
        assert!(is_answer(
            &bytes,
            &answer_to(&asked, |answer| {
                answer.queries.clear();
                answer.metadata.response_code = ResponseCode::FormErr;
            })
        ));
        for wrong in [
            answer_to(&asked, |answer| answer.metadata.id = asked.metadata.id.wrapping_add(1)),
            answer_to(&asked, |answer| answer.metadata.message_type = MessageType::Query),
            answer_to(&asked, |answer| answer.queries.clear()),
            answer_to(&asked, |answer| answer.queries[0].query_type = RecordType::AAAA),
            answer_to(&asked, |answer| answer.queries[0].name = Name::root()),
            bytes[..5].to_vec(),
            Vec::new(),
        ] {
            assert!(!is_answer(&bytes, &wrong), "{wrong:?}");
        }
    }

    #[test]
    fn a_message_with_another_number_is_the_same_otherwise() {
        let bytes = request("www.example.com.").to_vec().unwrap();
        let other = renumbered(&bytes);
        assert_eq!(other[2..], bytes[2..]);
    }

    /// What is answered to a request.
    type Answer = fn(&[u8]) -> Vec<u8>;

    async fn upstream(answers: Vec<Answer>) -> SocketAddr {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            for answer in answers {
                socket.send_to(&answer(&buffer[..length]), from).await.unwrap();
            }
        });
        address
    }

    fn good(request: &[u8]) -> Vec<u8> {
        let mut answer = request.to_vec();
        answer[2] |= 0x80;
        answer
    }

    fn forged(request: &[u8]) -> Vec<u8> {
        let mut answer = good(request);
        answer[0] ^= 0x55;
        answer
    }

    #[tokio::test]
    async fn what_was_not_asked_for_is_not_taken_for_the_answer() {
        let asked = request("www.example.com.").to_vec().unwrap();
        let upstream = upstream(vec![forged, good]).await;
        let answer = forward(&[upstream], &asked, Transport::Udp).await.unwrap();
        assert_eq!(answer, good(&asked));
    }

    #[tokio::test]
    async fn the_next_one_is_asked_at_once_where_the_first_refuses() {
        let closed = {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            socket.local_addr().unwrap()
        };
        let asked = request("www.example.com.").to_vec().unwrap();
        let begun = std::time::Instant::now();
        let upstreams = [closed, upstream(vec![good]).await];
        assert_eq!(forward(&upstreams, &asked, Transport::Udp).await, Some(good(&asked)));
        assert!(begun.elapsed() < PATIENCE / 2);
        assert_eq!(forward(&[closed], &asked, Transport::Udp).await, None);
        assert_eq!(forward(&[closed], &asked, Transport::Tcp).await, None);
    }
}
