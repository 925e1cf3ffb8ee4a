//! LockOSThread: a goroutine and a thread that run nothing but each other.
//!
//! A locked goroutine that parks leaves its M asleep (`stoplockedm`); whoever
//! schedules it hands its P over to that M (`startlockedm`). If it ends
//! locked, the thread ends too: the host may have changed it.
//!
//! A goroutine that parks while Python frames are on its stack is locked for
//! that long without being asked: the GIL's state belongs to the thread.

use super::{
    calls::{self, CARE},
    enter::{owned_p, this_m},
    migrate,
    park::on_goroutine,
    procs::{acquire_nextp, handoffp, releasep},
    sigmask,
    threads::stopm,
};
use crate::{
    gmp::{DEBUG, G, M, MKind, OwnedP, SCHED},
    os::{Errno, Result},
    stack,
};
use core::{
    ffi::c_void,
    mem, ptr,
    sync::atomic::{AtomicPtr, Ordering::*},
};

/// Locks the current goroutine to its thread; nests. On a host thread it does
/// nothing: that is locked by nature.
pub(crate) fn lock_os_thread() {
    let Some(gp) = on_goroutine() else { return };
    let mp = gp.mp();
    mp.lockedext.set(mp.lockedext.get() + 1);
    tie(gp, mp);
}

/// Undoes one [`lock_os_thread`].
///
/// Errors: `EPERM` without one.
pub(crate) fn unlock_os_thread() -> Result<()> {
    let Some(gp) = on_goroutine() else { return Ok(()) };
    let mp = gp.mp();
    let depth = mp.lockedext.get();
    if depth == 0 {
        return Err(Errno(libc::EPERM));
    }
    mp.lockedext.set(depth - 1);
    if depth == 1 {
        untie(gp, mp);
    }
    Ok(())
}

fn tie(gp: &'static G, mp: &'static M) {
    count_locked(gp, mp, 1);
    gp.lockedm.set(mp);
    mp.lockedg.set(gp);
}

fn untie(gp: &'static G, mp: &'static M) {
    gp.lockedm.set(ptr::null());
    mp.lockedg.set(ptr::null());
    count_locked(gp, mp, -1);
}

/// Counts Ms that run one goroutine only, for the limit of threads.
fn count_locked(gp: &G, mp: &M, change: i32) {
    // A lock that nests changes nothing, and host threads do not count.
    if gp.lockedm.get().is_null() && mp.kind.get() != MKind::Host {
        // Relaxed: a measure.
        SCHED.nmlocked.fetch_add(change, Relaxed);
    }
}

/// Whether nothing but its own thread may run `gp`.
pub(super) fn is_locked(gp: &G) -> bool {
    !gp.lockedm.get().is_null() && !migrate::is_marked(gp)
}

/// Sleeps until this M's locked goroutine is to run; returns it and its P.
pub(crate) fn stoplockedm(mp: &'static M) -> (OwnedP, &'static G) {
    if owned_p(mp).is_some() {
        handoffp(releasep(mp));
    }
    loop {
        count_asleep(mp, 1);
        super::deadlock::check();
        mp.park.sleep();
        mp.park.clear();
        acquire_nextp(mp);
        let gp = mp.lockedg.get();
        if let Some(pp) = owned_p(mp) {
            // SAFETY: set while locked, which only its own thread undoes.
            return (pp, unsafe { &*gp });
        }
    }
}

/// Counts an M that waits for its goroutine: ours, or a host's thread.
fn count_asleep(mp: &M, change: i32) {
    if mp.kind.get() == MKind::Host {
        SCHED.nhostwait.fetch_add(change, SeqCst);
    } else {
        SCHED.lock().nmidlelocked += change;
    }
}

/// Hands this M's P to the M that `gp` is locked to, and sleeps.
pub(crate) fn startlockedm(mp: &'static M, gp: &'static G) {
    // SAFETY: not null, as the caller checked; type-stable.
    let locked: &'static M = unsafe { &*gp.lockedm.get() };
    count_asleep(locked, -1);
    let pp = releasep(mp);
    locked.nextp.set(pp);
    locked.park.wakeup();
    stopm(mp);
}

/// A goroutine has ended. True: it was locked, and this M ends with it. It
/// makes no thread until then (`must_ask`), as the host may have changed it. A
/// host's thread is only unlocked.
pub(crate) fn ended(gp: &'static G) -> bool {
    if gp.lockedm.get().is_null() {
        return false;
    }
    let mp = this_m();
    untie(gp, mp);
    mp.lockedext.set(0);
    if mp.kind.get() != MKind::Host {
        return true;
    }
    sigmask::put_back();
    false
}

/// `PyGILState_GetThisThreadState`, where libpython is in the process.
static PYTHON: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Has every park come by [`pin_slow`], for `migrate`. At boot.
pub(crate) fn watch_parks() {
    // Relaxed: before the first goroutine.
    CARE.fetch_or(calls::PYTHON, Relaxed);
}

/// Stack of a goroutine that may run Python, unless GMP_STACKSIZE says what.
const PYTHON_STACK: usize = 1 << 20;

/// Looks for libpython; on a host thread, never during the start. Once it is
/// there, goroutines get stacks on which an interpreter can run.
pub(crate) fn find_python() {
    if !PYTHON.load(Acquire).is_null() {
        return;
    }
    let f = crate::os::dl::find(c"PyGILState_GetThisThreadState");
    if f.is_null() {
        return;
    }
    // Relaxed: set at boot.
    if !DEBUG.stack_size.load(Relaxed) {
        // A size within bounds; what cannot be is left as it is.
        let _set = stack::set_default_size(PYTHON_STACK - stack::GUARD);
    }
    PYTHON.store(f.cast(), Release);
    // Relaxed: read again with the acquire of pin_slow.
    CARE.fetch_or(calls::PYTHON, Relaxed);
}

/// Whether libpython is in the process, as far as was looked.
pub(crate) fn has_python() -> bool {
    !PYTHON.load(Acquire).is_null()
}

/// Locks a parking goroutine for the park, if Python frames are on its stack
/// and it is not locked anyway; and looks at calls that it has left by a jump.
/// True: unpin it afterwards.
#[inline(always)]
pub(crate) fn pin_python(gp: &'static G, mp: &'static M) -> bool {
    // Relaxed: what this goroutine has set itself, and a hint.
    CARE.load(Relaxed) != 0 && pin_slow(gp, mp)
}

#[cold]
fn pin_slow(gp: &'static G, mp: &'static M) -> bool {
    if !gp.defers.get().is_null() {
        calls::look(gp);
    }
    if !gp.lockedm.get().is_null() {
        return false;
    }
    if !has_python_frames() {
        migrate::mark(gp);
        return false;
    }
    tie(gp, mp);
    true
}

/// Whether Python frames are on this thread, as far as its interpreter tells.
fn has_python_frames() -> bool {
    type ThisThreadState = unsafe extern "C" fn() -> *mut c_void;
    // Acquire: pairs with find_python.
    let f = PYTHON.load(Acquire);
    if f.is_null() {
        return false;
    }
    // SAFETY: find_python looked this function up by name.
    let f = unsafe { mem::transmute::<*mut (), ThisThreadState>(f) };
    // SAFETY: may be called on any thread; it takes no lock.
    !unsafe { f() }.is_null()
}

/// The park of a pinned goroutine is over.
pub(crate) fn unpin_python(gp: &'static G) {
    untie(gp, gp.mp());
}
