//! `GMP_INIT`: functions that the program and its plug-ins want called once,
//! on the main goroutine, before their calls of the library go on (Go's
//! `main_inittasks` and `doInit`).
//!
//! Each use of the macro is a static record and a constructor, which links the
//! record into a list here. The section of pointers that the loader walks, in
//! the order of the link and for the program and plug-ins alike, is thus the
//! object's own `.init_array`: no symbols at a section's ends have to be
//! hidden, no linker drops it, and a function is listed only after the
//! constructors before it in its object have run.
//!
//! Nothing is called at that time: a constructor waits for nothing. The first
//! call of the host opens the gate, and opening it has the listed functions
//! called first. A plug-in that is loaded later closes the gate again (`Late`).
//!
//! ```text
//!   a record:  Idle --register--> Listed --take--> Started
//!                ^---unregister------+
//! ```
//!
//! | who calls them | when |
//! |---|---|
//! | the main goroutine, on its way to `main` | the exe path |
//! | the main goroutine, which waits for that in [`serve`] | a library |
//! | a goroutine of its own | late ones where the main goroutine is busy |
//!
//! While they run, calls from goroutines pass the gate: the functions may start
//! some and wait for them. Threads of the host's wait, and so does a goroutine
//! that has itself loaded the plug-in whose functions are not called yet.
//!
//! Invariants:
//! 1. `TASKS` guards the list and the records in it. Up and Late become each
//!    other, and Opening becomes Up, under it only; so the list is empty in Up.
//! 2. In the state Opening one goroutine runs [`run_listed`], or is about to.
//! 3. A record is static, and leaves the list when its object goes.

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
    gmp::{DEBUG, handle_of},
    os::{Lock, Result, clock::nanotime, dl},
    sched::{
        current::on_goroutine, ending::with_cleanup, newproc::newproc_system,
        park::park_plain, ready::ready_permit,
    },
    timers::FOREVER,
};
use core::{
    cell::Cell,
    ffi::{CStr, c_char, c_void},
    ptr,
};

/// What the macro makes: the record of one function.
#[repr(C)]
pub(crate) struct Task {
    f: unsafe extern "C" fn(),
    name: *const c_char,
    /// lock: TASKS
    next: Cell<*const Task>,
    /// lock: TASKS; the goroutine that has loaded the object, by its goid: its
    /// G may be another's before the function is called. 0: a host's thread
    /// without a G.
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
    /// The goroutine in `run_listed`, and who has loaded what it runs; by
    /// their goids, or 0.
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
/// It is to run what is listed.
static WANTED: AtomicBool = AtomicBool::new(false);

/// The goid of this thread's G, or 0.
fn goid() -> u64 {
    arch::getg().map_or(0, |gp| gp.goid.get())
}

/// A constructor lists its function; waits for nothing. One that was listed
/// before stays as it is.
pub(crate) fn register(task: &'static Task) {
    let mut tasks = TASKS.lock();
    if task.state.get() != state::IDLE {
        return;
    }
    task.state.set(state::LISTED);
    task.next.set(ptr::null());
    task.by.set(goid());
    // SAFETY: null, or in the list, so alive.
    match unsafe { tasks.last.as_ref() } {
        Some(last) => last.next.set(task),
        None => tasks.first = task,
    }
    tasks.last = task;
    // In any other state whoever comes to Up looks at the list first.
    let _was_up = change(State::Up, State::Late);
}

/// The object goes: a function that was not called never is.
pub(crate) fn unregister(task: &'static Task) {
    let mut tasks = TASKS.lock();
    if task.state.get() != state::LISTED {
        return;
    }
    task.state.set(state::IDLE);
    let mut before: Option<&Task> = None;
    let mut at = tasks.first;
    // SAFETY: null, or in the list, so alive.
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

/// The state is Opening, and the caller has made it so: has the functions
/// called that are listed, or opens the gate at once.
///
/// Errors: `ENOMEM`; the gate is open for another try.
pub(super) fn open(was: State) -> Result<()> {
    if was == State::Late {
        // Waits until the object is loaded as a whole, unless this very thread
        // is just loading it.
        let _there = dl::find(c"gmp_init_register");
    }
    if finish(State::Up) {
        return Ok(());
    }
    // Release: pairs with serve's acquire.
    WANTED.store(true, Release);
    // Null, or one that has ended, is nobody.
    if ready_permit(SERVER.load(Acquire)).is_ok() {
        return Ok(());
    }
    let started = newproc_system(serve_late, ptr::null_mut(), c"init");
    if started.is_err() {
        phase::set(State::Late);
    }
    started.map(drop)
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

/// Whether a call on this thread goes on although the state is Opening.
pub(super) fn passes() -> bool {
    let Some(gp) = on_goroutine() else { return false };
    let me = gp.goid.get();
    let tasks = TASKS.lock();
    if tasks.runner == me {
        return true;
    }
    let mut at = tasks.first;
    let mut waits = tasks.running_for == me;
    // SAFETY: null, or in the list, so alive.
    while let Some(task) = unsafe { at.as_ref() } {
        waits |= task.by.get() == me;
        at = task.next.get();
    }
    !waits
}

/// The main goroutine of a program of the exe path, before `main`.
pub(super) fn before_main() {
    phase::set(State::Opening);
    run_listed(State::Booted);
}

/// The main goroutine of a library will serve: `open` may ask it to.
pub(super) fn may_serve() {
    if let Some(gp) = on_goroutine() {
        // Release: pairs with open's acquire.
        SERVER.store(handle_of(gp), Release);
    }
}

/// The rest of the life of a library's main goroutine.
pub(super) fn serve() -> ! {
    loop {
        park_plain(c"init wait", FOREVER);
        // Acquire: pairs with open. A park may end without a reason.
        if WANTED.swap(false, Acquire) {
            run_listed(State::Up);
        }
    }
}

unsafe extern "C" fn serve_late(_arg: *mut c_void) {
    run_listed(State::Up);
}

/// Calls what is listed and opens the gate; also if one of the functions ends
/// the goroutine.
fn run_listed(to: State) {
    let mut to = to;
    with_cleanup(goes_on, (&raw mut to).cast(), || run_all(to));
}

/// A function has called `gmp_exit`: this goroutine ends, but the others of
/// the functions are still called on it.
unsafe extern "C" fn goes_on(to: *mut c_void) {
    // It serves no more.
    SERVER.store(ptr::null_mut(), Release);
    // SAFETY: run_listed's variable, on the stack below us.
    let to = unsafe { *to.cast::<State>() };
    run_listed(to);
}

fn run_all(to: State) {
    loop {
        while let Some(task) = take() {
            let start = nanotime();
            // SAFETY: the host's function, to be called once, here.
            unsafe { (task.f)() };
            if DEBUG.inittrace.load(Relaxed) {
                // SAFETY: a constant C string of the macro's.
                let name = unsafe { CStr::from_ptr(task.name) };
                inittrace::print_task(name, start);
            }
        }
        if finish(to) {
            return;
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
