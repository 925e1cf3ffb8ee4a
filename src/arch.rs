//! The Rust face of `asm/switch_amd64.S`: the stack switches, and the word of
//! thread-local storage that holds g, the running goroutine; and that of
//! `asm/call_amd64.S`: the frames at which an unwinding ends.
//!
//! Only the assembly here reads and writes that word. A `thread_local!` would
//! not do: the compiler may keep its address in a register across a switch,
//! after which the address is another thread's.

use crate::gmp::{
    G,
    offsets::{
        FPUCW_FIRST, FRAME_FPUCW, FRAME_MXCSR, MXCSR_CONTROL, MXCSR_FIRST,
    },
};
use core::{
    arch::asm,
    ffi::{c_int, c_void},
    ptr,
};

#[expect(
    improper_ctypes,
    reason = "assembly reads only those fields of G and M that `gmp` checks"
)]
unsafe extern "C" {
    /// Suspends the running goroutine into `*from` and resumes `g` at `to`.
    pub(crate) fn gswitch(from: *mut usize, to: usize, g: *const G);
    /// Abandons the current stack and resumes `g` at `to`.
    pub(crate) fn gogo(to: usize, g: *const G) -> !;
    /// Suspends the running goroutine and calls `f(g)` on g0.
    pub(crate) fn mcall(f: unsafe extern "C" fn(*const G) -> !);
    /// Calls `f(arg)` on g0 and returns.
    pub(crate) fn systemstack(
        f: unsafe extern "C" fn(*mut c_void),
        arg: *mut c_void,
    );
    /// Calls `f(arg)` on the stack below `sp` and returns.
    pub(crate) fn callon(
        f: unsafe extern "C" fn(*mut c_void),
        arg: *mut c_void,
        sp: usize,
    );
    /// Calls `f(a, b, sp)`: at `sp` lie the registers that a call keeps, and
    /// then the caller's frames.
    pub(crate) fn callsaved(
        f: unsafe extern "C" fn(usize, usize, usize) -> usize,
        a: usize,
        b: usize,
    ) -> usize;
    /// Makes this point g0's base and calls `f`.
    pub(crate) fn g0call(f: unsafe extern "C" fn());
    /// Calls `f(a, b)`. An exception that leaves it is fatal.
    pub(crate) fn callhost(
        f: unsafe extern "C" fn(*mut c_void, *mut c_void) -> i32,
        a: *mut c_void,
        b: *mut c_void,
    ) -> i32;
    fn calllast(f: unsafe extern "C" fn(*mut c_void), arg: *mut c_void);
    fn callbase(f: *const (), a: usize, b: usize, c: usize) -> Based;
    fn gmprt_call_defers();
    fn gmprt_call_resumes();
    fn gmprt_call_recovered();
    fn gmprt_call_left();
    fn gmprt_call_end();
    fn gmprt_base_left();
    /// Ends an exception of ours, which is fatal (`diag::unwinding`).
    pub(crate) fn swallowed(reason: c_int, exception: *mut c_void);
    /// Runs the M of the current g0 until it ends.
    pub(crate) fn mstart();
    /// The first frame of every goroutine, which begins with a nop.
    pub(crate) fn gostart();
    fn goleave();
    fn gorestart();
    /// The first function of a goroutine of steps, which a layer above has
    /// (`block::steps`).
    pub(crate) fn gmprt_run_steps(record: *mut c_void);
}

/// What `callbase` returns: rax and rdx.
#[repr(C)]
struct Based {
    result: usize,
    left: usize,
}

/// Calls `f(a, b, c)`, a function of the host's, at the base of a goroutine.
/// None: `gmp_exit`, or a panic that was recovered, has left it.
///
/// # Safety
/// `f` is a function that may be called with these arguments, or the first of
/// them; all are integers or pointers, and so is what it returns.
pub(crate) unsafe fn call_base(
    f: *const (),
    [a, b, c]: [usize; 3],
) -> Option<usize> {
    // SAFETY: the caller promises.
    let based = unsafe { callbase(f, a, b, c) };
    (based.left == 0).then_some(based.result)
}

/// Whether `gmp_call` goes on at this address behind a function of the host's.
pub(crate) fn is_in_call(pc: usize) -> bool {
    let end = gmprt_call_end as *const () as usize;
    (call_defers()..end).contains(&pc)
}

/// In the code of `gmp_call`: where it goes on behind the host's function, ...
pub(crate) fn call_defers() -> usize {
    gmprt_call_defers as *const () as usize
}

/// ... where it lets an exception go on, which passes behind this, ...
pub(crate) fn call_resumes() -> usize {
    gmprt_call_resumes as *const () as usize
}

/// ... where a panic was recovered, ...
pub(crate) fn call_recovered() -> usize {
    gmprt_call_recovered as *const () as usize
}

/// ... and where an exception leaves it.
pub(crate) fn call_left() -> usize {
    gmprt_call_left as *const () as usize
}

/// Where `call_base` goes on if its function was left.
pub(crate) fn base_left() -> usize {
    gmprt_base_left as *const () as usize
}

/// Calls `f(arg)` at the end of a goroutine or thread. The stack ends here for
/// an exception that leaves `f`.
///
/// # Safety
/// `f` may be called with `arg`.
pub(crate) unsafe fn call_last(
    f: unsafe extern "C" fn(*mut c_void),
    arg: *mut c_void,
) {
    // SAFETY: `f` may be called with `arg`, the caller promises.
    unsafe { calllast(f, arg) }
}

/// `gogo` for a goroutine that ends.
///
/// # Safety
/// `g` is suspended at `to`, and nothing returns to the current stack.
#[inline(always)]
pub(crate) unsafe fn go_leave(to: usize, g: *const G) -> ! {
    // A jump, since nothing returns here.
    // SAFETY: `g` is suspended at `to`, the caller promises.
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

/// Abandons the frames of the current stack, and begins the current goroutine,
/// which has not run yet, on it at `sp`.
///
/// # Safety
/// `sp` is where the goroutine's first function may find the stack pointer.
#[inline(always)]
pub(crate) unsafe fn go_restart(sp: usize) -> ! {
    // A jump, since nothing returns here.
    // SAFETY: `sp` is a stack pointer to begin at, the caller promises.
    unsafe {
        asm!(
            "jmp {restart}",
            restart = sym gorestart,
            in("rdi") sp,
            options(noreturn),
        );
    }
}

/// g: this thread's running goroutine, or the stand-in of a host thread; None
/// on a host thread without one.
///
/// Not `pure`, so that each call reads the thread's word anew.
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

/// The thread pointer: a word that names this thread while it lives.
#[inline(always)]
pub(crate) fn thread_pointer() -> usize {
    let tp;
    // SAFETY: reads the first word of this thread's control block, which on
    // this processor holds the block's own address.
    unsafe {
        asm!(
            "mov {0}, qword ptr fs:[0]",
            out(reg) tp,
            options(nostack, preserves_flags, readonly),
        );
    }
    tp
}

/// The word of this thread's control block in which glibc keeps the tid. Other
/// libcs may have anything there.
#[inline(always)]
pub(crate) fn tid_word() -> u32 {
    let tid;
    // SAFETY: glibc's control blocks are longer than that.
    unsafe {
        asm!(
            "mov {0:e}, dword ptr fs:[0x2d0]",
            out(reg) tid,
            options(nostack, preserves_flags, readonly),
        );
    }
    tid
}

/// Whether `gp` is the G of this thread.
#[inline(always)]
pub(crate) fn is_running(gp: &G) -> bool {
    // Compared as addresses: no test for a thread without one.
    ptr::eq(getg().map_or(ptr::null(), ptr::from_ref), gp)
}

/// Sets this thread's g.
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

/// Words in the frame of a suspended goroutine: the control words, six
/// registers and the resume address.
pub(crate) const FRAME_WORDS: usize = 8;

/// The control words that a goroutine begins with, as its frame holds them.
const FIRST_CONTROL: usize =
    MXCSR_FIRST << (8 * FRAME_MXCSR) | FPUCW_FIRST << (8 * FRAME_FPUCW);
const _: () = assert!(MXCSR_FIRST & !MXCSR_CONTROL == 0);

/// Builds the frame of a goroutine that has not run yet. `sp` is where its
/// first function will find the stack pointer; the result is where the
/// goroutine is suspended.
///
/// # Safety
/// `sp` is a multiple of 16, and the caller owns the words below it.
pub(crate) unsafe fn first_frame(sp: usize) -> usize {
    let frame = sp - FRAME_WORDS * size_of::<usize>();
    // Past the nop, because unwinders look up the byte before a return address.
    let resume = gostart as *const () as usize + 1;
    let words: [usize; FRAME_WORDS] = [FIRST_CONTROL, 0, 0, 0, 0, 0, 0, resume];
    // SAFETY: the caller owns the words below `sp`.
    unsafe { (frame as *mut [usize; FRAME_WORDS]).write(words) };
    frame
}
