//! Threads of the operating system: their making, their names, their stacks,
//! and their ends.

use super::clock::usleep;
use super::errno::{Errno, KeepErrno, Result};
use super::mem::page_size;
use super::raw::NoCancel;
use super::signal::SigMask;
use super::{Lock, LockGuard};
use crate::base::lock::Rank;
use crate::base::sanitize;
use crate::base::sync::{AtomicU32, Ordering};
use core::ffi::{CStr, c_int, c_void};
use core::mem::MaybeUninit;

/// The function of a thread; its result goes to `join`.
pub(crate) type ThreadStart = unsafe extern "C" fn(*mut c_void) -> *mut c_void;

/// A thread that can be joined.
pub(crate) type Thread = libc::pthread_t;

/// Threads from [`newosproc`] that have not called [`ends`] yet.
static LIVE: AtomicU32 = AtomicU32::new(0);
/// The thread that has called [`ends`] last, with its tid.
static ENDED: Lock<Option<(Thread, i32)>> = Lock::new(Rank::Ended, None);

/// Starts a thread, on a stack with `stack_size` usable bytes (rounded up,
/// without thread-local storage and the kernel's signal frames). Its last
/// action is to call [`ends`].
///
/// All signals are blocked in the thread until it sets its own mask, so that
/// no signal of the host's finds a half-made M. Keeps `errno`.
///
/// `EAGAIN` if a limit or want of memory forbids another thread.
///
/// # Safety
/// `start(arg)` may be called on another thread, at any time from now on.
pub(crate) unsafe fn newosproc(
    start: ThreadStart,
    arg: *mut c_void,
    stack_size: usize,
) -> Result<()> {
    // Relaxed: the thread's own change comes after the making of the thread.
    LIVE.fetch_add(1, Ordering::Relaxed);
    let state = if sanitize::lists_threads() {
        libc::PTHREAD_CREATE_DETACHED
    } else {
        libc::PTHREAD_CREATE_JOINABLE
    };
    // SAFETY: `start(arg)` may be called at any time, the caller promises.
    unsafe { create(start, arg, stack_size, state) }.map(drop).inspect_err(
        |_| {
            LIVE.fetch_sub(1, Ordering::Release);
        },
    )
}

/// The last action of a thread from [`newosproc`]: it joins the thread that
/// has come here before it. So at most one thread has ended and was not joined,
/// and a thread that was joined executes no code of ours.
pub(crate) fn ends() {
    // SAFETY: takes no argument and cannot fail.
    let me = unsafe { libc::pthread_self() };
    let before = ended().replace((me, gettid()));
    join(before);
    // Release: pairs with join_all, which finds this thread, or one after it,
    // in ENDED.
    LIVE.fetch_sub(1, Ordering::Release);
}

/// Joins all threads from [`newosproc`]. They are about to end, and no other
/// thread makes more.
pub(crate) fn join_all() {
    // Acquire: pairs with ends.
    while LIVE.load(Ordering::Acquire) != 0 {
        usleep(50);
    }
    let last = ended().take();
    join(last);
}

/// In the child of a fork, which has none of the parent's threads.
pub(crate) fn forget_threads() {
    LIVE.store(0, Ordering::Relaxed);
}

/// In the child of a fork the thread is not there.
fn ended() -> LockGuard<'static, Option<(Thread, i32)>> {
    ENDED.lock_or_renew(|ended| *ended = None)
}

/// Joins a thread, and waits until the kernel has forgotten it too: it is in
/// lists of threads for a moment longer, and a process with other threads gets
/// no new user namespace, say.
fn join(ended: Option<(Thread, i32)>) {
    let Some((thread, tid)) = ended else { return };
    let _later = NoCancel::new();
    if !sanitize::lists_threads() {
        // SAFETY: the thread is joinable, and ENDED held it once.
        unsafe { libc::pthread_join(thread, core::ptr::null_mut()) };
    }
    while exists(tid) {
        usleep(50);
    }
}

/// Whether a thread of this process has this tid.
pub(crate) fn exists(tid: i32) -> bool {
    let _keep = KeepErrno::new();
    let pid = super::proc::id();
    // SAFETY: takes numbers; signal 0 is none.
    unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, 0) == 0 }
}

/// Starts a detached thread that ends the process.
///
/// `EAGAIN` as of [`newosproc`].
///
/// # Safety
/// As [`newosproc`].
pub(crate) unsafe fn newosproc_last(
    start: ThreadStart,
    stack_size: usize,
) -> Result<()> {
    let (null, detached) =
        (core::ptr::null_mut(), libc::PTHREAD_CREATE_DETACHED);
    // SAFETY: `start(null)` may be called at any time, the caller promises.
    unsafe { create(start, null, stack_size, detached) }.map(drop)
}

unsafe fn create(
    start: ThreadStart,
    arg: *mut c_void,
    stack_size: usize,
    detach_state: i32,
) -> Result<Thread> {
    let _keep = KeepErrno::new();
    let mut attr = ThreadAttr::new()?;
    attr.set(stack_size, detach_state)?;
    // SAFETY: only the static type differs, and `start(arg)` may be called,
    // the caller promises.
    let start = unsafe {
        core::mem::transmute::<
            ThreadStart,
            extern "C" fn(*mut c_void) -> *mut c_void,
        >(start)
    };
    let mut thread = MaybeUninit::uninit();
    let mask = SigMask::block_all();
    // SAFETY: thread is a local variable, attr is initialised, and
    // `start(arg)` may be called, the caller promises.
    let r = unsafe {
        libc::pthread_create(thread.as_mut_ptr(), &raw const attr.0, start, arg)
    };
    mask.restore();
    Errno::from_pthread(r)?;
    // SAFETY: pthread_create returned 0, so it has written the thread.
    Ok(unsafe { thread.assume_init() })
}

/// Initialised attributes of a thread, destroyed at drop.
struct ThreadAttr(libc::pthread_attr_t);

impl ThreadAttr {
    fn new() -> Result<Self> {
        let mut attr = MaybeUninit::uninit();
        // SAFETY: attr is a local variable.
        let r = unsafe { libc::pthread_attr_init(attr.as_mut_ptr()) };
        Errno::from_pthread(r)?;
        // The C library keeps no pointer to it, so it may move.
        // SAFETY: pthread_attr_init returned 0, so it has written attr.
        Ok(Self(unsafe { attr.assume_init() }))
    }

    fn set(&mut self, stack_size: usize, detach_state: i32) -> Result<()> {
        let attr = &raw mut self.0;
        let size = thread_stack_size(stack_size);
        // SAFETY: attr is initialised.
        let r = unsafe { libc::pthread_attr_setstacksize(attr, size) };
        Errno::from_pthread(r)?;
        // SAFETY: attr is initialised.
        let r =
            unsafe { libc::pthread_attr_setdetachstate(attr, detach_state) };
        Errno::from_pthread(r)
    }
}

impl Drop for ThreadAttr {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used any more.
        unsafe { libc::pthread_attr_destroy(&raw mut self.0) };
    }
}

/// The stack size that leaves `usable` bytes for frames. The least size that
/// the C library accepts covers the rest: static thread-local storage, which
/// can be large in a large host, and one signal frame.
fn thread_stack_size(usable: usize) -> usize {
    // SAFETY: asks for a constant of the system.
    let min = unsafe { libc::sysconf(libc::_SC_THREAD_STACK_MIN) };
    let min = usize::try_from(min).unwrap_or(libc::PTHREAD_STACK_MIN);
    usable.saturating_add(min).next_multiple_of(page_size())
}

/// The calling thread's tid.
pub(crate) fn gettid() -> i32 {
    // SAFETY: takes no argument and cannot fail.
    unsafe { libc::syscall(libc::SYS_gettid) as i32 }
}

/// Whether the calling thread is the process's first.
pub(crate) fn is_main() -> bool {
    gettid() == super::proc::id()
}

/// Names the calling thread for debuggers; the kernel keeps 15 bytes.
pub(crate) fn set_thread_name(name: &CStr) {
    let _keep = KeepErrno::new();
    // SAFETY: name ends with a NUL.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// Sets the default action of `sig` and sends it to the calling thread. For the
/// signal of a fault that ends the process; else it returns.
pub(crate) fn raise_default(sig: c_int) {
    let _keep = KeepErrno::new();
    // SAFETY: the default action runs no code.
    unsafe { libc::signal(sig, libc::SIG_DFL) };
    let mut mask = SigMask::current();
    mask.remove(sig);
    let pid = std::process::id();
    // A blocked signal stays pending until the next line.
    // SAFETY: takes numbers only.
    unsafe { libc::syscall(libc::SYS_tgkill, pid, gettid(), sig) };
    mask.restore();
}

/// Stops this thread until the process ends. Signal handlers still run.
pub(crate) fn stop_for_ever() -> ! {
    loop {
        // SAFETY: takes no argument; returns when a handler has run.
        unsafe { libc::pause() };
    }
}

/// Ends the process as a return from `main` does.
pub(crate) fn exit_process(status: i32) -> ! {
    // SAFETY: runs the host's exit handlers, which may run on any thread.
    unsafe { libc::exit(status) }
}

/// Lets another thread run on this CPU.
pub(crate) fn osyield() {
    // SAFETY: takes no argument and cannot fail.
    unsafe { libc::sched_yield() };
}

/// How large the main thread's stack may grow, in bytes; None if unlimited.
pub(crate) fn main_stack_rlimit() -> Option<usize> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: limit is a local variable; the call cannot fail otherwise.
    unsafe { libc::getrlimit(libc::RLIMIT_STACK, &raw mut limit) };
    match limit.rlim_cur {
        libc::RLIM_INFINITY => None,
        bytes => usize::try_from(bytes).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::child;
    use crate::base::sync::{AtomicUsize, Ordering};
    use crate::os::clock::{nanotime, usleep};
    use core::ptr;

    /// The findings of a test thread.
    struct Seen {
        tid: i32,
        here: usize,
        bounds: (usize, usize),
        blocked: bool,
    }

    /// This thread's stack, as the C library knows it.
    fn stack_bounds() -> (usize, usize) {
        let mut attr = MaybeUninit::uninit();
        // SAFETY: takes no argument and cannot fail.
        let me = unsafe { libc::pthread_self() };
        // SAFETY: attr is a local variable, and this thread lives.
        let r = unsafe { libc::pthread_getattr_np(me, attr.as_mut_ptr()) };
        assert_eq!(r, 0);
        // SAFETY: the call returned 0, so it has written attr.
        let attr = ThreadAttr(unsafe { attr.assume_init() });
        let (mut lo, mut len) = (ptr::null_mut(), 0);
        // SAFETY: the attributes are initialised, the others local variables.
        let r = unsafe {
            libc::pthread_attr_getstack(
                &raw const attr.0,
                &raw mut lo,
                &raw mut len,
            )
        };
        assert_eq!(r, 0);
        (lo as usize, lo as usize + len)
    }

    /// Where `look` puts what it saw.
    struct Slot {
        seen: Option<Seen>,
        done: AtomicUsize,
    }

    unsafe extern "C" fn look(arg: *mut c_void) -> *mut c_void {
        let here = 0u8;
        let seen = Seen {
            tid: gettid(),
            here: (&raw const here) as usize,
            bounds: stack_bounds(),
            blocked: SigMask::current().contains(libc::SIGUSR1),
        };
        // SAFETY: the test gives a slot that is never freed, and waits.
        let slot = unsafe { &mut *arg.cast::<Slot>() };
        slot.seen = Some(seen);
        slot.done.store(1, Ordering::Release);
        arg
    }

    #[test]
    fn a_thread_runs_with_signals_blocked_on_the_stack_it_asked_for() {
        const SIZE: usize = 64 << 10;
        let before = SigMask::current().contains(libc::SIGUSR1);
        let slot = Slot { seen: None, done: AtomicUsize::new(0) };
        let slot = Box::leak(Box::new(slot));
        let arg = ptr::from_mut(slot).cast();
        // SAFETY: look writes to slot, which stays.
        unsafe { newosproc(look, arg, SIZE) }.unwrap();
        let deadline = nanotime() + 5_000_000_000;
        while slot.done.load(Ordering::Acquire) == 0 {
            assert!(nanotime() < deadline);
            usleep(100);
        }
        let seen = slot.seen.take().unwrap();
        assert_ne!(seen.tid, gettid());
        assert!(seen.blocked);
        assert_eq!(SigMask::current().contains(libc::SIGUSR1), before);
        let (lo, hi) = seen.bounds;
        assert!(lo < seen.here && seen.here < hi);
        assert!(seen.here - lo >= SIZE, "{} usable", seen.here - lo);
    }

    unsafe extern "C" fn count(arg: *mut c_void) -> *mut c_void {
        // SAFETY: the test gives a static counter.
        unsafe { &*arg.cast::<AtomicUsize>() }.fetch_add(1, Ordering::Relaxed);
        ptr::null_mut()
    }

    #[test]
    fn the_smallest_stack_is_enough_to_start() {
        static RUNS: AtomicUsize = AtomicUsize::new(0);
        let arg = (&raw const RUNS).cast_mut().cast();
        // SAFETY: count takes a static counter.
        unsafe { newosproc(count, arg, 0) }.unwrap();
        let deadline = nanotime() + 5_000_000_000;
        while RUNS.load(Ordering::Relaxed) == 0 {
            assert!(nanotime() < deadline);
            usleep(100);
        }
    }

    #[test]
    fn a_stack_larger_than_memory_is_an_error() {
        let start = nothing as ThreadStart;
        // SAFETY: nothing takes any argument.
        let r = unsafe { newosproc(start, ptr::null_mut(), 1 << 50) };
        assert_eq!(r, Err(Errno::EAGAIN));
    }

    unsafe extern "C" fn nothing(_: *mut c_void) -> *mut c_void {
        ptr::null_mut()
    }

    #[test]
    fn the_name_is_cut_to_fifteen_bytes() {
        let name = std::thread::spawn(|| {
            set_thread_name(c"gmprt-a-name-that-is-too-long");
            let path = format!("/proc/self/task/{}/comm", gettid());
            std::fs::read_to_string(path).unwrap()
        });
        assert_eq!(name.join().unwrap(), "gmprt-a-name-th\n");
    }

    #[test]
    fn the_main_stack_has_a_limit_or_none() {
        assert!(main_stack_rlimit().is_none_or(|n| n >= 4096));
    }

    #[test]
    fn raise_default_ends_the_process_though_blocked() {
        child::dies(libc::SIGTERM, || {
            SigMask::block_all();
            raise_default(libc::SIGTERM);
        });
    }
}
