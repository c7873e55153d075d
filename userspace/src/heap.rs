//! Memory that was needed once, given back to the system: for reading a large file, for listing a
//! cluster, for loading the programs.
//!
//! The C library keeps what was freed for the next allocation. For a parser's many small pieces,
//! freed all at once and between others that stay, that is for good.

/// Gives memory that is free back to the system. It takes milliseconds.
pub(crate) fn give_back() {
    // SAFETY: `malloc_trim` may be called at any time and from any thread; it touches only memory
    // that is free.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
