//! System calls that may be missing, and the older calls in their place.
//!
//! An old kernel answers `ENOSYS`. A sandbox answers with its author's choice:
//! seccomp profiles return `EPERM` or `EACCES` for calls that they do not list,
//! and so for every call that is younger than the profile. A call without the
//! requested flag returns `EINVAL` or `EOPNOTSUPP`. So every call with a
//! fallback goes through [`Newer`], and no caller compares with one of these
//! numbers.
//!
//! All five are genuine errors too (of a file that lacks the operation, or of
//! a firewall). So the older call has the last word: its result is the
//! caller's, and the newer call is given up for good only if the older one did
//! better.

use super::errno::{Errno, Result};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

impl Errno {
    /// The error claims that the kernel or a sandbox lacks the call.
    pub(crate) const fn is_absence(self) -> bool {
        matches!(self.0, libc::ENOSYS | libc::EPERM | libc::EACCES)
    }

    /// The error claims that the call is missing, its flags, or its support for
    /// this file.
    pub(crate) const fn is_refusal(self) -> bool {
        let unsuited = matches!(self.0, libc::EINVAL | libc::EOPNOTSUPP);
        self.is_absence() || unsuited
    }
}

/// A call for which an older one can stand in, and whether it was refused.
pub(crate) struct Newer {
    refused: AtomicBool,
    /// A refusal may concern one file only.
    by_file: bool,
}

impl Newer {
    /// A call that exists or does not.
    pub(crate) const fn call() -> Self {
        Self { refused: AtomicBool::new(false), by_file: false }
    }

    /// A call that may also be refused for one file, and work for the next.
    pub(crate) const fn by_file() -> Self {
        Self { refused: AtomicBool::new(false), by_file: true }
    }

    /// Whether the newer call has been given up.
    pub(crate) fn is_refused(&self) -> bool {
        // Relaxed: a thread that misses the store tries once more.
        self.refused.load(Relaxed)
    }

    /// Calls `newer`, or `older` if `newer` is or was refused.
    #[inline]
    pub(crate) fn or<T>(
        &self,
        newer: impl FnOnce() -> Result<T>,
        older: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        // Relaxed: a thread that misses the store tries once more.
        if self.refused.load(Relaxed) {
            return older();
        }
        match newer() {
            Err(e) if e.is_refusal() => self.older(e, older),
            done => done,
        }
    }

    #[cold]
    fn older<T>(
        &self,
        why: Errno,
        older: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let done = older();
        let better = !matches!(&done, Err(e) if e.is_refusal());
        if better && (why.is_absence() || !self.by_file) {
            // Relaxed: a thread that misses the store tries once more.
            self.refused.store(true, Relaxed);
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no<T>(errno: i32) -> Result<T> {
        Err(Errno(errno))
    }

    #[test]
    fn whatever_the_refusal_the_older_call_is_made_and_kept() {
        for errno in [libc::ENOSYS, libc::EPERM, libc::EACCES, libc::EINVAL] {
            let call = Newer::call();
            assert_eq!(call.or(|| no(errno), || Ok(1)), Ok(1));
            assert_eq!(call.or(|| panic!("again"), || Ok(2)), Ok(2));
        }
    }

    #[test]
    fn one_file_does_not_speak_for_the_others() {
        let call = Newer::by_file();
        assert_eq!(call.or(|| no(libc::EOPNOTSUPP), || Ok(1)), Ok(1));
        assert_eq!(call.or(|| Ok(2), || panic!("older")), Ok(2));
        assert_eq!(call.or(|| no(libc::EPERM), || Ok(3)), Ok(3));
        assert_eq!(call.or(|| panic!("again"), || Ok(4)), Ok(4));
    }

    #[test]
    fn a_genuine_error_is_the_older_calls_and_gives_nothing_up() {
        let call = Newer::call();
        assert_eq!(call.or(|| no(libc::EPERM), || no::<i32>(libc::EPERM)), {
            no(libc::EPERM)
        });
        assert_eq!(call.or(|| Ok(1), || panic!("older")), Ok(1));
        assert_eq!(call.or(|| no(libc::EBADF), || Ok(2)), no(libc::EBADF));
    }
}
