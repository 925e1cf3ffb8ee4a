//! Goroutines that run in steps, and what their steps wait for.
//!
//! A step is a function of the host's. It *names* what it has to wait for, by a
//! call that queues nothing, and returns. The loop here ([`gmprt_run_steps`])
//! then begins that wait, and the goroutine leaves the stack (`sched::steps`).
//! When the wait is over the loop ends it, on whatever stack the goroutine has
//! then, and calls the step again, which asks for the result.
//!
//! ```text
//!   Record::what   Nothing --name--> Named --begin--> Begun --end--> Nothing
//!                     step            loop    |                  ^
//!                                             '-- over at once --'
//! ```
//! The record of the wait lies in the host's memory, with all that would lie on
//! a waiter's stack; but the [`Wait`] is in the G, where dumps find it.
//!
//! Invariants:
//! 1. The record stays in place from the start of the goroutine to its end, and
//!    the memory that a named wait refers to until the wait is over: the host
//!    promises both.
//! 2. `what` is Nothing while a step runs, until the step names a wait. What
//!    was named is queued nowhere. So a step may name something else.
//! 3. `place` holds, in this order: a result, or nothing; what was named; the
//!    record of the wait; the result. `end` reads the record before it writes
//!    the result.
//! 4. The wait is begun and ended by its own goroutine.

#[cfg(not(shuttle))]
use super::told::told_end;
use super::{
    chan::{self, Block, GmpChan, Now, Op},
    told::{ignored, seen, told},
};
use crate::{
    arch,
    base::throw::fatal,
    gmp::{
        G, gflag,
        parkword::{Cause, Ticket, Wakers},
        wait::{At, Sudog, Turn, Wait},
    },
    os::{Errno, Result},
    sched::{
        cancel, current::current_goroutine, park::timer_of, ready::goready,
        steps,
    },
    timers::{Deadline, Timer, Timers},
};
#[cfg(not(shuttle))]
use crate::{
    gmp::lookup,
    sched::join::{self, Begun, StepJoin},
};
use core::{
    cell::{Cell, UnsafeCell},
    ffi::{c_int, c_void},
    mem::MaybeUninit,
    ptr,
};

/// A step: returns [`END`], or [`WAIT`] after it has named a wait.
pub(crate) type Step = unsafe extern "C" fn(record: *mut c_void) -> c_int;

/// The goroutine ends.
pub(crate) const END: c_int = 0;
/// The goroutine waits; the result of a call that has named a wait.
pub(crate) const WAIT: c_int = 1;

/// What a goroutine of steps waits for; in the low bits of [`Record::how`].
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
enum What {
    Nothing = 0,
    Send = 1,
    Recv = 2,
    Sleep = 3,
    Join = 4,
    Yield = 5,
}

/// The bits of a [`What`].
const WHAT: usize = 15;

/// What a step has named.
#[derive(Clone, Copy)]
struct Named {
    /// A channel, or the handle of a goroutine.
    object: usize,
    elem: *mut u8,
    deadline: Deadline,
}

/// Room for what invariant 3 says: a [`Named`], a [`Sudog`], a `StepJoin`, or a
/// result.
type Place = MaybeUninit<[u64; 6]>;

/// The host's memory for a goroutine of steps. owner: the goroutine
#[repr(C)]
pub(crate) struct Record {
    place: UnsafeCell<Place>,
    /// A [`What`], and the address of the room for a timer, or 0.
    how: Cell<usize>,
    step: Cell<Step>,
}

/// Room for the timer of a wait with a deadline, in memory that may have the
/// alignment of a word only.
#[repr(C)]
pub(crate) struct Room([u64; (size_of::<Timer>() + 8) / 8]);

const _: () = assert!(align_of::<Timer>() > WHAT);
#[cfg(not(shuttle))]
const _: () = {
    assert!(size_of::<StepJoin>() <= size_of::<Place>());
    assert!(align_of::<StepJoin>() <= align_of::<Place>());
    assert!(size_of::<Record>() == 64);
};
const _: () = {
    assert!(size_of::<Sudog>() <= size_of::<Place>());
    assert!(align_of::<Sudog>() <= align_of::<Place>());
    assert!(size_of::<Named>() <= size_of::<Place>());
};

impl Room {
    fn timer(this: *mut Self) -> *mut Timer {
        this.addr().next_multiple_of(align_of::<Timer>()) as *mut Timer
    }
}

/// How a named wait has begun.
#[must_use]
enum Begins {
    /// It need not wait: the result.
    Over(Result<()>),
    /// The goroutine has left the stack, for this one.
    Left(&'static G),
}

impl Record {
    /// Prepares the memory of a goroutine that calls `step`.
    ///
    /// # Safety
    /// `this` may be written.
    pub(crate) unsafe fn begin(this: *mut Self, step: Step) {
        let place = UnsafeCell::new(MaybeUninit::new([0; 6]));
        let value = Self { place, how: Cell::new(0), step: Cell::new(step) };
        // SAFETY: the caller promises.
        unsafe { this.write(value) };
    }

    fn what(&self) -> What {
        match self.how.get() & WHAT {
            1 => What::Send,
            2 => What::Recv,
            3 => What::Sleep,
            4 => What::Join,
            5 => What::Yield,
            _ => What::Nothing,
        }
    }

    /// The room for the timer, or null.
    fn timer(&self) -> *mut Timer {
        (self.how.get() & !WHAT) as *mut Timer
    }

    /// The place, for a T.
    fn at<T>(&self) -> *mut T {
        self.place.get().cast()
    }

    fn named(&self) -> Named {
        // SAFETY: named, and not begun (invariant 3).
        unsafe { self.at::<Named>().read() }
    }

    fn finish(&self, result: Result<()>) {
        let result = result.map_or_else(|e| e.neg(), |()| 0);
        self.how.set(What::Nothing as usize);
        // SAFETY: the goroutine's own, and nothing there is in use.
        unsafe { self.at::<c_int>().write(result) };
    }

    /// The result of the last call that could have named a wait.
    pub(crate) fn result(&self) -> c_int {
        if self.what() != What::Nothing {
            return WAIT;
        }
        // SAFETY: invariant 3.
        unsafe { self.at::<c_int>().read() }
    }
}

/// The record of the calling goroutine, which is in a step.
///
/// Errors: `EPERM` if the caller does not run in steps.
#[inline(always)]
pub(crate) fn own() -> Result<&'static Record> {
    // g0 and a stand-in have no such flag.
    let gp = arch::getg().filter(|gp| gp.has(gflag::STEPS));
    let record = gp.ok_or(Errno(libc::EPERM))?.arg.get().cast_const();
    // SAFETY: invariant 1.
    Ok(unsafe { &*record.cast::<Record>() })
}

impl Record {
    /// Names a wait.
    ///
    /// Errors: `EINVAL` for a deadline without room for its timer.
    #[inline(always)]
    fn name(&self, what: What, named: Named, room: *mut Room) -> Result<c_int> {
        let mut timer = 0;
        if !named.deadline.is_never() {
            if room.is_null() {
                return Err(Errno::EINVAL);
            }
            timer = Room::timer(room).addr();
        }
        self.how.set(timer | what as usize);
        // SAFETY: nothing there is in use (invariant 2).
        unsafe { self.at::<Named>().write(named) };
        Ok(WAIT)
    }

    /// Does it `now` if that works, or names it as the wait of this step: then
    /// the result is [`WAIT`]. Any other result is kept.
    ///
    /// Errors: `ECANCELED`; those of `now`, and of [`Record::name`].
    #[inline(always)]
    fn operate(
        &self,
        what: What,
        now: impl FnOnce() -> Result<()>,
        named: Named,
        room: *mut Room,
    ) -> Result<c_int> {
        let mut result = cancel::check();
        if result.is_ok() {
            result = now();
        }
        if let Err(Errno::EAGAIN) = result {
            return self.name(what, named, room);
        }
        self.finish(result);
        result.map(|()| END)
    }

    /// [`chan::send`], by [`Record::operate`].
    pub(crate) fn send(
        &self,
        ch: Option<&GmpChan>,
        elem: *const u8,
        deadline: Deadline,
        room: *mut Room,
    ) -> Result<c_int> {
        let object = ch.map_or(0, |ch| ptr::from_ref(ch).addr());
        let named = Named { object, elem: elem.cast_mut(), deadline };
        let now = || chan::send(ch, elem, Block::Not);
        self.operate(What::Send, now, named, room)
    }

    /// [`chan::recv`], by [`Record::operate`].
    pub(crate) fn recv(
        &self,
        ch: Option<&GmpChan>,
        elem: *mut u8,
        deadline: Deadline,
        room: *mut Room,
    ) -> Result<c_int> {
        let object = ch.map_or(0, |ch| ptr::from_ref(ch).addr());
        let named = Named { object, elem, deadline };
        let now = || chan::recv(ch, elem, Block::Not);
        self.operate(What::Recv, now, named, room)
    }

    /// Names a sleep.
    pub(crate) fn sleep(
        &self,
        deadline: Deadline,
        room: *mut Room,
    ) -> Result<c_int> {
        let named = Named { object: 0, elem: ptr::null_mut(), deadline };
        let now = || Err(Errno::EAGAIN);
        self.operate(What::Sleep, now, named, room)
    }

    /// Names a join of the goroutine with that handle.
    #[cfg(not(shuttle))]
    pub(crate) fn join(
        &self,
        handle: *mut c_void,
        deadline: Deadline,
        room: *mut Room,
    ) -> Result<c_int> {
        let elem = ptr::null_mut();
        let named = Named { object: handle.addr(), elem, deadline };
        let now = || Err(Errno::EAGAIN);
        self.operate(What::Join, now, named, room)
    }

    /// Names that others are to run first.
    pub(crate) fn yields(&self) -> c_int {
        self.how.set(What::Yield as usize);
        WAIT
    }
}

/// The loop around the steps of a goroutine, and of those to which it hands its
/// stack on: the first function of that stack.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn gmprt_run_steps(_record: *mut c_void) {
    let Ok(mut gp) = current_goroutine() else {
        crate::base::throw::throw("steps: no goroutine");
    };
    // Between two steps ThreadSanitizer is not to look.
    let mut unseen = false;
    loop {
        let record = gp.arg.get().cast_const().cast::<Record>();
        // SAFETY: invariant 1.
        let record = unsafe { &*record };
        if record.what() != What::Nothing {
            end(gp, record);
            unseen = true;
        }
        if unseen {
            seen();
        }
        let args = [ptr::from_ref(record).addr(), 0, 0];
        let step = record.step.get() as *const ();
        // SAFETY: the host's function with its argument.
        match unsafe { arch::call_base(step, args) } {
            // gmp_exit has left it, or a panic that was recovered.
            None => return,
            Some(code) if code as c_int == END => return,
            Some(code)
                if code as c_int == WAIT && record.what() != What::Nothing => {}
            Some(_) => fatal(
                "gmp_step: a step returns 0, or GMP_STEP_WAIT after it has \
                 named a wait",
            ),
        }
        ignored();
        unseen = true;
        steps::step_ends(gp);
        match begin(gp, record) {
            Begins::Over(result) => record.finish(result),
            Begins::Left(next) => {
                gp = next;
                // As it was when that one left.
                unseen = false;
            }
        }
    }
}

/// Begins the wait that was named.
#[inline(always)]
fn begin(gp: &'static G, record: &Record) -> Begins {
    match record.what() {
        What::Send => operate_between(gp, record, Op::Send),
        What::Recv => operate_between(gp, record, Op::Recv),
        What::Yield => {
            // SAFETY: from the loop.
            Begins::Left(unsafe { steps::give_way(gp) })
        }
        What::Sleep => begin_sleep(gp, record),
        What::Join => begin_join(gp, record),
        What::Nothing => Begins::Over(Ok(())),
    }
}

/// Does `op`, and waits for that if it has to.
#[inline(always)]
fn operate_between(gp: &'static G, record: &Record, op: Op) -> Begins {
    let Named { object, elem, deadline } = record.named();
    let ch = object as *const GmpChan;
    // SAFETY: null, or a channel that stays (invariant 1).
    let Some(ch) = (unsafe { ch.as_ref() }) else {
        return for_ever(gp, record, deadline);
    };
    ch.lock();
    match ch.try_now(op, elem) {
        Now::Done(other) => {
            ch.unlock();
            if let Some(other) = other {
                goready(other, Turn::Next);
            }
            told(ch, op, elem, true);
            return Begins::Over(Ok(()));
        }
        Now::Closed => {
            ch.unlock();
            return Begins::Over(Err(Errno(libc::EPIPE)));
        }
        Now::Wait => {}
    }
    if let Err(e) = deadline.check() {
        ch.unlock();
        return Begins::Over(Err(e));
    }
    let wait = keep(gp, chan::wait_in(ch, op, deadline));
    let ticket = wait.begin_locked(gp, Wakers::OneLock);
    let place = record.at::<Sudog>();
    // SAFETY: what was named is read (invariant 3).
    unsafe { place.write(Sudog::new(gp, ticket, elem)) };
    // SAFETY: just written, and it stays (invariant 1).
    let sg = unsafe { &*place };
    ch.queue(op).enqueue(sg, At::Back);
    let timer = timer_in(gp, record, ticket);
    // SAFETY: both stay (invariant 1), and the timer is removed in `end`.
    Begins::Left(unsafe { steps::leave(gp, wait, ticket, timer, ch) })
}

/// Waits for a channel that is none.
#[cold]
fn for_ever(gp: &'static G, record: &Record, deadline: Deadline) -> Begins {
    if let Err(e) = deadline.check() {
        return Begins::Over(Err(e));
    }
    begin_plain(gp, record, Wait::until(deadline, c"chan (null)"))
}

#[inline(never)]
fn begin_sleep(gp: &'static G, record: &Record) -> Begins {
    let deadline = record.named().deadline;
    if deadline.check().is_err() {
        record.how.set(What::Yield as usize);
        // SAFETY: from the loop.
        return Begins::Left(unsafe { steps::give_way(gp) });
    }
    begin_plain(gp, record, Wait::until(deadline, c"sleep"))
}

/// Begins a wait in no queue.
fn begin_plain(gp: &'static G, record: &Record, wait: Wait) -> Begins {
    let wait = keep(gp, wait);
    let ticket = wait.begin(gp);
    let timer = timer_in(gp, record, ticket);
    // SAFETY: both stay (invariant 1), and the timer is removed in `end`.
    Begins::Left(unsafe { steps::leave(gp, wait, ticket, timer, ()) })
}

#[cfg(not(shuttle))]
#[inline(never)]
fn begin_join(gp: &'static G, record: &Record) -> Begins {
    let Named { object, deadline, .. } = record.named();
    let handle = object as *mut c_void;
    let place = record.at::<StepJoin>();
    let wait = gp.wait_of_steps();
    let target =
        lookup(handle).map_or(0, |target| ptr::from_ref(target).addr());
    // SAFETY: both stay (invariant 1), and what was named is read.
    match unsafe { join::begin_step(gp, handle, deadline, wait, place) } {
        Begun::Over(result) => {
            told_end(target, &result);
            Begins::Over(result)
        }
        Begun::Waits(ticket) => {
            let timer = timer_in(gp, record, ticket);
            // SAFETY: both stay (invariant 1), and the timer is removed in
            // `end`.
            Begins::Left(unsafe { steps::leave(gp, wait, ticket, timer, ()) })
        }
    }
}

/// Models have no joins.
#[cfg(shuttle)]
fn begin_join(_gp: &'static G, _record: &Record) -> Begins {
    Begins::Over(Err(Errno::EINVAL))
}

/// Puts the wait where it stays while `gp` has no stack.
#[inline(always)]
fn keep(gp: &'static G, wait: Wait) -> &'static Wait {
    let place = gp.wait_of_steps();
    // SAFETY: gp is the caller's own, and no wait of it is under way.
    unsafe { place.write(wait) };
    // SAFETY: it is written next when this wait is over.
    unsafe { &*place }
}

/// The timer of a wait with a deadline, made where there is room.
#[inline(always)]
fn timer_in<'a>(
    gp: &'static G,
    record: &Record,
    ticket: Ticket,
) -> Option<&'a Timer> {
    let timer = record.timer();
    if timer.is_null() {
        return None;
    }
    // SAFETY: room for a timer, aligned, in memory that stays (invariant 1).
    unsafe { timer.write(timer_of(gp, ticket)) };
    // SAFETY: just written.
    Some(unsafe { &*timer })
}

/// Ends a wait that is over, and keeps its result.
#[inline(always)]
fn end(gp: &'static G, record: &Record) {
    let result = match record.what() {
        What::Send => end_in_queue(gp, record, Op::Send),
        What::Recv => end_in_queue(gp, record, Op::Recv),
        What::Sleep => end_sleep(gp, record),
        What::Join => end_join(gp, record),
        What::Yield | What::Nothing => Ok(()),
    };
    record.finish(result);
}

/// Why the wait of `gp` has ended. Its timer is gone after that.
#[inline(always)]
fn cause_of(gp: &G, record: &Record) -> Cause {
    let cause = gp.park.finish();
    let timer = record.timer();
    if !timer.is_null() && cause != Cause::Timeout {
        // SAFETY: from timer_in.
        Timers::remove(unsafe { &*timer });
    }
    cause
}

#[inline(always)]
fn end_in_queue(gp: &'static G, record: &Record, op: Op) -> Result<()> {
    let cause = cause_of(gp, record);
    // SAFETY: from keep: the channel, or 0.
    let ch = unsafe { (*gp.wait_of_steps()).object } as *const GmpChan;
    // SAFETY: null, or a channel that stays until here (invariant 1).
    let Some(ch) = (unsafe { ch.as_ref() }) else { return cause.outcome() };
    // SAFETY: from operate_between.
    let sg = unsafe { &*record.at::<Sudog>() };
    let success = sg.success.get();
    told(ch, op, sg.elem, success);
    if success {
        return Ok(());
    }
    Err(chan::without_success(ch, op, sg, cause))
}

#[inline(never)]
fn end_sleep(gp: &'static G, record: &Record) -> Result<()> {
    match cause_of(gp, record) {
        Cause::Cancel => Err(Errno(libc::ECANCELED)),
        Cause::Wake | Cause::Timeout => Ok(()),
    }
}

#[cfg(not(shuttle))]
#[inline(never)]
fn end_join(gp: &'static G, record: &Record) -> Result<()> {
    let cause = cause_of(gp, record);
    // SAFETY: from begin_step.
    let target = unsafe { (*gp.wait_of_steps()).object };
    // SAFETY: from begin_join.
    let result = unsafe { join::end_step(record.at(), cause) };
    told_end(target, &result);
    result
}

#[cfg(shuttle)]
fn end_join(_gp: &'static G, _record: &Record) -> Result<()> {
    Err(Errno::EINVAL)
}
