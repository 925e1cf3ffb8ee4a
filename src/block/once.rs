//! Once: Go's `sync.Once`, with the exceptions of `std::call_once`. The first
//! caller, the *runner*, runs a function; all others wait until that is done.
//!
//! ```text
//!        the first caller             its function has ended
//!   New ------------------> Running -------------------------> Done
//!    ^                       | | ^
//!    '--left by an exception-' '-' left by a jump: another caller takes over
//! ```
//! A function that returns, ends its goroutine by `gmp_exit`, or panics, has
//! run, and never does again. A function that is left by an exception has not:
//! the exception goes on to the caller of the once, and the next caller runs
//! the function. The same holds for a function that is left by `longjmp`, which
//! calls nothing of ours ([`crate::sched::calls`]). Then the once stays Running
//! for a call that is no longer live, and a caller that finds that out puts its
//! own call in that place.
//!
//! Invariants:
//! 1. QUEUED is set while waiters are in the line, under the lock of their
//!    bucket ([`super::parking`]), and only in the state Running.
//! 2. `runner` is the number of the call that runs the function, or 0 for a
//!    moment at its beginning and end. The caller that changes it from the
//!    number of a call that is not live runs the function. At those moments the
//!    bucket is locked: a fork does not come in between. So a once that is
//!    Running in the child of a fork has a runner, whose call is not live there
//!    unless it has forked.
//! 3. A call is live before its number is in `runner`, and until the state has
//!    changed. After a call is lost, all waiters look again.
//! 4. After the step to Done, or back to New, the runner touches the once no
//!    more. Nor does a waiter that Done has woken.

use super::{
    holder::Holder,
    parking::{Bucket, Place, Waited, waiter},
};
use crate::{
    base::sync::{AtomicU32, AtomicU64, Ordering::*},
    gmp::{
        G,
        wait::{Wait, WakeList},
    },
    os::{Errno, Result},
    sched::{
        calls::{self, Call, Frame, Owner},
        cancel, child, host,
        ready::ready_all,
    },
    timers::Deadline,
};
use core::ptr;

#[cfg(shuttle)]
use {
    crate::{
        gmp::{GmpFn, gflag},
        sched::{Mistake, mistakes},
    },
    core::ffi::c_void,
};

const NEW: u32 = 0;
const RUNNING: u32 = 1;
const DONE: u32 = 2;
const QUEUED: u32 = 4;

/// The words of a `gmp_once`; all zero has not run.
#[derive(Default)]
#[repr(C)]
pub struct Once {
    state: AtomicU32,
    /// Invariant 2.
    runner: AtomicU64,
    /// The runner, for reports.
    holder: Holder,
}

/// What a caller has to do.
#[must_use]
pub(crate) enum Begun {
    /// Nothing: the function has run.
    Done,
    /// Call the function, and then [`end`].
    Run(&'static Call),
}

/// What `calls` tells a once.
static OWNER: Owner = Owner { exited, lost };

/// A call, whose frame is `frame`, begins; it waits while another caller runs
/// the function.
///
/// Errors: `EDEADLK` from inside that function, or where the caller may not
/// park; `ENOMEM`.
#[inline]
pub(crate) fn begin(o: &Once, frame: Frame) -> Result<Begun> {
    // Acquire: pairs with complete.
    if o.state.load(Acquire) == DONE {
        return Ok(Begun::Done);
    }
    begin_slow(o, &waits(o, Wait::uninterrupted(c"once")), frame)
}

/// [`begin`], unless the deadline passes or the caller is cancelled first.
///
/// Errors: as [`begin`]; `ETIMEDOUT`, `ECANCELED`.
pub(crate) fn begin_until(
    o: &Once,
    deadline: Deadline,
    frame: Frame,
) -> Result<Begun> {
    cancel::check()?;
    if o.state.load(Acquire) == DONE {
        return Ok(Begun::Done);
    }
    begin_slow(o, &waits(o, Wait::until(deadline, c"once")), frame)
}

/// `wait`, for `o`.
fn waits(o: &Once, wait: Wait) -> Wait {
    wait.on(o).held_by(&o.holder)
}

#[cold]
fn begin_slow(o: &Once, wait: &Wait, frame: Frame) -> Result<Begun> {
    let gp = host::current()?;
    calls::end_lost(gp, frame);
    loop {
        // Acquire: pairs with complete and abandon.
        let state = o.state.load(Acquire);
        if state == DONE {
            return Ok(Begun::Done);
        }
        if state == NEW {
            if let Some(call) = start(o, gp, frame)? {
                return Ok(Begun::Run(call));
            }
            continue;
        }
        let runner = o.runner.load(Acquire);
        match goid_of(runner) {
            None => {
                if let Some(call) = take_over(o, runner, gp, frame)? {
                    return Ok(Begun::Run(call));
                }
            }
            Some(goid) if goid == gp.goid.get() => {
                return Err(Errno(libc::EDEADLK));
            }
            Some(_) => {
                if wait_for(o, gp, wait)? {
                    return Ok(Begun::Done);
                }
            }
        }
    }
}

/// The goid of the runner, 0 while it begins or ends; None if its call is not
/// live.
fn goid_of(runner: u64) -> Option<u64> {
    if runner == 0 { Some(0) } else { calls::who_is_in(runner) }
}

fn begin_call(o: &Once, gp: &'static G, frame: Frame) -> Result<&'static Call> {
    calls::begin(gp, frame, &OWNER, ptr::from_ref(o).addr())
}

/// New -> Running, by this caller; None: another caller was faster.
fn start(
    o: &Once,
    gp: &'static G,
    frame: Frame,
) -> Result<Option<&'static Call>> {
    let call = begin_call(o, gp, frame)?;
    let bucket = Bucket::of(o);
    let first = o.state.compare_exchange(NEW, RUNNING, Acquire, Relaxed);
    if first.is_err() {
        drop(bucket);
        calls::end(call);
        return Ok(None);
    }
    o.holder.set();
    // Release: pairs with begin_slow and wait: is the call live?
    o.runner.store(call.number(), Release);
    drop(bucket);
    Ok(Some(call))
}

/// Becomes the runner in place of a call that is not live (invariant 2); None:
/// another caller was faster.
#[cold]
fn take_over(
    o: &Once,
    runner: u64,
    gp: &'static G,
    frame: Frame,
) -> Result<Option<&'static Call>> {
    let call = begin_call(o, gp, frame)?;
    let mine = call.number();
    // Before the exchange: a caller that waits for the new runner must not
    // find the old one in the word. A faster taker may be wiped out.
    o.holder.clear();
    let first = o.runner.compare_exchange(runner, mine, AcqRel, Relaxed);
    if first.is_err() {
        calls::end(call);
        return Ok(None);
    }
    o.holder.set();
    Ok(Some(call))
}

/// Waits while another caller runs the function. True: it has run; false: look
/// again.
fn wait_for(o: &Once, gp: &'static G, wait: &Wait) -> Result<bool> {
    waiter(wait)?;
    let bucket = Bucket::of(o);
    // Acquire: pairs with complete.
    let queued = o.state.fetch_update(Acquire, Acquire, |old| {
        (old & RUNNING != 0).then_some(old | QUEUED)
    });
    // Under the lock: a call that is lost from now on wakes us.
    if queued.is_err() || goid_of(o.runner.load(Acquire)).is_none() {
        return Ok(false);
    }
    match bucket.wait(gp, wait, Place::LAST, ()) {
        Waited::Woken { handed } => Ok(handed),
        // QUEUED may stay: then complete finds nobody in the line.
        Waited::GaveUp { why, .. } => Err(why),
    }
}

/// The function of `call` has returned, or was left by an exception.
pub(crate) fn end(o: &Once, call: &'static Call, returned: bool) {
    if calls::is_over(call) {
        // Done already, and the once may be gone.
        calls::end(call);
        return;
    }
    if child::is_dead_end() {
        // This thread may hold the lock of a bucket.
        o.state.store(if returned { DONE } else { NEW }, Release);
        return;
    }
    if returned || calls::exits(call) {
        complete(o);
    } else {
        abandon(o);
    }
    calls::end(call);
}

/// The function has run: lets the waiters go on. The change of the state is the
/// last touch of the once.
fn complete(o: &Once) {
    let mut list = WakeList::new();
    let bucket = Bucket::of(o);
    o.holder.clear();
    o.runner.store(0, Relaxed);
    // Release: pairs with the acquires of begin, begin_slow and wait.
    if o.state.swap(DONE, Release) & QUEUED == 0 {
        return;
    }
    bucket.hand_to_all(&mut list, |_| true);
    drop(bucket);
    ready_all(list);
}

/// The function has not run: one of the waiters begins anew. The change of the
/// state is the last touch of the once.
#[cold]
fn abandon(o: &Once) {
    let bucket = Bucket::of(o);
    o.holder.clear();
    o.runner.store(0, Relaxed);
    // Release: as in complete.
    if o.state.swap(NEW, Release) & QUEUED != 0 {
        wake_to_look(bucket);
    }
}

/// Wakes all waiters, to look again.
fn wake_to_look(bucket: Bucket<'static>) {
    let mut list = WakeList::new();
    while let Some(waiter) = bucket.pop() {
        waiter.wake_later(&mut list);
    }
    drop(bucket);
    ready_all(list);
}

/// The goroutine of a call ends, or panics, inside its function.
fn exited(place: usize) {
    let o = place as *const Once;
    #[cfg(not(shuttle))]
    crate::base::sanitize::race_release(place);
    // SAFETY: kept by its caller, whose frame is still there.
    complete(unsafe { &*o });
}

/// A call is lost. The once may be gone with its frame, unless a caller waits.
fn lost(place: usize) {
    wake_to_look(Bucket::at(place));
}

/// [`begin`], the function, and [`end`], for models, which have no exceptions.
///
/// Errors: as [`begin`].
#[cfg(shuttle)]
pub(crate) fn call(o: &Once, f: GmpFn, arg: *mut c_void) -> Result<()> {
    let begun = begin(o, NO_FRAME)?;
    run(o, begun, f, arg);
    Ok(())
}

/// [`call`] with a deadline.
///
/// Errors: as [`begin_until`].
#[cfg(shuttle)]
pub(crate) fn call_until(
    o: &Once,
    f: GmpFn,
    arg: *mut c_void,
    deadline: Deadline,
) -> Result<()> {
    let begun = begin_until(o, deadline, NO_FRAME)?;
    run(o, begun, f, arg);
    Ok(())
}

/// A frame that is nowhere.
#[cfg(shuttle)]
const NO_FRAME: Frame = Frame { cfa: 0, ret: 0 };

#[cfg(shuttle)]
fn run(o: &Once, begun: Begun, f: GmpFn, arg: *mut c_void) {
    if let Begun::Run(call) = begun {
        // SAFETY: the model's function with its argument.
        unsafe { f(arg) };
        end(o, call, true);
    }
}

/// How the function of a model's call ends.
#[cfg(shuttle)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It returns.
    Returns,
    /// By an exception.
    Throws,
    /// By a jump, of which the next call of the same goroutine knows, or its
    /// end.
    Jumps,
    /// By `gmp_exit`: the goroutine has to end at once.
    Exits,
}

/// The frame of all calls of [`call_left`]: one that was left by a jump is
/// gone for the next call at the same place.
#[cfg(shuttle)]
const FRAME: Frame = Frame { cfa: 1, ret: 0 };

/// Calls `f`, which tells how it ends, for models. None: it has run already.
///
/// Errors: as [`begin`]; with a deadline as [`begin_until`].
#[cfg(shuttle)]
pub(crate) fn call_left(
    o: &Once,
    f: impl FnOnce() -> Left,
    deadline: Option<Deadline>,
) -> Result<Option<Left>> {
    let begun = match deadline {
        None => begin(o, FRAME)?,
        Some(deadline) => begin_until(o, deadline, FRAME)?,
    };
    let Begun::Run(call) = begun else { return Ok(None) };
    let how = f();
    match how {
        Left::Returns => end(o, call, true),
        Left::Throws if mistakes(Mistake::AbandonsInSilence) => {
            o.runner.store(0, Relaxed);
            o.state.store(NEW, Release);
            calls::end(call);
        }
        Left::Throws => end(o, call, false),
        Left::Jumps if mistakes(Mistake::LosesInSilence) => {
            calls::end(call);
        }
        Left::Jumps if mistakes(Mistake::TellsTooEarly) => {
            lost(ptr::from_ref(o).addr());
            calls::end(call);
        }
        Left::Jumps => {}
        Left::Exits => host::current()?.set_flag(gflag::EXITED),
    }
    Ok(Some(how))
}
