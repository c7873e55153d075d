//! The same in IPv6: every IPv4 address in every text becomes one of `fd10::/64`, each of its
//! octets in a group of its own, so that networks contain the same addresses as before.
//!
//! `10.96.0.1:80` becomes `[fd10::a:60:0:1]:80`, and `10.96.0.0/16` `fd10::a:60:0:0/96`. Leading
//! zeros stay leading zeros. Loopback addresses become `::1`.

use serde_json::Value;

/// The twin of anything written.
pub fn of(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(of_text(&text)),
        Value::Array(values) => values.into_iter().map(of).collect(),
        Value::Object(fields) => Value::Object(
            fields.into_iter().map(|(key, value)| (of_text(&key), of(value))).collect(),
        ),
        other => other,
    }
}

/// The twin of a text.
pub fn of_text(text: &str) -> String {
    match text {
        "IPv4" => return "IPv6".to_owned(),
        "IPv6" => return "IPv4".to_owned(),
        _ => {}
    }
    let mut twin = String::new();
    let mut rest = text;
    let mut after_a_word = false;
    while let Some(first) = rest.chars().next() {
        if !after_a_word
            && first.is_ascii_digit()
            && let Some((octets, behind)) = address(rest)
        {
            let (written, behind) = written(octets, behind);
            twin.push_str(&written);
            rest = behind;
            after_a_word = true;
            continue;
        }
        twin.push(first);
        after_a_word = first.is_ascii_alphanumeric() || first == '.';
        rest = rest.strip_prefix(first).unwrap_or_default();
    }
    twin
}

/// The octets' digits at the beginning of a text, and what is behind.
fn address(text: &str) -> Option<([&str; 4], &str)> {
    let mut octets = [""; 4];
    let mut rest = text;
    for (index, octet) in octets.iter_mut().enumerate() {
        if index > 0 {
            rest = rest.strip_prefix('.')?;
        }
        let end = rest.find(|it: char| !it.is_ascii_digit()).unwrap_or(rest.len());
        (*octet, rest) = rest.split_at_checked(end)?;
        let _: u8 = octet.parse().ok()?;
    }
    let goes_on = rest.starts_with('.') && rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
    (!goes_on).then_some((octets, rest))
}

/// The twin of an address, with its port or prefix length, and what is behind.
fn written<'a>(octets: [&str; 4], behind: &'a str) -> (String, &'a str) {
    let number = |text: &str| text.parse::<u8>().unwrap_or_default();
    let is_loopback = number(octets[0]) == 127;
    let address = if is_loopback {
        "::1".to_owned()
    } else {
        let groups = octets.map(|octet| match octet {
            padded if padded.len() > 1 && padded.starts_with('0') => {
                format!("{:04x}", number(padded))
            }
            plain => format!("{:x}", number(plain)),
        });
        format!("fd10::{}", groups.join(":"))
    };
    if let Some((length, behind)) = digits_after('/', behind) {
        let length: u32 = length.parse().unwrap_or(u32::MAX);
        return match (is_loopback, prefix_length(length)) {
            (_, 0) => ("::/0".to_owned(), behind),
            (true, _) => ("::1/128".to_owned(), behind),
            (false, length) => (format!("{address}/{length}"), behind),
        };
    }
    if digits_after(':', behind).is_some() {
        return (format!("[{address}]"), behind);
    }
    (address, behind)
}

/// The digits behind a mark, and what is behind them.
fn digits_after(mark: char, text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix(mark)?;
    let end = rest.find(|it: char| !it.is_ascii_digit()).unwrap_or(rest.len());
    (end > 0).then(|| rest.split_at(end))
}

/// How many bits of the twin say what so many bits of an IPv4 address say.
fn prefix_length(length: u32) -> u32 {
    match (length / 8, length % 8) {
        (0, 0) => 0,
        (octets, 0) => 64 + 16 * octets,
        (octets, rest) => 64 + 16 * octets + 8 + rest,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use ipnet::IpNet;

    use super::*;

    #[test]
    fn addresses_become_addresses_wherever_they_stand() {
        for (v4, v6) in [
            ("10.96.0.1", "fd10::a:60:0:1"),
            ("10.96.0.1:80/TCP", "[fd10::a:60:0:1]:80/TCP"),
            ("10.96.0.1/ICMP", "fd10::a:60:0:1/ICMP"),
            ("10.96.0.0/16", "fd10::a:60:0:0/96"),
            (" 172.31.0.0/25", " fd10::ac:1f:0:0/121"),
            ("0.0.0.0/0", "::/0"),
            ("127.0.0.1:3001/TCP", "[::1]:3001/TCP"),
            ("127.0.0.0/8", "::1/128"),
            ("010.096.000.041", "fd10::000a:0060:0000:0029"),
            ("from 10.0.0.1 or 10.0.0.2.", "from fd10::a:0:0:1 or fd10::a:0:0:2."),
            ("IPv4", "IPv6"),
            ("v1.36.2", "v1.36.2"),
            ("1.2.3.4.5", "1.2.3.4.5"),
            ("300.1.1.1", "300.1.1.1"),
        ] {
            assert_eq!(of_text(v4), v6);
        }
    }

    #[test]
    fn networks_contain_the_same_addresses() {
        for (network, address) in [
            ("172.31.0.0/25", "172.31.0.2"),
            ("172.31.0.0/25", "172.31.0.130"),
            ("172.31.0.128/25", "172.31.0.130"),
            ("10.244.0.0/24", "10.244.0.255"),
            ("10.0.0.0/12", "10.15.0.1"),
            ("10.0.0.0/12", "10.16.0.1"),
            ("10.0.0.1/32", "10.0.0.1"),
            ("0.0.0.0/0", "10.0.0.1"),
        ] {
            let contains = |network: &str, address: &str| {
                let network: IpNet = network.parse().unwrap();
                network.contains(&address.parse::<IpAddr>().unwrap())
            };
            let twins = contains(&of_text(network), &of_text(address));
            assert_eq!(contains(network, address), twins, "{network} {address}");
        }
    }

    #[test]
    fn ports_stay() {
        let twin: SocketAddr = of_text("10.244.1.3:8080").parse().unwrap();
        assert_eq!(twin.port(), 8080);
    }
}
