//! What a message gets for an answer: bytes in, bytes out, given the zone; or word that others have
//! to be asked first.

use hickory_proto::{
    op::{Edns, Header, Message, MessageType, Metadata, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType, rdata::HINFO},
    serialize::binary::{BinDecodable as _, BinDecoder, BinEncodable as _, BinEncoder},
};

use super::zone::{Found, TTL, Zone, alias};

/// The most that is sent in a datagram to whoever takes as much: no fragments on any usual path
/// (DNS flag day 2020).
pub(super) const LARGEST_DATAGRAM: u16 = 1232;
/// The most that is sent to whoever does not say how much it takes (RFC 1035, 4.2.1).
const SMALLEST_DATAGRAM: u16 = 512;
/// How much an OPT record without options takes.
const OPT_LENGTH: u16 = 11;
/// How many names may stand for each other, one after the other.
const LONGEST_CHAIN: usize = 8;

/// How a message came, and its answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// Whether names outside of the zone can be asked for elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recursion {
    Available,
    Unavailable,
}

/// What becomes of a message.
#[derive(Debug)]
pub(super) enum Reply {
    /// Nothing: it is no query.
    Nothing,
    /// This is sent back.
    Message(Vec<u8>),
    /// Others are asked the same, and what they say is sent back.
    Forward,
    /// Others are asked for a name that the asked one stands for.
    Chase(Box<Chase>),
}

/// An answer of which the end is still missing.
#[derive(Debug)]
pub(super) struct Chase {
    /// What is to be asked.
    pub(super) question: Query,
    draft: Draft,
}

impl Chase {
    /// The answer with what others say about the rest, if they say anything.
    pub(super) fn finish(mut self, rest: Option<Message>) -> Vec<u8> {
        if let Some(rest) = rest {
            self.draft.message.metadata.response_code = rest.metadata.response_code;
            self.draft.message.add_answers(rest.answers);
            self.draft.message.add_authorities(rest.authorities);
        }
        self.draft.encode()
    }
}

/// An answer, and how much of it may be sent.
#[derive(Debug)]
struct Draft {
    message: Message,
    limit: u16,
}

/// Answers a message.
pub(super) fn answer(
    zone: &Zone,
    request: &[u8],
    transport: Transport,
    recursion: Recursion,
) -> Reply {
    let Ok(header) = Header::read(&mut BinDecoder::new(request)) else { return Reply::Nothing };
    if header.metadata.message_type == MessageType::Response {
        // An answer to an answer may never end.
        return Reply::Nothing;
    }
    let refuse = |code| Reply::Message(error(&header.metadata, code));
    if header.metadata.op_code != OpCode::Query {
        return refuse(ResponseCode::NotImp);
    }
    // More than one question has no meaning (RFC 9619), nor has an answer in a question.
    if header.counts.queries != 1 || header.counts.answers != 0 {
        return refuse(ResponseCode::FormErr);
    }
    let Ok(request) = Message::from_vec(request) else { return refuse(ResponseCode::FormErr) };
    let Some(query) = request.queries.first() else { return refuse(ResponseCode::FormErr) };
    let mut draft = Draft::new(&request, query.clone(), transport);
    let code = match (query.query_class, query.query_type) {
        _ if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) => ResponseCode::BADVERS,
        (DNSClass::IN, RecordType::AXFR | RecordType::IXFR) => ResponseCode::Refused,
        (DNSClass::IN, _) => return draft.answer(zone, query, recursion),
        _ => ResponseCode::Refused,
    };
    draft.message.metadata.response_code = code;
    Reply::Message(draft.encode())
}

/// What is sent back where others were to be asked, and nobody answered.
pub(super) fn failure(request: &[u8], transport: Transport) -> Vec<u8> {
    let Ok(request) = Message::from_vec(request) else { return Vec::new() };
    let query = request.queries.first().cloned().unwrap_or_default();
    let mut draft = Draft::new(&request, query, transport);
    draft.message.metadata.response_code = ResponseCode::ServFail;
    draft.message.metadata.recursion_available = true;
    draft.encode()
}

impl Draft {
    fn new(request: &Message, query: Query, transport: Transport) -> Self {
        let mut message = Message::response(request.metadata.id, OpCode::Query);
        message.metadata = Metadata::response_from_request(&request.metadata);
        message.add_query(query);
        let asked = request.edns.as_ref().map_or(SMALLEST_DATAGRAM, Edns::max_payload);
        if let Some(asked) = &request.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(LARGEST_DATAGRAM).set_dnssec_ok(asked.flags().dnssec_ok);
            message.set_edns(edns);
        }
        let limit = match transport {
            Transport::Udp => asked.clamp(SMALLEST_DATAGRAM, LARGEST_DATAGRAM),
            Transport::Tcp => u16::MAX,
        };
        Self { message, limit }
    }

    fn answer(mut self, zone: &Zone, query: &Query, recursion: Recursion) -> Reply {
        self.message.metadata.recursion_available = recursion == Recursion::Available;
        let mut name = query.name.clone();
        for _ in 0..LONGEST_CHAIN {
            let is_first = self.message.answers.is_empty();
            match zone.find(&name, query.query_type) {
                Found::Outside => match (is_first, recursion) {
                    (true, Recursion::Available) => return Reply::Forward,
                    (true, Recursion::Unavailable) => {
                        self.message.metadata.response_code = ResponseCode::Refused;
                        break;
                    }
                    (false, Recursion::Available) => {
                        let question = Query::query(name, query.query_type);
                        return Reply::Chase(Box::new(Chase { question, draft: self }));
                    }
                    (false, Recursion::Unavailable) => break,
                },
                Found::NoName => {
                    self.message.metadata.authoritative = true;
                    self.message.metadata.response_code = ResponseCode::NXDomain;
                    self.message.authorities.extend(zone.authority(&name));
                    break;
                }
                Found::Alias(target) => {
                    self.message.metadata.authoritative = true;
                    let record = Record::from_rdata(name, TTL, alias(target.clone()));
                    self.message.add_answer(record);
                    if matches!(query.query_type, RecordType::CNAME | RecordType::ANY) {
                        break;
                    }
                    name = target;
                }
                Found::Records { answers, additionals } => {
                    self.message.metadata.authoritative = true;
                    self.add(zone, &name, query.query_type, answers, additionals);
                    break;
                }
            }
        }
        Reply::Message(self.encode())
    }

    fn add(
        &mut self,
        zone: &Zone,
        name: &Name,
        asked: RecordType,
        mut answers: Vec<RData>,
        additionals: Vec<Record>,
    ) {
        if asked == RecordType::ANY {
            // Nobody is told everything (RFC 8482, 4.2).
            answers = vec![RData::HINFO(HINFO::new("RFC8482".to_owned(), String::new()))];
        }
        if answers.is_empty() {
            self.message.authorities.extend(zone.authority(name));
            return;
        }
        // Many take the first address that they are told.
        let first = usize::from(self.message.metadata.id) % answers.len();
        answers.rotate_left(first);
        let records = answers.into_iter().map(|data| Record::from_rdata(name.clone(), TTL, data));
        self.message.add_answers(records);
        self.message.additionals.extend(additionals);
    }

    /// The message within its limit. What is left out of the additional section is no loss (RFC
    /// 2181, 9); where answers are, the message is marked, and whoever cannot ask by TCP has the
    /// ones that fit.
    fn encode(mut self) -> Vec<u8> {
        if let Some((bytes, false)) = encode(&self.message, self.limit) {
            return bytes;
        }
        self.message.additionals.clear();
        if let Some((bytes, false)) = encode(&self.message, self.limit) {
            return bytes;
        }
        let edns = self.message.edns.take();
        let room = if edns.is_some() { self.limit - OPT_LENGTH } else { self.limit };
        self.message.metadata.truncation = true;
        let fits = encode(&self.message, room).and_then(|(bytes, _)| {
            let header = Header::read(&mut BinDecoder::new(&bytes)).ok()?;
            Some(usize::from(header.counts.answers))
        });
        self.message.answers.truncate(fits.unwrap_or_default());
        self.message.authorities.clear();
        self.message.edns = edns;
        match encode(&self.message, self.limit) {
            Some((bytes, _)) => bytes,
            None => error(&self.message.metadata, ResponseCode::ServFail),
        }
    }
}

/// The message as far as it fits, and whether something was left out.
fn encode(message: &Message, limit: u16) -> Option<(Vec<u8>, bool)> {
    let mut bytes = Vec::with_capacity(usize::from(SMALLEST_DATAGRAM));
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_max_size(limit);
    message.emit(&mut encoder).ok()?;
    // The third byte has the flag.
    let is_cut = bytes.get(2).is_some_and(|flags| flags & 0x02 != 0);
    Some((bytes, is_cut))
}

/// A message that is nothing but an error: its question is not understood.
fn error(request: &Metadata, code: ResponseCode) -> Vec<u8> {
    let mut metadata = Metadata::response_from_request(request);
    metadata.response_code = code;
    let mut message = Message::new(metadata.id, MessageType::Response, metadata.op_code);
    message.metadata = metadata;
    message.to_vec().unwrap_or_default()
}
