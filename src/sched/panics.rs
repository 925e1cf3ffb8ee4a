//! Panics (Go's `panic`, `recover` and `Goexit`), and the calls that bound
//! them.
//!
//! A host's frames are foreign: they have no table of what they have deferred.
//! So `gmp_call` takes the place of Go's function, and what is deferred belongs
//! to the innermost `gmp_call`, or else to the goroutine.
//!
//! ```text
//!   gmp_panic --> deferred functions, newest first --none is left--> fatal
//!                   |
//!                   '-- one has recovered --> frames are unwound up to its
//!                         gmp_call --> the rest of that call's deferred
//!                         functions --> gmp_call returns 1
//!   gmp_exit  --> all deferred functions --> frames are unwound up to
//!                         gostart --> goexit1
//! ```
//! The deferred functions run on top of the frames that have panicked. So an
//! error that nobody recovers is told with all frames, and nothing has been
//! destroyed. This is how C++ treats an exception too: its search comes before
//! its clean-up. The unwinding itself is `ffi/callbacks.c` and
//! `diag/unwinding.rs`.
//!
//! The frames that an unwinding may arrive at are those of assembly
//! (`asm/call_amd64.S`, and `gostart`). A frame of `gmp_call` is named by its
//! stack pointer, its *place*; as stacks grow down, an outer one has a higher
//! place.
//!
//! Invariants, besides those of [`super::defers`]:
//! 1. A Mark is in the list from the beginning of its `gmp_call` on, until that
//!    ends, a panic has run all that it has deferred, or `gmp_exit` was called.
//!    A frame of `gmp_call` that is there has the address of its Mark while
//!    that is so, and then null ([`has_mark`]).
//! 2. A panic that was recovered unwinds up to the first frame of a `gmp_call`
//!    that is at its `target` or above and has a Mark. This is the frame of the
//!    newest Mark that is older than the panic, of those whose frame is there.
//! 3. Between the recover and the end of the unwinding, a Panic is in the list,
//!    so its memory stays, though the frame of `gmp_panic` has gone.
//!
//! # A jump over a `gmp_call`
//! `longjmp` calls nothing of ours. The Mark stays in the list, and what the
//! call has deferred runs with what belongs to the call around it: when that
//! ends, panics, or the goroutine ends. A panic looks whether the frame of a
//! Mark is there ([`is_there`]). It may believe a frame that is gone, while
//! nothing has used its place: then the target is too low. The frames from
//! there on are unwound one by one. Those without a Mark are passed, and the
//! first one with a Mark is that of the call around: the Marks of all frames in
//! between are newer than it, so the panics that came past them ended them.
//!
//! # Rejected
//! - Unwinding first, and deferred functions on the way: then a recover would
//!   come too late for the report, and destructors would run for an error that
//!   ends the process.
//! - Records in the frames of `gmp_call`: a list would lead through frames that
//!   a jump has left.

use super::{
    calls, cancel, child,
    current::{self_g, this_g},
    defers::{
        Defer, Frame, Kind, PutOff, Room, freedefer, head, newdefer,
        newdefer_kept, older, push, push_behind, push_new, records, remove,
        set_head,
    },
    ending::{self, dispose},
    host,
    panicrecord::{Panic, PanicInfo, Said, free, room},
};
use crate::{
    arch,
    base::{
        sanitize,
        throw::{fatal, fatalpanic},
    },
    gmp::{G, GmpFn, exception::Exception, gflag, offsets::CALL_MARK},
    os::{Errno, Result},
};
use core::{
    ffi::{CStr, c_void},
    fmt, ptr,
    sync::atomic::Ordering::*,
};

/// A call for assembly: the registers rax and rdx.
#[repr(C)]
pub(crate) struct Next {
    f: Option<GmpFn>,
    /// If there is no function: what to unwind with, or null.
    arg: *mut c_void,
}

impl Next {
    const NONE: Self = Self { f: None, arg: ptr::null_mut() };
}

impl From<PutOff> for Next {
    fn from(call: PutOff) -> Self {
        Self { f: Some(call.f), arg: call.arg }
    }
}

// --- gmp_defer and gmp_call --------------------------------------------------

/// `gmp_defer` (Go's `deferproc`): calls `f(arg)` when the innermost `gmp_call`
/// ends, or else this goroutine.
///
/// Errors: `EPERM` on a host thread outside of `gmp_call`, and in a callback;
/// `ENOMEM`.
pub(crate) fn deferproc(f: GmpFn, arg: *mut c_void) -> Result<()> {
    let gp = arch::getg().ok_or(Errno(libc::EPERM))?;
    let mp = gp.mp();
    // Relaxed: this thread writes it. Set on g0 and in callbacks.
    if mp.in_runtime.load(Relaxed) || gp.is_host() && !in_call(gp) {
        return Err(Errno(libc::EPERM));
    }
    let place = newdefer(mp);
    if place.is_null() {
        return Err(Errno::ENOMEM);
    }
    let record = Defer::new(f, arg, Kind::Deferred);
    // SAFETY: from newdefer; freed by `dispose` and `gmprt_call_next` alone.
    unsafe { push_new(gp, place, record) };
    Ok(())
}

/// [`deferproc`], where it takes no more than a few stores. False: nothing is
/// done.
#[inline(always)]
pub(crate) fn deferproc_now(f: GmpFn, arg: *mut c_void) -> bool {
    let Some(gp) = arch::getg() else { return false };
    let mp = gp.mp();
    // Relaxed: as in `deferproc`.
    if mp.in_runtime.load(Relaxed) {
        return false;
    }
    // SAFETY: null, or in the list.
    let first = unsafe { head(gp).as_ref() };
    if first.is_some_and(|first| first.put_off(f, arg)) {
        return true;
    }
    if gp.is_host() {
        return false;
    }
    let Some(place) = newdefer_kept(mp) else { return false };
    let record = Defer::new(f, arg, Kind::Deferred);
    // SAFETY: as in `deferproc`.
    unsafe { push_new(gp, place, record) };
    true
}

/// Whether a `gmp_call` is under way.
#[cold]
fn in_call(gp: &G) -> bool {
    records(gp).any(|r| r.kind() == Kind::Mark)
}

/// A `gmp_call` with its frame at `place` begins; the address of its Mark.
///
/// Errors: `EPERM` in a callback; `ENOMEM`.
pub(crate) fn begin(place: usize) -> Result<*const c_void> {
    let gp = match arch::getg() {
        Some(gp) => gp,
        None => first_of_thread()?,
    };
    let mp = gp.mp();
    // Relaxed: this thread writes it. Set on g0 and in callbacks.
    if mp.in_runtime.load(Relaxed) {
        return Err(Errno(libc::EPERM));
    }
    // SAFETY: null, or in the list.
    if unsafe { head(gp).as_ref() }.is_some_and(|r| r.kind() == Kind::Kept) {
        drop_kept(gp);
    }
    let record = newdefer(mp);
    if record.is_null() {
        return Err(Errno::ENOMEM);
    }
    let mark = Defer::mark(place, gp.shields.get());
    // SAFETY: from newdefer; freed once it is out of the list.
    unsafe { push_new(gp, record, mark) };
    Ok(record.cast_const().cast())
}

/// [`begin`], where it takes no more than a few stores; else null.
#[inline(always)]
pub(crate) fn begin_now(place: usize) -> *const c_void {
    let Some(gp) = arch::getg() else { return ptr::null() };
    let mp = gp.mp();
    // Relaxed: as in `begin`.
    if mp.in_runtime.load(Relaxed) {
        return ptr::null();
    }
    // SAFETY: null, or in the list.
    if unsafe { head(gp).as_ref() }.is_some_and(|r| r.kind() == Kind::Kept) {
        return ptr::null();
    }
    let Some(record) = newdefer_kept(mp) else { return ptr::null() };
    let mark = Defer::mark(place, gp.shields.get());
    // SAFETY: as in `begin`.
    unsafe { push_new(gp, record, mark) };
    record.cast_const().cast()
}

#[cold]
#[inline(never)]
fn first_of_thread() -> Result<&'static G> {
    host::current()
}

/// Frees the panic that the last `gmp_call` at this level has recovered.
#[cold]
#[inline(never)]
fn drop_kept(gp: &G) {
    // SAFETY: in the list, as the caller has seen.
    let first = unsafe { &*head(gp) };
    set_head(gp, first.next());
    free(first);
}

/// The next deferred function of the `gmp_call` with this Mark, or null if that
/// is gone already. At the end the Mark is gone.
#[unsafe(no_mangle)]
extern "C" fn gmprt_call_next(mark: Option<&Defer>) -> Next {
    // A panic has run all that the call had deferred, and then a jump has led
    // back into its function.
    let Some(mark) = mark else { return Next::NONE };
    let gp = this_g();
    // SAFETY: the list has the Mark yet (invariant 1).
    let first = unsafe { &*head(gp) };
    if ptr::eq(first, mark) {
        if let Some(call) = mark.take() {
            return called(mark, gp, call);
        }
        if let Some(room) = Room::of(gp.mp()) {
            set_head(gp, mark.next());
            ended(mark, gp);
            room.keep(mark);
            return Next::NONE;
        }
    } else if first.kind() == Kind::Deferred
        && let Some(room) = Room::of(gp.mp())
        && let Some(call) = first.call()
    {
        set_head(gp, first.next());
        room.keep(first);
        return called(mark, gp, call);
    }
    call_next_slow(mark, gp)
}

/// A deferred function of the `gmp_call` with this Mark is to be called.
#[inline(always)]
fn called(mark: &Defer, gp: &G, call: PutOff) -> Next {
    shielded(mark, gp);
    call.into()
}

/// The rest of the `gmp_call` with this Mark is behind a shield.
#[inline(always)]
fn shielded(mark: &Defer, gp: &G) {
    if !mark.shielded.replace(true) {
        cancel::shield_more(gp);
    }
}

/// All functions of the `gmp_call` with this Mark were called.
#[inline(always)]
fn ended(mark: &Defer, gp: &G) {
    if mark.shielded.get() {
        cancel::shields_back(gp, mark.shields);
    }
}

#[cold]
#[inline(never)]
extern "C" fn call_next_slow(mark: &Defer, gp: &G) -> Next {
    // SAFETY: the list has the Mark yet (invariant 1).
    while let Some(first) = unsafe { head(gp).as_ref() } {
        let ends = ptr::eq(first, mark);
        if !ends && matches!(first.kind(), Kind::Mark | Kind::Panic) {
            // Left by a jump, maybe out of a deferred function, whose shield
            // is there yet: it goes in `ended`.
            shielded(mark, gp);
        }
        if ends && let Some(call) = mark.take() {
            return called(mark, gp, call);
        }
        set_head(gp, first.next());
        if ends {
            ended(mark, gp);
            freedefer(gp.mp(), mark);
            return Next::NONE;
        }
        if let Some(call) = dispose(gp, first) {
            return called(mark, gp, call);
        }
    }
    crate::base::throw::throw("gmprt_call_next: no such gmp_call");
}

/// Tells the frame of a Mark, which is in the list, that the Mark goes: it must
/// not look for it.
fn give_up(gp: &G, mark: &Defer) {
    let here = ptr::from_ref(&gp).addr();
    if !is_there(gp, mark, here) {
        return;
    }
    let word = mark_word(mark.place());
    sanitize::word_is_read(word.cast());
    // SAFETY: a word of a stack that is mapped.
    if ptr::eq(unsafe { word.read_volatile() }, mark) {
        // Of a frame that is gone after all, it is a word of no frame: whatever
        // has its place has not written it.
        // SAFETY: as above.
        unsafe { word.write_volatile(ptr::null()) };
    }
}

/// Where the frame of a `gmp_call` has the address of its Mark.
#[inline(always)]
fn mark_word(place: usize) -> *mut *const Defer {
    (place + CALL_MARK) as *mut *const Defer
}

/// Whether the frame of a `gmp_call` has a Mark yet: a panic may end there
/// (invariant 2).
///
/// # Safety
/// At `place` is such a frame of the caller's stack.
#[inline(always)]
pub(crate) unsafe fn has_mark(place: usize) -> bool {
    // SAFETY: the caller promises.
    !unsafe { mark_word(place).read_volatile() }.is_null()
}

// --- gmp_panic ---------------------------------------------------------------

/// Begins a panic (Go's `gopanic`) of the caller, whose frame of `gmp_panic`
/// this is. Returns only if deferred functions may run.
pub(crate) fn gopanic(said: &Said, frame: Frame) -> &'static Panic {
    // A host thread that has no G gets one, for its report.
    let gp = match arch::getg() {
        None => host::current().ok(),
        Some(_) => self_g(),
    };
    let goid = gp.map_or(0, |gp| gp.goid.get());
    let panic = Panic::new(said, goid, frame);
    // In a callback nothing can be unwound, as the frames below are the
    // library's, and locks are held.
    let Some(gp) = gp.filter(|gp| !gp.mp().is_inside()) else {
        fatalpanic(&Chain { older: gp, last: &panic });
    };
    let place = room();
    if place.is_null() {
        // It can be recovered only with memory to do so.
        fatalpanic(&Chain { older: Some(gp), last: &panic });
    }
    // SAFETY: memory of this size, aligned, which is ours.
    unsafe { place.write(panic) };
    // SAFETY: just written; freed by `free` alone.
    let panic: &'static Panic = unsafe { &*place };
    push(gp, &panic.record);
    cancel::shield_more(gp);
    panic
}

/// The next function that a panic runs, or `gmp_exit` if `panic` is null. At
/// the end: what to unwind with. `argp` is the CFA of the function.
#[unsafe(no_mangle)]
extern "C" fn gmprt_next_deferred(
    panic: Option<&'static Panic>,
    argp: usize,
) -> Next {
    let gp = this_g();
    if let Some(panic) = panic {
        if panic.recovered.get() {
            return recovery(gp, panic);
        }
        panic.argp.set(argp);
    }
    if let Some(call) = next_put_off(gp, panic.is_some()) {
        return call.into();
    }
    match panic {
        Some(panic) => fatalpanic(&Chain { older: Some(gp), last: panic }),
        None => Next { f: None, arg: exit_exception(gp).cast() },
    }
}

/// Takes the newest call that was put off out of the list. Panics pass by those
/// that are older; and by the library's own clean-up, behind which nobody can
/// recover.
fn next_put_off(gp: &G, panics: bool) -> Option<PutOff> {
    let mut at = head(gp);
    // SAFETY: null, or in the list.
    while let Some(record) = unsafe { at.as_ref() } {
        at = record.next();
        match record.kind() {
            Kind::Panic => continue,
            Kind::Cleanup if panics => continue,
            _ => {}
        }
        if record.kind() == Kind::Mark {
            // The Mark stays meanwhile: a recover ends at its frame.
            if let Some(call) = record.take() {
                return Some(call);
            }
            give_up(gp, record);
        }
        remove(gp, record);
        if let Some(call) = dispose(gp, record) {
            return Some(call);
        }
    }
    None
}

/// A deferred function has recovered: what to unwind with.
#[cold]
fn recovery(gp: &G, panic: &'static Panic) -> Next {
    panic.has_run();
    let here = ptr::from_ref(&gp).addr();
    let mut marks = older(&panic.record).filter(|r| r.kind() == Kind::Mark);
    let target = marks.find(|mark| is_there(gp, mark, here));
    panic.set_target(target.map_or(0, |mark| mark.place()));
    if target.is_none() && gp.is_host() {
        fatal(
            "gmp_recover: longjmp has left the gmp_call of the function that \
             recovers",
        );
    }
    gp.set_flag(gflag::UNWINDS);
    Next { f: None, arg: panic.exception().cast() }
}

/// Whether the frame of a Mark is there: below it lies the address at which
/// `gmp_call` goes on behind the call that it makes.
fn is_there(gp: &G, mark: &Defer, here: usize) -> bool {
    let place = mark.place();
    let own = |at| !gp.is_host() && gp.on_stack(at);
    if own(here) && !(own(place) && here < place) {
        return false;
    }
    let below = (place - size_of::<usize>()) as *const usize;
    sanitize::word_is_read(below);
    // SAFETY: a word of this thread's, or this goroutine's, stack, which is
    // mapped as long as that lives.
    let returns_to = unsafe { below.read_volatile() };
    arch::is_in_call(returns_to)
}

/// The frames of a panic are unwound up to the `gmp_call` with this Mark, which
/// goes on.
#[unsafe(no_mangle)]
unsafe extern "C" fn gmprt_call_recover(
    exception: *const Exception,
    mark: Option<&Defer>,
    out: *mut PanicInfo,
) {
    let gp = this_g();
    // SAFETY: the personality routine has got it from the unwinder, which has
    // it from `recovery`; it is in the list (invariant 3).
    let panic = unsafe { Panic::of(exception) };
    let Some(mark) = mark else {
        crate::base::throw::throw("gmprt_call_recover: no such gmp_call");
    };
    // Panics that began inside are over, too.
    let mut at = head(gp);
    while !ptr::eq(at, mark) {
        // SAFETY: in the list before the Mark.
        let record = unsafe { &*at };
        at = record.next();
        if record.kind() == Kind::Panic {
            remove(gp, record);
            if !ptr::eq(record, &panic.record) {
                free(record);
            }
        }
    }
    // SAFETY: null, or in the list.
    let before = unsafe { mark.next().as_ref() };
    if let Some(before) = before.filter(|r| r.kind() == Kind::Kept) {
        remove(gp, before);
        free(before);
    }
    panic.record.keep();
    push_behind(mark, &panic.record);
    mark.shielded.set(true);
    cancel::shields_back(gp, mark.shields);
    cancel::shield_more(gp);
    if !out.is_null() {
        // SAFETY: the host's promise to gmp_call.
        unsafe { out.write(panic.info()) };
    }
}

/// The caller's panics whose deferred functions run: those of a function that
/// ends the process, or that a jump has left.
pub(crate) fn own() -> usize {
    let Some(gp) = self_g() else { return 0 };
    let panics = records(gp).filter(|r| r.kind() == Kind::Panic);
    panics.filter(|r| Panic::of_record(r).runs()).count()
}

// --- gmp_exit ----------------------------------------------------------------

/// Begins the end of `gp`, the caller, by `gmp_exit` (Go's `Goexit`). Panics
/// under way are over, and no `gmp_call` returns any more.
pub(crate) fn goexit(gp: &G) {
    gp.set_flag(gflag::EXITED);
    cancel::shield_for_good(gp);
    let mut at = head(gp);
    // SAFETY: null, or in the list.
    while let Some(record) = unsafe { at.as_ref() } {
        at = record.next();
        if matches!(record.kind(), Kind::Mark | Kind::Panic) {
            if record.kind() == Kind::Mark {
                give_up(gp, record);
                if record.stays_deferred() {
                    continue;
                }
            }
            remove(gp, record);
            let _no_call = dispose(gp, record);
        }
    }
}

/// What `gmp_exit` of `gp` unwinds with, once all that it has put off has run.
fn exit_exception(gp: &G) -> *mut Exception {
    if child::in_child() {
        ending::see_to_end(gp);
    }
    gp.set_flag(gflag::UNWINDS);
    let place = gp.exit_exception();
    // SAFETY: in the descriptor of the caller, which nobody else uses.
    unsafe { place.write(Exception::new(arch::swallowed)) };
    place
}

// --- The text of a panic that nobody recovers --------------------------------

/// Go's lines of a panic, those before it, and an empty one (`printpanics`).
struct Chain<'a> {
    /// The G whose panics come first.
    older: Option<&'a G>,
    last: &'a Panic,
}

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = ptr::from_ref(&self.last.record);
        let here = ptr::from_ref(&f).addr();
        let mut count = 0;
        if let Some(gp) = self.older {
            let is_older = |r: &&Defer| {
                r.kind() == Kind::Panic
                    && !ptr::eq(*r, last)
                    && !calls::gone(gp, Panic::of_record(r).frame, here)
            };
            let all = || records(gp).filter(is_older);
            // From the oldest on.
            count = all().count();
            for at in (0..count).rev() {
                if let Some(record) = all().nth(at) {
                    line(f, Panic::of_record(record), at + 1 < count)?;
                }
            }
        }
        line(f, self.last, count > 0)?;
        writeln!(f)
    }
}

/// The line of one panic.
fn line(
    f: &mut fmt::Formatter<'_>,
    panic: &Panic,
    nested: bool,
) -> fmt::Result {
    if nested {
        f.write_str("\t")?;
    }
    f.write_str("panic: ")?;
    // SAFETY: a C string: the host's, or from malloc.
    let text = unsafe { CStr::from_ptr(panic.info().text) };
    for chunk in text.to_bytes().utf8_chunks() {
        // Further lines of a text begin with a tab.
        for (at, part) in chunk.valid().split('\n').enumerate() {
            f.write_str(if at > 0 { "\n\t" } else { "" })?;
            f.write_str(part)?;
        }
        f.write_str(if chunk.invalid().is_empty() { "" } else { "?" })?;
    }
    let recovered = panic.recovered.get();
    writeln!(f, "{}", if recovered { " [recovered]" } else { "" })
}
