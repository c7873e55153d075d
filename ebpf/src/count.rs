//! Counting, the last step of every program.

use maps_schema::{
    counters::{Program, drop_counter_index},
    drop_reason::DropReason,
    service::ServiceId,
};

use crate::maps::{DROP_COUNTERS, SERVICE_COUNTERS};

/// Counts a packet that was dropped or refused.
#[inline(always)]
pub(crate) fn count_drop(program: Program, reason: DropReason) {
    if let Some(counter) = DROP_COUNTERS.get_ptr_mut(drop_counter_index(program, reason)) {
        // SAFETY: the element is this processor's own.
        unsafe { *counter += 1 };
    }
}

/// Counts a packet of a service.
#[inline(always)]
pub(crate) fn count_packet(service: ServiceId, bytes: u32) {
    if let Some(counters) = SERVICE_COUNTERS.get_ptr_mut(service.0) {
        // SAFETY: the element is this processor's own.
        unsafe {
            (*counters).packets += 1;
            (*counters).bytes += u64::from(bytes);
        }
    }
}

/// Counts a new connection of a service.
#[inline(always)]
pub(crate) fn count_connection(service: ServiceId) {
    if let Some(counters) = SERVICE_COUNTERS.get_ptr_mut(service.0) {
        // SAFETY: the element is this processor's own.
        unsafe { (*counters).connections += 1 };
    }
}
