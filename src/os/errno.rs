//! Error numbers as values, and this thread's `errno`.

use core::{
    ffi::{CStr, c_char},
    fmt,
};

/// An error number, positive as in `<errno.h>`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

/// The result of a system call.
pub(crate) type Result<T> = core::result::Result<T, Errno>;

impl Errno {
    pub(crate) const EAGAIN: Self = Self(libc::EAGAIN);
    pub(crate) const EINVAL: Self = Self(libc::EINVAL);
    pub(crate) const ENOMEM: Self = Self(libc::ENOMEM);

    /// This thread's `errno`, after a failed call.
    pub(crate) fn last() -> Self {
        // SAFETY: points to this thread's errno.
        Self(unsafe { *errno_location() })
    }

    /// Its meaning in English.
    pub(crate) fn text(self) -> &'static str {
        // SAFETY: a C string, static but for numbers that are no errors.
        let text = unsafe { CStr::from_ptr(strerror(self.0)) };
        text.to_str().unwrap_or("?")
    }

    /// The negative number that the C functions return.
    pub(crate) const fn neg(self) -> i32 {
        -self.0
    }

    /// `value`, or this thread's `errno` if it is -1.
    pub(crate) fn check<T: Copy + Into<i64>>(value: T) -> Result<T> {
        if value.into() == -1 { Err(Self::last()) } else { Ok(value) }
    }

    /// The result of a pthread function, which is 0 or an errno.
    pub(crate) fn from_pthread(result: i32) -> Result<()> {
        if result == 0 { Ok(()) } else { Err(Self(result)) }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "errno {}", self.0)
    }
}

/// The address of this thread's `errno`. Never kept across a switch.
pub(crate) fn errno_location() -> *mut i32 {
    // SAFETY: takes no argument and may be called anywhere.
    unsafe { libc::__errno_location() }
}

/// Restores this thread's `errno` at drop. It stands around system calls that
/// the host did not make.
pub(crate) struct KeepErrno(i32);

impl KeepErrno {
    pub(crate) fn new() -> Self {
        Self(Errno::last().0)
    }
}

impl Drop for KeepErrno {
    fn drop(&mut self) {
        // SAFETY: points to this thread's errno; the value does not move to
        // another thread, because no system call switches goroutines.
        unsafe { *errno_location() = self.0 };
    }
}

/// The text of an error number or of its negative. The text is static; unknown
/// numbers share a buffer of the thread.
pub(crate) fn strerror(code: i32) -> *const c_char {
    // SAFETY: takes any number.
    unsafe { libc::strerror(code.saturating_abs()) }
}
