//! What `asm/switch_amd64.S` provides: the stack switches, and the word of
//! thread-local storage that holds g.
//!
//! g is read by assembly here and nowhere else: a compiler may keep the
//! address of a `thread_local!` in a register across a switch, after which it
//! is another thread's.

use crate::gmp::{
    G,
    offsets::{
        FPUCW_FIRST, FRAME_FPUCW, FRAME_MXCSR, MXCSR_CONTROL, MXCSR_FIRST,
    },
};
use core::{arch::asm, ffi::c_void, ptr};

#[expect(
    improper_ctypes,
    reason = "assembly reads the fields of G and M that `gmp` checks, no more"
)]
unsafe extern "C" {
    /// Suspends the running goroutine into `*from`, resumes `g` at `to`.
    pub(crate) fn gswitch(from: *mut usize, to: usize, g: *const G);
    /// Resumes `g` at `to`; abandons the current stack.
    pub(crate) fn gogo(to: usize, g: *const G) -> !;
    /// Suspends the running goroutine, calls `f(g)` on g0.
    pub(crate) fn mcall(f: unsafe extern "C" fn(*const G) -> !);
    /// Calls `f(arg)` on g0 and comes back.
    pub(crate) fn systemstack(
        f: unsafe extern "C" fn(*mut c_void),
        arg: *mut c_void,
    );
    /// Makes this point g0's base and calls `f`.
    pub(crate) fn g0call(f: unsafe extern "C" fn());
    /// Calls `f(a, b)`, which no exception may leave: fatal, in words.
    pub(crate) fn callhost(
        f: unsafe extern "C" fn(*mut c_void, *mut c_void) -> i32,
        a: *mut c_void,
        b: *mut c_void,
    ) -> i32;
    fn calllast(f: unsafe extern "C" fn(*mut c_void), arg: *mut c_void);
    /// Runs the M of the current g0 until it ends.
    pub(crate) fn mstart();
    /// First instruction of every goroutine, less its nop.
    pub(crate) fn gostart();
    fn goleave();
    fn gorestart();
}

/// Calls `f(arg)` where a goroutine or thread ends: for an exception that
/// leaves it, the stack ends here.
///
/// # Safety
/// As `f`'s.
pub(crate) unsafe fn call_last(
    f: unsafe extern "C" fn(*mut c_void),
    arg: *mut c_void,
) {
    // SAFETY: as the caller promises.
    unsafe { calllast(f, arg) }
}

/// As `gogo`, for a goroutine that ends.
///
/// # Safety
/// As for `gogo`; nobody returns to the current stack.
#[inline(always)]
pub(crate) unsafe fn go_leave(to: usize, g: *const G) -> ! {
    // SAFETY: as the caller promises; a jump, so that no return address is
    // left over.
    unsafe {
        asm!(
            "jmp {leave}",
            leave = sym goleave,
            in("rdi") to,
            in("rsi") g,
            options(noreturn),
        );
    }
}

/// The running goroutine, which has not run yet, begins on the current stack,
/// whose frames are abandoned, at `sp`.
///
/// # Safety
/// `sp` is where its first function may find the stack pointer.
#[inline(always)]
pub(crate) unsafe fn go_restart(sp: usize) -> ! {
    // SAFETY: as in go_leave.
    unsafe {
        asm!(
            "jmp {restart}",
            restart = sym gorestart,
            in("rdi") sp,
            options(noreturn),
        );
    }
}

/// The running goroutine of this thread, or a host thread's stand-in; None on
/// a host thread that has none.
///
/// Reads the thread's word anew at every call: not `pure`.
#[inline(always)]
pub(crate) fn getg() -> Option<&'static G> {
    let g: *const G;
    // SAFETY: reads this thread's own word.
    unsafe {
        asm!(
            "mov {0}, qword ptr [rip + gmprt_tls_g@GOTTPOFF]",
            "mov {0}, qword ptr fs:[{0}]",
            out(reg) g,
            options(nostack, preserves_flags, readonly),
        );
    }
    // SAFETY: null, or a G, which is type-stable (invariant 1 of `gmp`).
    unsafe { g.as_ref() }
}

/// Sets the running goroutine of this thread.
#[inline(always)]
pub(crate) fn setg(g: Option<&'static G>) {
    let g = g.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: writes this thread's own word.
    unsafe {
        asm!(
            "mov {1}, qword ptr [rip + gmprt_tls_g@GOTTPOFF]",
            "mov qword ptr fs:[{1}], {0}",
            in(reg) g,
            out(reg) _,
            options(nostack, preserves_flags),
        );
    }
}

/// Words of the frame that a suspended goroutine has on its stack: the control
/// words, six registers and the resume address.
pub(crate) const FRAME_WORDS: usize = 8;

/// The control words that a goroutine begins with, as they lie in its frame.
const FIRST_CONTROL: usize =
    MXCSR_FIRST << (8 * FRAME_MXCSR) | FPUCW_FIRST << (8 * FRAME_FPUCW);
const _: () = assert!(MXCSR_FIRST & !MXCSR_CONTROL == 0);

/// Builds the frame of a goroutine that has not run at `sp`, where its first
/// function will find the stack pointer; returns where it is suspended.
///
/// # Safety
/// `sp` is a multiple of 16, and the words below it are the caller's.
pub(crate) unsafe fn first_frame(sp: usize) -> usize {
    let frame = sp - FRAME_WORDS * size_of::<usize>();
    // Past the nop: unwinders look up the byte before a return address.
    let resume = gostart as *const () as usize + 1;
    let words: [usize; FRAME_WORDS] = [FIRST_CONTROL, 0, 0, 0, 0, 0, 0, resume];
    // SAFETY: the caller's words, as promised.
    unsafe { (frame as *mut [usize; FRAME_WORDS]).write(words) };
    frame
}
