//! A list of pairs of words in mappings of its own.

use crate::os::mem;
use core::slice;

/// Bytes of the first mapping.
const FIRST: usize = 64 << 10;

/// From, to; or whatever two words are wanted.
pub(super) struct Ranges {
    at: *mut (usize, usize),
    len: usize,
    bytes: usize,
    /// One could not be added.
    short: bool,
}

// SAFETY: the mapping is the list's own.
unsafe impl Send for Ranges {}

impl Ranges {
    pub(super) const fn new() -> Self {
        let at = core::ptr::null_mut();
        Self { at, len: 0, bytes: 0, short: false }
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
        self.short = false;
    }

    /// Whether one was left out for want of memory.
    pub(super) fn is_short(&self) -> bool {
        self.short
    }

    pub(super) fn push(&mut self, range: (usize, usize)) {
        if self.len * size_of::<(usize, usize)>() == self.bytes
            && self.grow().is_none()
        {
            self.short = true;
            return;
        }
        // SAFETY: there is room for one more.
        let at = unsafe { self.at.add(self.len) };
        // SAFETY: in the mapping, which is ours.
        unsafe { at.write(range) };
        self.len += 1;
    }

    /// Words from `from` to `to`: multiples of 8 in between.
    pub(super) fn push_words(&mut self, from: usize, to: usize) {
        let (from, to) = (from.next_multiple_of(8), to & !7);
        if from < to {
            self.push((from, to));
        }
    }

    #[cold]
    fn grow(&mut self) -> Option<()> {
        let bytes = (self.bytes * 2).max(FIRST);
        let at = mem::map_data(bytes).ok()?.cast::<(usize, usize)>();
        if self.bytes > 0 {
            // SAFETY: `len` pairs here, and room for twice as many there.
            unsafe { self.at.copy_to_nonoverlapping(at, self.len) };
            // SAFETY: a mapping of ours, and used no more.
            unsafe { mem::unmap(self.at.cast(), self.bytes) };
        }
        (self.at, self.bytes) = (at, bytes);
        Some(())
    }

    /// Where the list is: from, to.
    pub(super) fn mapping(&self, found: &mut dyn FnMut(usize, usize)) {
        if self.bytes > 0 {
            found(self.at.addr(), self.at.addr() + self.bytes);
        }
    }

    /// The bytes of all.
    pub(super) fn sum(&self) -> usize {
        self.all().iter().map(|(from, to)| to - from).sum()
    }

    pub(super) fn all(&self) -> &[(usize, usize)] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: so many were written.
        unsafe { slice::from_raw_parts(self.at, self.len) }
    }

    pub(super) fn all_mut(&mut self) -> &mut [(usize, usize)] {
        if self.len == 0 {
            return &mut [];
        }
        // SAFETY: so many were written.
        unsafe { slice::from_raw_parts_mut(self.at, self.len) }
    }

    /// Keeps those that `stays` accepts.
    pub(super) fn retain(&mut self, stays: impl Fn((usize, usize)) -> bool) {
        let mut to = 0;
        let all = self.all_mut();
        for at in 0..all.len() {
            if stays(all[at]) {
                all[to] = all[at];
                to += 1;
            }
        }
        self.len = to;
    }
}

impl Drop for Ranges {
    fn drop(&mut self) {
        if self.bytes > 0 {
            // SAFETY: a mapping of ours, and used no more.
            unsafe { mem::unmap(self.at.cast(), self.bytes) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_grows_and_keeps_what_it_has() {
        let mut list = Ranges::new();
        assert!(list.all().is_empty());
        for n in 0..10_000 {
            list.push((n, n + 1));
        }
        assert!(!list.is_short());
        assert!(list.all().iter().enumerate().all(|(n, r)| *r == (n, n + 1)));
        list.retain(|(n, _)| n % 2 == 0);
        assert_eq!(list.all().len(), 5_000);
        assert_eq!(list.all()[1], (2, 3));
        list.clear();
        list.push_words(9, 31);
        list.push_words(9, 16);
        assert_eq!(list.all(), [(16, 24)]);
    }
}
