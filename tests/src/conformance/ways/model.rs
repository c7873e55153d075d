//! The reference model as a machine.

use serde_json::Value;

use super::Machine;
use crate::{
    conformance::{Cast, Config, Packet, Way, packet::Outcome, scenario::ObjectRef},
    model::{Connections, Here, World},
};

/// The model of a node, with its objects.
#[derive(Clone, Debug, Default)]
pub struct ModelMachine {
    here: Option<Here>,
    config: Config,
    objects: Objects,
    world: Option<World>,
    connections: Connections,
    seconds: u64,
    random: u64,
}

/// Objects by name.
#[derive(Clone, Debug, Default)]
pub struct Objects(Vec<(ObjectRef, Value)>);

impl Objects {
    /// Sets and removes objects.
    pub fn change(&mut self, set: &[Value], remove: &[ObjectRef]) {
        for object in set {
            let name = ObjectRef::of(object);
            self.0.retain(|(other, _)| *other != name);
            self.0.push((name, object.clone()));
        }
        self.0.retain(|(name, _)| !remove.contains(name));
    }

    /// The objects.
    pub fn iter(&self) -> impl Iterator<Item = &Value> {
        self.0.iter().map(|(_, object)| object)
    }
}

impl ModelMachine {
    /// The world as it is now.
    ///
    /// # Panics
    ///
    /// Nothing has begun yet.
    pub fn world(&self) -> &World {
        self.world.as_ref().expect("a world has begun")
    }

    fn build(&mut self) {
        let here = self.here.clone().expect("a world has begun");
        let world = World::new(here, self.config.clone(), self.objects.iter());
        self.world = Some(world.unwrap_or_else(|error| panic!("{error:?}")));
    }
}

impl Machine for ModelMachine {
    fn way(&self) -> Way {
        Way::Model
    }

    fn begin(&mut self, cast: &Cast, config: &Config) {
        let addresses = cast.own_addresses();
        self.here = Some(Here { name: cast.own_node.clone(), addresses });
        self.config = config.clone();
        self.objects = Objects::default();
        self.connections = Connections::default();
        self.build();
    }

    fn change(&mut self, set: &[Value], remove: &[ObjectRef]) {
        self.objects.change(set, remove);
        self.build();
    }

    fn forget(&mut self) {
        self.connections = Connections::default();
    }

    fn wait(&mut self, seconds: u32) {
        self.seconds += u64::from(seconds);
    }

    fn cannot(&self, _packet: &Packet) -> Option<&'static str> {
        None
    }

    fn open(&mut self, packet: &Packet) -> Outcome {
        let Self { world, connections, seconds, random, .. } = self;
        let mut choose = |choices: usize| {
            // Steele, Lea, Flood: "Fast splittable pseudorandom number generators".
            *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (*random ^ (*random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            usize::try_from(mixed >> 33).unwrap_or_default() % choices.max(1)
        };
        let world = world.as_ref().expect("a world has begun");
        connections.open(world, packet, *seconds, &mut choose)
    }
}
