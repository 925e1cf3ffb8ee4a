//! Timers that hosts start: a function at a time, or a tick on a channel.
//!
//! ```text
//!            start, reset             its time comes
//!   stopped --------------> armed ----------------------> fires
//!      ^                      |  ^------- period ---------'  |
//!      '--------stop----------'                              v
//!   function: launched (a goroutine is on its way) -> running -> over
//!   channel:  a tick is sent if there is room
//! ```
//! Go 1.23's guarantee: after stop and reset nothing of an earlier arming
//! begins any more. A goroutine that has been launched asks first whether it
//! may begin, and stop takes that back.
//!
//! The time runs on in `sched`'s heaps; one of them holds a reference to the
//! timer while it is there, and hands it to the function that it calls
//! ([`fire`]). That may be late: stopped, armed anew, or freed. It tells by
//! `seq`.
//!
//! Invariants:
//! 1. The state is touched under the timer's lock.
//! 2. `seq` grows with each start, reset and stop.
//! 3. References: the user's (or the channel's), the heap's while it is there,
//!    one for each goroutine launched.
//! 4. The channel holds a reference to its timer and not the reverse. Before
//!    it is freed it stops the timer, and under the lock an armed timer whose
//!    `seq` is right may look at it.

use super::chan::GmpChan;
use crate::{
    base::{
        lock::Rank,
        sync::{AtomicUsize, Ordering::*},
    },
    gmp::{G, GmpFn},
    os::clock::nanotime,
    sched::{
        child, ending,
        enter::Inside,
        lock::{Lock, LockGuard},
        newproc::{NewG, newproc1},
        ready::ready,
        timing,
    },
    timers::{STOPPED, Timer, Timers},
};
use core::{ffi::c_void, ptr};

#[cfg(shuttle)]
use crate::os::memory as libc;

/// How long a timer waits that found no memory for its goroutine.
const RETRY_NS: i64 = 1_000_000;

/// What it does when its time comes.
#[derive(Clone, Copy)]
enum Action {
    Call(GmpFn, *mut c_void),
    /// Invariant 4.
    Send(*const GmpChan),
}

/// A timer of the host's.
pub struct Ticker {
    /// Invariant 3.
    refs: AtomicUsize,
    node: Timer,
    /// const
    action: Action,
    state: Lock<State>,
}

struct State {
    armed: bool,
    /// A goroutine is on its way and may begin.
    launched: bool,
    running: bool,
    /// Its one time came while the function ran: once more after that.
    again: bool,
    seq: u64,
    /// When it fires next.
    when: i64,
    /// 0: once.
    period: i64,
}

impl State {
    /// Nothing of what was armed begins any more.
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

impl Ticker {
    /// A timer with one reference, stopped; null where memory is out.
    fn make(action: Action, period: i64) -> *const Self {
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
        };
        // SAFETY: fresh memory of this size; malloc aligns it.
        unsafe { place.write(value) };
        place
    }

    /// Fires `ns` from now, and then as often as it did. Nothing of an earlier
    /// arming begins any more. Whether its function is under way.
    pub(crate) fn reset(&self, ns: i64) -> bool {
        let _inside = Inside::enter();
        let mut state = self.state.lock();
        state.launched = false;
        state.again = false;
        self.arm(&mut state, nanotime().saturating_add(ns.max(0)));
        state.running
    }

    /// Under the lock: fires at `when`. The caller is inside.
    fn arm(&self, state: &mut LockGuard<'_, State>, when: i64) {
        // The last moment there is belongs to stopped timers.
        let when = when.min(STOPPED - 1);
        state.armed = true;
        state.seq += 1;
        state.when = when;
        if timing::set_timer(&self.node, when, state.seq) {
            return;
        }
        // The heap's, which it has already of a timer that is pending.
        self.add_ref();
        self.node.set_seq(state.seq);
        // SAFETY: it stays while the heap has a reference.
        unsafe { timing::add_timer(&self.node, when) };
    }

    /// Does not fire any more. Whether it would have: it was armed, or its
    /// function was about to begin, which it does not.
    pub(crate) fn stop(&self) -> bool {
        let _inside = Inside::enter();
        let mut state = self.state.lock();
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

    /// Stops it and drops the user's, or the channel's, reference.
    ///
    /// # Safety
    /// `this` is not used by the caller any more.
    pub(crate) unsafe fn free(this: *const Self) {
        if child::in_child() {
            // Its heap is the parent's.
            return;
        }
        let _inside = Inside::enter();
        // SAFETY: the caller's reference.
        let t = unsafe { &*this };
        let mut state = t.state.lock();
        state.disarm();
        // With the heap's, if it is there.
        let refs = 1 + usize::from(Timers::remove(&t.node));
        drop(state);
        // SAFETY: the same, given up.
        unsafe { Self::unref(this, refs) };
    }

    fn add_ref(&self) {
        // Relaxed: the caller holds one.
        self.refs.fetch_add(1, Relaxed);
    }

    /// # Safety
    /// `n` references that are not used any more.
    unsafe fn unref(this: *const Self, n: usize) {
        // SAFETY: alive while the caller holds a reference.
        let refs = &unsafe { &*this }.refs;
        // Acquire, AcqRel: all uses come before the free. Who has them all is
        // alone.
        if refs.load(Acquire) == n || refs.fetch_sub(n, AcqRel) == n {
            // SAFETY: from malloc, and nobody has it any more. Nothing in it
            // needs to be dropped.
            unsafe { libc::free(this.cast_mut().cast()) };
        }
    }
}

/// What follows from a timer's firing, once its lock is free.
enum Then {
    Nothing,
    Launch,
    /// The reference to the channel, and who received the tick.
    Ticked(&'static GmpChan, Option<&'static G>),
}

/// A timer's time has come, or came before it was stopped: with the heap's
/// reference.
fn fire(timer: usize, seq: u64) {
    let place = timer as *const Ticker;
    // SAFETY: the heap's reference, now ours.
    let t = unsafe { &*place };
    let mut state = t.state.lock();
    let mut then = Then::Nothing;
    if state.armed && state.seq == seq {
        t.node.has_run();
        then = due(t, &mut state);
        state.armed = false;
        if state.period > 0 {
            let when = next_tick(&state, nanotime());
            t.arm(&mut state, when);
        }
    }
    drop(state);
    match then {
        Then::Nothing => {}
        Then::Launch => launch(t),
        Then::Ticked(ch, receiver) => {
            if let Some(gp) = receiver {
                ready(gp, true);
            }
            // SAFETY: the reference from due.
            unsafe { GmpChan::unref(ptr::from_ref(ch).cast_mut()) };
        }
    }
    // SAFETY: the heap's, given up.
    unsafe { Ticker::unref(place, 1) };
}

/// Under the lock: what a timer that is due does. While its function runs, or
/// has yet to begin, a periodic one misses its time; one that fires once, and
/// was reset meanwhile, follows.
fn due(t: &Ticker, state: &mut State) -> Then {
    match t.action {
        Action::Call(..) if state.launched || state.running => {
            state.again = state.period == 0 && state.running;
            Then::Nothing
        }
        Action::Call(..) => {
            state.launched = true;
            Then::Launch
        }
        Action::Send(ch) => {
            // SAFETY: armed, so it is there (invariant 4).
            let ch = unsafe { &*ch };
            if !ch.upgrade() {
                return Then::Nothing;
            }
            // Under the timer's lock, so that ticks come in order.
            let now = nanotime();
            let receiver = ch.try_send(ptr::from_ref(&now).cast());
            Then::Ticked(ch, receiver)
        }
    }
}

/// The next time of a periodic timer that is after `now`.
fn next_tick(state: &State, now: i64) -> i64 {
    let late = now.saturating_sub(state.when).max(0);
    let periods = 1 + late / state.period;
    let ahead = state.period.saturating_mul(periods);
    state.when.saturating_add(ahead)
}

/// Starts the goroutine of a timer that was marked as launched; without
/// memory for it, tries again later.
fn launch(t: &Ticker) {
    t.add_ref();
    let arg = ptr::from_ref(t).cast_mut().cast();
    if newproc1(&NewG::new(run, arg)).is_ok() {
        return;
    }
    let mut state = t.state.lock();
    if state.launched && !state.armed {
        t.arm(&mut state, nanotime().saturating_add(RETRY_NS));
    }
    state.launched = false;
    drop(state);
    // SAFETY: the goroutine's, and not the last: fire has one.
    unsafe { Ticker::unref(t, 1) };
}

/// The goroutine of a timer's function, with a reference.
unsafe extern "C" fn run(arg: *mut c_void) {
    // SAFETY: launch's reference.
    let t = unsafe { &*arg.cast::<Ticker>() };
    let mut state = t.state.lock();
    let may = state.launched;
    if may {
        state.launched = false;
        state.running = true;
    }
    drop(state);
    if may && let Action::Call(f, arg_of_f) = t.action {
        // SAFETY: the host's function with its argument.
        ending::with_cleanup(over, arg, || unsafe { f(arg_of_f) });
        // SAFETY: the same argument.
        unsafe { over(arg) };
        return;
    }
    // SAFETY: launch's reference, given up.
    unsafe { Ticker::unref(t, 1) };
}

/// A timer's function is over, by return or by `gmp_exit`.
unsafe extern "C" fn over(arg: *mut c_void) {
    if child::in_child() {
        return;
    }
    let place = arg.cast::<Ticker>();
    // SAFETY: launch's reference.
    let t = unsafe { &*place };
    let mut state = t.state.lock();
    state.running = false;
    let again = core::mem::take(&mut state.again);
    state.launched |= again;
    drop(state);
    if again {
        launch(t);
    }
    // SAFETY: the same, given up.
    unsafe { Ticker::unref(place, 1) };
}

/// `gmp_timer_start`: null where memory is out.
pub(crate) fn start(
    f: GmpFn,
    arg: *mut c_void,
    ns: i64,
    period: i64,
) -> *const Ticker {
    let place = Ticker::make(Action::Call(f, arg), period);
    // SAFETY: null, or just made.
    if let Some(t) = unsafe { place.as_ref() } {
        t.reset(ns);
    }
    place
}

/// A channel that a timer sends to: `time.After`, or with a period, a ticker.
/// Null where memory is out.
pub(crate) fn channel(ns: i64, period: i64) -> *mut GmpChan {
    let Some(ch) = GmpChan::make(size_of::<i64>(), 1) else {
        return ptr::null_mut();
    };
    let place = Ticker::make(Action::Send(ch), period);
    // SAFETY: null, or just made.
    let Some(t) = (unsafe { place.as_ref() }) else {
        // SAFETY: just made.
        unsafe { GmpChan::unref(ch) };
        return ptr::null_mut();
    };
    // SAFETY: nobody else has it: the timer is stopped.
    unsafe { GmpChan::set_ticker(ch, place) };
    t.reset(ns);
    ch
}
