//! Programs that make one packet anew at each run, and hand it to the program that is measured: a
//! test-run that is repeated would else find the packet as the run before has left it. On the host
//! this is an empty program.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

// The crate's other programs use it.
#[cfg(target_arch = "bpf")]
use datapath as _;

#[cfg(target_arch = "bpf")]
mod programs;

/// The licence that the kernel is told: some helpers ask for one that is compatible with the GPL.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // No panic may be reachable: the verifier refuses a program that has one.
    loop {}
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
