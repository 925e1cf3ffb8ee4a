//! A value per thread, by a key of pthreads that goes with the runtime.
//!
//! Unlike a thread-local's destructor, a key's does not pin the library: the
//! key can be deleted. Another thread may delete it while one is about to set
//! its value, and the C library gives the number to the next who asks for a
//! key, the host perhaps.
//!
//! ```text
//!   sets its value                       deletes the key
//!     takes the number                     the number is gone  (c)
//!     sets the value          (a)          deletes             (d)
//!     is the number still it? (b)
//!       if not: takes the value back
//! ```
//! If (a) comes after (d) it fails, or the value is one of another's key; then
//! (b) finds (c). The thread had no value of that key, which is younger than
//! (a)'s first step, so null is what it was before.
//!
//! The other key may be the next one of ours: the C library likes to give the
//! same number again. So a [`KeyNumber`] counts how often a key was made.

use super::{Errno, Result};
use core::{
    ffi::c_void,
    ptr,
    sync::atomic::{AtomicU64, Ordering::*},
};

/// The number of a key, plus 1, and above it how many there have been. The
/// number is 0 if the key was deleted, and if there was none yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyNumber(u64);

impl KeyNumber {
    /// Before the first key.
    pub(crate) const NONE: Self = Self(0);

    /// Errors: `ENOMEM` if there has been no key; `ESHUTDOWN` if it was
    /// deleted.
    fn key(self) -> Result<libc::pthread_key_t> {
        let none = if self == Self::NONE {
            Errno::ENOMEM
        } else {
            Errno(libc::ESHUTDOWN)
        };
        (self.0 as u32).checked_sub(1).ok_or(none)
    }

    /// That of the next key.
    fn next(self, key: libc::pthread_key_t) -> Self {
        Self(((self.0 >> 32) + 1) << 32 | u64::from(key + 1))
    }
}

/// See the module.
pub(crate) struct Key(AtomicU64);

impl Key {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(KeyNumber::NONE.0))
    }

    /// Which key there is now.
    #[inline(always)]
    pub(crate) fn number(&self) -> KeyNumber {
        // Acquire: pairs with make.
        KeyNumber(self.0.load(Acquire))
    }

    /// Makes the key if there is none. The destructor runs at the end of each
    /// thread that has a value, but null. One thread at a time makes it.
    ///
    /// Errors: `EAGAIN` if the process has too many keys.
    pub(crate) fn make(
        &self,
        destructor: unsafe extern "C" fn(*mut c_void),
    ) -> Result<()> {
        let old = self.number();
        if old.key().is_ok() {
            return Ok(());
        }
        let mut key = 0;
        // SAFETY: writes the key.
        let result =
            unsafe { libc::pthread_key_create(&raw mut key, Some(destructor)) };
        Errno::from_pthread(result)?;
        // Release: pairs with number.
        self.0.store(old.next(key).0, Release);
        Ok(())
    }

    /// Deletes the key, if there is one. Its destructor is called for no value
    /// any more, but for threads that are ending now.
    pub(crate) fn delete(&self) {
        let old = self.0.fetch_and(!u64::from(u32::MAX), AcqRel);
        if let Ok(key) = KeyNumber(old).key() {
            // SAFETY: takes a number, and checks it.
            unsafe { libc::pthread_key_delete(key) };
        }
    }

    /// Sets this thread's value: that of the key which this returns.
    ///
    /// Errors: `ENOMEM` also if there has been no key; `ESHUTDOWN` if it was
    /// deleted, before or meanwhile.
    pub(crate) fn set(&self, value: *const c_void) -> Result<KeyNumber> {
        let number = self.number();
        let key = number.key()?;
        // (a)
        let is_set = set(key, value);
        // (b). Acquire: after (a).
        if self.number() != number {
            if is_set.is_ok() {
                // Cannot fail: the thread has a value.
                let _as_before = set(key, ptr::null());
            }
            return Err(Errno(libc::ESHUTDOWN));
        }
        is_set.map(|()| number)
    }
}

/// Sets this thread's value of a key.
fn set(key: libc::pthread_key_t, value: *const c_void) -> Result<()> {
    // SAFETY: takes any value, and checks the key.
    Errno::from_pthread(unsafe { libc::pthread_setspecific(key, value) })
}
