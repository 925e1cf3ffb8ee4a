//! Allocation that reports failure: boxes, lists and strings.
//!
//! The collections of the standard library abort the process when memory runs
//! out. A library must not do that to its host. So all code here allocates
//! through these functions, through `try_reserve` or by `malloc`, and returns
//! the failure to its caller. `tests/tidy.rs` refuses the other ways.

use core::ffi::CStr;
use std::{
    alloc::{Layout, alloc},
    boxed::Box,
    vec::Vec,
};

/// `value` on the heap. Without memory None, and `value` is dropped.
pub(crate) fn try_box<T>(value: T) -> Option<Box<T>> {
    const { assert!(size_of::<T>() != 0) };
    // SAFETY: the layout is not empty, asserted above.
    let place = unsafe { alloc(Layout::new::<T>()) }.cast::<T>();
    if place.is_null() {
        return None;
    }
    // SAFETY: `place` is not null, and fresh memory of T's layout.
    unsafe { place.write(value) };
    // SAFETY: from the global allocator with this layout, and initialised.
    Some(unsafe { Box::from_raw(place) })
}

/// Appends `value`. Without memory None, and the list is unchanged.
pub(crate) fn try_push<T>(list: &mut Vec<T>, value: T) -> Option<()> {
    list.try_reserve(1).ok()?;
    list.push(value);
    Some(())
}

/// A list of all `items`; None without memory.
pub(crate) fn try_list<T>(items: impl Iterator<Item = T>) -> Option<Vec<T>> {
    let mut list = Vec::new();
    for item in items {
        try_push(&mut list, item)?;
    }
    Some(list)
}

/// An owned C string.
pub(crate) struct Text(Vec<u8>);

impl Text {
    /// A copy of `bytes`, which contain no NUL; None without memory.
    pub(crate) fn copy(bytes: &[u8]) -> Option<Self> {
        let mut text = Vec::new();
        text.try_reserve_exact(bytes.len() + 1).ok()?;
        text.extend_from_slice(bytes);
        text.push(0);
        Some(Self(text))
    }

    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or(c"")
    }
}

/// Overwrites a static that has no setter. Only cells in it change: the value
/// is what the static began with.
///
/// # Safety
/// `place` is that of a static with cells in it, and nobody uses it.
pub(crate) unsafe fn put<T>(place: *const T, value: T) {
    // SAFETY: by contract.
    unsafe { place.cast_mut().write(value) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_what_it_was_copied_from() {
        assert_eq!(Text::copy(b"a.b").unwrap().as_c_str(), c"a.b");
        assert_eq!(Text::copy(b"").unwrap().as_c_str(), c"");
    }

    #[test]
    fn a_list_has_all_that_came() {
        assert_eq!(try_list(0..100).unwrap().len(), 100);
        assert_eq!(*try_box(7u64).unwrap(), 7);
    }
}
