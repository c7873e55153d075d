use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::cluster::model::ObjectName;

fn pod(name: &str) -> Holder {
    Holder::Pod(ObjectName { namespace: "default".to_owned(), name: name.to_owned() })
}

fn request(name: &str, wanted: &[&str]) -> AddressRequest {
    let wanted = wanted.iter().map(|address| address.parse().unwrap()).collect();
    AddressRequest { holder: pod(name), wanted }
}

fn pool(cidrs: &[&str]) -> Pool {
    let mut pool = Pool::default();
    pool.set_cidrs(&cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect::<Vec<_>>());
    pool
}

fn assign(pool: &mut Pool, name: &str, wanted: &[&str]) -> Result<Vec<String>, String> {
    let answer = pool.assign(&[request(name, wanted)]).remove(0);
    answer
        .map(|addresses| addresses.iter().map(ToString::to_string).collect())
        .map_err(|error| error.to_string())
}

#[test]
fn network_gateway_and_broadcast_are_never_handed_out() {
    let mut pool = pool(&["192.168.1.0/29"]);
    let handed: Vec<_> =
        (0..5).map(|n| assign(&mut pool, &format!("p{n}"), &[]).unwrap().remove(0)).collect();
    let expected = ["192.168.1.2", "192.168.1.3", "192.168.1.4", "192.168.1.5", "192.168.1.6"];
    assert_eq!(handed, expected);
    let error = assign(&mut pool, "one-more", &[]).unwrap_err();
    assert!(error.contains("default/one-more"), "{error}");
    assert!(
        error.contains("192.168.1.0/29") && error.contains("all of its 5 addresses"),
        "{error}"
    );
}

#[test]
fn cidrs_without_room_are_full_from_the_start() {
    for cidr in ["192.168.1.0/31", "192.168.1.0/32", "192.168.1.0/30", "fd10::/127", "fd10::/128"] {
        let mut pool = pool(&[cidr]);
        let room = u128::from(cidr.ends_with("/30"));
        for index in 0..room {
            assign(&mut pool, &format!("p{index}"), &[]).unwrap();
        }
        let error = assign(&mut pool, "a", &[]).unwrap_err();
        assert!(error.contains(&format!("all of its {room} addresses")), "{cidr}: {error}");
    }
}

#[test]
fn the_whole_of_ipv6_is_not_too_large() {
    let mut pool = pool(&["::/0"]);
    assert_eq!(assign(&mut pool, "a", &[]).unwrap(), ["::2"]);
}

#[test]
fn a_released_address_is_reused_only_after_the_others() {
    let mut pool = pool(&["192.168.1.0/29"]);
    assign(&mut pool, "a", &[]).unwrap();
    pool.release_where(|_| true);
    assert_eq!(assign(&mut pool, "b", &[]).unwrap(), ["192.168.1.3"]);
    for name in ["c", "d", "e"] {
        assign(&mut pool, name, &[]).unwrap();
    }
    assert_eq!(assign(&mut pool, "f", &[]).unwrap(), ["192.168.1.2"]);
}

#[test]
fn a_full_second_family_leaves_nothing_assigned() {
    let mut pool = pool(&["192.168.1.0/24", "fd10::/127"]);
    assert!(assign(&mut pool, "a", &[]).unwrap_err().contains("fd10::/127"));
    assert!(pool.addresses(&pod("a")).is_empty());
    assert!(pool.holders.is_empty());
    assert_eq!(pool.last().count(), 0);
}

#[test]
fn wanted_addresses_are_honoured_inside_and_outside_of_the_cidr() {
    let mut pool = pool(&["192.168.1.0/24"]);
    assert_eq!(assign(&mut pool, "in", &["192.168.1.9"]).unwrap(), ["192.168.1.9"]);
    assert_eq!(assign(&mut pool, "out", &["172.16.5.5"]).unwrap(), ["172.16.5.5"]);
    let error = assign(&mut pool, "thief", &["192.168.1.9"]).unwrap_err();
    assert!(error.contains("default/thief") && error.contains("default/in"), "{error}");
    for (reserved, role) in [("0", "network"), ("1", "gateway"), ("255", "broadcast")] {
        let error = assign(&mut pool, "x", &[&format!("192.168.1.{reserved}")]).unwrap_err();
        assert!(error.contains(role), "{error}");
    }
    let error = assign(&mut pool, "two", &["192.168.1.10", "192.168.1.11"]).unwrap_err();
    assert!(error.contains("192.168.1.10") && error.contains("192.168.1.11"), "{error}");
}

#[test]
fn who_asks_for_an_address_is_served_before_who_takes_any() {
    let mut pool = pool(&["192.168.1.0/24"]);
    let answers = pool.assign(&[request("any", &[]), request("asks", &["192.168.1.2"])]);
    assert_eq!(answers[0].as_ref().unwrap(), &["192.168.1.3".parse::<IpAddr>().unwrap()]);
    assert_eq!(answers[1].as_ref().unwrap(), &["192.168.1.2".parse::<IpAddr>().unwrap()]);
}

#[test]
fn a_changed_cidr_drops_the_leases_outside_of_it() {
    let mut pool = pool(&["192.168.1.0/24"]);
    assign(&mut pool, "old", &[]).unwrap();
    assign(&mut pool, "fixed", &["192.168.1.77"]).unwrap();
    let dropped = pool.set_cidrs(&["192.168.2.0/24".parse().unwrap()]);
    assert_eq!(dropped, [pod("old")]);
    assert_eq!(assign(&mut pool, "old", &[]).unwrap(), ["192.168.2.2"]);
    assert_eq!(pool.addresses(&pod("fixed")).len(), 1);
}

#[test]
fn a_second_family_is_added_to_pods_that_have_the_first() {
    let mut pool = pool(&["192.168.1.0/24"]);
    assign(&mut pool, "a", &[]).unwrap();
    pool.set_cidrs(&["192.168.1.0/24".parse().unwrap(), "fd10:1::/64".parse().unwrap()]);
    assert_eq!(assign(&mut pool, "a", &[]).unwrap(), ["192.168.1.2", "fd10:1::2"]);
}

#[derive(Clone, Debug)]
enum Step {
    Any(u8),
    Wanted(u8, u8),
    Remove(u8),
    Reload,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u8..24).prop_map(Step::Any),
        2 => ((0_u8..24), (0_u8..20)).prop_map(|(pod, host)| Step::Wanted(pod, host)),
        2 => (0_u8..24).prop_map(Step::Remove),
        1 => Just(Step::Reload),
    ]
}

fn reloaded(pool: &Pool, cidrs: &[&str]) -> Pool {
    let mut again = Pool::default();
    for (pod, addresses, requested) in pool.leases() {
        again.insert(pod, addresses.to_vec(), requested).unwrap();
    }
    again.set_last(&pool.last().collect::<Vec<_>>());
    again.set_cidrs(&cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect::<Vec<_>>());
    again
}

proptest! {
    #[test]
    fn no_two_pods_have_one_address_whatever_happens(
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let cidrs = ["192.168.1.0/28", "fd10:1::/124"];
        let mut pool = pool(&cidrs);
        for step in steps {
            match step {
                Step::Any(number) => {
                    let name = format!("p{number}");
                    let had = pool.addresses(&pod(&name)).to_vec();
                    let got = pool.assign(&[request(&name, &[])]).remove(0);
                    if let (2, Ok(got)) = (had.len(), &got)
                        && had.iter().all(|address| pool.cidr_of(*address).is_some())
                    {
                        prop_assert!(had.iter().all(|address| got.contains(address)));
                    }
                }
                Step::Wanted(number, host) => {
                    let address = format!("192.168.1.{host}");
                    let _ = pool.assign(&[request(&format!("p{number}"), &[&address])]);
                }
                Step::Remove(number) => {
                    let gone = pod(&format!("p{number}"));
                    pool.release_where(|holder| *holder == gone);
                }
                Step::Reload => {
                    let again = reloaded(&pool, &cidrs);
                    prop_assert_eq!(&again, &pool);
                    pool = again;
                }
            }
            let all: Vec<IpAddr> = pool.leases().flat_map(|(_, held, _)| held.to_vec()).collect();
            let distinct: BTreeSet<&IpAddr> = all.iter().collect();
            prop_assert_eq!(distinct.len(), all.len());
            prop_assert_eq!(pool.holders.len(), all.len());
            for address in all {
                prop_assert!(pool.cidr_of(address).is_none_or(|cidr| cidr.role(address).is_none()));
            }
        }
    }
}
