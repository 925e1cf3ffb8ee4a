//! Timers that hosts start: their states, and who keeps them. `firing` has what
//! a timer does when its time comes: it calls a function, or sends a tick on a
//! channel.
//!
//! ```text
//!            start, reset             its time comes
//!   stopped --------------> armed ----------------------> fires
//!      ^                      |  ^------- period ---------'  |
//!      '--------stop----------'                              v
//!   function: launched (a goroutine is on its way) -> running -> over
//!   channel:  a tick is sent if there is room
//! ```
//! Go 1.23's guarantee: after a stop or reset, nothing of an earlier arming
//! begins any more. A goroutine that has been launched asks first whether it
//! may begin, and a stop takes the permission back.
//!
//! The time runs on in `sched`'s heaps; one of them holds a reference to the
//! timer while it is there, and hands it to the function that it calls (`fire`
//! of `firing`). The call may come late: the timer is stopped, armed anew, or
//! freed by then. `fire` finds that out by `seq`.
//!
//! Invariants:
//! 1. The state is touched under the timer's lock.
//! 2. `seq` grows with each start, reset and stop.
//! 3. References: one of the user (or the channel), one of the heap that the
//!    timer is in, one for each goroutine launched.
//! 4. The channel holds a reference to its timer, and not the reverse. It stops
//!    the timer before it is freed. So under the lock an armed timer whose
//!    `seq` is right may use the channel.

#[cfg(shuttle)]
use crate::os::memory as libc;

use crate::{
    base::{
        lock::Rank,
        sync::{AtomicUsize, Ordering::*},
    },
    gmp::GmpFn,
    heap::kept::{self, Kept},
    os::clock::nanotime,
    sched::{
        child,
        enter::Inside,
        lock::{Lock, LockGuard},
        timing,
    },
    timers::{Deadline, STOPPED, Timer, TimerFn, Timers},
};
use core::{ffi::c_void, mem::offset_of, ptr};

/// A function of the host's to call on a goroutine.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub f: GmpFn,
    pub arg: *mut c_void,
    /// `NewG::gopc`
    pub gopc: usize,
}

/// What a timer does when its time comes.
#[derive(Clone, Copy)]
pub(super) enum Action {
    Call(Call),
    /// Sends on this channel. Invariant 4.
    Send(*const c_void),
}

/// A timer of the host's.
pub struct Ticker {
    /// Invariant 3.
    refs: AtomicUsize,
    pub(super) node: Timer,
    /// const
    pub(super) action: Action,
    state: Lock<State>,
    /// in its list if the argument may be a pointer to an object of the heap
    kept: Kept,
}

pub(super) struct State {
    pub armed: bool,
    /// A goroutine is on its way and may begin.
    pub launched: bool,
    pub running: bool,
    /// Its one time came while the function ran: once more after that.
    pub again: bool,
    pub seq: u64,
    /// When it fires next.
    pub when: i64,
    /// 0: once.
    pub period: i64,
}

impl State {
    /// Forgets the arming: nothing of it begins any more.
    fn disarm(&mut self) {
        self.armed = false;
        self.launched = false;
        self.again = false;
        self.seq += 1;
    }
}

// SAFETY: the action's pointers are the host's, for any thread, or guarded by
// invariant 4; the rest is atomic or locked.
unsafe impl Sync for Ticker {}

/// The words of a timer's action, for a collection.
fn argument(kept: &Kept, found: &mut dyn FnMut(usize, usize)) {
    let at = ptr::from_ref(kept).addr() - offset_of!(Ticker, kept)
        + offset_of!(Ticker, action);
    found(at, at + size_of::<Action>());
}

impl Ticker {
    /// A timer with one reference, stopped; null where memory is out. Its heap
    /// calls `fire` with its address.
    pub(super) fn make(
        action: Action,
        period: i64,
        fire: TimerFn,
    ) -> *const Self {
        // SAFETY: malloc may be called with any size.
        let place = unsafe { libc::malloc(size_of::<Self>()) }.cast::<Self>();
        if place.is_null() {
            return place;
        }
        let state = State {
            armed: false,
            launched: false,
            running: false,
            again: false,
            seq: 0,
            when: 0,
            period,
        };
        let value = Self {
            refs: AtomicUsize::new(1),
            node: Timer::new(fire, place.addr(), 0),
            action,
            state: Lock::new(Rank::Ticker, state),
            kept: Kept::new(),
        };
        // SAFETY: fresh memory of this size; malloc aligns it.
        unsafe { place.write(value) };
        if kept::wanted() {
            // SAFETY: just written.
            let kept = unsafe { &(*place).kept };
            // SAFETY: removed before the timer is freed.
            unsafe { kept.add(argument) };
        }
        place
    }

    /// Locks the state. The first to do so in the child of a fork stops the
    /// timer: its heap and its goroutines are the parent's. The references that
    /// these had are lost.
    pub(super) fn lock(&self) -> LockGuard<'_, State> {
        self.state.lock_or_renew(|state| {
            state.disarm();
            state.running = false;
            self.node.has_run();
        })
    }

    /// Fires `ns` from now, and then with the period that it had. Nothing of an
    /// earlier arming begins any more. Returns whether its function runs now.
    pub(crate) fn reset(&self, ns: i64) -> bool {
        let _inside = Inside::enter();
        let mut state = self.lock();
        state.launched = false;
        state.again = false;
        self.arm(&mut state, nanotime().saturating_add(ns.max(0)));
        state.running
    }

    /// Under the lock: fires at `when`. The caller is inside.
    pub(super) fn arm(&self, state: &mut LockGuard<'_, State>, when: i64) {
        // The last moment of the clock stands for a stopped timer.
        let when = when.min(STOPPED - 1);
        state.armed = true;
        state.seq += 1;
        state.when = when;
        let deadline = Deadline::at(when);
        if timing::set_timer(&self.node, deadline, state.seq) {
            return;
        }
        // The heap's reference; it has one already to a pending timer.
        self.add_ref();
        self.node.set_seq(state.seq);
        // SAFETY: the timer stays while the heap has a reference.
        unsafe { timing::add_timer(&self.node, deadline) };
    }

    /// Stops the timer. Returns whether it would have fired: it was armed, or
    /// its function was about to begin.
    pub(crate) fn stop(&self) -> bool {
        let _inside = Inside::enter();
        let mut state = self.lock();
        let pending = state.armed || state.launched || state.again;
        // The heap gives its reference back through fire, now or later.
        let stopped = state.armed.then(|| Timers::stop(&self.node));
        state.disarm();
        drop(state);
        if let Some(stopped) = stopped {
            stopped.call();
        }
        pending
    }

    /// Stops the timer and drops the reference of the user or the channel.
    ///
    /// # Safety
    /// `this` is not used by the caller any more.
    pub(crate) unsafe fn free(this: *const Self) {
        if child::is_dead_end() {
            return;
        }
        let _inside = Inside::enter();
        // SAFETY: the caller's reference.
        let t = unsafe { &*this };
        let mut state = t.lock();
        state.disarm();
        // The caller's, and the heap's if the timer is in one.
        let refs = 1 + usize::from(Timers::remove(&t.node));
        drop(state);
        // SAFETY: these references are given up.
        unsafe { Self::unref(this, refs) };
    }

    pub(super) fn add_ref(&self) {
        // Relaxed: the caller holds one.
        self.refs.fetch_add(1, Relaxed);
    }

    /// # Safety
    /// `n` references that are not used any more.
    pub(super) unsafe fn unref(this: *const Self, n: usize) {
        // SAFETY: alive while the caller holds a reference.
        let refs = &unsafe { &*this }.refs;
        // Acquire, AcqRel: all uses come before the free. A caller that has all
        // references is alone.
        if refs.load(Acquire) == n || refs.fetch_sub(n, AcqRel) == n {
            // SAFETY: alive until the next line.
            unsafe { &*this }.kept.remove();
            // SAFETY: from malloc, and nobody has it any more. Nothing in it
            // needs to be dropped.
            unsafe { libc::free(this.cast_mut().cast()) };
        }
    }
}
