//! Channels: Go's `hchan`.
//!
//! ```text
//!   header | buffer of capacity elements
//!            ^recvx        ^sendx
//! ```
//! Invariants, under the lock:
//! 1. `recvq` and `sendq` are not both non-empty, but for select on both ends
//!    of one channel.
//! 2. With a buffer: `count > 0` means nobody receives in a queue, and
//!    `count < capacity` that nobody sends in one.
//! 3. A waiter's element is on its own stack or in its caller's memory. The
//!    other side copies it directly, while that waiter is parked.
//!
//! `count` and `closed` are atomic so that `len` and the `try` calls can look
//! without the lock.
//!
//! The memory comes from `malloc` and is counted: one reference a maker, one
//! more for each `ref`. The last `unref` frees it.

use super::wait::{Sudog, WaitQ, wake};
use crate::{
    base::{lock::Rank, throw::fatal},
    gmp::parkword::WaitKind,
    os::{Errno, RawLock, Result},
    sched::park::{self, FOREVER, Wait, gopark},
};
use core::{
    alloc::Layout,
    cell::{Cell, UnsafeCell},
    ffi::CStr,
    ptr::{self, NonNull},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::*},
};

/// A channel.
pub struct GmpChan {
    lock: RawLock,
    refs: AtomicUsize,
    elem_size: usize,
    capacity: usize,
    /// lock; read without it for hints
    count: AtomicUsize,
    /// lock; read without it for hints
    closed: AtomicBool,
    /// lock
    sendx: Cell<usize>,
    /// lock
    recvx: Cell<usize>,
    /// lock
    recvq: UnsafeCell<WaitQ>,
    /// lock
    sendq: UnsafeCell<WaitQ>,
}

/// Whether a call may wait, and until when.
#[derive(Clone, Copy)]
pub(crate) enum Block {
    Never,
    Until(i64),
}

/// The buffer begins here: aligned for any type.
const HEADER: usize = size_of::<GmpChan>().next_multiple_of(16);

impl GmpChan {
    /// A channel with one reference; None where memory is out, or the size
    /// makes no sense.
    pub(crate) fn make(elem_size: usize, capacity: usize) -> Option<*mut Self> {
        let bytes = elem_size.checked_mul(capacity)?.checked_add(HEADER)?;
        let layout = Layout::from_size_align(bytes, 16).ok()?;
        // SAFETY: malloc may be called with any size; it aligns to 16.
        let place = unsafe { libc::malloc(layout.size()) };
        let ch = NonNull::new(place.cast::<Self>())?.as_ptr();
        let value = Self {
            lock: RawLock::new(Rank::Chan),
            refs: AtomicUsize::new(1),
            elem_size,
            capacity,
            count: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            sendx: Cell::new(0),
            recvx: Cell::new(0),
            recvq: UnsafeCell::new(WaitQ::new()),
            sendq: UnsafeCell::new(WaitQ::new()),
        };
        // SAFETY: fresh memory of at least this size.
        unsafe { ch.write(value) };
        Some(ch)
    }

    /// Takes one more reference.
    pub(crate) fn add_ref(&self) {
        // Relaxed: the caller holds one.
        self.refs.fetch_add(1, Relaxed);
    }

    /// Drops a reference; the last one frees the channel.
    ///
    /// # Safety
    /// The caller's reference, which it does not use again.
    pub(crate) unsafe fn unref(this: *mut Self) {
        // SAFETY: alive while the caller holds a reference.
        let ch = unsafe { &*this };
        // AcqRel: all uses come before the free.
        match ch.refs.fetch_sub(1, AcqRel) {
            0 => fatal("gmp_chan_unref: more often than it was referenced"),
            1 => {}
            _ => return,
        }
        ch.lock.lock();
        let waiting = !ch.recvq().is_empty() || !ch.sendq().is_empty();
        ch.unlock();
        if waiting {
            fatal("gmp_chan_unref: freed while goroutines wait on it");
        }
        // SAFETY: from malloc, and the last reference is gone.
        unsafe { libc::free(this.cast()) };
    }

    pub(crate) fn len(&self) -> usize {
        // Relaxed: stale at once anyway.
        self.count.load(Relaxed)
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn elem_size(&self) -> usize {
        self.elem_size
    }

    /// Under the lock.
    #[expect(clippy::mut_from_ref, reason = "guarded by the lock")]
    fn recvq(&self) -> &mut WaitQ {
        // SAFETY: the caller holds the lock and makes no second reference.
        unsafe { &mut *self.recvq.get() }
    }

    /// Under the lock.
    #[expect(clippy::mut_from_ref, reason = "guarded by the lock")]
    fn sendq(&self) -> &mut WaitQ {
        // SAFETY: the caller holds the lock and makes no second reference.
        unsafe { &mut *self.sendq.get() }
    }

    fn unlock(&self) {
        // SAFETY: the caller holds the lock.
        unsafe { self.lock.unlock() };
    }

    fn slot(&self, at: usize) -> *mut u8 {
        let base = ptr::from_ref(self).cast_mut().cast::<u8>();
        // SAFETY: at < capacity, so inside the allocation.
        unsafe { base.add(HEADER + at * self.elem_size) }
    }

    /// Copies one element; nothing where one side is null.
    fn copy(&self, from: *const u8, to: *mut u8) {
        if !from.is_null() && !to.is_null() {
            // SAFETY: both sides have room for an element: the buffer, a
            // parked waiter's, or the caller's, as it promised.
            unsafe { ptr::copy_nonoverlapping(from, to, self.elem_size) };
        }
    }

    fn zero(&self, to: *mut u8) {
        if !to.is_null() {
            // SAFETY: as in copy.
            unsafe { ptr::write_bytes(to, 0, self.elem_size) };
        }
    }

    fn advance(&self, index: &Cell<usize>) -> usize {
        let at = index.get();
        index.set(if at + 1 == self.capacity { 0 } else { at + 1 });
        at
    }

    /// Under the lock: puts an element into the buffer.
    fn push(&self, elem: *const u8) {
        let at = self.advance(&self.sendx);
        self.copy(elem, self.slot(at));
        self.count.store(self.len() + 1, Relaxed);
    }

    /// Under the lock: takes an element out of the buffer.
    fn pop(&self, elem: *mut u8) {
        let at = self.advance(&self.recvx);
        self.copy(self.slot(at), elem);
        self.count.store(self.len() - 1, Relaxed);
    }
}

/// Sends a copy of `*elem`.
///
/// Errors: `EPIPE` closed; `EAGAIN` would block and may not; `ETIMEDOUT`,
/// `ECANCELED`, `EDEADLK` as every wait.
pub(crate) fn send(
    ch: Option<&GmpChan>,
    elem: *const u8,
    block: Block,
) -> Result<()> {
    let Some(ch) = ch else { return wait_for_ever(block, c"chan send (null)") };
    if let Block::Never = block
        && full(ch)
    {
        return Err(Errno::EAGAIN);
    }
    ch.lock.lock();
    if ch.closed.load(Relaxed) {
        ch.unlock();
        return Err(Errno(libc::EPIPE));
    }
    if let Some(sg) = ch.recvq().dequeue() {
        ch.copy(elem, sg.elem);
        sg.success.set(true);
        let gp = sg.gp;
        ch.unlock();
        wake(gp);
        return Ok(());
    }
    if ch.len() < ch.capacity {
        ch.push(elem);
        ch.unlock();
        return Ok(());
    }
    if !may_park(ch, block)? {
        park::current()?;
        return send(Some(ch), elem, block);
    }
    park_on(ch, Side::Send, elem.cast_mut(), block)
}

/// Receives into `*elem`, which may be null.
///
/// Errors: `EPIPE` closed and drained, `*elem` zeroed; else as [`send`].
pub(crate) fn recv(
    ch: Option<&GmpChan>,
    elem: *mut u8,
    block: Block,
) -> Result<()> {
    let Some(ch) = ch else {
        return wait_for_ever(block, c"chan receive (null)");
    };
    if let Block::Never = block
        && empty(ch)
    {
        return Err(Errno::EAGAIN);
    }
    ch.lock.lock();
    if ch.len() == 0 && ch.closed.load(Relaxed) {
        ch.unlock();
        ch.zero(elem);
        return Err(Errno(libc::EPIPE));
    }
    if let Some(sg) = ch.sendq().dequeue() {
        recv_from(ch, sg, elem);
        return Ok(());
    }
    if ch.len() > 0 {
        ch.pop(elem);
        ch.unlock();
        return Ok(());
    }
    if !may_park(ch, block)? {
        park::current()?;
        return recv(Some(ch), elem, block);
    }
    park_on(ch, Side::Recv, elem, block)
}

/// Takes from a sender that waits: its element, or, with a full buffer, the
/// oldest there, while the sender's goes to the end. Unlocks.
fn recv_from(ch: &GmpChan, sg: &'static Sudog, elem: *mut u8) {
    if ch.capacity == 0 {
        ch.copy(sg.elem, elem);
    } else {
        ch.pop(elem);
        ch.push(sg.elem);
    }
    sg.success.set(true);
    let gp = sg.gp;
    ch.unlock();
    wake(gp);
}

/// Whether a send would block; without the lock, as in Go: a channel that
/// was not closed and full at some moment was both at that moment.
fn full(ch: &GmpChan) -> bool {
    if ch.closed.load(Acquire) {
        return false;
    }
    // An unbuffered one is decided under the lock.
    ch.capacity != 0 && ch.count.load(Acquire) == ch.capacity
}

/// Whether a receive would block.
fn empty(ch: &GmpChan) -> bool {
    ch.capacity != 0 && ch.count.load(Acquire) == 0 && !ch.closed.load(Acquire)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Send,
    Recv,
}

/// Whether the caller may wait now, with `ch` locked. False, unlocked: it is
/// a host thread that has no G yet, which nobody makes under a lock. Errors
/// come unlocked too.
fn may_park(ch: &GmpChan, block: Block) -> Result<bool> {
    let may = match block {
        Block::Never => Err(Errno::EAGAIN),
        Block::Until(_) if !park::has_g() => Ok(false),
        Block::Until(_) => park::current().map(|_| true),
    };
    if may != Ok(true) {
        ch.unlock();
    }
    may
}

/// Waits in a queue of `ch`, which is locked; unlocks it.
fn park_on(
    ch: &GmpChan,
    side: Side,
    elem: *mut u8,
    block: Block,
) -> Result<()> {
    let Block::Until(deadline) = block else { return Err(Errno::EAGAIN) };
    let gp = park::current()?;
    let ticket = gp.park.arm(WaitKind::Cancellable);
    let sg = Sudog::new(gp, ticket, elem, 0);
    let queue = || match side {
        Side::Send => ch.sendq(),
        Side::Recv => ch.recvq(),
    };
    queue().enqueue(&sg, false);
    let reason = match side {
        Side::Send => c"chan send",
        Side::Recv => c"chan receive",
    };
    let wait = Wait {
        ticket,
        unlock: unlock_chan,
        arg: ptr::from_ref(ch) as usize,
        reason,
        deadline,
    };
    let cause = gopark(gp, wait);
    if sg.success.get() {
        return Ok(());
    }
    if let Err(e) = park::outcome(cause) {
        ch.lock.lock();
        queue().remove(&sg);
        ch.unlock();
        return Err(e);
    }
    // Woken without success: closed.
    if side == Side::Recv {
        ch.zero(elem);
    }
    Err(Errno(libc::EPIPE))
}

/// What gopark calls once the waiter is off its stack.
fn unlock_chan(arg: usize) {
    // SAFETY: the channel that park_on locked; its waiter, which is queued,
    // keeps the caller's reference alive.
    let ch = unsafe { &*(arg as *const GmpChan) };
    ch.unlock();
}

/// A null channel is never ready.
fn wait_for_ever(block: Block, reason: &'static CStr) -> Result<()> {
    let Block::Until(deadline) = block else { return Err(Errno::EAGAIN) };
    let gp = park::current()?;
    let wait = Wait {
        ticket: gp.park.arm(WaitKind::Cancellable),
        unlock: park::unlock_nothing,
        arg: 0,
        reason,
        deadline,
    };
    park::outcome(gopark(gp, wait))
}

/// Closes a channel: receivers drain it, then get `EPIPE`; senders get that
/// at once.
///
/// Errors: `EPIPE` closed already.
pub(crate) fn close(ch: &GmpChan) -> Result<()> {
    ch.lock.lock();
    if ch.closed.load(Relaxed) {
        ch.unlock();
        return Err(Errno(libc::EPIPE));
    }
    // Release: pairs with the looks without the lock.
    ch.closed.store(true, Release);
    let mut released = crate::gmp::GList::new();
    while let Some(sg) = ch.recvq().dequeue() {
        released.push_back(sg.gp);
    }
    while let Some(sg) = ch.sendq().dequeue() {
        released.push_back(sg.gp);
    }
    ch.unlock();
    while let Some(gp) = released.pop_front() {
        wake(gp);
    }
    Ok(())
}

/// A wait without end.
pub(crate) const BLOCK: Block = Block::Until(FOREVER);
