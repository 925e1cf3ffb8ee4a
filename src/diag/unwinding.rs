//! How the frames of the host's are unwound for `gmp_exit` and for panics: the
//! part that the unwinder calls.
//!
//! `ffi/callbacks.c` begins a forced unwinding, as `pthread_exit` does (Itanium
//! C++ ABI, level 1): frame by frame the unwinder calls [`gmprt_unwind_stop`]
//! and then the frame's personality routine. That of the host's frames runs
//! destructors and `cleanup` attributes. Those here say where it ends:
//!
//! | frame | `gmp_exit` | a panic | an exception of C++ |
//! |---|---|---|---|
//! | `gmprt_call` | passes | passes, or ends here | its defers run |
//! | … at a deferred function | passes | the same | is uncaught |
//! | `gmprt_run_defers` | passes | passes | is uncaught |
//! | `calllast` | ends | ends | is uncaught |
//! | `callbase` | ends | ends | passes |
//! | `gostart` | ends | ends | is uncaught |
//!
//! What has no good end is fatal, in words: a frame without unwind tables, and
//! a `catch (...)` that does not throw again. A `noexcept` function in between
//! is a `std::terminate`, which comes from the language.
//!
//! A panic or a `gmp_exit` does not search: its end is known before. And frames
//! without a personality routine have nothing to do: where a panic leaves only
//! such frames, it jumps to its end ([`gmprt_jump_to`]), with the registers
//! that an unwinding would have there.

use super::{
    dump,
    exception::{
        CONTINUE_UNWIND, FORCE_UNWIND, SEARCH_PHASE, Thrown, Who, ends_thread,
        left_deferred, stops_here, uncaught,
    },
};
use crate::{
    arch,
    base::{sanitize, throw::fatal_args},
    gmp::{
        exception::{Cleanup, Exception},
        gflag,
    },
    sched::{
        current::self_g, goexit::goexit1, panicrecord::Panic, panics::has_mark,
    },
};
use core::{
    ffi::{c_int, c_void},
    fmt, ptr,
};
use gmprt_inspect::{
    caller,
    memory::OwnMemory,
    modules::OwnModules,
    names,
    regs::{
        Registers,
        number::{R12, R13, R14, R15, RBP, RBX, RIP, RSP},
    },
};

/// `_URC_NO_REASON`: the stop function lets the unwinding go on.
const NO_REASON: c_int = 0;
/// `_URC_INSTALL_CONTEXT`: the frame goes on.
const INSTALL_CONTEXT: c_int = 7;
/// `_UA_END_OF_STACK`.
const END_OF_STACK: c_int = 16;
/// More than a stack has.
const MUCH: usize = 64 << 20;
/// DWARF's number of rax.
const RAX: c_int = 0;

unsafe extern "C" {
    /// The stack pointer of the frame that the context is of.
    fn _Unwind_GetCFA(context: *mut c_void) -> usize;
    fn _Unwind_GetIP(context: *mut c_void) -> usize;
    fn _Unwind_SetIP(context: *mut c_void, to: usize);
    fn _Unwind_SetGR(context: *mut c_void, register: c_int, value: usize);
}

/// What an unwinding is for.
pub(super) enum Cause {
    Exit,
    Panic(&'static Panic),
    /// Another's: an exception, or the end of a thread.
    Foreign,
}

/// By which exceptions of this copy of the library are known.
fn swallowed() -> Cleanup {
    arch::swallowed
}

impl Cause {
    /// # Safety
    /// `exception` is the unwinder's header of an exception of this class.
    pub(super) unsafe fn of(class: u64, exception: *const c_void) -> Self {
        let exception = exception.cast::<Exception>();
        // SAFETY: the caller promises.
        if !unsafe { Exception::is_ours(exception, class, swallowed()) } {
            return Self::Foreign;
        }
        let is_exit = |gp: &crate::gmp::G| {
            ptr::eq(gp.exit_exception().cast_const(), exception)
        };
        if self_g().is_some_and(is_exit) {
            return Self::Exit;
        }
        // SAFETY: ours, and no exit's; it is in its list while it unwinds.
        Self::Panic(unsafe { Panic::of(exception) })
    }
}

/// A frame goes on at `to`, with the exception in rax.
///
/// # Safety
/// `context` is of a frame whose code goes on there.
pub(super) unsafe fn goes_on(
    context: *mut c_void,
    to: usize,
    exception: *const c_void,
) -> c_int {
    if let Some(gp) = self_g() {
        gp.clear_flag(gflag::UNWINDS);
    }
    // Frames of C are left without their clean-up, and with their marks.
    let here = ptr::from_ref(&context).addr();
    // SAFETY: the unwinder's own context, in its personality routine.
    let there = unsafe { _Unwind_GetCFA(context) };
    // A host that switches stacks of its own may be far away.
    if let Some(len @ ..=MUCH) = there.checked_sub(here) {
        sanitize::unpoison(here, len);
    }
    // SAFETY: the unwinder's own context, in its personality routine.
    unsafe { _Unwind_SetGR(context, RAX, exception.addr()) };
    // SAFETY: as above.
    unsafe { _Unwind_SetIP(context, to) };
    INSTALL_CONTEXT
}

/// As [`goes_on`], behind the call that the frame has made.
///
/// # Safety
/// `context` is of a frame whose code may go on there.
pub(super) unsafe fn returns(
    context: *mut c_void,
    exception: *const c_void,
) -> c_int {
    // SAFETY: the unwinder's own context, in its personality routine.
    let to = unsafe { _Unwind_GetIP(context) };
    // SAFETY: the caller promises.
    unsafe { goes_on(context, to, exception) }
}

/// The personality routine of `gostart`, a goroutine's first frame.
///
/// # Safety
/// The arguments are what the ABI says.
#[unsafe(no_mangle)]
unsafe extern "C" fn gmprt_personality(
    _version: c_int,
    actions: c_int,
    class: u64,
    exception: *const c_void,
    context: *mut c_void,
) -> c_int {
    // SAFETY: the unwinder's header, of this class.
    if !matches!(unsafe { Cause::of(class, exception) }, Cause::Foreign) {
        // SAFETY: as if the goroutine's function had returned.
        return unsafe { returns(context, exception) };
    }
    if actions & FORCE_UNWIND != 0 {
        ends_thread();
    }
    if actions & SEARCH_PHASE != 0 {
        // SAFETY: the unwinder's header, of this class.
        unsafe { uncaught(class, exception) };
    }
    CONTINUE_UNWIND
}

/// The personality routine below an `unlockf`. An exception that leaves it is
/// fatal: the goroutine is half parked, and the stack is the scheduler's.
///
/// # Safety
/// The arguments are what the ABI says.
#[unsafe(no_mangle)]
unsafe extern "C" fn gmprt_personality_unlockf(
    _version: c_int,
    actions: c_int,
    class: u64,
    exception: *const c_void,
    _context: *mut c_void,
) -> c_int {
    if actions & FORCE_UNWIND != 0 {
        fatal_args(format_args!("{Who}pthread_exit in an unlockf"));
    }
    // SAFETY: the unwinder's header, of this class.
    let thrown = unsafe { Thrown::new(class, exception) };
    fatal_args(format_args!("{Who}{thrown} left an unlockf"));
}

/// The personality routine of `calllast`, below a deferred function and below
/// the destructor of a key, at the end of a goroutine or thread.
///
/// # Safety
/// The arguments are what the ABI says.
#[unsafe(no_mangle)]
unsafe extern "C" fn gmprt_personality_last(
    _version: c_int,
    actions: c_int,
    class: u64,
    exception: *const c_void,
    context: *mut c_void,
) -> c_int {
    // SAFETY: the unwinder's header, of this class.
    if !matches!(unsafe { Cause::of(class, exception) }, Cause::Foreign) {
        // SAFETY: as if the function had returned.
        return unsafe { returns(context, exception) };
    }
    // SAFETY: the unwinder's header, of this class.
    unsafe { leaves_deferred(actions, class, exception) }
}

/// Something foreign leaves a deferred function: the end of a thread may, and
/// an exception counts as uncaught.
///
/// # Safety
/// `exception` is the unwinder's header of an exception of this class.
unsafe fn leaves_deferred(
    actions: c_int,
    class: u64,
    exception: *const c_void,
) -> c_int {
    if actions & FORCE_UNWIND != 0 {
        stops_here();
        return CONTINUE_UNWIND;
    }
    // SAFETY: the caller promises.
    unsafe { left_deferred(class, exception) }
}

/// The personality routine of `gmprt_call`.
///
/// # Safety
/// The arguments are what the ABI says.
#[unsafe(no_mangle)]
unsafe extern "C" fn gmprt_personality_call(
    _version: c_int,
    actions: c_int,
    class: u64,
    exception: *const c_void,
    context: *mut c_void,
) -> c_int {
    // SAFETY: the unwinder's own context.
    let ip = unsafe { _Unwind_GetIP(context) };
    let deferred = ip > arch::call_defers();
    let resumes = ip > arch::call_resumes();
    // SAFETY: the unwinder's header, of this class.
    match unsafe { Cause::of(class, exception) } {
        Cause::Exit => CONTINUE_UNWIND,
        Cause::Panic(panic) => {
            // SAFETY: the unwinder's own context.
            let place = unsafe { _Unwind_GetCFA(context) };
            let above = panic.target() != 0 && panic.target() <= place;
            // Invariant 2 of `sched::panics`.
            // SAFETY: the frame that is being unwound.
            if !above || !unsafe { has_mark(place) } {
                return CONTINUE_UNWIND;
            }
            // SAFETY: a part of gmprt_call, made for this.
            unsafe { goes_on(context, arch::call_recovered(), exception) }
        }
        Cause::Foreign if resumes => CONTINUE_UNWIND,
        Cause::Foreign if actions & SEARCH_PHASE != 0 && !deferred => {
            CONTINUE_UNWIND
        }
        Cause::Foreign if deferred => {
            // SAFETY: the unwinder's header, of this class.
            unsafe { leaves_deferred(actions, class, exception) }
        }
        Cause::Foreign => {
            if actions & FORCE_UNWIND != 0 {
                stops_here();
            }
            // SAFETY: a part of gmprt_call, made for this.
            unsafe { goes_on(context, arch::call_left(), exception) }
        }
    }
}

/// The personality routine of `gmprt_run_defers`.
///
/// # Safety
/// The arguments are what the ABI says.
#[unsafe(no_mangle)]
unsafe extern "C" fn gmprt_personality_defer(
    _version: c_int,
    actions: c_int,
    class: u64,
    exception: *const c_void,
    _context: *mut c_void,
) -> c_int {
    // SAFETY: the unwinder's header, of this class.
    let cause = unsafe { Cause::of(class, exception) };
    if !matches!(cause, Cause::Foreign) {
        return CONTINUE_UNWIND;
    }
    // SAFETY: the unwinder's header, of this class.
    unsafe { leaves_deferred(actions, class, exception) }
}

/// The personality routine of `callbase`.
///
/// # Safety
/// The arguments are what the ABI says.
#[unsafe(no_mangle)]
unsafe extern "C" fn gmprt_personality_base(
    _version: c_int,
    _actions: c_int,
    class: u64,
    exception: *const c_void,
    context: *mut c_void,
) -> c_int {
    // SAFETY: the unwinder's header, of this class.
    match unsafe { Cause::of(class, exception) } {
        Cause::Foreign => CONTINUE_UNWIND,
        // SAFETY: a part of callbase, made for this.
        _ => unsafe { goes_on(context, arch::base_left(), exception) },
    }
}

/// The stop function: each frame may be unwound, but where the stack ends
/// before the frame at which the unwinding has its end.
///
/// # Safety
/// The arguments are what the ABI says.
#[unsafe(no_mangle)]
unsafe extern "C" fn gmprt_unwind_stop(
    _version: c_int,
    actions: c_int,
    class: u64,
    exception: *const c_void,
    context: *mut c_void,
    _arg: *mut c_void,
) -> c_int {
    if actions & END_OF_STACK == 0 {
        return NO_REASON;
    }
    // SAFETY: the unwinder's own context.
    let ip = unsafe { _Unwind_GetIP(context) };
    if ip == 0 {
        // The first frame of a host thread.
        fatal_args(format_args!(
            "gmp_recover: longjmp has left the gmp_call of the function that \
             recovers"
        ));
    }
    // SAFETY: the unwinder's header, of this class.
    let what = What(unsafe { Cause::of(class, exception) });
    let mut room = [0; 512];
    let name = names::name(&OwnMemory, &OwnModules, ip as u64, &mut room);
    fatal_args(format_args!(
        "{Who}{what} cannot unwind {name}, which has no unwind tables"
    ));
}

/// A panic was recovered: where the frame is at which it ends, with its
/// registers, if no frame up to there has anything to do when it is left. 0: an
/// unwinder has to go there.
///
/// # Safety
/// `exception` is of a panic. At `saved` lie the caller's registers and return
/// address, as `gmprt_jump` has them, and then the caller's frame.
#[unsafe(no_mangle)]
unsafe extern "C" fn gmprt_jump_to(
    exception: *const Exception,
    saved: &[u64; 7],
    registers: &mut [u64; 6],
) -> u64 {
    const SAVED: [usize; 7] = [R15, R14, R13, R12, RBP, RBX, RIP];
    const KEPT: [usize; 6] = [RBX, RBP, R12, R13, R14, R15];
    // SAFETY: in its list while it unwinds.
    let target = unsafe { Panic::of(exception) }.target() as u64;
    // A sanitizer knows of each frame.
    if target == 0 || sanitize::watches() {
        return 0;
    }
    let mut regs = Registers::new();
    for (register, value) in SAVED.into_iter().zip(saved) {
        regs.set(register, *value);
    }
    regs.set(
        RSP,
        ptr::from_ref(saved).addr() as u64 + size_of_val(saved) as u64,
    );
    // SAFETY: of this thread, and the frame of the panic's Mark was there when
    // it was recovered.
    let Some(there) = (unsafe { caller::leave(&regs, target) }) else {
        return 0;
    };
    // SAFETY: the frame of a `gmp_call`, as its return address says.
    let ends = arch::is_in_call(there.pc() as usize)
        && unsafe { has_mark(target as usize) };
    if !ends {
        return 0;
    }
    for (register, to) in KEPT.into_iter().zip(registers) {
        let Some(value) = there.get(register) else { return 0 };
        *to = value;
    }
    if let Some(gp) = self_g() {
        gp.clear_flag(gflag::UNWINDS);
    }
    target
}

/// What our stand-in of `_Unwind_ForcedUnwind` returns where there is no
/// unwinder (`os/unwind.c`).
const NO_UNWINDER: c_int = 5;

/// A panic was recovered, and cannot be unwound.
#[unsafe(no_mangle)]
extern "C" fn gmprt_unwind_failed(code: c_int) -> ! {
    if code == NO_UNWINDER {
        fatal_args(format_args!(
            "{Who}a recovered panic needs libgcc_s.so.1, which cannot be loaded"
        ));
    }
    fatal_args(format_args!("{Who}unwinding failed: error {code}"));
}

/// A `gmp_exit` cannot be unwound. Without an unwinder in the process no frame
/// has anything to do when it is left, and the goroutine ends.
#[unsafe(no_mangle)]
extern "C" fn gmprt_exit_failed(code: c_int) -> ! {
    if code == NO_UNWINDER {
        goexit1();
    }
    gmprt_unwind_failed(code)
}

/// Ends an exception of ours: a handler of C++ has caught it, and not thrown it
/// again.
///
/// # Safety
/// `exception` is of ours.
#[unsafe(no_mangle)]
unsafe extern "C" fn gmprt_swallowed(_reason: c_int, exception: *const c_void) {
    let is_exit =
        |gp: &crate::gmp::G| ptr::eq(gp.exit_exception().cast(), exception);
    let exits = dump::failing().is_some_and(is_exit);
    let what = if exits { "gmp_exit" } else { "a recovered panic" };
    fatal_args(format_args!(
        "{Who}catch (...) has swallowed {what}: it has to throw again"
    ));
}

/// Words for the cause of an unwinding.
struct What(Cause);

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Cause::Exit => "gmp_exit",
            Cause::Panic(_) => "a recovered panic",
            Cause::Foreign => "an exception",
        })
    }
}
