//! Channels: Go's `hchan`. A queue of elements between goroutines, which makes
//! a sender wait while it is full and a receiver while it is empty.
//!
//! Invariants, under the lock:
//! 1. `recvq` and `sendq` are not both non-empty, unless one select waits at
//!    both ends of the channel.
//! 2. With a buffer: while `count > 0`, `recvq` is empty; while
//!    `count < capacity`, `sendq` is.
//! 3. A waiter's element is on the waiter's stack or in its caller's memory.
//!    The other side copies it directly, while the waiter is parked.
//!
//! Their memory is [`super::hchan`]'s.

use super::patience::{may_park, wait_for_ever};
pub(crate) use super::{hchan::GmpChan, patience::Block};
use crate::{
    base::sync::Ordering::*,
    gmp::{
        G,
        parkword::{Cause, Wakers},
        wait::{At, Sudog, Turn, Unlock, Wait, WaitQ, WakeList},
    },
    os::{Errno, Result},
    sched::{
        cancel, current, host,
        park::park,
        ready::{goready, ready_all},
    },
    timers::Deadline,
};

/// An operation on a channel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Send,
    Recv,
}

/// What became of an operation that was tried on a locked channel.
#[must_use]
pub(super) enum Now {
    /// Done; the caller unlocks, and then readies this waiter of the other end.
    Done(Option<&'static G>),
    /// The channel is closed, and for a receiver drained.
    Closed,
    /// The operation has to wait.
    Wait,
}

impl GmpChan {
    /// Under the lock: does `op` if that needs no wait.
    #[inline(always)]
    pub(super) fn try_now(&self, op: Op, elem: *mut u8) -> Now {
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

    /// Takes the oldest element of the buffer, and puts that of a waiting
    /// sender at the end; without a buffer it takes the sender's.
    #[inline(always)]
    fn recv_now(&self, elem: *mut u8) -> Now {
        if self.len() > 0 {
            let Some(sg) = self.sendq.dequeue() else {
                self.pop(elem);
                return Now::Done(None);
            };
            // The buffer is full, and `count` says so throughout: a look
            // without the lock must not find room.
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

    /// Sends a copy of `*elem` if that is possible at once; returns the
    /// receiver that waited for it, for the caller to ready.
    pub(super) fn try_send(&self, elem: *const u8) -> Option<&'static G> {
        self.lock();
        let now = self.send_now(elem);
        self.unlock();
        match now {
            Now::Done(receiver) => receiver,
            Now::Closed | Now::Wait => None,
        }
    }

    /// Under the lock: the queue of those that wait to do `op`.
    pub(super) fn queue(&self, op: Op) -> &WaitQ {
        match op {
            Op::Send => &self.sendq,
            Op::Recv => &self.recvq,
        }
    }

    /// Whether `op` would have to wait, read without the lock. If so, there was
    /// a moment during this call when it would: `closed` is read last, and a
    /// channel that is open then was open all the time. With a buffer that is
    /// full, or empty, nobody waits at the other end (invariant 2); without
    /// one, `count` is 0 and the queue decides.
    #[inline]
    pub(super) fn seems_blocked(&self, op: Op) -> bool {
        // Acquire, all three: the reads keep their order. Pairs with close.
        let count = self.count.load(Acquire);
        let blocked = match op {
            Op::Send => count == self.capacity && self.recvq.seems_empty(),
            Op::Recv => count == 0 && self.sendq.seems_empty(),
        };
        blocked && !self.closed.load(Acquire)
    }

    /// The result of an `op` that a close has woken.
    pub(super) fn found_closed(&self, op: Op, elem: *mut u8) -> Errno {
        if op == Op::Recv {
            self.zero(elem);
        }
        Errno(libc::EPIPE)
    }
}

/// Sends a copy of `*elem`.
///
/// Errors: `EPIPE` if the channel is closed; `EAGAIN` if the call would wait
/// and may not; `ETIMEDOUT`, `ECANCELED`, `EDEADLK` as of every wait.
#[inline(always)]
pub(crate) fn send(
    ch: Option<&GmpChan>,
    elem: *const u8,
    block: Block,
) -> Result<()> {
    let Some(ch) = ch else { return wait_for_ever(block, c"chan send (null)") };
    operate(ch, Op::Send, elem.cast_mut(), block)
}

/// Receives into `*elem`; `elem` may be null.
///
/// Errors: `EPIPE` if the channel is closed and drained, and then `*elem` is
/// zeroed; else as [`send`].
#[inline(always)]
pub(crate) fn recv(
    ch: Option<&GmpChan>,
    elem: *mut u8,
    block: Block,
) -> Result<()> {
    let Some(ch) = ch else {
        return wait_for_ever(block, c"chan receive (null)");
    };
    operate(ch, Op::Recv, elem, block)
}

/// Does `op`, and waits for that if it has to and may.
#[inline(always)]
fn operate(ch: &GmpChan, op: Op, elem: *mut u8, block: Block) -> Result<()> {
    match block {
        Block::Not if ch.seems_blocked(op) => return Err(Errno::EAGAIN),
        Block::Not => {}
        Block::Until(_) => cancel::check()?,
    }
    ch.lock();
    match ch.try_now(op, elem) {
        Now::Done(other) => {
            ch.unlock();
            if let Some(gp) = other {
                goready(gp, Turn::Next);
            }
            Ok(())
        }
        Now::Closed => {
            ch.unlock();
            Err(Errno(libc::EPIPE))
        }
        Now::Wait if current::has_g() => park_on(ch, op, elem, block),
        Now::Wait => {
            ch.unlock();
            operate_with_g(ch, op, elem, block)
        }
    }
}

/// A host thread without a G gets one, which is not made under a lock, and
/// tries again.
#[cold]
fn operate_with_g(
    ch: &GmpChan,
    op: Op,
    elem: *mut u8,
    block: Block,
) -> Result<()> {
    if let Block::Not = block {
        return Err(Errno::EAGAIN);
    }
    host::current()?;
    operate(ch, op, elem, block)
}

/// Waits in a queue of `ch`, which is locked; unlocks it.
#[inline(always)]
fn park_on(ch: &GmpChan, op: Op, elem: *mut u8, block: Block) -> Result<()> {
    let may = may_park(block).inspect_err(|_| ch.unlock());
    let (gp, deadline) = may?;
    let wait = wait_in(ch, op, deadline);
    let ticket = wait.begin_locked(gp, Wakers::OneLock);
    let sg = Sudog::new(gp, ticket, elem);
    ch.queue(op).enqueue(&sg, At::Back);
    match park(gp, &wait, ticket, ch) {
        _ if sg.success.get() => Ok(()),
        cause => Err(without_success(ch, op, &sg, cause)),
    }
}

/// A wait in a queue of `ch`.
#[inline(always)]
pub(super) fn wait_in(ch: &GmpChan, op: Op, deadline: Deadline) -> Wait {
    let sends = op == Op::Send;
    let reason = if sends { c"chan send" } else { c"chan receive" };
    Wait::until(deadline, reason).on(ch)
}

// SAFETY: the waiter, which is queued, has a reference to the channel, and
// takes the lock before it goes on, or was woken under it.
unsafe impl Unlock for &GmpChan {
    fn unlock(self) {
        GmpChan::unlock(self);
    }
}

/// The error of a wait that ended by a close, a deadline or a cancel.
#[cold]
pub(super) fn without_success(
    ch: &GmpChan,
    op: Op,
    sg: &Sudog,
    cause: Cause,
) -> Errno {
    if let Err(e) = cause.outcome() {
        ch.lock();
        ch.queue(op).remove(sg);
        ch.unlock();
        return e;
    }
    ch.found_closed(op, sg.elem)
}

/// Closes a channel: receivers drain it, then get `EPIPE`; senders get `EPIPE`
/// at once.
///
/// Errors: `EPIPE` if it is closed already.
pub(crate) fn close(ch: &GmpChan) -> Result<()> {
    ch.lock();
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
