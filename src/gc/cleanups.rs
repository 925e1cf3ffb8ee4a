//! What the host asks about the end of objects: `gmp_gc_cleanup` and weak
//! pointers. Go's `AddCleanup` and `weak`.
//!
//! A function that is due is called on one goroutine of the library's, in no
//! order, and never in an allocation. It is not called at the end of the
//! process or of the runtime.
//!
//! A function may end the goroutine (`gmp_exit`), cancel it, lock it to its
//! thread, or leave deferred calls and values of keys on it. Then the goroutine
//! ends, and another one takes its place.

use super::{
    bad_pointer::bad_pointer,
    forked,
    malloc::{begin, malloc_slow},
};
use crate::{
    arch,
    gmp::{GmpFn, M},
    heap::{
        Kind, MHEAP,
        specials::{Function, Special, Weak, What, take_due},
    },
    os::{Errno, Result},
    sched::{background, ending::with_cleanup, enter::Inside, suspended::Busy},
};
use core::{ffi::c_void, ptr};

/// `gmp_gc_cleanup`.
///
/// Errors: `EINVAL` if `at` does not point into an object, or `arg` points into
/// the same one; `ENOTSUP`, `ENOMEM`.
pub(crate) fn add(at: *mut u8, f: GmpFn, arg: *mut c_void) -> Result<()> {
    let mp = begin()?;
    let object = object(mp, at);
    let bad = || bad_pointer("gmp_gc_cleanup", at.addr());
    let (base, size) = object.ok_or_else(bad)?;
    if arg.addr().wrapping_sub(base) < size {
        return Err(Errno::EINVAL);
    }
    hang(mp, Special::new(base, What::Cleanup(f), arg)).map(drop)
}

/// `gmp_gc_weak`.
///
/// Errors: `EINVAL` if `at` does not point into an object; `ENOTSUP`,
/// `ENOMEM`.
pub(crate) fn weak(at: *mut u8) -> Result<*mut c_void> {
    let mp = begin()?;
    let bad = || bad_pointer("gmp_gc_weak", at.addr());
    let (base, _) = object(mp, at).ok_or_else(bad)?;
    let place = malloc_slow(Weak::BYTES, Kind::Noscan);
    if place.is_null() {
        return Err(Errno::ENOMEM);
    }
    let word = place.wrapping_add(Weak::AT).cast::<c_void>();
    let mp = begin()?;
    Ok(hang(mp, Special::new(base, What::Weak, word))?.unwrap_or(word))
}

/// `gmp_gc_weak_get`: where the object is, or null.
///
/// # Safety
/// Null, or from [`weak`].
pub(crate) unsafe fn weak_get(word: *mut c_void) -> *mut u8 {
    // SAFETY: the caller's promise; who has the pointer keeps it.
    let Some(weak) = (unsafe { word.cast::<Weak>().as_ref() }) else {
        return ptr::null_mut();
    };
    if forked::is_left() {
        return weak.peek() as *mut u8;
    }
    let Ok(mp) = begin() else {
        return weak.peek() as *mut u8;
    };
    let _inside = Inside::enter_on(mp);
    // No collection before the caller has the pointer.
    let _busy = Busy::begin(mp);
    MHEAP.weak_get(weak) as *mut u8
}

/// Hangs a special on its object. Returns the weak pointer that the object has
/// already, if it has one and another is asked for.
///
/// Errors: `ENOMEM`.
fn hang(mp: &'static M, special: Special) -> Result<Option<*mut c_void>> {
    background::start_cleaner(cleanups)?;
    // SAFETY: malloc may be called with any size.
    let place = unsafe { libc::malloc(size_of::<Special>()) }.cast::<Special>();
    if place.is_null() {
        return Err(Errno::ENOMEM);
    }
    let base = special.object;
    // SAFETY: fresh memory of this size; malloc aligns it.
    unsafe { place.write(special) };
    let added = {
        let _inside = Inside::enter_on(mp);
        let _busy = Busy::begin(mp);
        let s = MHEAP.arenas().and_then(|arenas| arenas.span(base));
        // SAFETY: written above, and this thread's until it is added.
        let special = unsafe { &*place };
        // SAFETY: it is freed when it was due, or below.
        s.map(|s| unsafe { special.add(s) })
    };
    if added != Some(None) {
        // SAFETY: from malloc, and in no list.
        unsafe { libc::free(place.cast()) };
    }
    added.ok_or(Errno::EINVAL)
}

/// The object that `at` points into: its address and its bytes.
fn object(mp: &'static M, at: *mut u8) -> Option<(usize, usize)> {
    let _inside = Inside::enter_on(mp);
    let _busy = Busy::begin(mp);
    MHEAP.object(at.addr()).map(|it| (it.base, it.size))
}

/// Frees what hangs on objects, and calls none of it.
///
/// # Safety
/// Nobody uses the heap from now on.
pub(super) unsafe fn free() {
    let mut free = |special: *const Special| {
        // SAFETY: from malloc in hang, and nobody uses it, the caller promises.
        unsafe { libc::free(special.cast_mut().cast()) };
    };
    while let Some(special) = take_due() {
        free(special);
    }
    MHEAP.each_special(&mut free);
}

/// The goroutine that calls what is due.
unsafe extern "C" fn cleanups(_arg: *mut c_void) {
    while background::cleaner_waits() {
        while let Some(special) = take_due() {
            let (what, arg) = {
                // SAFETY: due, and so nobody else's.
                let special = unsafe { &*special };
                special.forget();
                (special.what, special.arg)
            };
            // SAFETY: from malloc in hang, and in no list.
            unsafe { libc::free(special.cast_mut().cast()) };
            if let What::Cleanup(f) = what
                && !call(f, arg)
            {
                return;
            }
        }
    }
}

/// Calls `f(arg)`. False: this goroutine ends, and another has its place.
fn call(f: Function, arg: *mut c_void) -> bool {
    let args = [arg.addr(), 0, 0];
    let returned = with_cleanup(gives_way, ptr::null_mut(), || {
        // SAFETY: whoever has added it promised that f(arg) may be called.
        unsafe { arch::call_base(f as *const (), args) }
    });
    if returned.is_none() {
        return false;
    }
    let stays = background::cleaner_is_as_new() && !forked::is_left();
    if !stays {
        // SAFETY: it uses no argument.
        unsafe { gives_way(ptr::null_mut()) };
    }
    stays
}

/// The goroutine that calls cleanups is about to end. In the child of a fork,
/// if it has forked, no more are called.
unsafe extern "C" fn gives_way(_arg: *mut c_void) {
    if !forked::is_left() {
        background::replace_cleaner(cleanups);
    }
}
