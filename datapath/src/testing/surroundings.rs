//! A clock that is set by hand, and chance by script.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use maps_schema::clock::{CoarseTime, Moment};

use crate::tables::{Progress, Repeated, Surroundings};

/// A moment, and random numbers to come.
#[derive(Debug)]
pub struct Script {
    since_boot: Cell<Duration>,
    scripted: RefCell<Vec<u32>>,
    state: Cell<u64>,
}

impl Script {
    /// The moment `units` of [`CoarseTime`] after boot; chance follows from `seed`.
    pub fn new(units: u64, seed: u64) -> Self {
        let script = Self {
            since_boot: Cell::default(),
            scripted: RefCell::default(),
            state: Cell::new(seed),
        };
        script.set_time(units);
        script
    }

    /// Sets the clock to the moment `units` of [`CoarseTime`] after boot.
    pub fn set_time(&self, units: u64) {
        self.since_boot.set(Duration::from_nanos(units << 30));
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        self.since_boot.set(self.since_boot.get() + time);
    }

    /// The moment so long ago, which may be before boot.
    pub fn ago(&self, time: Duration) -> Moment {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Moment::from_nanoseconds(self.nanoseconds().wrapping_sub(nanoseconds))
    }

    fn nanoseconds(&self) -> u64 {
        u64::try_from(self.since_boot.get().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The next random numbers, before it is the seed's turn again.
    pub fn say(&self, numbers: &[u32]) {
        self.scripted.borrow_mut().splice(0..0, numbers.iter().rev().copied());
    }
}

impl Surroundings for Script {
    fn now(&self) -> CoarseTime {
        CoarseTime::from_nanoseconds(self.nanoseconds())
    }

    fn moment(&self) -> Moment {
        Moment::from_nanoseconds(self.nanoseconds())
    }

    fn random(&self) -> u32 {
        if let Some(number) = self.scripted.borrow_mut().pop() {
            return number;
        }
        // SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
        let state = self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.state.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 32) as u32
    }

    fn repeat<T: Repeated>(&self, times: u32, repeated: &mut T) {
        for _ in 0..times {
            if repeated.step() == Progress::Done {
                return;
            }
        }
    }
}
