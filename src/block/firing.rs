//! A host's timer when its time comes: a goroutine calls the timer's function,
//! or its channel gets a tick. The timer's states and invariants are in
//! `ticker`, which knows no channel: a channel knows its timer.

use super::{
    chan::GmpChan,
    ticker::{Action, Call, State, Ticker},
};
use crate::{
    arch,
    gmp::{CLOSING, G, closing::Stage, wait::Turn},
    os::clock::nanotime,
    sched::{
        child,
        current::on_goroutine,
        ending,
        newproc::{NewG, newproc1},
        ready::goready,
    },
};
use core::{ffi::c_void, ptr};

/// How long a timer waits that found no memory for its goroutine.
const RETRY_NS: i64 = 1_000_000;

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
    let mut state = t.lock();
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
                goready(gp, Turn::Next);
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
            // SAFETY: armed, so it is there (invariant 4 of `ticker`).
            let ch = unsafe { &*ch.cast::<GmpChan>() };
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
/// memory for it, and while new goroutines are refused, tries again later.
fn launch(t: &Ticker) {
    t.add_ref();
    let arg = ptr::from_ref(t).cast_mut().cast();
    let gopc = if let Action::Call(call) = t.action { call.gopc } else { 0 };
    // While the runtime ends there are no new goroutines.
    let may = !CLOSING.has_come(Stage::Refusing);
    if may && newproc1(&NewG { gopc, ..NewG::new(run, arg) }).is_ok() {
        return;
    }
    let mut state = t.lock();
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
    let mut state = t.lock();
    let may = state.launched;
    if may {
        state.launched = false;
        state.running = true;
    }
    drop(state);
    if may && let Action::Call(call) = t.action {
        if let Some(gp) = on_goroutine() {
            gp.stands_for(call.f as *const ());
        }
        let args = [call.arg.addr(), 0, 0];
        let ended = ending::with_cleanup(over, arg, || {
            // SAFETY: the host's function with its argument.
            unsafe { arch::call_base(call.f as *const (), args) }
        });
        if ended.is_some() {
            // SAFETY: the same argument.
            unsafe { over(arg) };
        }
        return;
    }
    // SAFETY: launch's reference, given up.
    unsafe { Ticker::unref(t, 1) };
}

/// A timer's function is over, by return or by `gmp_exit`.
unsafe extern "C" fn over(arg: *mut c_void) {
    if child::is_dead_end() {
        return;
    }
    let place = arg.cast::<Ticker>();
    // SAFETY: launch's reference.
    let t = unsafe { &*place };
    let mut state = t.lock();
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
pub(crate) fn start(call: Call, ns: i64, period: i64) -> *const Ticker {
    let place = Ticker::make(Action::Call(call), period, fire);
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
    let place = Ticker::make(Action::Send(ch.cast()), period, fire);
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
