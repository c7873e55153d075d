//! A world: settings, objects, and packets.

use maps_schema::address::Family;
use proptest::{collection::vec, prelude::*};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    endpoints::any_slices,
    packets::{Written, any_packet},
    services::{MOST_SERVICES, any_service},
    settings::{any_nodes, any_settings},
};
use crate::conformance::{Cast, Config, Packet, packet::Target, twin};

/// A world, as it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct World {
    /// Whether it happens as its twin in IPv6.
    pub as_twin: bool,
    /// The settings, by the names of the agent's flags.
    pub settings: Value,
    /// The objects.
    pub objects: Vec<Value>,
    /// The packets, in this order.
    pub packets: Vec<Written>,
}

/// A world with so many packets.
pub fn any_world(packets: usize) -> impl Strategy<Value = World> {
    // Most are there; it shrinks to worlds with fewer.
    let is_there = || (0..8).prop_map(|number| number > 0);
    let services: Vec<_> = (0..MOST_SERVICES)
        .map(|number| (is_there(), any_service(number), any_slices(number)))
        .collect();
    let packets = vec(any_packet(), 1..=packets);
    (any::<bool>(), any_settings(), any_nodes(), services, packets).prop_map(
        |(as_twin, settings, nodes, services, packets)| {
            let mut objects = nodes;
            for (_, service, slices) in services.into_iter().filter(|(is_there, ..)| *is_there) {
                objects.push(service);
                objects.extend(slices);
            }
            World { as_twin, settings, objects, packets }
        },
    )
}

impl World {
    /// The family that it happens in.
    pub fn family(&self) -> Family {
        if self.as_twin { Family::V6 } else { Family::V4 }
    }

    /// The settings.
    pub fn config(&self) -> Config {
        serde_json::from_value(self.in_family(self.settings.clone())).expect("settings are known")
    }

    /// The objects.
    pub fn objects(&self) -> Vec<Value> {
        self.objects.iter().map(|object| self.in_family(object.clone())).collect()
    }

    /// A packet of it.
    pub fn packet(&self, written: &Written, cast: &Cast) -> Packet {
        let text = |text: &str| if self.as_twin { twin::of_text(text) } else { text.to_owned() };
        let source = text(&written.from).parse().expect("an address");
        let target: Target = text(&written.to).parse().expect("a target");
        Packet {
            source,
            side: cast.side_of(source),
            destination: target.address,
            protocol: target.protocol,
        }
    }

    fn in_family(&self, value: Value) -> Value {
        if self.as_twin { twin::of(value) } else { value }
    }
}
