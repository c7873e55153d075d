//! What contenders are called, with the number of their Services.

use ::tests::contenders::{Nodes, Routing, Setup};

/// In words for people: with Services, and nodes where there are two.
pub(super) fn of(setup: Setup) -> String {
    let nodes = match setup.nodes {
        Nodes::One => "",
        Nodes::Two(Routing::Direct) => ", two nodes",
        Nodes::Two(Routing::Vxlan) => ", two nodes in VXLAN",
    };
    if setup.contender.has_services() {
        let name = setup.contender.name();
        format!("{name} with {} Services{nodes}", grouped(setup.services))
    } else {
        format!("{}{nodes}", setup.contender.name())
    }
}

/// A number with a comma before every three digits.
pub(super) fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 10, 1000, 30_000].map(grouped), ["0", "10", "1,000", "30,000"]);
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
