//! A large value in a mapping of its own: no heap is needed, and pages come
//! when they are touched.

use crate::os::{Errno, Result, mem};
use core::{
    ops::{Deref, DerefMut},
    ptr::NonNull,
};

/// A value in a mapping of its own, which goes at drop. The value's own drop is
/// not called.
pub(super) struct Mapped<T>(NonNull<T>);

// SAFETY: it owns the value.
unsafe impl<T: Send> Send for Mapped<T> {}

impl<T> Mapped<T> {
    /// Maps one, whose bytes are zero.
    ///
    /// Errors: `ENOMEM`.
    ///
    /// # Safety
    /// All bytes zero are a valid `T`, and its alignment is a page's at most.
    pub(super) unsafe fn new() -> Result<Self> {
        let at = mem::map_data(size_of::<T>()).ok();
        let at = at.and_then(|at| NonNull::new(at.cast()));
        at.map(Self).ok_or(Errno::ENOMEM)
    }
}

impl<T> Deref for Mapped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: mapped with room for one, valid, and this is its owner.
        unsafe { self.0.as_ref() }
    }
}

impl<T> DerefMut for Mapped<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: mapped with room for one, valid, and this is its owner.
        unsafe { self.0.as_mut() }
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: from new, and used no more.
        unsafe { mem::unmap(self.0.as_ptr().cast(), size_of::<T>()) };
    }
}
