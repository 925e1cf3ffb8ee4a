//! `block` under shuttle: the real code over a model of the layers below. This
//! file has the part that tests use.
//!
//! | real | model |
//! |---|---|
//! | `block` without descriptors; `timers`, `base::lock` | |
//! | `gmp::parkword`, `gmp::wait` | |
//! | `sched::{calls, cancel, ending}`, `os::errno` | |
//! | | `os`: sleeping, time, memory |
//! | | `gmp`: a G without a stack |
//! | | `arch`, `sched`: a goroutine is a thread of shuttle's |
//!
//! Its files, from the top to the bottom; each uses what stands below it:
//!
//! | file | what |
//! |---|---|
//! | `start`, `locks`, `line`, `steps`, `chan` | `block` as tests see it |
//! | `check` | runs with many seeds |
//! | `mod.rs` | a run, and goroutines |
//! | `sched`, `arch`, `gmp`, `heap`, `os` | in the places of these modules |
//!
//! A model stands in the layer of the module that it replaces. Shuttle treats
//! every ordering as SeqCst; weaker orderings are tested with loom.
//!
//! Limits: `gmp_exit` is called only inside a once, and a host thread waits as
//! a goroutine does, without a sleep of its own.
//!
//! Errors are the numbers of `errno.h`. Deadlines are absolute, in nanoseconds.

use crate::{
    arch,
    gmp::{G, GStatus, g_from_handle},
    os::{self, memory},
    sched::{self, cancel, current, newproc},
};
use core::{cell::RefCell, ffi::c_void, ops::Deref};
use shuttle::thread::JoinHandle;

mod chan;
mod check;
mod line;
mod locks;
mod start;
mod steps;

pub use crate::{block::once::Left, sched::Mistake};
pub use chan::{Chan, Do, Done, destroyed, select, try_select};
pub use check::{Ends, Room, check, check_some, join, until};
pub use line::{Ended, Line, Woken};
pub use locks::{Barrier, Cond, Mutex, Once, RwMutex, Sema, WaitGroup};
pub use start::{Group, Ticker};
pub use steps::{Does, Steps, go_steps};

/// The result of a call that may fail.
pub type Result<T> = core::result::Result<T, i32>;

/// A deadline that never comes.
pub const FOREVER: i64 = i64::MAX;

fn number<T>(result: os::Result<T>) -> Result<T> {
    result.map_err(|e| e.0)
}

/// Tries one schedule of `body`, on a host thread. Fails if a goroutine waits
/// for ever, or if memory or a timer is left at the end.
pub fn run(body: impl FnOnce()) {
    sched::run(body);
    for f in KEPT.0.take() {
        // SAFETY: from keep, and no thread is left that could call it.
        drop(unsafe { Box::from_raw(f) });
    }
    memory::check();
}

/// Makes the scheduler commit this mistake from now on.
pub fn make_mistake(mistake: Mistake) {
    sched::make_mistake(mistake);
}

/// Refuses memory to the next `n` goroutines that the library starts.
pub fn refuse_goroutines(n: u32) {
    sched::refuse(n);
}

/// The model's time.
pub fn now() -> i64 {
    os::clock::nanotime()
}

/// Lets time pass.
pub fn pass(ns: i64) {
    os::clock::pass(ns);
}

/// A random number below `n`, from the seed.
pub fn random(n: u64) -> u64 {
    os::random(n)
}

/// Whether the calling goroutine was cancelled.
pub fn cancelled() -> bool {
    cancel::cancelled()
}

/// A goroutine.
#[derive(Debug)]
pub struct Goroutine {
    handle: *mut c_void,
    ends: JoinHandle<()>,
}

/// The name of a goroutine, which may have ended.
#[derive(Clone, Copy, Debug)]
pub struct Handle(*mut c_void);

// SAFETY: a handle is a number.
unsafe impl Send for Handle {}
// SAFETY: a handle is a number.
unsafe impl Sync for Handle {}

/// Starts a goroutine.
pub fn go(f: impl FnOnce() + Send + 'static) -> Goroutine {
    let (handle, ends) = newproc::spawn(f);
    Goroutine { handle, ends }
}

impl Goroutine {
    /// The goroutine's handle.
    pub fn handle(&self) -> Handle {
        Handle(self.handle)
    }

    /// Waits for the goroutine's end, by shuttle and not by the library.
    pub fn join(self) {
        self.ends.join().expect("a panic ends the run at once");
    }
}

impl Handle {
    /// The handle of the calling goroutine.
    pub fn mine() -> Self {
        let gp = current::on_goroutine().expect("no goroutine");
        Self(crate::gmp::handle_of(gp))
    }

    fn g(self) -> Option<&'static G> {
        g_from_handle(self.0)
    }

    /// Cancels the goroutine; false if it has ended.
    pub fn cancel(self) -> bool {
        cancel::cancel(self.0).is_ok()
    }

    /// Whether the goroutine waits now.
    pub fn waits(self) -> bool {
        let waiting = |gp: &G| gp.readgstatus() == GStatus::Waiting;
        self.g().is_some_and(|gp| waiting(gp) && gp.park.waiting(&gp.claim))
    }
}

/// The calling goroutine is not cancelled while `f` runs.
pub fn shielded<R>(f: impl FnOnce() -> R) -> R {
    let _shield = cancel::Shield::enter();
    f()
}

/// Whether this thread has a G; for the models of `block`'s callers.
pub fn has_g() -> bool {
    arch::getg().is_some()
}

/// A value in the host's memory. After it is freed, no code may touch it.
#[derive(Debug)]
pub struct Hosted<T>(*mut T);

impl<T> Clone for Hosted<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Hosted<T> {}

// SAFETY: it gives out shared references to a Sync value only.
unsafe impl<T: Sync> Send for Hosted<T> {}
// SAFETY: it gives out shared references to a Sync value only.
unsafe impl<T: Sync> Sync for Hosted<T> {}

impl<T> Hosted<T> {
    /// Allocates the value.
    pub fn new(value: T) -> Self {
        // SAFETY: malloc may be called with any size; it aligns to 16.
        let place = unsafe { memory::malloc(size_of::<T>()) }.cast::<T>();
        const { assert!(align_of::<T>() <= 16) };
        // SAFETY: fresh memory of this size.
        unsafe { place.write(value) };
        Self(place)
    }

    /// Frees the value as a host does, without a destructor. A later access
    /// fails the run.
    pub fn free(self) {
        // SAFETY: from malloc in new; the test shows that nobody uses it.
        unsafe { memory::free(self.0.cast()) };
    }
}

impl<T> Deref for Hosted<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the arena keeps the memory until the end of the run.
        unsafe { &*self.0 }
    }
}

/// Calls a closure that is kept until the end of the run.
pub(crate) type Kept = Box<dyn Fn() -> i32 + Send + Sync>;

shuttle::lazy_static! {
    /// All kept closures, as pointers, so that a run that fails drops none.
    static ref KEPT: os::Shared<RefCell<Vec<*mut Kept>>> =
        os::Shared(RefCell::default());
}

/// The closure as an argument of [`call_member`] and [`call`].
pub(crate) fn keep(f: Kept) -> *mut c_void {
    let place = Box::into_raw(Box::new(f));
    KEPT.0.borrow_mut().push(place);
    place.cast()
}

/// Calls the closure that [`keep`] has kept. A panic in it is printed and ends
/// the process.
pub(crate) unsafe extern "C" fn call_member(place: *mut c_void) -> i32 {
    // SAFETY: from keep, which keeps it until the end of the run.
    let f = unsafe { &*place.cast::<Kept>() };
    f()
}

/// [`call_member`] for functions without a result.
pub(crate) unsafe extern "C" fn call(place: *mut c_void) {
    // SAFETY: from keep, the caller promises.
    unsafe { call_member(place) };
}
