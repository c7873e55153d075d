//! The few bpf(2) calls that aya has no function for.
//!
//! Each attribute struct is a prefix of the kernel's `union bpf_attr` (linux/bpf.h); the kernel
//! takes the size that it is given and treats what is beyond as zero.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
};

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_LINK_CREATE: libc::c_int = 28;

const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_F_MMAPABLE: u32 = 1 << 10;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_TCX_INGRESS: u32 = 46;

/// `r0 = -1; exit`: `TCX_NEXT`, or `TC_ACT_UNSPEC`, in the byte order of the machine.
const LEAVE_EVERYTHING: [u64; 2] = [instruction(0xb7, -1), instruction(0x95, 0)];

/// An instruction without registers (so: on `r0`) and offset.
const fn instruction(opcode: u8, immediate: i32) -> u64 {
    let [a, b, c, d] = immediate.to_ne_bytes();
    u64::from_ne_bytes([opcode, 0, 0, 0, a, b, c, d])
}

#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
}

#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
struct GetInfo {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The beginning of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Default)]
struct ProgInfo {
    prog_type: u32,
    id: u32,
    tag: [u8; 8],
    jited_prog_len: u32,
    xlated_prog_len: u32,
}

/// Loads a classifier that leaves every packet to the next one.
pub(super) fn load_classifier() -> io::Result<OwnedFd> {
    let attributes = ProgLoad {
        prog_type: BPF_PROG_TYPE_SCHED_CLS,
        insn_cnt: 2,
        insns: LEAVE_EVERYTHING.as_ptr().addr() as u64,
        license: c"GPL".as_ptr().addr() as u64,
    };
    descriptor(BPF_PROG_LOAD, &attributes)
}

/// Whether the kernel compiled the program to machine code.
pub(super) fn is_compiled(program: &impl AsFd) -> io::Result<bool> {
    let mut info = ProgInfo::default();
    let attributes = GetInfo {
        bpf_fd: number(program)?,
        info_len: u32::try_from(size_of::<ProgInfo>()).map_err(io::Error::other)?,
        info: (&raw mut info).expose_provenance() as u64,
    };
    call(BPF_OBJ_GET_INFO_BY_FD, &attributes)?;
    // SAFETY: `info` lives; the kernel has written to it through its address, which the read must
    // not be moved before.
    let info = unsafe { (&raw const info).read_volatile() };
    Ok(info.jited_prog_len > 0)
}

/// Makes an array that userspace can map into its memory.
pub(super) fn create_mmapable_array() -> io::Result<OwnedFd> {
    let attributes = MapCreate {
        map_type: BPF_MAP_TYPE_ARRAY,
        key_size: 4,
        value_size: 8,
        max_entries: 1,
        map_flags: BPF_F_MMAPABLE,
    };
    descriptor(BPF_MAP_CREATE, &attributes)
}

/// Attaches the classifier to the ingress of an interface of this thread's network namespace, by
/// a tcx link; dropping the link detaches it. Minimum kernel 6.6.
pub(super) fn link_tcx_ingress(classifier: &impl AsFd, interface: u32) -> io::Result<OwnedFd> {
    let attributes = LinkCreate {
        prog_fd: number(classifier)?,
        target_ifindex: interface,
        attach_type: BPF_TCX_INGRESS,
        flags: 0,
    };
    descriptor(BPF_LINK_CREATE, &attributes)
}

fn number(descriptor: &impl AsFd) -> io::Result<u32> {
    u32::try_from(descriptor.as_fd().as_raw_fd()).map_err(io::Error::other)
}

/// A call that returns a new file descriptor.
fn descriptor<Attributes>(command: libc::c_int, attributes: &Attributes) -> io::Result<OwnedFd> {
    let number = RawFd::try_from(call(command, attributes)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn call<Attributes>(command: libc::c_int, attributes: &Attributes) -> io::Result<libc::c_long> {
    // SAFETY: `attributes` is one of the structs above, valid for reads of its whole size, without
    // padding, and every address in it is that of something that outlives the call. The kernel
    // writes to none of them but through `GetInfo::info`, of which it knows the length. The call
    // is avoidable only once aya exposes it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<Attributes>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
