//! Which processor does what.

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

/// The processors that measurements use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processors {
    /// Clients'. The kernel does a packet's way on its sender's processor.
    pub first: usize,
    /// Servers', where they work at the same time as clients.
    pub second: usize,
}

impl Processors {
    /// The first two that this thread may use; where there is one only, both are that one.
    pub fn choose() -> nix::Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        let mut all = (0..CpuSet::count()).filter(|number| allowed.is_set(*number) == Ok(true));
        let first = all.next().unwrap_or(0);
        Ok(Self { first, second: all.next().unwrap_or(first) })
    }
}

/// Has the calling thread, and those that it starts, run on one processor alone.
pub fn stay_on(processor: usize) -> nix::Result<()> {
    keep_on(Pid::from_raw(0), processor)
}

/// The same for another thread, by its number.
pub fn keep_on(thread: Pid, processor: usize) -> nix::Result<()> {
    let mut set = CpuSet::new();
    set.set(processor)?;
    sched_setaffinity(thread, &set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_stays_on_a_processor_may_use_no_other() {
        let chosen = Processors::choose().expect("a processor");
        let left = std::thread::spawn(move || {
            stay_on(chosen.second).expect("a processor that may be used");
            Processors::choose().expect("a processor")
        });
        let left = left.join().expect("the thread ends well");
        assert_eq!(left, Processors { first: chosen.second, second: chosen.second });
    }
}
