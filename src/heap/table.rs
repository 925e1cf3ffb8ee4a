//! A list in a mapping of its own, which grows.
//!
//! A thread that works on the heap calls no `malloc`: a thread that the
//! collector has stopped may hold one of its locks. The collector would wait
//! for the first, which would wait for the second.

use crate::os::mem;
use core::{
    marker::PhantomData,
    ops::{Deref, DerefMut},
    ptr, slice,
};

/// Bytes of the first mapping.
const FIRST: usize = 64 << 10;

/// A list of plain values.
pub(super) struct Table<T: Copy> {
    at: *mut T,
    len: usize,
    bytes: usize,
    values: PhantomData<T>,
}

// SAFETY: the mapping is the list's own.
unsafe impl<T: Copy + Send> Send for Table<T> {}

impl<T: Copy> Table<T> {
    pub(super) const fn new() -> Self {
        const { assert!(size_of::<T>() > 0 && align_of::<T>() <= 4096) };
        let (at, values) = (ptr::null_mut(), PhantomData);
        Self { at, len: 0, bytes: 0, values }
    }

    /// Makes room for `n` more; None without memory.
    pub(super) fn reserve(&mut self, n: usize) -> Option<()> {
        let all = self.len.checked_add(n)?.checked_mul(size_of::<T>())?;
        if all <= self.bytes {
            return Some(());
        }
        let bytes = all.max(self.bytes * 2).checked_next_multiple_of(FIRST)?;
        let at = mem::map_data(bytes).ok()?.cast::<T>();
        if self.bytes > 0 {
            // SAFETY: `len` values here, and room for more there.
            unsafe { self.at.copy_to_nonoverlapping(at, self.len) };
        }
        self.unmap();
        (self.at, self.bytes) = (at, bytes);
        Some(())
    }

    /// Puts `value` before the one at `index`; None without memory.
    pub(super) fn insert(&mut self, index: usize, value: T) -> Option<()> {
        self.reserve(1)?;
        // SAFETY: there is room for one more.
        let end = unsafe { self.at.add(self.len) };
        // SAFETY: in the mapping, which is ours.
        unsafe { end.write(value) };
        self.len += 1;
        self[index..].rotate_right(1);
        Some(())
    }

    fn unmap(&self) {
        if self.bytes > 0 {
            // SAFETY: a mapping of ours, and used no more.
            unsafe { mem::unmap(self.at.cast(), self.bytes) };
        }
    }
}

impl<T: Copy> Drop for Table<T> {
    fn drop(&mut self) {
        self.unmap();
    }
}

impl<T: Copy> Deref for Table<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: so many were written.
        unsafe { slice::from_raw_parts(self.at, self.len) }
    }
}

impl<T: Copy> DerefMut for Table<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        if self.len == 0 {
            return &mut [];
        }
        // SAFETY: so many were written.
        unsafe { slice::from_raw_parts_mut(self.at, self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_grows_and_keeps_its_order() {
        let mut list = Table::<[u64; 5]>::new();
        assert!(list.is_empty());
        for n in 0..10_000 {
            let at = list.partition_point(|it| it[0] > n);
            list.insert(at, [n; 5]).unwrap();
        }
        assert!(list.iter().rev().zip(0..).all(|(it, n)| *it == [n; 5]));
        assert_eq!(list.len(), 10_000);
        assert!(list.reserve(usize::MAX / 8).is_none(), "no memory");
        assert!(list.reserve(usize::MAX).is_none(), "no such number");
        assert_eq!(list.len(), 10_000);
    }
}
