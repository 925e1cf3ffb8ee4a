//! Addresses without memory: a range is reserved, and prepared part by part; or
//! it reads as zeros, and a part of it may be written once that is opened.
//!
//! No kernel charges for either, whatever it does about memory that it does not
//! have, and under `mlockall` neither takes memory: inaccessible pages are not
//! populated, and pages that are only read are all the same one.

use super::errno::{Errno, KeepErrno, Result};
use super::mem::{page_size, unmap};
use crate::base::sync::AtomicPtr;
use core::ffi::c_int;

/// Private memory. The kernel counts what is prepared, and refuses at once what
/// it will never have.
const ANON: c_int = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;

/// Reserves `len` bytes of addresses, a multiple of `align`, at such a
/// multiple: inaccessible, and without memory. At `hint` if that is possible.
///
/// `ENOMEM`.
pub(crate) fn reserve(
    len: usize,
    align: usize,
    hint: usize,
) -> Result<*mut u8> {
    let _keep = KeepErrno::new();
    let mut base = mmap(hint, len)?;
    if base.addr() % align != 0 {
        // The kernel puts mappings below the others, so there is often room
        // below this one.
        let below = base.addr() & !(align - 1);
        // SAFETY: mapped above, and nobody uses it.
        unsafe { unmap(base, len) };
        base = mmap(below, len)?;
    }
    if base.addr() % align != 0 {
        // SAFETY: mapped above, and nobody uses it.
        unsafe { unmap(base, len) };
        base = aligned(len, align)?;
    }
    // Locked memory, as of mlockall(MCL_FUTURE), would be populated when it is
    // prepared.
    // SAFETY: the range is a mapping of ours that nobody uses yet.
    unsafe { libc::munlock(base.cast(), len) };
    Ok(base)
}

/// Reserves at a multiple of `align`, by reserving more.
fn aligned(len: usize, align: usize) -> Result<*mut u8> {
    let more = len.checked_add(align).ok_or(Errno::ENOMEM)?;
    let at = mmap(0, more)?;
    let front = at.addr().next_multiple_of(align) - at.addr();
    let base = at.wrapping_add(front);
    if front > 0 {
        // SAFETY: the front of a mapping of ours that nobody uses.
        unsafe { unmap(at, front) };
    }
    if align > front {
        // SAFETY: the rest of a mapping of ours that nobody uses.
        unsafe { unmap(base.wrapping_add(len), align - front) };
    }
    Ok(base)
}

/// Maps `len` bytes of zeros, to be read only.
///
/// `ENOMEM`, or `EAGAIN` where locked memory is at its limit.
pub(crate) fn zeros(len: usize) -> Result<*mut u8> {
    let base = reserve(len, page_size(), 0)?;
    let _keep = KeepErrno::new();
    // SAFETY: reserved above, and nobody uses it.
    let r = unsafe { libc::mprotect(base.cast(), len, libc::PROT_READ) };
    let opened = Errno::check(r);
    if opened.is_err() {
        // SAFETY: the same.
        unsafe { unmap(base, len) };
    }
    opened.map(|_| base)
}

/// Opens the page of a word of [`zeros`]: it may be written from then on.
/// Others may read meanwhile.
///
/// `ENOMEM`.
///
/// # Safety
/// The word is in such a mapping, which stays.
pub(crate) unsafe fn open(word: *const AtomicPtr<()>) -> Result<()> {
    let len = page_size();
    let page = word.addr() & !(len - 1);
    // SAFETY: a page of ours, which has all rights that it had.
    unsafe { prepare(page as *mut u8, len) }
}

fn mmap(hint: usize, len: usize) -> Result<*mut u8> {
    let at = hint as *mut _;
    // SAFETY: a new mapping: a hint replaces nothing.
    let at = unsafe { libc::mmap(at, len, libc::PROT_NONE, ANON, -1, 0) };
    if at == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(at.cast()) }
}

/// Makes a part of a reserved range readable and writable.
///
/// `ENOMEM`.
///
/// # Safety
/// The range, in whole pages, was reserved here, and nobody uses it.
pub(crate) unsafe fn prepare(base: *mut u8, len: usize) -> Result<()> {
    const RW: c_int = libc::PROT_READ | libc::PROT_WRITE;
    let _keep = KeepErrno::new();
    // SAFETY: nobody uses the range, the caller promises.
    let r = unsafe { libc::mprotect(base.cast(), len, RW) };
    Errno::check(r).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::sync::Ordering::Relaxed;

    #[test]
    fn zeros_are_read_and_written_where_they_are_opened() {
        let len = 1 << 20;
        let base = zeros(len).unwrap().cast::<AtomicPtr<()>>();
        // SAFETY: mapped above, zeroed, and it stays.
        let words = unsafe { core::slice::from_raw_parts(base, len / 8) };
        let null = |at: &AtomicPtr<()>| at.load(Relaxed).is_null();
        assert!(words.iter().all(null));
        // SAFETY: one of them.
        unsafe { open(&raw const words[5000]) }.unwrap();
        words[5000].store(base.cast(), Relaxed);
        assert!(!null(&words[5000]) && null(&words[0]) && null(&words[6000]));
    }

    #[test]
    fn addresses_are_aligned_and_usable_once_prepared() {
        let (len, align) = (3 << 21, 1 << 21);
        let mut last = 0;
        for hint in [0, 4096, 1 << 46] {
            let base = reserve(len, align, hint).unwrap();
            assert_eq!(base.addr() % align, 0);
            assert_ne!(base.addr(), last);
            last = base.addr();
            let half = base.wrapping_add(len / 2);
            // SAFETY: reserved above, and nobody uses it.
            unsafe { prepare(half, len / 2) }.unwrap();
            // SAFETY: the first byte of what was prepared.
            assert_eq!(unsafe { *half }, 0);
        }
        assert_eq!(reserve(1 << 60, 1 << 26, 0), Err(Errno::ENOMEM));
        assert_eq!(reserve(usize::MAX & !4095, 4096, 0), Err(Errno::ENOMEM));
    }
}
