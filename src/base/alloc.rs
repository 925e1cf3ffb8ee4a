//! Memory that may be refused: boxes and lists whose caller is told.
//!
//! The collections of the standard library end the process where memory is
//! out. In a library that is the host's end, and the host may have meant to go
//! on: so whatever allocates in here does it through these functions, through
//! `try_reserve`, or by `malloc`, and gives the want of memory to its caller.
//! `tests/tidy.rs` refuses the others.

use core::ffi::CStr;
use std::{
    alloc::{Layout, alloc},
    boxed::Box,
    vec::Vec,
};

/// `value` on the heap; None where memory is out, and the value is dropped.
pub(crate) fn try_box<T>(value: T) -> Option<Box<T>> {
    const { assert!(size_of::<T>() != 0) };
    // SAFETY: a layout of more than no bytes.
    let place = unsafe { alloc(Layout::new::<T>()) }.cast::<T>();
    if place.is_null() {
        return None;
    }
    // SAFETY: fresh memory of this layout.
    unsafe { place.write(value) };
    // SAFETY: from the global allocator with this layout, and initialised.
    Some(unsafe { Box::from_raw(place) })
}

/// Appends `value`; None where memory is out, and the list is as it was.
pub(crate) fn try_push<T>(list: &mut Vec<T>, value: T) -> Option<()> {
    list.try_reserve(1).ok()?;
    list.push(value);
    Some(())
}

/// A list of what comes out of `items`; None where memory is out.
pub(crate) fn try_list<T>(items: impl Iterator<Item = T>) -> Option<Vec<T>> {
    let mut list = Vec::new();
    for item in items {
        try_push(&mut list, item)?;
    }
    Some(list)
}

/// A C string of its own.
pub(crate) struct Text(Vec<u8>);

impl Text {
    /// A copy of `bytes`, which have no NUL; None where memory is out.
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
