//! Host names in a program that is linked statically.
//!
//! glibc reads `nsswitch.conf` and loads the modules that it names, which are the system's and
//! want the system's glibc: in a static program with another one inside, that may crash. Files
//! and DNS need no module. A program that is linked dynamically goes by `nsswitch.conf` as all do.

/// Has the C library resolve host names by `/etc/hosts` and DNS alone, where it is inside this
/// program. To be called before there are other threads.
pub(crate) fn resolve_without_modules() {
    #[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
    {
        use std::ffi::{c_char, c_int};

        unsafe extern "C" {
            fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
        }
        // SAFETY: both are strings that end in a zero byte and live for ever; glibc declares the
        // function so in `nss.h`. Nobody looks names up at the same time: there is one thread.
        let result = unsafe { __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr()) };
        if result != 0 {
            log::warn!("host names are looked up as nsswitch.conf says");
        }
    }
}
