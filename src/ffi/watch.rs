//! Calls, as sanitizers are told of them.
//!
//! While a sanitizer watches, no call passes the gate at once
//! (`boot::phase`). So the usual way of a call knows nothing of this, and all
//! calls come through [`gated`] with a [`Watch`], which says what the call
//! means for ThreadSanitizer: what it orders, and what it reads and writes. An
//! object is named by its address. What the call does inside is ignored.
//!
//! An order may be told that does not exist, and then a race is missed: all
//! receivers of a channel come after all of its earlier senders, for example.
//! No order that exists is left out, so no race is told that is none.

use crate::{
    arch,
    base::sanitize::{
        heed, ignore, race_acquire, race_release, reads, run_handlers, watches,
        writes,
    },
    block::{
        chan::GmpChan,
        select::{Case, MAX_CASES},
    },
    os::{Errno, Result},
    sched::fiber::knows_of_cancel,
};
use core::ffi::{c_int, c_void};

/// What a call means.
#[derive(Clone, Copy)]
pub(super) enum Watch {
    /// Nothing that another goroutine could see.
    Nothing,
    /// What was released at this address comes before the return.
    Acquires(usize),
    /// What the caller did comes before what others do that acquire here.
    Releases(usize),
    /// Both.
    Orders(usize),
    /// Waits for the caller's own permit.
    Parks,
    /// Waits with a condition (the first) and a mutex.
    Conds(usize, usize),
    /// Locks for writing at this address: readers release at the next one.
    Writes(usize),
    /// Sends the element at this address.
    Sends(*const GmpChan, *const c_void),
    /// Receives to this address.
    Receives(*const GmpChan, *const c_void),
    /// Sends or receives in one of so many cases.
    Selects(*const Case, usize),
    /// Reads so many bytes from a descriptor to this address, at most.
    Input(*const c_void, usize),
    /// Writes so many bytes at this address to a descriptor.
    Output(*const c_void, usize),
}

/// All descriptors have one address: what arrives at one may have been sent at
/// any other.
static DESCRIPTORS: u8 = 0;

/// The address of an object.
pub(super) fn at<T>(object: *const T) -> usize {
    object.addr()
}

/// The address of all descriptors.
pub(super) fn descriptors() -> usize {
    at(&raw const DESCRIPTORS)
}

/// The address of all timers.
pub(super) fn timers() -> usize {
    crate::sched::fiber::timers()
}

/// How many bytes a result has moved.
pub(super) trait Moved {
    fn bytes(&self) -> usize;
}

impl Moved for () {
    fn bytes(&self) -> usize {
        0
    }
}

impl Moved for usize {
    fn bytes(&self) -> usize {
        *self
    }
}

impl Moved for c_int {
    fn bytes(&self) -> usize {
        0
    }
}

/// `f`, once `gate` has been passed, as a sanitizer sees it; and its result as
/// `as_c` gives it to C.
#[cold]
#[inline(never)]
pub(super) fn gated<T: Moved, R>(
    gate: fn() -> Result<()>,
    watch: impl FnOnce() -> Watch,
    f: impl FnOnce() -> Result<T>,
    as_c: impl FnOnce(Result<T>) -> R,
) -> R {
    as_c(gated_here(gate, watch, f))
}

#[inline(always)]
fn gated_here<T: Moved>(
    gate: fn() -> Result<()>,
    watch: impl FnOnce() -> Watch,
    f: impl FnOnce() -> Result<T>,
) -> Result<T> {
    gate()?;
    if !watches() {
        return f();
    }
    let watch = watch();
    let result = unseen(watch, f);
    if let Err(Errno(libc::ECANCELED)) = result
        && let Some(gp) = arch::getg()
    {
        knows_of_cancel(gp);
    }
    after(watch, result.as_ref().ok().map(Moved::bytes));
    result
}

/// The call itself: a sanitizer is told what it begins with, and sees none of
/// the library's accesses in it.
#[inline(always)]
fn unseen<T>(watch: Watch, f: impl FnOnce() -> T) -> T {
    before(watch);
    ignore();
    let result = f();
    heed();
    run_handlers();
    result
}

/// [`gated`] for a call that does not pass the gate.
#[inline(always)]
pub(super) fn ungated<T>(
    watch: impl FnOnce() -> Watch,
    f: impl FnOnce() -> T,
) -> T {
    if !watches() {
        return f();
    }
    let watch = watch();
    let result = unseen(watch, f);
    after(watch, Some(0));
    result
}

/// The library has written `n` bytes for the caller.
#[inline(always)]
pub(super) fn written(at: *const c_void, n: usize) {
    if watches() {
        writes(at, n);
    }
}

/// The address of a goroutine; 0 for a stale handle.
pub(super) fn goroutine(handle: *mut c_void) -> usize {
    crate::gmp::lookup(handle).map_or(0, |gp| at(gp))
}

/// The address of the caller's goroutine or stand-in.
fn own() -> usize {
    arch::getg().map_or(0, |gp| at(gp))
}

fn before(watch: Watch) {
    match watch {
        Watch::Nothing | Watch::Acquires(_) | Watch::Writes(_) => {}
        Watch::Input(..) => {}
        Watch::Releases(at) | Watch::Orders(at) => race_release(at),
        Watch::Conds(_, mutex) => race_release(mutex),
        Watch::Parks => race_release(own()),
        Watch::Sends(ch, elem) => {
            reads(elem, elem_size(ch));
            race_release(at(ch));
        }
        Watch::Receives(ch, _) => race_release(at(ch)),
        Watch::Selects(cases, n) => each_case(cases, n, |_, case| {
            let (ch, elem) = case.object();
            if case.sends() {
                reads(elem.cast(), elem_size(ch));
            }
            race_release(at(ch));
        }),
        Watch::Output(from, n) => {
            reads(from, n);
            race_release(descriptors());
        }
    }
}

/// `moved` is None after an error.
fn after(watch: Watch, moved: Option<usize>) {
    match watch {
        Watch::Nothing | Watch::Releases(_) | Watch::Output(..) => {}
        Watch::Acquires(at) | Watch::Orders(at) => race_acquire(at),
        Watch::Parks => race_acquire(own()),
        Watch::Conds(one, other) => {
            race_acquire(one);
            race_acquire(other);
        }
        Watch::Writes(at) => {
            race_acquire(at);
            race_acquire(at + 1);
        }
        Watch::Sends(ch, _) => race_acquire(at(ch)),
        Watch::Receives(ch, elem) => {
            race_acquire(at(ch));
            if moved.is_some() {
                writes(elem, elem_size(ch));
            }
        }
        Watch::Selects(cases, n) => each_case(cases, n, |index, case| {
            let (ch, elem) = case.object();
            race_acquire(at(ch));
            if moved == Some(index) && !case.sends() {
                writes(elem.cast(), elem_size(ch));
            }
        }),
        Watch::Input(to, n) => {
            race_acquire(descriptors());
            writes(to, moved.unwrap_or(0).min(n));
        }
    }
}

fn elem_size(ch: *const GmpChan) -> usize {
    // SAFETY: promise 1 of the call that is watched.
    unsafe { ch.as_ref() }.map_or(0, GmpChan::elem_size)
}

fn each_case(cases: *const Case, n: usize, mut f: impl FnMut(usize, &Case)) {
    if n > MAX_CASES || cases.is_null() {
        return;
    }
    for i in 0..n {
        // SAFETY: promise 2 of the call that is watched: there are `n`.
        let case = unsafe { cases.wrapping_add(i).as_ref() };
        if let Some(case) = case {
            f(i, case);
        }
    }
}
