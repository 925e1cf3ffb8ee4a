//! `GMP_INIT`: functions that the program and its plug-ins want called once,
//! on the main goroutine, before their calls of the library go on (Go's
//! `main_inittasks` and `doInit`).
//!
//! Each use of the macro makes a static record and a constructor, which links
//! the record into a list here. So the object's own `.init_array` serves as
//! the table of functions, for the program and for plug-ins: it has the order
//! of the link, no linker drops it, no symbols have to be hidden, and a
//! function is listed only after the constructors before it have run.
//!
//! A constructor calls no listed function, because it may not wait. The first
//! call of the host opens the gate, and the listed functions are called before
//! that. A plug-in that is loaded later closes the gate again, by the state
//! Late (`gate` has the states).
//!
//! ```text
//!   a record:  Idle --register--> Listed --take--> Started
//!                ^---unregister------+
//! ```
//!
//! | the functions run on | when |
//! |---|---|
//! | the main goroutine, before `main` | the exe path |
//! | the main goroutine, which waits for them in [`serve`] | a library |
//! | a new goroutine | a plug-in comes while the main goroutine is busy |
//!
//! While the functions run, calls from goroutines pass the gate, so the
//! functions may start goroutines and wait for them. Host threads wait. So does
//! a goroutine that has loaded a plug-in, until that plug-in's functions have
//! been called.
//!
//! Invariants:
//! 1. `TASKS` guards the list and its records. The moves Up -> Late, Late -> Up
//!    and Opening -> Up happen only under `TASKS`; so the list is empty in Up.
//! 2. In the state Opening one goroutine runs [`do_init`], or is about to.
//! 3. A record is static, and leaves the list when its object is unloaded.

use super::{
    inittrace,
    phase::{self, State, change},
};
use crate::{
    arch,
    base::{
        lock::Rank,
        sync::{AtomicBool, AtomicPtr, Ordering::*},
    },
    gmp::{CLOSING, DEBUG, closing::Stage, gflag::EXITED, handle_of},
    os::{Lock, Result, clock::nanotime, dl},
    sched::{
        child::generation,
        current::on_goroutine,
        ending::with_cleanup,
        goexit::goexit1,
        newproc::{newproc_staying, newproc_system},
        park::park_plain,
        ready::ready_permit,
    },
    timers::Deadline,
};
use core::{
    cell::Cell,
    ffi::{CStr, c_char, c_void},
    ptr,
};

/// The record of one function, which the macro makes.
#[repr(C)]
pub(crate) struct Task {
    f: unsafe extern "C" fn(),
    name: *const c_char,
    /// lock: TASKS
    next: Cell<*const Task>,
    /// lock: TASKS; the goid of the goroutine that has loaded the object, or 0
    /// for a host thread without a G. Not the G, which may be reused before the
    /// function is called.
    by: Cell<u64>,
    /// lock: TASKS
    state: Cell<usize>,
}

mod state {
    pub(super) const IDLE: usize = 0;
    pub(super) const LISTED: usize = 1;
    pub(super) const STARTED: usize = 2;
}

struct Tasks {
    first: *const Task,
    last: *const Task,
    /// The goid of the goroutine in `do_init`, and that of the loader of the
    /// function which it runs; or 0.
    runner: u64,
    running_for: u64,
}

// SAFETY: records are static, invariant 3.
unsafe impl Send for Tasks {}

static TASKS: Lock<Tasks> = Lock::new(
    Rank::Inits,
    Tasks { first: ptr::null(), last: ptr::null(), runner: 0, running_for: 0 },
);

/// The handle of the main goroutine while it serves, or null.
static SERVER: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
/// Asks the main goroutine to run the listed functions.
static WANTED: AtomicBool = AtomicBool::new(false);

/// The goid of this thread's G, or 0.
fn goid() -> u64 {
    arch::getg().map_or(0, |gp| gp.goid.get())
}

/// Lists a function, for a constructor; waits for nothing. A record that is
/// listed already is not changed.
pub(crate) fn register(task: &'static Task) {
    let mut tasks = TASKS.lock();
    if task.state.get() != state::IDLE {
        return;
    }
    task.state.set(state::LISTED);
    task.next.set(ptr::null());
    task.by.set(goid());
    // SAFETY: null, or in the list, so alive (invariant 3).
    match unsafe { tasks.last.as_ref() } {
        Some(last) => last.next.set(task),
        None => tasks.first = task,
    }
    tasks.last = task;
    // In any other state, the thread that moves to Up looks at the list first.
    let _was_up = change(State::Up, State::Late);
}

/// Takes a record off the list when its object is unloaded: a function that
/// was not called never is.
pub(crate) fn unregister(task: &'static Task) {
    let mut tasks = TASKS.lock();
    if task.state.get() != state::LISTED {
        return;
    }
    task.state.set(state::IDLE);
    let mut before: Option<&Task> = None;
    let mut at = tasks.first;
    // SAFETY: null, or in the list, so alive (invariant 3).
    while let Some(this) = unsafe { at.as_ref() } {
        if ptr::eq(this, task) {
            match before {
                Some(before) => before.next.set(this.next.get()),
                None => tasks.first = this.next.get(),
            }
            if ptr::eq(tasks.last, this) {
                tasks.last = before.map_or(ptr::null(), ptr::from_ref);
            }
            return;
        }
        before = Some(this);
        at = this.next.get();
    }
}

/// Has the listed functions called, or opens the gate at once if there are
/// none. The caller has just made the state Opening.
///
/// Errors: `ENOMEM`; then the state lets the next call try again.
pub(super) fn open(was: State) -> Result<()> {
    if was == State::Late {
        // Takes the loader's lock, and so waits until the object is loaded
        // completely, unless this very thread is loading it.
        let _there = dl::find(c"gmp_init_register");
    }
    if finish(State::Up) {
        return Ok(());
    }
    // Release: pairs with serve's acquire.
    WANTED.store(true, Release);
    // Null, or a handle of a goroutine that has ended, wakes nobody.
    if ready_permit(SERVER.load(Acquire)).is_ok() {
        return Ok(());
    }
    let started = newproc_system(serve_late, ptr::null_mut(), c"init");
    if started.is_err() {
        phase::set(State::Late);
    }
    started.map(drop)
}

/// In the child of a fork: a goroutine serves, in place of the main one.
/// Returns the state that follows.
///
/// Errors: `ENOMEM`.
pub(super) fn start_again() -> Result<State> {
    let server = newproc_staying(serve_again, ptr::null_mut(), c"init")?;
    SERVER.store(server, Release);
    let listed = !TASKS.lock().first.is_null();
    Ok(if listed { State::Late } else { State::Up })
}

unsafe extern "C" fn serve_again(_arg: *mut c_void) {
    serve()
}

/// Goes from Opening to `to` if nothing is listed.
fn finish(to: State) -> bool {
    let mut tasks = TASKS.lock();
    if !tasks.first.is_null() {
        return false;
    }
    tasks.runner = 0;
    tasks.running_for = 0;
    phase::set(to);
    true
}

/// Whether a call on this thread passes although the state is Opening.
pub(super) fn passes() -> bool {
    let Some(gp) = on_goroutine() else { return false };
    let me = gp.goid.get();
    let tasks = TASKS.lock();
    if tasks.runner == me {
        return true;
    }
    let mut at = tasks.first;
    let mut waits = tasks.running_for == me;
    // SAFETY: null, or in the list, so alive (invariant 3).
    while let Some(task) = unsafe { at.as_ref() } {
        waits |= task.by.get() == me;
        at = task.next.get();
    }
    !waits
}

/// On the exe path: the main goroutine calls the listed functions.
pub(super) fn before_main() {
    phase::set(State::Opening);
    do_init(State::Booted);
}

/// Notes that the main goroutine of a library will serve, so that `open` may
/// ask it.
pub(super) fn may_serve() {
    if let Some(gp) = on_goroutine() {
        // Release: pairs with open's acquire.
        SERVER.store(handle_of(gp), Release);
    }
}

/// The rest of the life of a library's main goroutine: until the runtime ends,
/// or the goroutine is in the child of a fork.
pub(super) fn serve() {
    let begun_in = generation();
    while generation() == begun_in {
        park_plain(c"init wait", Deadline::NEVER);
        if CLOSING.has_come(Stage::Closed) {
            return;
        }
        // Acquire: pairs with open. A park may end spuriously.
        if WANTED.swap(false, Acquire) {
            do_init(State::Up);
        }
    }
}

/// The gate opens again, after a shutdown that has failed.
pub(super) fn reopen() {
    let tasks = TASKS.lock();
    // Invariant 1.
    let none = tasks.first.is_null();
    phase::set(if none { State::Up } else { State::Late });
}

unsafe extern "C" fn serve_late(_arg: *mut c_void) {
    do_init(State::Up);
}

/// Calls the listed functions and opens the gate, even if one of the functions
/// ends the goroutine.
#[unsafe(export_name = "doInit")]
#[inline(never)]
fn do_init(to: State) {
    let mut open = (to, generation());
    let ended = with_cleanup(goes_on, (&raw mut open).cast(), || run_all(to));
    if ended.is_none() || ended == Some(Run::Left) {
        goexit1();
    }
}

/// How the calls of the listed functions have ended.
#[derive(PartialEq, Eq)]
enum Run {
    All,
    /// One of them has called `gmp_exit`, whose deferred functions have run.
    Left,
}

/// Runs if a function has called `gmp_exit`: this goroutine ends, but first
/// calls the rest of the functions.
unsafe extern "C" fn goes_on(open: *mut c_void) {
    // SAFETY: do_init's variable, on the stack below us.
    let (to, begun_in) = unsafe { *open.cast::<(State, u32)>() };
    if generation() != begun_in {
        return;
    }
    // The main goroutine does not serve any more.
    SERVER.store(ptr::null_mut(), Release);
    do_init(to);
}

/// Calls all that are listed. If a function forks, the child leaves the rest to
/// its own server (`start_again`), whose the state of the start is.
fn run_all(to: State) -> Run {
    let begun_in = generation();
    loop {
        while let Some(task) = take() {
            let start = nanotime();
            // SAFETY: the host's function, to be called once, here.
            let result =
                unsafe { arch::call_base(task.f as *const (), [0; 3]) };
            let exits = || on_goroutine().is_some_and(|gp| gp.has(EXITED));
            if result.is_none() && exits() {
                return Run::Left;
            }
            if DEBUG.inittrace.load(Relaxed) {
                // SAFETY: a constant C string of the macro's.
                let name = unsafe { CStr::from_ptr(task.name) };
                inittrace::print_task(name, start);
            }
            if generation() != begun_in {
                return Run::All;
            }
        }
        if finish(to) {
            return Run::All;
        }
    }
}

/// Takes the first record off the list.
fn take() -> Option<&'static Task> {
    let mut tasks = TASKS.lock();
    // SAFETY: null, or in the list, so alive: invariant 3.
    let task: &'static Task = unsafe { tasks.first.as_ref() }?;
    tasks.first = task.next.get();
    if tasks.first.is_null() {
        tasks.last = ptr::null();
    }
    task.state.set(state::STARTED);
    tasks.runner = goid();
    tasks.running_for = task.by.get();
    Some(task)
}

/// Puts the statics of this file back to what they were before the start
/// (`boot::reset`).
///
/// # Safety
/// No other thread runs code of the library.
pub(crate) unsafe fn reset() {
    SERVER.store(ptr::null_mut(), Relaxed);
    WANTED.store(false, Relaxed);
    let mut tasks = TASKS.lock();
    tasks.runner = 0;
    tasks.running_for = 0;
}
