//! What the kernel's refusals mean.

use aya::maps::MapError;

use crate::sync::tables::TableError;

/// A table that is full, where that is why an element was not added: a hash says `E2BIG`, a trie
/// `ENOSPC`.
pub(super) fn full(table: &'static str, error: MapError) -> TableError {
    match &error {
        MapError::SyscallError(syscall)
            if matches!(syscall.io_error.raw_os_error(), Some(libc::E2BIG | libc::ENOSPC)) =>
        {
            TableError::Full { table }
        }
        _ => TableError::Map(error),
    }
}

/// It is no failure that what was to be removed is not there.
pub(super) fn unless_absent(result: Result<(), MapError>) -> Result<(), TableError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(syscall))
            if syscall.io_error.raw_os_error() == Some(libc::ENOENT) =>
        {
            Ok(())
        }
        other => Ok(other?),
    }
}

/// As [`full`], of a table whose size no setting changes.
pub(super) fn too_many(table: &'static str, error: MapError) -> TableError {
    match full(table, error) {
        TableError::Full { table } => TableError::TooMany { table },
        other => other,
    }
}
