//! Calls that are made once.

use super::{
    fits,
    goroutine::gmp_fn,
    watch::{Watch, at, ungated},
};
use crate::{
    block::once::{self, Begun, Once},
    boot,
    os::{Errno, Result},
    sched::calls::{Call, Frame},
    timers::Deadline,
};
use core::{
    arch::naked_asm,
    ffi::{c_int, c_void},
};

unsafe extern "C" {
    fn gmprt_once_do(o: *mut gmp_once, func: gmp_fn, arg: *mut c_void)
    -> c_int;
    fn gmprt_once_do_until(
        o: *mut gmp_once,
        func: gmp_fn,
        arg: *mut c_void,
        deadline: i64,
    ) -> c_int;
}

/// A call that is made once; begin with GMP_ONCE_INIT.
#[repr(C)]
pub struct gmp_once {
    pub _state: u32,
    pub _reserved: u32,
    pub _runner: u64,
    pub _spare: [u64; 2],
}

const _: () = fits::<gmp_once, Once>();

/// # Safety
/// `o`: promise 1.
unsafe fn once<'a>(o: *mut gmp_once) -> Result<&'a Once> {
    // SAFETY: promise 1: a once's words, which are atomic from here on.
    unsafe { o.cast::<Once>().as_ref() }.ok_or(Errno::EINVAL)
}

/// Calls `func(arg)` unless a call with `o` is done; if one is under way, waits
/// for its end. A cancel does not end the wait.
///
/// A call that ends its goroutine by gmp_exit counts as done. A call that an
/// exception leaves is not done: the exception goes on to the caller, and the
/// next gmp_once_do, or one that waits, makes the call. A call that longjmp
/// leaves is not done either: others find out when the goroutine or thread that
/// jumped waits in a call of this library, calls gmp_once_do, or ends.
///
/// Returns 0; -EDEADLK inside `func` itself, and inside an unlockf unless the
/// call is done; -ENOMEM. May block.
///
/// # Safety
/// `o`: promise 1. `func`: promise 4, with `arg`, on this thread.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_once_do(
    o: *mut gmp_once,
    func: gmp_fn,
    arg: *mut c_void,
) -> c_int {
    naked_asm!(
        ".cfi_startproc",
        "jmp {}",
        ".cfi_endproc",
        sym gmprt_once_do
    )
}

/// gmp_once_do with a deadline; a cancel ends the wait. Neither interrupts
/// `func`. May block.
///
/// # Safety
/// As `gmp_once_do`.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_once_do_until(
    o: *mut gmp_once,
    func: gmp_fn,
    arg: *mut c_void,
    deadline: i64,
) -> c_int {
    naked_asm!(
        ".cfi_startproc",
        "jmp {}",
        ".cfi_endproc",
        sym gmprt_once_do_until
    )
}

/// Tells `callbacks.c` whether to call the function: 1, or the result that it
/// returns to the host.
///
/// # Safety
/// `o`: promise 1. `out`: writable. `cfa` and `ret` are those of the frame that
/// calls `func`.
#[unsafe(no_mangle)]
unsafe extern "C" fn gmprt_once_begin(
    o: *mut gmp_once,
    func: gmp_fn,
    deadline: i64,
    until: bool,
    cfa: usize,
    ret: usize,
    out: *mut *const Call,
) -> c_int {
    let deadline = Deadline::from_c(deadline);
    let begin = || {
        boot::gate()?;
        // SAFETY: promise 1, of `o`.
        let o = unsafe { once(o) }?;
        func.ok_or(Errno::EINVAL)?;
        let frame = Frame { cfa, ret };
        match until {
            true => once::begin_until(o, deadline, frame),
            false => once::begin(o, frame),
        }
    };
    match ungated(|| Watch::Acquires(at(o)), begin) {
        Ok(Begun::Done) => 0,
        Ok(Begun::Run(call)) => {
            // SAFETY: `callbacks.c` gives a variable of its own.
            unsafe { out.write(call) };
            1
        }
        Err(e) => e.neg(),
    }
}

/// `callbacks.c` has called the function.
///
/// # Safety
/// `o` and `call` are those that gmprt_once_begin got and gave.
#[unsafe(no_mangle)]
unsafe extern "C" fn gmprt_once_end(
    o: *mut gmp_once,
    call: &'static Call,
    returned: bool,
) {
    // SAFETY: promise 1, of `o`; gmprt_once_begin has looked for null.
    if let Ok(o) = unsafe { once(o) } {
        ungated(
            move || Watch::Releases(at(o)),
            move || once::end(o, call, returned),
        );
    }
}
