//! bpf(2), for what aya 0.14 lacks: opening a pinned link, replacing the program of a cgroup link,
//! and reading a hash in batches.

use std::{
    ffi::CString,
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use aya::Pod;

const BPF_OBJ_GET: libc::c_int = 7;
const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
const BPF_LINK_UPDATE: libc::c_int = 29;

#[repr(C)]
#[derive(Clone, Copy)]
struct ObjGet {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct LinkUpdate {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct MapBatch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// `attr` is the part of `union bpf_attr` that `command` reads; every pointer in it is valid for
/// what `command` reads or writes there.
#[expect(clippy::cast_possible_truncation, reason = "the size of a small struct")]
unsafe fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the kernel reads and writes `size_of::<T>()` bytes of `attr`, and what the caller
    // vouches for.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<T>() as libc::c_uint,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// Opens what is pinned at a path.
#[expect(clippy::cast_possible_truncation, reason = "a file descriptor")]
pub(crate) fn obj_get(path: &Path) -> io::Result<OwnedFd> {
    let pathname = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = ObjGet { pathname: pathname.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    // SAFETY: `pathname` ends with a zero byte and outlives the call.
    let fd = unsafe { bpf(BPF_OBJ_GET, &mut attr) }?;
    // SAFETY: the kernel has made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

/// Replaces the program of a link, in one step. Linux 5.7.
pub(crate) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr =
        LinkUpdate { link_fd: raw(link), new_prog_fd: raw(program), flags: 0, old_prog_fd: 0 };
    // SAFETY: the attributes hold no pointer.
    unsafe { bpf(BPF_LINK_UPDATE, &mut attr) }.map(drop)
}

/// Where a reading by batches stands: a hash's bucket.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BatchCursor {
    bucket: Option<u32>,
}

/// Reads the next entries of a hash into `keys` and `values`, as many as fit; returns how many, and
/// whether there may be more. Entries that come or go meanwhile may be seen or not; none is seen
/// half. Linux 5.6.
///
/// # Errors
///
/// `ENOSPC`: a bucket holds more entries than fit.
pub(crate) fn lookup_batch<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    cursor: &mut BatchCursor,
    keys: &mut [MaybeUninit<K>],
    values: &mut [MaybeUninit<V>],
) -> io::Result<(usize, bool)> {
    let room = keys.len().min(values.len());
    // SAFETY: `keys` and `values` have room for `room` elements each, and `K` and `V` are the map's
    // types.
    unsafe { batch(map, cursor, keys.as_mut_ptr() as u64, values.as_mut_ptr() as u64, room) }
}

/// Counts the entries of a hash. Linux 5.6.
pub(crate) fn count_entries(
    map: BorrowedFd<'_>,
    key_size: u32,
    value_size: u32,
) -> io::Result<u64> {
    const ROOM: usize = 4096;
    let mut keys = vec![0_u8; ROOM * key_size as usize];
    let mut values = vec![0_u8; ROOM * value_size.next_multiple_of(8) as usize];
    let mut cursor = BatchCursor::default();
    let mut count = 0;
    loop {
        let (keys, values) = (keys.as_mut_ptr() as u64, values.as_mut_ptr() as u64);
        // SAFETY: `keys` and `values` have room for `ROOM` elements of the map's sizes each.
        let (read, more) = unsafe { batch(map, &mut cursor, keys, values, ROOM) }?;
        count += read as u64;
        if !more {
            return Ok(count);
        }
    }
}

/// # Safety
///
/// `keys` and `values` are the addresses of room for `room` elements each.
unsafe fn batch(
    map: BorrowedFd<'_>,
    cursor: &mut BatchCursor,
    keys: u64,
    values: u64,
    room: usize,
) -> io::Result<(usize, bool)> {
    let mut next = 0_u32;
    let mut attr = MapBatch {
        in_batch: cursor.bucket.as_ref().map_or(0, |bucket| std::ptr::from_ref(bucket) as u64),
        out_batch: (&raw mut next) as u64,
        keys,
        values,
        count: u32::try_from(room).unwrap_or(u32::MAX),
        map_fd: raw(map),
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: `in_batch` and `out_batch` point to a bucket number, which has 32 bits for hashes;
    // the caller vouches for the rest.
    let more = match unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut attr) } {
        Ok(_) => true,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => false,
        Err(error) => return Err(error),
    };
    cursor.bucket = Some(next);
    Ok((attr.count as usize, more))
}
