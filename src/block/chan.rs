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

use super::ticker::Ticker;
use crate::{
    base::{
        lock::Rank,
        sync::{AtomicBool, AtomicUsize, Ordering::*},
        throw::fatal,
    },
    gmp::{
        G,
        parkword::{WaitKind, Wakers},
        wait::{self, Sudog, WaitQ, WakeList},
    },
    os::{Errno, Result, clock::nanotime},
    sched::{
        cancel, child, current, host,
        lock::RawLock,
        park::{self, Wait, gopark},
        ready::{ready, ready_all},
    },
    timers::FOREVER,
};
use core::{
    alloc::Layout,
    cell::Cell,
    ffi::CStr,
    ptr::{self, NonNull},
};

#[cfg(shuttle)]
use crate::os::memory as libc;

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
    recvq: WaitQ,
    /// lock
    sendq: WaitQ,
    /// const: the timer that sends here, or null; it holds no reference
    ticker: *const Ticker,
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
            recvq: WaitQ::new(),
            sendq: WaitQ::new(),
            ticker: ptr::null(),
        };
        // SAFETY: fresh memory of at least this size.
        unsafe { ch.write(value) };
        Some(ch)
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
        // Relaxed: the caller holds one.
        self.refs.fetch_add(1, Relaxed);
    }

    /// Takes one more reference unless the last one is gone.
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
        // AcqRel: all uses come before the free.
        match ch.refs.fetch_sub(1, AcqRel) {
            0 => fatal("gmp_chan_unref: more often than it was referenced"),
            // Who waits on it may be a goroutine of the parent.
            1 if child::in_child() => return,
            1 => {}
            _ => return,
        }
        ch.lock.lock();
        let waiting = !ch.recvq.seems_empty() || !ch.sendq.seems_empty();
        ch.unlock();
        if waiting {
            fatal("gmp_chan_unref: freed while goroutines wait on it");
        }
        if !ch.ticker.is_null() {
            // SAFETY: the channel's reference, given up here. Once the timer
            // is stopped it does not look at the channel any more.
            unsafe { Ticker::free(ch.ticker) };
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

    pub(super) fn lock(&self) {
        self.lock.lock();
    }

    pub(super) fn unlock(&self) {
        // SAFETY: the caller holds the lock.
        unsafe { self.lock.unlock() };
    }

    fn slot(&self, at: usize) -> *mut u8 {
        let base = ptr::from_ref(self).cast_mut().cast::<u8>();
        // SAFETY: at < capacity, so inside the allocation.
        unsafe { base.add(HEADER + at * self.elem_size) }
    }

    /// Copies one element; nothing where one side is null.
    #[inline(always)]
    fn copy(&self, from: *const u8, to: *mut u8) {
        if from.is_null() || to.is_null() {
            return;
        }
        if self.elem_size == size_of::<u64>() {
            // SAFETY: as below; a word needs no call.
            let word = unsafe { from.cast::<u64>().read_unaligned() };
            // SAFETY: as below.
            unsafe { to.cast::<u64>().write_unaligned(word) };
            return;
        }
        // SAFETY: both sides have room for an element: the buffer, a parked
        // waiter's, or the caller's, as it promised.
        unsafe { ptr::copy_nonoverlapping(from, to, self.elem_size) };
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

/// One of the two things that are done to a channel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Send,
    Recv,
}

/// What could be done at once, with the channel locked.
#[must_use]
pub(super) enum Now {
    /// It is done; the caller unlocks, and then wakes this one.
    Done(Option<&'static G>),
    /// It is closed (and drained, to a receiver).
    Closed,
    /// It has to wait.
    Wait,
}

impl GmpChan {
    /// Under the lock: what can be done without waiting.
    #[inline(always)]
    pub(super) fn now(&self, op: Op, elem: *mut u8) -> Now {
        match op {
            Op::Send => self.send_now(elem),
            Op::Recv => self.recv_now(elem),
        }
    }

    #[inline(always)]
    fn send_now(&self, elem: *const u8) -> Now {
        if self.closed.load(Relaxed) {
            return Now::Closed;
        }
        if let Some(sg) = self.recvq.dequeue() {
            self.copy(elem, sg.elem);
            sg.success.set(true);
            return Now::Done(Some(sg.gp));
        }
        if self.len() < self.capacity {
            self.push(elem);
            return Now::Done(None);
        }
        Now::Wait
    }

    /// From a sender that waits its element is taken, or, with a full buffer,
    /// the oldest there, while the sender's goes to the end.
    #[inline(always)]
    fn recv_now(&self, elem: *mut u8) -> Now {
        if self.len() > 0 {
            let Some(sg) = self.sendq.dequeue() else {
                self.pop(elem);
                return Now::Done(None);
            };
            // Full, and it stays so: who looks without the lock shall not see
            // it otherwise.
            let at = self.advance(&self.recvx);
            self.copy(self.slot(at), elem);
            self.copy(sg.elem, self.slot(at));
            self.sendx.set(self.recvx.get());
            sg.success.set(true);
            return Now::Done(Some(sg.gp));
        }
        if self.closed.load(Relaxed) {
            self.zero(elem);
            return Now::Closed;
        }
        let Some(sg) = self.sendq.dequeue() else { return Now::Wait };
        self.copy(sg.elem, elem);
        sg.success.set(true);
        Now::Done(Some(sg.gp))
    }

    /// Sends a copy of `*elem` if that is possible at once; gives back who
    /// received it, for the caller to wake.
    pub(super) fn try_send(&self, elem: *const u8) -> Option<&'static G> {
        self.lock();
        let now = self.send_now(elem);
        self.unlock();
        match now {
            Now::Done(receiver) => receiver,
            Now::Closed | Now::Wait => None,
        }
    }

    /// Under the lock: who waits to do `op`.
    pub(super) fn queue(&self, op: Op) -> &WaitQ {
        match op {
            Op::Send => &self.sendq,
            Op::Recv => &self.recvq,
        }
    }

    /// A hint that needs no lock: whether `op` would have to wait.
    pub(super) fn seems_blocked(&self, op: Op) -> bool {
        // Acquire: pairs with close.
        if self.closed.load(Acquire) {
            return false;
        }
        match op {
            Op::Send => self.len() == self.capacity && self.recvq.seems_empty(),
            Op::Recv => self.len() == 0 && self.sendq.seems_empty(),
        }
    }

    /// What `op` gets that was woken without success: the channel is closed.
    pub(super) fn found_closed(&self, op: Op, elem: *mut u8) -> Errno {
        if op == Op::Recv {
            self.zero(elem);
        }
        Errno(libc::EPIPE)
    }
}

/// Sends a copy of `*elem`.
///
/// Errors: `EPIPE` closed; `EAGAIN` would block and may not; `ETIMEDOUT`,
/// `ECANCELED`, `EDEADLK` as every wait.
#[inline(always)]
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
    one(ch, Op::Send, elem.cast_mut(), block)
}

/// Receives into `*elem`, which may be null.
///
/// Errors: `EPIPE` closed and drained, `*elem` zeroed; else as [`send`].
#[inline(always)]
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
    one(ch, Op::Recv, elem, block)
}

/// Does `op`, now or when it can be done.
#[inline(always)]
fn one(ch: &GmpChan, op: Op, elem: *mut u8, block: Block) -> Result<()> {
    if let Block::Until(_) = block {
        cancel::check()?;
    }
    loop {
        ch.lock.lock();
        match ch.now(op, elem) {
            Now::Done(other) => {
                ch.unlock();
                if let Some(gp) = other {
                    ready(gp, true);
                }
                return Ok(());
            }
            Now::Closed => {
                ch.unlock();
                return Err(Errno(libc::EPIPE));
            }
            Now::Wait if current::has_g() => {
                return park_on(ch, op, elem, block);
            }
            // A host thread that has no G yet, which nobody makes under a
            // lock.
            Now::Wait => {
                ch.unlock();
                match block {
                    Block::Never => return Err(Errno::EAGAIN),
                    Block::Until(_) => host::current().map(drop)?,
                }
            }
        }
    }
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

/// Waits in a queue of `ch`, which is locked; unlocks it.
#[inline(always)]
fn park_on(ch: &GmpChan, op: Op, elem: *mut u8, block: Block) -> Result<()> {
    let (gp, deadline) = match may_park(block) {
        Ok(both) => both,
        Err(e) => {
            ch.unlock();
            return Err(e);
        }
    };
    let forever = deadline == FOREVER;
    let ticket = wait::arm(gp, WaitKind::Cancellable, forever, Wakers::OneLock);
    let sg = Sudog::new(gp, ticket, elem);
    ch.queue(op).enqueue(&sg, false);
    let reason = match op {
        Op::Send => c"chan send",
        Op::Recv => c"chan receive",
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
        ch.queue(op).remove(&sg);
        ch.unlock();
        return Err(e);
    }
    Err(ch.found_closed(op, elem))
}

/// Whether the caller, which has a G, may wait now, and until when.
///
/// Errors: `EAGAIN`, `ETIMEDOUT`; as [`current`].
pub(super) fn may_park(block: Block) -> Result<(&'static G, i64)> {
    let Block::Until(deadline) = block else { return Err(Errno::EAGAIN) };
    let gp = host::current()?;
    if deadline != FOREVER && deadline <= nanotime() {
        return Err(Errno(libc::ETIMEDOUT));
    }
    Ok((gp, deadline))
}

/// What gopark calls once the waiter is off its stack.
fn unlock_chan(arg: usize) {
    // SAFETY: the channel that park_on locked; its waiter, which is queued,
    // keeps the caller's reference alive.
    let ch = unsafe { &*(arg as *const GmpChan) };
    ch.unlock();
}

/// A null channel is never ready, nor is a select without cases.
pub(super) fn wait_for_ever(block: Block, reason: &'static CStr) -> Result<()> {
    if let Block::Until(_) = block {
        cancel::check()?;
        // A host thread gets its G.
        host::current()?;
    }
    let (gp, deadline) = may_park(block)?;
    park::outcome(park::wait_for_nothing(gp, reason, deadline))
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
    // Release: pairs with seems_blocked, which looks without the lock.
    ch.closed.store(true, Release);
    let mut released = WakeList::new();
    ch.recvq.dequeue_all(|_| true, |sg| released.push(sg));
    ch.sendq.dequeue_all(|_| true, |sg| released.push(sg));
    ch.unlock();
    ready_all(released);
    // SAFETY: null, or alive as long as the channel is.
    if let Some(ticker) = unsafe { ch.ticker.as_ref() } {
        ticker.stop();
    }
    Ok(())
}

/// A wait without end.
pub(crate) const BLOCK: Block = Block::Until(FOREVER);
