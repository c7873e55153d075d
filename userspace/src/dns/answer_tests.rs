//! Messages and their answers.

use std::str::FromStr as _;

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType},
};
use proptest::prelude::*;

use super::{
    answer::{LARGEST_DATAGRAM, Recursion, Reply, Transport, answer, failure},
    names::ServiceNames,
    zone::{TTL, Zone},
    zone_tests::{hosts, object, zone},
};

const KUBERNETES: &str = "kubernetes.default.svc.cluster.local.";

fn query(name: &str, asked: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), asked));
    message
}

fn with_edns(mut message: Message, payload: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload);
    message.set_edns(edns);
    message
}

fn reply_of(zone: &Zone, request: &Message, transport: Transport) -> Vec<u8> {
    match answer(zone, &request.to_vec().unwrap(), transport, Recursion::Unavailable) {
        Reply::Message(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

fn ask(request: &Message) -> Message {
    Message::from_vec(&reply_of(&zone(), request, Transport::Udp)).unwrap()
}

fn lookup(name: &str, asked: RecordType) -> Message {
    ask(&query(name, asked))
}

#[test]
fn an_answer_has_the_question_in_its_own_letters() {
    let name = "KuberNetes.Default.svc.cluster.LOCAL.";
    let request = query(name, RecordType::A);
    let answer = ask(&request);
    assert_eq!(answer.metadata.id, request.metadata.id);
    assert_eq!(answer.metadata.message_type, MessageType::Response);
    assert!(answer.metadata.authoritative && answer.metadata.recursion_desired);
    assert!(!answer.metadata.recursion_available && !answer.metadata.truncation);
    assert_eq!(answer.queries[0].name.to_string(), name);
    let [record] = &answer.answers[..] else { panic!("{answer}") };
    assert_eq!((record.name.to_string(), record.ttl), (name.to_owned(), TTL));
    assert!(answer.edns.is_none());
}

#[test]
fn no_such_name_and_no_such_records_come_with_the_start_of_the_zone() {
    for (name, asked, code, origin) in [
        (KUBERNETES, RecordType::AAAA, ResponseCode::NoError, "cluster.local."),
        ("svc.cluster.local.", RecordType::A, ResponseCode::NoError, "cluster.local."),
        ("x.default.svc.cluster.local.", RecordType::A, ResponseCode::NXDomain, "cluster.local."),
        ("x.nowhere.svc.cluster.local.", RecordType::A, ResponseCode::NXDomain, "cluster.local."),
        ("1.0.3.10.in-addr.arpa.", RecordType::A, ResponseCode::NoError, "in-addr.arpa."),
    ] {
        let answer = lookup(name, asked);
        assert_eq!(answer.metadata.response_code, code, "{name}");
        assert!(answer.metadata.authoritative && answer.answers.is_empty());
        let [Record { name: owner, ttl, data: RData::SOA(soa), .. }] = &answer.authorities[..]
        else {
            panic!("{answer}")
        };
        assert_eq!((owner.to_string().as_str(), *ttl, soa.minimum), (origin, TTL, TTL), "{name}");
    }
}

#[test]
fn nobody_is_told_everything() {
    let answer = lookup(KUBERNETES, RecordType::ANY);
    let [Record { data: RData::HINFO(hinfo), .. }] = &answer.answers[..] else {
        panic!("{answer}")
    };
    assert_eq!(&*hinfo.cpu, b"RFC8482");
    let nothing = lookup("x.default.svc.cluster.local.", RecordType::ANY);
    assert_eq!(nothing.metadata.response_code, ResponseCode::NXDomain);
}

#[test]
fn what_is_not_ours_is_refused_at_once() {
    let mut chaos = query("version.bind.", RecordType::TXT);
    chaos.queries[0].query_class = DNSClass::CH;
    let mut of_ours = query(KUBERNETES, RecordType::A);
    of_ours.queries[0].query_class = DNSClass::CH;
    for request in [
        query("www.example.com.", RecordType::A),
        query("9.9.9.9.in-addr.arpa.", RecordType::PTR),
        query("cluster.local.", RecordType::AXFR),
        chaos,
        of_ours,
    ] {
        let answer = ask(&request);
        assert_eq!(answer.metadata.response_code, ResponseCode::Refused, "{request}");
        assert!(answer.answers.is_empty() && !answer.metadata.authoritative);
        assert_eq!(answer.queries, request.queries);
    }
}

#[test]
fn what_is_outside_is_asked_elsewhere_where_that_can_be() {
    let outside = query("www.example.com.", RecordType::A).to_vec().unwrap();
    let reply = answer(&zone(), &outside, Transport::Udp, Recursion::Available);
    assert!(matches!(reply, Reply::Forward), "{reply:?}");
    let inside = query(KUBERNETES, RecordType::A).to_vec().unwrap();
    let Reply::Message(bytes) = answer(&zone(), &inside, Transport::Udp, Recursion::Available)
    else {
        panic!("it is known")
    };
    assert!(Message::from_vec(&bytes).unwrap().metadata.recursion_available);
}

#[test]
fn an_external_name_is_an_alias_with_what_others_say_of_it() {
    let request = query("foo.default.svc.cluster.local.", RecordType::A);
    let alone = ask(&request);
    let [Record { data: RData::CNAME(target), .. }] = &alone.answers[..] else { panic!("{alone}") };
    assert_eq!(target.to_string(), "www.example.com.");
    assert_eq!(alone.metadata.response_code, ResponseCode::NoError);

    let bytes = request.to_vec().unwrap();
    let chase = || match answer(&zone(), &bytes, Transport::Udp, Recursion::Available) {
        Reply::Chase(chase) => chase,
        other => panic!("{other:?}"),
    };
    assert_eq!(chase().question.to_string(), "www.example.com. IN A");
    let data = RData::A("192.0.2.53".parse().unwrap());
    let record = Record::from_rdata(Name::from_str("www.example.com.").unwrap(), 28715, data);
    let mut rest = Message::query();
    rest.add_answer(record.clone());
    let whole = Message::from_vec(&chase().finish(Some(rest))).unwrap();
    assert_eq!((whole.answers.len(), &whole.answers[1]), (2, &record));
    let mut no_such = Message::query();
    no_such.metadata.response_code = ResponseCode::NXDomain;
    let whole = Message::from_vec(&chase().finish(Some(no_such))).unwrap();
    assert_eq!((whole.answers.len(), whole.metadata.response_code), (1, ResponseCode::NXDomain));
    let whole = Message::from_vec(&chase().finish(None)).unwrap();
    assert_eq!((whole.answers.len(), whole.metadata.response_code), (1, ResponseCode::NoError));
}

#[test]
fn an_external_name_within_the_cluster_is_followed_and_not_for_ever() {
    let answer = lookup("near.default.svc.cluster.local.", RecordType::A);
    let [alias, address] = &answer.answers[..] else { panic!("{answer}") };
    assert_eq!(alias.record_type(), RecordType::CNAME);
    assert_eq!(
        (address.name.to_string().as_str(), address.data.to_string().as_str()),
        (KUBERNETES, "10.3.0.1")
    );

    let mut zone = zone();
    let around = |to: &str| Some(ServiceNames::External(format!("{to}.default.svc.cluster.local")));
    zone.set(&object("default", "a"), around("b"));
    zone.set(&object("default", "b"), around("a"));
    zone.set(&object("default", "c"), around("gone"));
    let request = query("a.default.svc.cluster.local.", RecordType::A);
    let answer = Message::from_vec(&reply_of(&zone, &request, Transport::Udp)).unwrap();
    assert!((2..=8).contains(&answer.answers.len()), "{answer}");
    let request = query("c.default.svc.cluster.local.", RecordType::A);
    let answer = Message::from_vec(&reply_of(&zone, &request, Transport::Udp)).unwrap();
    assert_eq!((answer.answers.len(), answer.metadata.response_code), (1, ResponseCode::NXDomain));
}

/// A zone with a headless Service of so many endpoints.
fn crowd(count: u8) -> Zone {
    let all: Vec<(String, String)> =
        (1..=count).map(|number| (format!("h-{number}"), format!("10.3.1.{number}"))).collect();
    let all: Vec<(&str, [&str; 1])> =
        all.iter().map(|(host, address)| (host.as_str(), [address.as_str()])).collect();
    let all: Vec<(&str, &[&str])> = all.iter().map(|(host, it)| (*host, it.as_slice())).collect();
    let mut zone = zone();
    zone.set(&object("default", "crowd"), Some(hosts(&all)));
    zone
}

const CROWD: &str = "crowd.default.svc.cluster.local.";

#[test]
fn what_does_not_fit_is_cut_and_marked() {
    let zone = crowd(200);
    for (payload, limit, least) in [
        (None, 512, 25),
        (Some(0), 512, 25),
        (Some(512), 512, 25),
        (Some(1000), 1000, 50),
        (Some(LARGEST_DATAGRAM), 1232, 70),
        (Some(65535), 1232, 70),
    ] {
        let request = query(CROWD, RecordType::A);
        let request = payload.map_or(request.clone(), |payload| with_edns(request, payload));
        let bytes = reply_of(&zone, &request, Transport::Udp);
        let answer = Message::from_vec(&bytes).unwrap();
        assert!(bytes.len() <= limit && bytes.len() > limit - 60, "{payload:?}: {}", bytes.len());
        assert!(answer.metadata.truncation && answer.answers.len() >= least, "{payload:?}");
        assert_eq!(answer.edns.is_some(), payload.is_some());
        let whole = Message::from_vec(&reply_of(&zone, &request, Transport::Tcp)).unwrap();
        assert!(!whole.metadata.truncation && whole.answers.len() == 200);
    }
    // Addresses that come along may be left out without a mark.
    let request = with_edns(query(&format!("_https._tcp.{CROWD}"), RecordType::SRV), 1232);
    let bytes = reply_of(&crowd(18), &request, Transport::Udp);
    let answer = Message::from_vec(&bytes).unwrap();
    assert!(!answer.metadata.truncation && answer.answers.len() == 18);
    assert_eq!(answer.additionals.len(), 0);
}

#[test]
fn the_first_address_is_not_always_the_same() {
    let zone = crowd(5);
    let first = |id| {
        let mut request = query(CROWD, RecordType::A);
        request.metadata.id = id;
        let answer = Message::from_vec(&reply_of(&zone, &request, Transport::Udp)).unwrap();
        assert_eq!(answer.answers.len(), 5);
        answer.answers[0].data.to_string()
    };
    let firsts: std::collections::BTreeSet<String> = (0..5).map(first).collect();
    assert_eq!(firsts.len(), 5);
}

#[test]
fn edns_is_answered_with_edns() {
    let mut request = with_edns(query(KUBERNETES, RecordType::A), 4096);
    request.edns.as_mut().unwrap().set_dnssec_ok(true);
    let edns = ask(&request).edns.unwrap();
    assert_eq!((edns.version(), edns.max_payload()), (0, LARGEST_DATAGRAM));
    assert!(edns.flags().dnssec_ok);
    request.edns.as_mut().unwrap().set_version(1);
    let answer = ask(&request);
    // 16 is BADVERS here, and BADSIG elsewhere.
    assert_eq!(u16::from(answer.metadata.response_code), 16);
    assert!(answer.edns.is_some() && answer.answers.is_empty());
}

#[test]
fn what_is_no_query_is_told_so_or_nothing() {
    let zone = zone();
    let reply = |bytes: &[u8]| answer(&zone, bytes, Transport::Udp, Recursion::Available);
    let good = query(KUBERNETES, RecordType::A);
    let bytes = good.to_vec().unwrap();
    let code = |bytes: &[u8]| match reply(bytes) {
        Reply::Message(answer) => {
            let answer = Message::from_vec(&answer).unwrap();
            assert_eq!(answer.metadata.id, good.metadata.id);
            answer.metadata.response_code
        }
        other => panic!("{other:?}"),
    };
    // Shorter than a header, or an answer.
    assert!(matches!(reply(&bytes[..11]), Reply::Nothing));
    let mut response = good.clone();
    response.metadata.message_type = MessageType::Response;
    assert!(matches!(reply(&response.to_vec().unwrap()), Reply::Nothing));
    // Cut, without a question, with two, with more questions than a message holds.
    assert_eq!(code(&bytes[..bytes.len() - 1]), ResponseCode::FormErr);
    assert_eq!(code(&bytes[..12]), ResponseCode::FormErr);
    let mut two = good.clone();
    two.add_query(good.queries[0].clone());
    assert_eq!(code(&two.to_vec().unwrap()), ResponseCode::FormErr);
    let mut many = bytes.clone();
    many[4..6].copy_from_slice(&[0xff, 0xff]);
    assert_eq!(code(&many), ResponseCode::FormErr);
    for op_code in [OpCode::Update, OpCode::Notify, OpCode::Status] {
        let mut other = good.clone();
        other.metadata.op_code = op_code;
        assert_eq!(code(&other.to_vec().unwrap()), ResponseCode::NotImp, "{op_code:?}");
    }
}

#[test]
fn a_failure_is_told_with_the_question() {
    let request = with_edns(query("www.example.com.", RecordType::A), 1232);
    let answer = Message::from_vec(&failure(&request.to_vec().unwrap(), Transport::Udp)).unwrap();
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert_eq!((answer.metadata.id, &answer.queries), (request.metadata.id, &request.queries));
    assert!(answer.edns.is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever comes, an answer is a message of a fair size that has the same number.
    #[test]
    fn any_bytes_are_answered_or_ignored(
        mut bytes in prop::collection::vec(any::<u8>(), 0..80),
        like_a_query in any::<bool>(),
    ) {
        if like_a_query && bytes.len() > 12 {
            bytes[2..12].copy_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
        }
        for transport in [Transport::Udp, Transport::Tcp] {
            match answer(&zone(), &bytes, transport, Recursion::Available) {
                Reply::Message(answer) => {
                    prop_assert_eq!(&answer[..2], &bytes[..2]);
                    prop_assert!(answer.len() <= usize::from(LARGEST_DATAGRAM));
                    let answer = Message::from_vec(&answer);
                    prop_assert!(answer.is_ok(), "{answer:?}");
                }
                Reply::Forward => {
                    prop_assert!(!failure(&bytes, transport).is_empty());
                }
                Reply::Nothing | Reply::Chase(_) => {}
            }
        }
    }

    /// A query whose name has any labels, some of them ours, is answered whatever it asks for.
    #[test]
    fn names_of_any_labels_are_answered(
        labels in prop::collection::vec(
            prop_oneof![
                prop::sample::select(vec![
                    "_https", "_tcp", "my-pet", "headless", "kubernetes", "foo", "default", "svc",
                    "pod", "10-3-0-1", "dns", "ns", "10", "3", "0", "1", "a",
                ]).prop_map(|label| label.as_bytes().to_vec()),
                prop::collection::vec(any::<u8>(), 1..20),
            ],
            0..6,
        ),
        within in prop::sample::select(vec!["cluster.local.", "in-addr.arpa.", "ip6.arpa.", "."]),
        asked in any::<u16>(),
    ) {
        let name = Name::from_labels(labels).unwrap();
        let name = name.append_domain(&Name::from_str(within).unwrap()).unwrap();
        let mut request = Message::query();
        request.add_query(Query::query(name, RecordType::from(asked)));
        let bytes = request.to_vec().unwrap();
        match answer(&zone(), &bytes, Transport::Udp, Recursion::Unavailable) {
            Reply::Message(answer) => {
                let answer = Message::from_vec(&answer).unwrap();
                prop_assert_eq!(&answer.queries, &request.queries);
                let says = !answer.answers.is_empty() || !answer.authorities.is_empty();
                prop_assert!(says || answer.metadata.response_code == ResponseCode::Refused);
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }
}
