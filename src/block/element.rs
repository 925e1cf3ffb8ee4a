//! Elements of a channel that are more than bytes, and the channel's name: what
//! `gmp_chan_make_with` adds to a channel.
//!
//! A host whose elements own something (an object of C++, a counted reference)
//! gives two functions. `relocate` takes the place of a copy: it makes the new
//! element of the old one and ends the old one. `destroy` ends an element that
//! nobody receives: one that a receiver drops, or that is left in a channel
//! when the channel is freed.
//!
//! ```text
//!   caller's --send--> buffer or waiter's --receive--> caller's
//!      |                    |         |
//!      | send fails:        |         +-- received without a place: destroy
//!      v still the caller's +-- the channel is freed: destroy
//! ```
//! Invariants:
//! 1. An element is in one place at a time. A send that succeeds takes it from
//!    the caller, and each step from there is one call of `relocate`. So each
//!    element that was sent is received once, or destroyed once.
//! 2. Both functions run inside (`sched::enter`), so a call that would have to
//!    wait returns `EDEADLK` there.
//!
//! They run under the channel's lock, but for those that end what a freed
//! channel holds. Rejected: to drop an element outside of the lock, which needs
//! room for the element that may not be there.

use crate::sched::enter::Inside;
use core::{
    ffi::{CStr, c_char, c_void},
    mem::offset_of,
    ptr,
};

/// For `GmpChan::copied`: a function of the host's moves elements.
pub(super) const RELOCATED: usize = usize::MAX;
/// For the same: an element that leaves the buffer leaves zeros there, as the
/// channel is an object of the heap, in which collections look.
pub(super) const CLEARED: usize = usize::MAX - 1;

/// Ends an element.
pub(crate) type Destroy = unsafe extern "C" fn(elem: *mut c_void);
/// Makes the element at `to` of that at `from`, and ends that.
pub(crate) type Relocate =
    unsafe extern "C" fn(to: *mut c_void, from: *mut c_void);

/// What a channel has besides its buffer. It lies behind that, and its name
/// behind it.
#[derive(Clone, Copy)]
pub(crate) struct Extra {
    /// A C string, or null.
    name: *const c_char,
    destroy: Option<Destroy>,
    relocate: Option<Relocate>,
}

impl Extra {
    /// Where the name is, for dumps.
    pub(crate) const NAME_AT: usize = offset_of!(Extra, name);

    /// These functions, or none, and no name yet.
    pub(crate) const fn new(
        destroy: Option<Destroy>,
        relocate: Option<Relocate>,
    ) -> Self {
        Self { name: ptr::null(), destroy, relocate }
    }

    /// How much room an extra part with this name takes.
    pub(super) fn bytes(name: &CStr) -> usize {
        size_of::<Self>() + name.count_bytes() + 1
    }

    /// Writes the part to its place, and its name behind it.
    ///
    /// # Safety
    /// There is room for both, aligned.
    pub(super) unsafe fn place(mut self, at: *mut Self, name: &CStr) {
        let behind = at.wrapping_add(1).cast::<c_char>();
        let len = name.count_bytes() + 1;
        // SAFETY: the caller promises; two strings apart.
        unsafe { ptr::copy_nonoverlapping(name.as_ptr(), behind, len) };
        if !name.is_empty() {
            self.name = behind;
        }
        // SAFETY: the caller promises.
        unsafe { at.write(self) };
    }

    /// How many bytes are copied of an element of this size, or [`RELOCATED`].
    pub(super) fn copied(&self, elem_size: usize) -> usize {
        if self.relocate.is_some() { RELOCATED } else { elem_size }
    }

    /// Whether there is a function for elements.
    pub(crate) fn has_functions(&self) -> bool {
        self.relocate.is_some() || self.destroy.is_some()
    }

    /// Moves an element.
    ///
    /// # Safety
    /// An element is at `from`, and room for one at `to`.
    pub(super) unsafe fn relocate(&self, to: *mut u8, from: *mut u8) {
        if let Some(relocate) = self.relocate {
            let _inside = Inside::enter();
            // SAFETY: the caller's promise is what the host's function needs.
            unsafe { relocate(to.cast(), from.cast()) };
        }
    }

    /// Ends an element; null is none.
    ///
    /// # Safety
    /// `elem` is null, or an element is there.
    pub(super) unsafe fn destroy(&self, elem: *mut u8) {
        if let Some(destroy) = self.destroy
            && !elem.is_null()
        {
            let _inside = Inside::enter();
            // SAFETY: the caller's promise is what the host's function needs.
            unsafe { destroy(elem.cast()) };
        }
    }
}
