//! Memory from the kernel: mappings, guards, and pages given back.

use super::auxv;
use super::errno::{Errno, KeepErrno, Result};
use super::own::read_all;
use crate::base::sanitize;
use crate::base::sync::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use core::ffi::{c_int, c_void};
use core::ptr;
use std::path::Path;

/// Marks pages as guards without a mapping of their own (Linux 6.13).
const MADV_GUARD_INSTALL: c_int = 102;

/// Private memory without reserved swap space.
const ANON: c_int =
    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
const RW: c_int = libc::PROT_READ | libc::PROT_WRITE;

/// The page size in bytes.
pub(crate) fn page_size() -> usize {
    static PAGE_SIZE: AtomicUsize = AtomicUsize::new(0);
    // Relaxed: a thread that sees 0 computes the same value.
    match PAGE_SIZE.load(Ordering::Relaxed) {
        0 => {
            let size = auxv::page_size();
            PAGE_SIZE.store(size, Ordering::Relaxed);
            size
        }
        size => size,
    }
}

/// How many mappings a process may have.
pub(crate) fn max_map_count() -> Option<usize> {
    let text = read_all(Path::new("/proc/sys/vm/max_map_count")).ok()?;
    str::from_utf8(&text).ok()?.trim().parse().ok()
}

/// Maps `len` bytes for stacks: readable and writable, committed page by page
/// when touched, and never by huge pages.
///
/// Under `mlockall(MCL_FUTURE)` the kernel populates and locks a new mapping,
/// and locked memory takes no guards. But it does not populate inaccessible
/// memory. So the mapping is made inaccessible, unlocked, and only then opened.
/// Equal neighbours become one mapping.
///
/// `ENOMEM`, or `EAGAIN` where locked memory is at its limit.
pub(crate) fn map_reserve(len: usize) -> Result<*mut u8> {
    let _keep = KeepErrno::new();
    let base = mmap(len, libc::PROT_NONE, ANON | libc::MAP_STACK)?;
    let opened = open_stacks(base.cast(), len);
    if opened.is_err() {
        // SAFETY: mapped above, and nobody uses it.
        unsafe { unmap(base, len) };
    }
    opened.map(|()| base)
}

fn open_stacks(base: *mut c_void, len: usize) -> Result<()> {
    // The only possible error is a missing mapping.
    // SAFETY: the range is a mapping of ours that nobody uses yet.
    unsafe { libc::munlock(base, len) };
    // SAFETY: the range is a mapping of ours that nobody uses yet.
    let r = unsafe { libc::mprotect(base, len, RW) };
    Errno::check(r)?;
    // A kernel without huge pages rejects the advice and does not need it.
    // SAFETY: the range is a mapping of ours that nobody uses yet.
    unsafe { libc::madvise(base, len, libc::MADV_NOHUGEPAGE) };
    Ok(())
}

/// Maps `len` bytes for descriptors: zeroed, readable and writable.
///
/// `ENOMEM`, or `EAGAIN` where locked memory is at its limit.
pub(crate) fn map_data(len: usize) -> Result<*mut u8> {
    let _keep = KeepErrno::new();
    mmap(len, RW, ANON)
}

/// A mapping that stays until the library is unloaded.
struct Kept {
    next: *mut Kept,
    base: *mut u8,
    len: usize,
    /// Of `map_kept_root`.
    root: bool,
}

/// All of these, the newest first.
static KEPT: AtomicPtr<Kept> = AtomicPtr::new(ptr::null_mut());

/// [`map_data`] for what stays mapped until [`unmap_kept`]: threads may look at
/// it without a lock at any time.
///
/// `ENOMEM`, or `EAGAIN` where locked memory is at its limit.
pub(crate) fn map_kept(len: usize) -> Result<*mut u8> {
    let _keep = KeepErrno::new();
    let base = mmap(len, RW, ANON)?;
    keep(base, len, false)
}

/// [`map_kept`] for what holds pointers of the host's: LeakSanitizer follows
/// them.
pub(crate) fn map_kept_root(len: usize) -> Result<*mut u8> {
    let _keep = KeepErrno::new();
    let base = mmap(len, RW, ANON)?;
    let kept = keep(base, len, true)?;
    sanitize::root(base.addr(), len);
    Ok(kept)
}

/// [`map_reserve`] for what stays mapped until [`unmap_kept`].
///
/// `ENOMEM`, or `EAGAIN` where locked memory is at its limit.
pub(crate) fn reserve_kept(len: usize) -> Result<*mut u8> {
    let base = map_reserve(len)?;
    keep(base, len, false)
}

fn keep(base: *mut u8, len: usize, root: bool) -> Result<*mut u8> {
    // SAFETY: malloc may be called with any size.
    let node = unsafe { libc::malloc(size_of::<Kept>()) }.cast::<Kept>();
    if node.is_null() {
        // SAFETY: mapped by the caller, and nobody uses it.
        unsafe { unmap(base, len) };
        return Err(Errno::ENOMEM);
    }
    let mut next = KEPT.load(Ordering::Relaxed);
    loop {
        // SAFETY: fresh memory of this size, and not published.
        unsafe { node.write(Kept { next, base, len, root }) };
        let (new, old) = (Ordering::Release, Ordering::Relaxed);
        match KEPT.compare_exchange(next, node, new, old) {
            Ok(_) => return Ok(base),
            Err(now) => next = now,
        }
    }
}

/// Calls `found` with each of these mappings: from, to.
pub(crate) fn each_kept(found: &mut dyn FnMut(usize, usize)) {
    // Acquire: pairs with keep.
    let mut at = KEPT.load(Ordering::Acquire).cast_const();
    // SAFETY: null, or in the list, where it stays until the library is
    // unloaded.
    while let Some(kept) = unsafe { at.as_ref() } {
        found(kept.base.addr(), kept.base.addr() + kept.len);
        at = kept.next;
    }
}

/// Unmaps all of [`map_kept`].
///
/// # Safety
/// Nobody uses any of it any more.
pub(crate) unsafe fn unmap_kept() {
    let mut at = KEPT.swap(ptr::null_mut(), Ordering::Acquire);
    while !at.is_null() {
        // SAFETY: from keep, and out of the list.
        let Kept { next, base, len, root } = unsafe { at.read() };
        if root {
            sanitize::unroot(base.addr(), len);
        }
        // SAFETY: mapped whole, and nobody uses it, the caller promises.
        unsafe { unmap(base, len) };
        // SAFETY: from malloc in keep, and out of the list.
        unsafe { libc::free(at.cast()) };
        at = next;
    }
}

/// Maps `len` bytes that a copy of this process shares with it: zeroed,
/// readable and writable.
///
/// `ENOMEM`.
pub(crate) fn map_shared(len: usize) -> Result<*mut u8> {
    const SHARED: c_int =
        libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let _keep = KeepErrno::new();
    mmap(len, RW, SHARED)
}

/// Populates a range of [`map_data`], which costs less than a fault for each
/// page. A kernel before 5.14 does nothing.
pub(crate) fn populate(base: *mut u8, len: usize) {
    // After an error, pages come when they are touched.
    // SAFETY: it changes when pages come, not their contents.
    let _ = unsafe { advise(base, len, libc::MADV_POPULATE_WRITE) };
}

/// [`populate`] for the ranges of `len` bytes at each of `bases`.
pub(crate) fn populate_all(bases: &[usize], len: usize) {
    // SAFETY: it changes when pages come, not what is in them.
    if unsafe { advise_all(bases, len, libc::MADV_POPULATE_WRITE) } {
        return;
    }
    for base in bases {
        populate(*base as *mut u8, len);
    }
}

fn mmap(len: usize, prot: c_int, flags: c_int) -> Result<*mut u8> {
    // SAFETY: a new mapping, at an address that the kernel chooses.
    let at = unsafe { libc::mmap(ptr::null_mut(), len, prot, flags, -1, 0) };
    if at == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(at.cast()) }
}

/// Unmaps a mapping, or a part of one in whole pages.
///
/// # Safety
/// The range was mapped here, and nobody uses it any more.
pub(crate) unsafe fn unmap(base: *mut u8, len: usize) {
    let _keep = KeepErrno::new();
    // It fails only if the hole would make one mapping too many. Then at least
    // the pages are given back.
    // SAFETY: nobody uses the range, the caller promises.
    if unsafe { libc::munmap(base.cast(), len) } != 0 {
        // SAFETY: nobody uses the range, the caller promises.
        let _ = unsafe { discard(base, len) };
    }
}

/// Maps that part of a stack anew that has been touched, so that it is zeroed,
/// and ThreadSanitizer forgets who has touched it. The stack is used from its
/// high end down.
///
/// # Safety
/// The range, in whole pages, is of [`map_reserve`], and nobody needs its
/// contents.
pub(crate) unsafe fn renew(base: *mut u8, len: usize) {
    /// Pages that are asked for at once.
    const MANY: usize = 256;
    let _keep = KeepErrno::new();
    let page = page_size();
    let mut resident = [0_u8; MANY];
    let (mut untouched, mut at) = (len, len);
    while at > 0 {
        let part = at.min(MANY * page);
        at -= part;
        let from = base.wrapping_add(at).cast();
        // SAFETY: a byte for each page of the part.
        let r = unsafe { libc::mincore(from, part, resident.as_mut_ptr()) };
        let pages = &resident[..part.div_ceil(page)];
        match pages.iter().position(|there| r != 0 || there & 1 != 0) {
            Some(first) => untouched = at + first * page,
            None => break,
        }
    }
    if untouched == len {
        return;
    }
    let from = base.wrapping_add(untouched).cast::<c_void>();
    let flags = ANON | libc::MAP_STACK | libc::MAP_FIXED;
    // An error leaves the pages as they were.
    // SAFETY: nobody needs the contents, the caller promises.
    unsafe { libc::mmap(from, len - untouched, RW, flags, -1, 0) };
    // SAFETY: as in open_stacks.
    unsafe { libc::madvise(from, len - untouched, libc::MADV_NOHUGEPAGE) };
}

/// Makes a range fault when touched, without a mapping of its own. The guard
/// stays until the range is unmapped, also over a [`discard`].
///
/// `EINVAL` if the kernel has no guards, or for locked memory.
///
/// # Safety
/// The range, in whole pages, was mapped here and nobody uses it.
pub(crate) unsafe fn guard_install(base: *mut u8, len: usize) -> Result<()> {
    // SAFETY: nobody uses the range, the caller promises.
    unsafe { advise(base, len, MADV_GUARD_INSTALL) }
}

/// [`guard_install`] for the ranges of `len` bytes at each of `bases`, with one
/// system call (Linux 6.15). False: not all of them have a guard.
///
/// # Safety
/// As for [`guard_install`], for each range.
pub(crate) unsafe fn guard_install_all(bases: &[usize], len: usize) -> bool {
    // SAFETY: nobody uses the ranges, the caller promises.
    unsafe { advise_all(bases, len, MADV_GUARD_INSTALL) }
}

/// Makes a range fault when touched, as a mapping of its own.
///
/// `ENOMEM` if the process already has all the mappings that it may have.
///
/// # Safety
/// As for [`guard_install`].
pub(crate) unsafe fn guard_mprotect(base: *mut u8, len: usize) -> Result<()> {
    let _keep = KeepErrno::new();
    // SAFETY: nobody uses the range, the caller promises.
    let r = unsafe { libc::mprotect(base.cast(), len, libc::PROT_NONE) };
    Errno::check(r).map(drop)
}

/// Gives back the pages of a range, which then reads as zeros. Guards in it
/// stay.
///
/// `EINVAL` for locked memory, which is not changed.
///
/// # Safety
/// The range, in whole pages, was mapped here, and nobody needs its contents.
pub(crate) unsafe fn discard(base: *mut u8, len: usize) -> Result<()> {
    // SAFETY: nobody needs the contents, the caller promises.
    unsafe { advise(base, len, libc::MADV_DONTNEED) }
}

unsafe fn advise(base: *mut u8, len: usize, advice: c_int) -> Result<()> {
    let _keep = KeepErrno::new();
    // SAFETY: the advice may be applied to the range, the caller promises.
    let r = unsafe { libc::madvise(base.cast(), len, advice) };
    Errno::check(r).map(drop)
}

/// [`advise`] for many ranges; false if some were left out.
unsafe fn advise_all(bases: &[usize], len: usize, advice: c_int) -> bool {
    /// This process (Linux 6.15); no descriptor has such a number.
    const PIDFD_SELF_THREAD_GROUP: c_int = -10_001;
    /// Ranges in a call.
    const MANY: usize = 16;
    static REFUSED: AtomicBool = AtomicBool::new(false);
    // Relaxed: a thread that misses the store tries once more.
    // Valgrind 3.19 does not know the call, and says so each time.
    if REFUSED.load(Ordering::Relaxed) || sanitize::valgrind() {
        return false;
    }
    let _keep = KeepErrno::new();
    let nothing = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
    for part in bases.chunks(MANY) {
        let mut ranges = [nothing; MANY];
        for (range, base) in ranges.iter_mut().zip(part) {
            let iov_base = *base as *mut c_void;
            *range = libc::iovec { iov_base, iov_len: len };
        }
        // SAFETY: the advice may be applied to the ranges, the caller
        // promises; `ranges` holds part.len() of them.
        let done = unsafe {
            libc::syscall(
                libc::SYS_process_madvise,
                PIDFD_SELF_THREAD_GROUP,
                ranges.as_ptr(),
                part.len(),
                advice,
                0,
            )
        };
        if done != (part.len() * len) as i64 {
            // Want of memory may end; other refusals stay.
            let why = Errno::last();
            let refused = why.is_refusal() || why == Errno(libc::EBADF);
            REFUSED.store(done < 0 && refused, Ordering::Relaxed);
            return false;
        }
    }
    true
}

/// Whether this kernel has guards that cost no mapping; each call tries.
#[cfg(test)]
pub(crate) fn has_guard_install() -> bool {
    let len = page_size();
    let Ok(page) = map_reserve(len) else { return false };
    // SAFETY: one page, mapped above, used by nobody.
    let works = unsafe { guard_install(page, len) }.is_ok();
    // SAFETY: one page, mapped above, used by nobody.
    unsafe { unmap(page, len) };
    works
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::child;

    /// Whether the kernel can read the byte there.
    fn readable(at: *mut u8) -> bool {
        use std::os::fd::AsRawFd as _;
        let (_rx, tx) = std::io::pipe().unwrap();
        // SAFETY: the kernel checks the address and reports EFAULT.
        let n = unsafe { libc::write(tx.as_raw_fd(), at.cast(), 1) };
        assert!(n == 1 || Errno::last() == Errno(libc::EFAULT));
        n == 1
    }

    #[test]
    fn a_stack_mapping_is_zeroed_guarded_and_discarded() {
        let page = page_size();
        let base = map_reserve(16 * page).unwrap();
        let word = base.wrapping_add(8 * page);
        // SAFETY: within the mapping.
        unsafe { *word = 7 };
        type Guard = unsafe fn(*mut u8, usize) -> Result<()>;
        let mut guards = vec![guard_mprotect as Guard];
        if has_guard_install() {
            guards.push(guard_install);
        }
        for (i, guard) in guards.into_iter().enumerate() {
            let at = base.wrapping_add(2 * i * page);
            assert!(readable(at));
            // SAFETY: within the mapping, not used.
            unsafe { guard(at, page) }.unwrap();
            assert!(!readable(at));
            assert!(readable(at.wrapping_add(page)));
        }
        // SAFETY: nobody needs its contents.
        unsafe { discard(base, 16 * page) }.unwrap();
        assert!(!readable(base), "a guard survives discard");
        // SAFETY: within the mapping.
        assert_eq!(unsafe { *word }, 0);
        // SAFETY: used no more.
        unsafe { unmap(base, 16 * page) };
        assert!(!readable(word));
    }

    #[test]
    fn locking_of_future_memory_neither_populates_nor_refuses_guards() {
        let has_guards = has_guard_install();
        child::returns(|| {
            let len = 8 * page_size();
            // SAFETY: concerns mappings that this child makes.
            assert_eq!(unsafe { libc::mlockall(libc::MCL_FUTURE) }, 0);
            let base = map_reserve(len).unwrap();
            let mut resident = [1; 8];
            let at = resident.as_mut_ptr();
            // SAFETY: one byte for each page of the mapping.
            assert_eq!(unsafe { libc::mincore(base.cast(), len, at) }, 0);
            assert_eq!(resident, [0; 8]);
            // SAFETY: within the mapping, not used.
            let guard = unsafe { guard_install(base, page_size()) };
            assert_eq!(guard.is_ok(), has_guards);
        });
    }

    #[test]
    fn more_than_the_address_space_is_an_error() {
        assert_eq!(map_reserve(1 << 60), Err(Errno::ENOMEM));
        assert_eq!(map_data(1 << 60), Err(Errno::ENOMEM));
    }

    #[test]
    fn data_is_zeroed() {
        let at = map_data(page_size()).unwrap();
        // SAFETY: the first byte of the mapping.
        assert_eq!(unsafe { *at }, 0);
        // SAFETY: used no more.
        unsafe { unmap(at, page_size()) };
    }

    #[test]
    fn the_system_tells_its_sizes() {
        assert_eq!(page_size(), 4096);
        assert!(max_map_count().is_some_and(|n| n > 100));
    }
}
