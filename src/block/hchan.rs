//! A channel's memory: Go's `hchan`, and `makechan`. What a channel does is
//! [`super::chan`].
//!
//! ```text
//!   header | buffer of capacity elements | what `gmp_chan_make_with` adds
//!            ^recvx        ^sendx
//! ```
//! A channel is memory from `malloc` with a count of references: the maker has
//! the first, each `ref` adds one, and the last `unref` frees the channel. A
//! *collected* channel is an object of the heap instead
//! (`gmp_gc_chan_make`), and nobody counts. It has no name and no functions, so
//! it ends by being freed.
//!
//! Invariant, under the lock: a copy takes the element from its old place
//! (invariant 1 of `element`). So what lies in the buffer outside of the
//! `count` elements from `recvx` on is no element.
//!
//! `count` and `closed` are atomic, so that `len` and the `try` calls can read
//! them without the lock.

use super::{
    element::{CLEARED, Extra, RELOCATED},
    ticker::Ticker,
};
use crate::{
    base::{
        lock::Rank,
        sync::{AtomicBool, AtomicUsize, Ordering::*},
        throw::fatal,
    },
    gmp::wait::WaitQ,
    heap::kept::Kept,
    sched::{child, lock::RawLock},
};
use core::{
    cell::Cell,
    ffi::CStr,
    mem::offset_of,
    ptr::{self, NonNull},
};

#[cfg(shuttle)]
use crate::os::memory as libc;

/// A channel.
pub struct GmpChan {
    pub(super) lock: RawLock,
    refs: AtomicUsize,
    elem_size: usize,
    /// const: bytes to copy of an element, or `RELOCATED` or `CLEARED`
    copied: usize,
    pub(super) capacity: usize,
    /// lock; read without it for hints
    pub(super) count: AtomicUsize,
    /// lock; read without it for hints
    pub(super) closed: AtomicBool,
    /// lock
    pub(super) sendx: Cell<usize>,
    /// lock
    pub(super) recvx: Cell<usize>,
    /// lock
    pub(super) recvq: WaitQ,
    /// lock
    pub(super) sendq: WaitQ,
    /// const: the timer that sends here, or null; it holds no reference
    pub(super) ticker: *const Ticker,
    /// const: what was added to the channel, or null
    extra: *const Extra,
    /// in its list if the elements may be pointers
    kept: Kept,
}

/// The words of the elements that are in a channel, for a collection. Nobody
/// holds the channel's lock.
fn elements(kept: &Kept, found: &mut dyn FnMut(usize, usize)) {
    let at = ptr::from_ref(kept).wrapping_byte_sub(offset_of!(GmpChan, kept));
    // SAFETY: the record of a channel that is not freed yet.
    let ch = unsafe { &*at.cast::<GmpChan>() };
    let base = ptr::from_ref(ch).addr() + HEADER;
    let (first, count) = (ch.recvx.get(), ch.len().min(ch.capacity));
    let behind = (first + count).saturating_sub(ch.capacity);
    let mut part = |from: usize, to: usize| {
        found(base + from * ch.elem_size, base + to * ch.elem_size);
    };
    part(first, first + count - behind);
    part(0, behind);
}

/// The buffer begins here: aligned for any type.
const HEADER: usize = size_of::<GmpChan>().next_multiple_of(16);

impl GmpChan {
    /// Where the pointer to the [`Extra`] is, for dumps.
    pub(crate) const EXTRA_AT: usize = offset_of!(GmpChan, extra);

    /// A channel with one reference; None where memory is out, or the size
    /// makes no sense.
    pub(crate) fn make(elem_size: usize, capacity: usize) -> Option<*mut Self> {
        Self::make_with(elem_size, capacity, None)
    }

    /// [`GmpChan::make`] with functions for the elements, and with a name.
    pub(crate) fn make_with(
        elem_size: usize,
        capacity: usize,
        with: Option<(Extra, &CStr)>,
    ) -> Option<*mut Self> {
        // More bytes than a copy can have, even where there is no buffer.
        isize::try_from(elem_size).ok()?;
        let buffer = elem_size.checked_mul(capacity)?.checked_add(HEADER)?;
        let at = buffer.checked_next_multiple_of(align_of::<Extra>())?;
        let bytes = match with {
            None => buffer,
            Some((_, name)) => at.checked_add(Extra::bytes(name))?,
        };
        // SAFETY: malloc may be called with any size.
        let malloc = |bytes| unsafe { libc::malloc(bytes) }.cast();
        let copied =
            with.map_or(elem_size, |(extra, _)| extra.copied(elem_size));
        let ch = Self::make_in(bytes, elem_size, capacity, copied, malloc)?;
        // SAFETY: made above, and nobody else's yet.
        let this = unsafe { &mut *ch };
        if let Some((extra, name)) = with {
            let at = ch.cast::<u8>().wrapping_add(at).cast::<Extra>();
            this.extra = at;
            // SAFETY: room for both, aligned.
            unsafe { extra.place(at, name) };
        }
        if elem_size >= size_of::<usize>() && capacity > 0 {
            // SAFETY: removed before the channel is freed.
            unsafe { this.kept.add(elements) };
        }
        Some(ch)
    }

    /// A collected channel, in memory that `alloc` makes: zeroed, and an object
    /// in which collections look.
    #[cfg(not(shuttle))]
    pub(crate) fn make_collected(
        elem_size: usize,
        capacity: usize,
        alloc: impl FnOnce(usize) -> *mut u8,
    ) -> Option<*mut Self> {
        isize::try_from(elem_size).ok()?;
        let bytes = elem_size.checked_mul(capacity)?.checked_add(HEADER)?;
        Self::make_in(bytes, elem_size, capacity, CLEARED, alloc)
    }

    /// A channel without more, in `bytes` bytes that `alloc` makes, aligned to
    /// 16.
    fn make_in(
        bytes: usize,
        elem_size: usize,
        capacity: usize,
        copied: usize,
        alloc: impl FnOnce(usize) -> *mut u8,
    ) -> Option<*mut Self> {
        isize::try_from(bytes).ok()?;
        let ch = NonNull::new(alloc(bytes).cast::<Self>())?.as_ptr();
        let value = Self {
            lock: RawLock::new(Rank::Chan),
            refs: AtomicUsize::new(1),
            elem_size,
            copied,
            capacity,
            count: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            sendx: Cell::new(0),
            recvx: Cell::new(0),
            recvq: WaitQ::new(),
            sendq: WaitQ::new(),
            ticker: ptr::null(),
            extra: ptr::null(),
            kept: Kept::new(),
        };
        // SAFETY: fresh memory of at least this size.
        unsafe { ch.write(value) };
        Some(ch)
    }

    /// Whether it is an object of the heap.
    pub(crate) fn is_collected(&self) -> bool {
        self.copied == CLEARED
    }

    /// Says which timer sends here.
    ///
    /// # Safety
    /// Nobody else knows the channel yet, which takes over the caller's
    /// reference to `ticker`.
    pub(super) unsafe fn set_ticker(this: *mut Self, ticker: *const Ticker) {
        // SAFETY: the caller's alone.
        unsafe { (*this).ticker = ticker };
    }

    /// Takes one more reference.
    pub(crate) fn add_ref(&self) {
        // Relaxed: the caller holds one, or it is collected and nobody counts.
        self.refs.fetch_add(1, Relaxed);
    }

    /// Takes one more reference, unless the channel has none left.
    pub(super) fn upgrade(&self) -> bool {
        let more = |n: usize| (n > 0).then_some(n + 1);
        self.refs.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    /// Drops a reference; the last one frees the channel.
    ///
    /// # Safety
    /// The caller's reference, which it does not use again.
    pub(crate) unsafe fn unref(this: *mut Self) {
        // SAFETY: alive while the caller holds a reference.
        let ch = unsafe { &*this };
        if ch.is_collected() {
            return;
        }
        // AcqRel: all uses come before the free.
        match ch.refs.fetch_sub(1, AcqRel) {
            0 => fatal("gmp_chan_unref: more often than it was referenced"),
            1 if child::is_dead_end() => return,
            1 => {}
            _ => return,
        }
        // While the address is the channel's: ThreadSanitizer forgets what it
        // knows of an address when the memory is freed.
        #[cfg(not(shuttle))]
        crate::base::sanitize::race_acquire(this.addr());
        ch.lock();
        let waiting = !ch.recvq.seems_empty() || !ch.sendq.seems_empty();
        ch.unlock();
        if waiting {
            fatal("gmp_chan_unref: freed while goroutines wait on it");
        }
        if !ch.ticker.is_null() {
            // SAFETY: the channel's reference, given up here. A stopped timer
            // does not look at the channel any more.
            unsafe { Ticker::free(ch.ticker) };
        }
        while !ch.extra.is_null() && ch.len() > 0 {
            ch.pop(ptr::null_mut());
        }
        ch.kept.remove();
        // SAFETY: from malloc, and the last reference is gone.
        unsafe { libc::free(this.cast()) };
    }

    pub(crate) fn len(&self) -> usize {
        // Relaxed: the answer may be out of date at once anyway.
        self.count.load(Relaxed)
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn elem_size(&self) -> usize {
        self.elem_size
    }

    #[inline]
    pub(super) fn lock(&self) {
        if self.lock.lock_fresh() {
            self.forget_waiters();
        }
    }

    /// In the child of a fork, by the first to lock it there: those that wait
    /// are in the parent. The elements stay.
    #[cold]
    fn forget_waiters(&self) {
        self.recvq.forget();
        self.sendq.forget();
    }

    pub(super) fn unlock(&self) {
        // SAFETY: the caller holds the lock.
        unsafe { self.lock.unlock() };
    }

    pub(super) fn slot(&self, at: usize) -> *mut u8 {
        let base = ptr::from_ref(self).cast_mut().cast::<u8>();
        // SAFETY: at < capacity, so inside the allocation.
        unsafe { base.add(HEADER + at * self.elem_size) }
    }

    /// Copies one element (the invariant), or drops it where `to` is null.
    /// `from` may be null if elements have no size.
    #[inline(always)]
    pub(super) fn copy(&self, from: *const u8, to: *mut u8) {
        if from.is_null() || to.is_null() {
            self.drop_element(from);
            return;
        }
        if self.copied == size_of::<u64>() {
            // SAFETY: room for an element, as below. A word needs no call.
            let word = unsafe { from.cast::<u64>().read_unaligned() };
            // SAFETY: room for an element, as below.
            unsafe { to.cast::<u64>().write_unaligned(word) };
            return;
        }
        if self.copied >= CLEARED {
            self.move_element(from, to);
            return;
        }
        // SAFETY: both sides have room for an element: the buffer, a parked
        // waiter's, or the caller's, as it promised.
        unsafe { ptr::copy_nonoverlapping(from, to, self.copied) };
    }

    /// Nobody receives the element at `from`, if one is there.
    #[cold]
    fn drop_element(&self, from: *const u8) {
        // SAFETY: null, or an element that nobody receives.
        self.with_extra(|it| unsafe { it.destroy(from.cast_mut()) });
        self.clear(from);
    }

    /// [`Self::copy`] of a channel with a function that moves elements, and of
    /// a collected one.
    #[cold]
    fn move_element(&self, from: *const u8, to: *mut u8) {
        if self.copied == RELOCATED {
            // SAFETY: as in copy; the host lets its function change `from`.
            self.with_extra(|it| unsafe { it.relocate(to, from.cast_mut()) });
            return;
        }
        // SAFETY: as in copy.
        unsafe { ptr::copy_nonoverlapping(from, to, self.elem_size) };
        self.clear(from);
    }

    /// Clears the place of an element that leaves the buffer of a collected
    /// channel, so that the element's pointers keep nothing.
    fn clear(&self, from: *const u8) {
        let offset = from.addr().wrapping_sub(ptr::from_ref(self).addr());
        let buffer = HEADER..HEADER + self.capacity * self.elem_size;
        if self.is_collected() && buffer.contains(&offset) {
            self.zero(from.cast_mut());
        }
    }

    #[cold]
    fn with_extra(&self, f: impl FnOnce(&Extra)) {
        // SAFETY: null, or in the channel's memory.
        if let Some(extra) = unsafe { self.extra.as_ref() } {
            f(extra);
        }
    }

    pub(super) fn zero(&self, to: *mut u8) {
        if !to.is_null() {
            // SAFETY: room for an element, as in copy.
            unsafe { ptr::write_bytes(to, 0, self.elem_size) };
        }
    }

    pub(super) fn advance(&self, index: &Cell<usize>) -> usize {
        let at = index.get();
        index.set(if at + 1 == self.capacity { 0 } else { at + 1 });
        at
    }

    /// Under the lock, with room: puts an element into the buffer.
    pub(super) fn push(&self, elem: *const u8) {
        let at = self.advance(&self.sendx);
        self.copy(elem, self.slot(at));
        self.count.store(self.len() + 1, Relaxed);
    }

    /// Under the lock, if there is one: takes an element out of the buffer.
    pub(super) fn pop(&self, elem: *mut u8) {
        let at = self.advance(&self.recvx);
        self.copy(self.slot(at), elem);
        self.count.store(self.len() - 1, Relaxed);
    }
}
