//! Symbols of other libraries in this process.

use super::errno::KeepErrno;
use core::ffi::{CStr, c_void};

/// The address of a global symbol, or null.
///
/// Takes the loader's lock, so no constructor or signal handler calls it. Does
/// not search libraries that were loaded with `RTLD_LOCAL`.
pub(crate) fn find(name: &CStr) -> *mut c_void {
    let _keep = KeepErrno::new();
    // SAFETY: name ends with a NUL.
    let at = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    if at.is_null() {
        // Drops the message, which is about a name of ours.
        // SAFETY: concerns this thread's pending message only.
        unsafe { libc::dlerror() };
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_found_and_what_is_not_leaves_no_message() {
        assert!(!find(c"malloc").is_null());
        assert!(find(c"gmprt_no_such_symbol").is_null());
        // SAFETY: concerns this thread's pending message only.
        assert!(unsafe { libc::dlerror() }.is_null());
    }
}
