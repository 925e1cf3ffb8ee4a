//! Calls of the host's functions from the caller's stack, for library code that
//! has to know how such a function ended.
//!
//! ```text
//!   begin --> live --returned, or unwound by an exception--> end
//!               |----gmp_exit, panic----> `exited` ------> end
//!               '----longjmp-----------------------------> `lost`
//! ```
//! An exception passes through `ffi/callbacks.c`, which calls [`end`]. So does
//! the unwinding of `gmp_exit`, or of a panic, after `exited`. A
//! `longjmp` calls nothing of ours. So a call has its record outside the stack,
//! and the goroutine looks later whether the call's frame is still there
//! ([`gone`]): when it begins another such call, waits for anything, or ends.
//! The owner of the call is then told `lost`; its object may not exist any
//! more.
//!
//! # Is the frame there?
//! A frame has its caller's stack pointer (`cfa`) and, in the word below, its
//! return address. Deeper calls leave both alone. So a frame is gone
//! - if its word holds another address: some other call has used the place;
//! - if the stack pointer is above it, where both are on a goroutine's own
//!   stack. A host that switches stacks of its own may be anywhere else.
//!
//! Invariants:
//! 1. A live call is in the list of its G ([`super::defers`]), which only that
//!    G touches, and in `LIVE`, under its lock.
//! 2. A number of a call is never used twice, and none is 0.
//! 3. `exited` is called before a call leaves `LIVE`, `lost` after that.

pub(crate) use super::defers::Frame;
use super::{
    defers::{self, Defer, Kind},
    ending,
    lock::Lock,
};
use crate::{
    base::{lock::Rank, sync::static_of_a_run},
    gmp::{G, gflag},
    os::{Errno, Result},
};
#[cfg(not(shuttle))]
use core::mem;
use core::{cell::Cell, ffi::c_void, ptr};

/// Functions of a call's owner for the ends that it does not see itself. Both
/// get the `place` that was given to [`begin`].
pub(crate) struct Owner {
    /// The goroutine ends by `gmp_exit`, or panics, inside the function.
    pub exited: fn(place: usize),
    /// The frame is gone.
    pub lost: fn(place: usize),
}

/// A call that has begun; from `malloc`. Its record for the list of its G is
/// the first field.
#[repr(C)]
pub(crate) struct Call {
    record: Defer,
    /// lock: `LIVE`
    next: Cell<*const Call>,
    number: Cell<u64>,
    /// The caller.
    gp: &'static G,
    frame: Frame,
    owner: &'static Owner,
    place: usize,
    /// `exited` was called: it is in no list, and [`end`] frees it.
    over: Cell<bool>,
}

struct Live {
    first: *const Call,
    /// The last number given.
    number: u64,
}

// SAFETY: the records stay while they are in the list, and are used under
// the lock (invariant 1).
unsafe impl Send for Live {}

static_of_a_run! {
    static LIVE: Lock<Live> =
        Lock::new(Rank::Calls, Live { first: ptr::null(), number: 0 });
}

impl Call {
    pub(crate) fn number(&self) -> u64 {
        self.number.get()
    }

    fn publish(&self) {
        let mut live = LIVE.lock();
        live.number += 1;
        self.number.set(live.number);
        self.next.set(live.first);
        live.first = self;
        care::begin();
    }

    fn withdraw(&self) {
        let mut live = LIVE.lock();
        let next = self.next.get();
        if ptr::eq(live.first, self) {
            live.first = next;
        } else {
            let before =
                calls(live.first).find(|c| ptr::eq(c.next.get(), self));
            let Some(before) = before else {
                crate::base::throw::throw("calls: a call is not live");
            };
            before.next.set(next);
        }
        care::end();
    }
}

/// The calls from `first` on; under the lock.
fn calls<'a>(first: *const Call) -> impl Iterator<Item = &'a Call> {
    // SAFETY: null, or in `LIVE`, whose lock is held (invariant 1).
    let call = |at: *const Call| unsafe { at.as_ref() };
    core::iter::successors(call(first), move |c| call(c.next.get()))
}

/// Begins a call at `frame` by `gp`, the caller.
///
/// Errors: `ENOMEM`.
pub(crate) fn begin(
    gp: &'static G,
    frame: Frame,
    owner: &'static Owner,
    place: usize,
) -> Result<&'static Call> {
    // SAFETY: malloc may be called with any size.
    let at = unsafe { libc::malloc(size_of::<Call>()) }.cast::<Call>();
    if at.is_null() {
        return Err(Errno::ENOMEM);
    }
    let call = Call {
        record: Defer::new(at_end, at.cast(), Kind::Call),
        next: Cell::new(ptr::null()),
        number: Cell::new(0),
        gp,
        frame,
        owner,
        place,
        over: Cell::new(false),
    };
    // SAFETY: fresh memory of this size; malloc aligns it.
    unsafe { at.write(call) };
    // SAFETY: just written; freed by `free` only, out of both lists.
    let call: &'static Call = unsafe { &*at };
    call.publish();
    defers::push(gp, &call.record);
    Ok(call)
}

/// Whether `exited` was called, so that the owner sees only its frame's end.
pub(crate) fn is_over(call: &'static Call) -> bool {
    call.over.get()
}

/// Whether the caller of a call ends by `gmp_exit`, so that an unwinding which
/// leaves the function is that of the goroutine.
pub(crate) fn exits(call: &'static Call) -> bool {
    call.gp.has(gflag::EXITED)
}

/// Ends a call; its owner has seen the end.
pub(crate) fn end(call: &'static Call) {
    if call.over.get() {
        free(call);
        return;
    }
    defers::remove(call.gp, &call.record);
    call.withdraw();
    free(call);
}

fn free(call: &'static Call) {
    // SAFETY: from malloc in begin, and out of all lists.
    unsafe { libc::free(ptr::from_ref(call).cast_mut().cast()) };
}

/// The goid of the caller in the call with this number, if the call is live. A
/// G does not end before its calls.
pub(crate) fn who_is_in(number: u64) -> Option<u64> {
    let live = LIVE.lock();
    let mut all = calls(live.first);
    all.find(|c| c.number.get() == number).map(|c| c.gp.goid.get())
}

/// In the child of a fork: ends the calls of goroutines that are not there. An
/// owner that asks finds that they are not live.
#[cfg(not(shuttle))]
pub(super) fn forget(stays: impl Fn(&G) -> bool) {
    let mut live = LIVE.lock();
    let mut at = mem::replace(&mut live.first, ptr::null());
    // SAFETY: null, or in the list (invariant 1).
    while let Some(call) = unsafe { at.as_ref() } {
        at = call.next.get();
        if stays(call.gp) {
            call.next.set(mem::replace(&mut live.first, call));
        } else {
            care::end();
        }
    }
}

/// Tells the owner of a call, which is out of both lists, that it is lost.
fn tell_lost(call: &'static Call) {
    let Call { owner, place, .. } = *call;
    free(call);
    (owner.lost)(place);
}

/// A call of `gp` whose frame is gone, seen from `sp`.
fn next_gone(gp: &G, sp: usize) -> Option<&'static Call> {
    defers::records(gp)
        .filter(|record| record.kind() == Kind::Call)
        .map(|record| {
            let call = ptr::from_ref(record).cast::<Call>();
            // SAFETY: the first field of a call in the list (invariant 1).
            unsafe { &*call }
        })
        .find(|call| gone(gp, call.frame, sp))
}

/// Ends the calls of `gp`, the caller, that were left by a jump, before a new
/// one at `frame`. Outside all locks.
pub(crate) fn end_lost(gp: &G, frame: Frame) {
    while let Some(call) = next_gone(gp, frame.cfa) {
        defers::remove(gp, &call.record);
        call.withdraw();
        tell_lost(call);
    }
}

/// Whether a frame is gone, seen by `gp`, whose stack pointer is `sp` or which
/// is about to begin a frame at `sp`.
pub(super) fn gone(gp: &G, Frame { cfa, ret }: Frame, sp: usize) -> bool {
    if cfg!(shuttle) {
        // A model's frames are numbers; 0 is nowhere.
        return cfa != 0 && cfa == sp;
    }
    if cfa == sp {
        return true;
    }
    if !gp.is_host() {
        let own = |at| gp.on_stack(at);
        if !own(cfa) {
            return false;
        }
        if own(sp) && cfa < sp {
            return true;
        }
    }
    let word = (cfa - size_of::<usize>()) as *const usize;
    // SAFETY: a plain word on the goroutine's own stack, or on the stack of
    // the caller's thread: both are still mapped.
    unsafe { word.read_volatile() != ret }
}

/// The function of a call's record: the goroutine ends.
unsafe extern "C" fn at_end(call: *mut c_void) {
    // SAFETY: from begin; `ending` has just taken it out of the list of its G,
    // and nothing else frees it.
    let call: &'static Call = unsafe { &*call.cast::<Call>().cast_const() };
    if super::child::is_dead_end() {
        return;
    }
    let here = 0u8;
    let gp = call.gp;
    let inside = (gp.has(gflag::EXITED) || ending::panics(gp))
        && !gone(gp, call.frame, ptr::from_ref(&here).addr());
    if inside {
        (call.owner.exited)(call.place);
        call.withdraw();
        if cfg!(shuttle) {
            // In a model no frame is unwound.
            free(call);
        } else {
            call.over.set(true);
        }
    } else {
        call.withdraw();
        tell_lost(call);
    }
}

#[cfg(not(shuttle))]
pub(super) use care::{CARE, PYTHON};

/// The one word that a wait reads to learn whether it has more to look at.
#[cfg(not(shuttle))]
mod care {
    use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// 0, or [`PYTHON`], and [`CALL`] for each live call.
    pub(in crate::sched) static CARE: AtomicUsize = AtomicUsize::new(0);
    /// An interpreter is in the process, or `migrate` is on (`python`).
    pub(in crate::sched) const PYTHON: usize = 1;
    const CALL: usize = 2;

    /// Relaxed, as in `end`: the G that begins a call sees its own store.
    pub(super) fn begin() {
        CARE.fetch_add(CALL, Relaxed);
    }

    pub(super) fn end() {
        CARE.fetch_sub(CALL, Relaxed);
    }
}

/// In a model there are no frames, and nobody jumps.
#[cfg(shuttle)]
mod care {
    pub(super) fn begin() {}
    pub(super) fn end() {}
}

/// Looks for calls that `gp`, the caller, has left by a jump, before a wait.
/// The caller may hold a lock, so another goroutine tells the owners.
#[cfg(not(shuttle))]
#[cold]
pub(super) fn look(gp: &'static G) {
    let here = 0u8;
    while let Some(call) = next_gone(gp, ptr::from_ref(&here).addr()) {
        defers::remove(gp, &call.record);
        call.withdraw();
        let arg = ptr::from_ref(call).cast_mut().cast();
        let teller = super::newproc::newproc_system(tell, arg, c"lost calls");
        if teller.is_err() {
            // No memory: the next wait tries again.
            call.publish();
            defers::push(gp, &call.record);
            return;
        }
    }
}

/// Calls the host's `unlockf` for `gp`, which parks; false: the park is not to
/// happen. An exception of the function ends at `mcall` on g0, and here on a
/// host thread.
#[cfg(not(shuttle))]
#[inline(always)]
pub(super) fn unlock(gp: &'static G, u: &Unlockf) -> bool {
    use super::fiber::in_host;
    let mp = gp.mp();
    let generation = super::child::generation();
    // Relaxed, in effect: this thread alone looks, should `f` fork.
    mp.unlocking.set(Some(gp));
    // A collection does not look for a thread on g0 but where this is set.
    super::suspended::newcomer();
    let keep = if gp.is_host() {
        // SAFETY: the host's function, with the host's lock.
        in_host(gp, || unsafe { crate::arch::callhost(u.f, u.handle, u.lock) })
    } else {
        // SAFETY: the host's function, with the host's lock.
        in_host(gp, || unsafe { (u.f)(u.handle, u.lock) })
    };
    mp.unlocking.set(None);
    // In the child of a fork nobody would end the park.
    keep != 0 && super::child::generation() == generation
}

/// The function of the goroutine that tells an owner.
#[cfg(not(shuttle))]
unsafe extern "C" fn tell(call: *mut c_void) {
    // SAFETY: from look, out of both lists, and freed by tell_lost only.
    tell_lost(unsafe { &*call.cast::<Call>().cast_const() });
}

pub(crate) type UnlockFn =
    unsafe extern "C" fn(handle: *mut c_void, lock: *mut c_void) -> i32;

#[derive(Clone, Copy)]
pub(crate) struct Unlockf {
    pub f: UnlockFn,
    pub handle: *mut c_void,
    pub lock: *mut c_void,
}
