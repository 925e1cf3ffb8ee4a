//! What is to happen when an object goes: cleanups, and weak pointers. Go's
//! `special`.
//!
//! ```text
//!   span.specials --> special --> ...        the object is not marked, in the
//!                        |                   sweep; or it is freed
//!                        v
//!   a weak pointer reads as null; a cleanup is due
//!                        |
//!                        v
//!   DUE --> special --> ...                  take_due: the caller frees
//! ```
//! Invariants:
//! 1. A special is in the list of its object's span, or it is due. It leaves
//!    the list before its object's bits change.
//! 2. The word of a weak pointer is its object's address while the special is
//!    in the list, and 0 from then on. So with the lock of all lists, a word
//!    that is not 0 names an object that was not freed since; but it may be
//!    dead, and not be swept yet.
//! 3. What the special keeps, the argument of a cleanup or the weak pointer
//!    itself, is a root while the special is in the list or due.
//!
//! Locks: one for all lists. A sweep takes it only for a span with specials.
//! It is taken while the world is stopped too: no stopped thread holds a lock
//! (`sched::suspended`). A special is memory of `malloc`, so it is made and
//! freed by the caller, outside of a sweep.

use super::kept::Kept;
use super::mspan::MSpan;
use super::sizeclass::GRANULE;
use crate::base::lock::Rank;
use crate::base::sync::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use crate::os::Lock;
use core::cell::Cell;
use core::ffi::c_void;
use core::ptr;

/// The function of a cleanup.
pub(crate) type Function = unsafe extern "C" fn(arg: *mut c_void);

/// What happens when the object goes.
#[derive(Clone, Copy)]
pub(crate) enum What {
    /// The function is due.
    Cleanup(Function),
    /// The weak pointer becomes null.
    Weak,
}

/// A weak pointer: in an object of the heap that is not looked into. It is not
/// the first of the object, since a word that equals the end of an object keeps
/// that: a weak pointer would keep what lies before it.
#[repr(C)]
pub(crate) struct Weak {
    /// lock. Invariant 2.
    word: AtomicUsize,
}

/// A special.
#[repr(C)]
pub(crate) struct Special {
    /// For `arg` (invariant 3). The first field, by which `words` finds it.
    kept: Kept,
    /// lock
    next: Cell<*const Special>,
    /// const: the first byte of the object.
    pub object: usize,
    /// const
    pub what: What,
    /// const: the argument, or the [`Weak`].
    pub arg: *mut c_void,
}

struct Due(*const Special);

// SAFETY: the lists lead to specials, which their lock guards.
unsafe impl Send for Due {}

/// Those that are due. Its lock guards the lists of all spans too.
static DUE: Lock<Due> = Lock::new(Rank::Specials, Due(ptr::null()));
/// Some are due. Written under the lock.
static ANY: AtomicBool = AtomicBool::new(false);

fn words(kept: &Kept, found: &mut dyn FnMut(usize, usize)) {
    // SAFETY: the first field of a special, which is there while it is kept.
    let special = unsafe { &*ptr::from_ref(kept).cast::<Special>() };
    let at = (&raw const special.arg).addr();
    found(at, at + size_of::<usize>());
}

impl Special {
    /// One for the object at `object`.
    pub(crate) fn new(object: usize, what: What, arg: *mut c_void) -> Self {
        let next = Cell::new(ptr::null());
        Self { kept: Kept::new(), next, object, what, arg }
    }

    /// Makes it known. The object is allocated, the caller has a pointer to it,
    /// and `s` is its span.
    ///
    /// For a weak pointer where the object has one already: returns that, and
    /// the special stays the caller's.
    ///
    /// # Safety
    /// The special stays where it is until [`take_due`] has returned it.
    pub(crate) unsafe fn add(&self, s: &MSpan) -> Option<*mut c_void> {
        // SAFETY: the caller's promise.
        unsafe { self.kept.add(words) };
        let lock = DUE.lock();
        if let What::Weak = self.what {
            if let Some(there) = weak_of(s, self.object) {
                drop(lock);
                self.kept.remove();
                return Some(there);
            }
            // SAFETY: a weak pointer, which this special keeps.
            let weak = unsafe { &*self.arg.cast::<Weak>() };
            weak.word.store(self.object, Relaxed);
        }
        self.next.set(first(s));
        s.specials.store(ptr::from_ref(self).addr(), Relaxed);
        None
    }

    /// Whatever it keeps is kept no more. It was due.
    pub(crate) fn forget(&self) {
        self.kept.remove();
    }
}

/// The first of the list of `s`.
fn first(s: &MSpan) -> *const Special {
    s.specials.load(Relaxed) as *const Special
}

/// The weak pointer of the object at `object`. The caller has the lock.
fn weak_of(s: &MSpan, object: usize) -> Option<*mut c_void> {
    let mut at = first(s);
    // SAFETY: null, or in the list (invariant 1).
    while let Some(special) = unsafe { at.as_ref() } {
        if special.object == object && matches!(special.what, What::Weak) {
            return Some(special.arg);
        }
        at = special.next.get();
    }
    None
}

/// The specials of the objects of `s` that are not marked are due. The caller
/// sweeps the span, and has changed no bits.
#[inline(always)]
pub(super) fn sweep(s: &MSpan) {
    if s.specials.load(Relaxed) != 0 {
        end(s, |object| {
            let (pair, bit) = s.bit(object - s.base.get());
            pair.mark() & bit == 0
        });
    }
}

/// The specials of the object at `object` are due. The caller frees it.
#[inline(always)]
pub(super) fn free(s: &MSpan, object: usize) {
    if s.specials.load(Relaxed) != 0 {
        end(s, |it| it == object);
    }
}

/// The specials of the objects that `goes` names are due.
#[cold]
#[inline(never)]
fn end(s: &MSpan, goes: impl Fn(usize) -> bool) {
    let mut due = DUE.lock();
    let mut stay = ptr::null::<Special>();
    let mut at = first(s);
    // SAFETY: null, or in the list (invariant 1).
    while let Some(special) = unsafe { at.as_ref() } {
        at = special.next.get();
        if !goes(special.object) {
            special.next.set(stay);
            stay = special;
            continue;
        }
        special.next.set(due.0);
        due.0 = special;
        ANY.store(true, Relaxed);
        if let What::Weak = special.what {
            // SAFETY: the special keeps it.
            let weak = unsafe { &*special.arg.cast::<Weak>() };
            weak.word.store(0, Relaxed);
        }
    }
    s.specials.store(stay.addr(), Relaxed);
}

/// Calls `found` with each special of an object of `s`, which may free it.
pub(super) fn each_of(s: &MSpan, found: &mut dyn FnMut(*const Special)) {
    let mut at = first(s);
    // SAFETY: null, or in the list (invariant 1).
    while let Some(special) = unsafe { at.as_ref() } {
        at = special.next.get();
        found(special);
    }
}

/// Whether some are due.
#[inline(always)]
pub(crate) fn any_due() -> bool {
    // Relaxed: whoever has made one due looks afterwards.
    ANY.load(Relaxed)
}

/// The one that has become due last; None: none is.
pub(crate) fn take_due() -> Option<*const Special> {
    let mut due = DUE.lock();
    // SAFETY: null, or due.
    let special = unsafe { due.0.as_ref() };
    due.0 = special.map_or(ptr::null(), |it| it.next.get());
    ANY.store(!due.0.is_null(), Relaxed);
    special.map(ptr::from_ref)
}

impl Weak {
    /// Where it is in its object, and the bytes of that.
    pub(crate) const AT: usize = GRANULE;
    pub(crate) const BYTES: usize = 2 * GRANULE;

    /// Its object's address, or 0, in the child of a fork, where nothing goes
    /// any more.
    pub(crate) fn peek(&self) -> usize {
        self.word.load(Relaxed)
    }

    /// Calls `f` with the object's address, or 0, and the lock, so that the
    /// object is not freed meanwhile. A sweeper may wait for the lock.
    pub(super) fn with<R>(&self, f: impl FnOnce(usize) -> R) -> R {
        let _lock = DUE.lock();
        f(self.word.load(Relaxed))
    }
}
