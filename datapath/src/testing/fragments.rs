//! What is known of fragments, in lists that forget what is oldest.

use std::cell::RefCell;

use maps_schema::{
    address::Address,
    clock::CoarseTime,
    fragment::{FirstFragment, FragmentKey, HeldKey, MAX_HELD_FRAME},
};

use super::frame::Frame;
use crate::{
    fragment::{Fragments, NoRoom},
    packet::WriteFailed,
};

/// First fragments, and later ones that wait for them, of both families.
#[derive(Debug)]
pub struct MemoryFragments {
    firsts: RefCell<Vec<(HeldKey, FirstFragment)>>,
    held: RefCell<Vec<(HeldKey, CoarseTime, Frame)>>,
    aside: RefCell<Option<Frame>>,
    released: RefCell<Vec<Frame>>,
    /// How many of each are remembered.
    pub capacity: usize,
}

impl MemoryFragments {
    /// Nothing is known, and there is room for this many of each.
    pub fn new(capacity: usize) -> Self {
        Self {
            firsts: RefCell::default(),
            held: RefCell::default(),
            aside: RefCell::default(),
            released: RefCell::default(),
            capacity,
        }
    }

    /// The frames that were let go since this was asked before, in their order.
    pub fn take_released(&self) -> Vec<Frame> {
        self.released.take()
    }

    /// How many frames wait.
    pub fn held(&self) -> usize {
        self.held.borrow().len()
    }

    /// How many first fragments are known.
    pub fn firsts(&self) -> usize {
        self.firsts.borrow().len()
    }

    fn push<T>(&self, list: &RefCell<Vec<T>>, element: T) {
        let mut list = list.borrow_mut();
        if list.len() == self.capacity {
            list.remove(0);
        }
        list.push(element);
    }
}

/// A place that no fragment waits in: it stands for all of them.
fn datagram<A: Address>(key: &FragmentKey<A>) -> HeldKey {
    HeldKey::new(key, u16::MAX)
}

impl<A: Address> Fragments<A, Frame> for MemoryFragments {
    fn first(&self, key: &FragmentKey<A>) -> Option<FirstFragment> {
        let firsts = self.firsts.borrow();
        firsts.iter().find(|(known, _)| *known == datagram(key)).map(|(_, first)| *first)
    }

    fn note(&self, key: &FragmentKey<A>, first: &FirstFragment) {
        self.firsts.borrow_mut().retain(|(known, _)| *known != datagram(key));
        self.push(&self.firsts, (datagram(key), *first));
    }

    fn held_since(&self, key: &HeldKey) -> Option<CoarseTime> {
        let held = self.held.borrow();
        held.iter().find(|(place, _, _)| place == key).map(|(_, since, _)| *since)
    }

    fn hold(&self, key: &HeldKey, packet: &Frame, now: CoarseTime) -> Result<(), NoRoom> {
        if packet.bytes().len() > MAX_HELD_FRAME {
            return Err(NoRoom);
        }
        if Fragments::<A, Frame>::held_since(self, key).is_some() {
            return Err(NoRoom);
        }
        self.push(&self.held, (*key, now, packet.clone()));
        Ok(())
    }

    fn forget(&self, key: &HeldKey) -> bool {
        let mut held = self.held.borrow_mut();
        let before = held.len();
        held.retain(|(place, _, _)| place != key);
        held.len() < before
    }

    fn set_aside(&self, packet: &Frame) -> Result<(), NoRoom> {
        *self.aside.borrow_mut() = Some(packet.clone());
        Ok(())
    }

    fn release(&self, key: &HeldKey, packet: &mut Frame) -> Result<(), WriteFailed> {
        let held = self.held.borrow().iter().find(|(place, _, _)| place == key).cloned();
        if let Some((_, _, frame)) = held {
            *packet = frame.clone();
            Fragments::<A, Frame>::forget(self, key);
            self.released.borrow_mut().push(frame);
        }
        Ok(())
    }

    fn take_back(&self, packet: &mut Frame) -> Result<(), WriteFailed> {
        *packet = self.aside.borrow_mut().take().ok_or(WriteFailed)?;
        Ok(())
    }
}
