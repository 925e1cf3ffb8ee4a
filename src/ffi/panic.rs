//! Panics: errors that leave functions in order.

use super::goroutine::gmp_fn;
use crate::{
    boot,
    os::{Errno, Result},
    sched::{
        calls::Frame,
        current,
        panicrecord::{Panic, PanicInfo, Said},
        panics,
        recover::{self, Caller},
        suspended,
    },
};
use core::{
    arch::naked_asm,
    ffi::{c_char, c_int, c_void},
    mem::{offset_of, size_of},
};

unsafe extern "C" {
    fn gmprt_call(
        func: gmp_fn,
        arg: *mut c_void,
        info: *mut gmp_panic_info,
    ) -> c_int;
    fn gmprt_panic(format: *const c_char);
    fn gmprt_panic_with(value: *mut c_void);
}

/// What is known of a panic; begin with GMP_PANIC_INFO_INIT.
#[repr(C)]
pub struct gmp_panic_info {
    /// sizeof(gmp_panic_info), which GMP_PANIC_INFO_INIT sets.
    pub struct_size: usize,
    /// The text of gmp_panic, or words for the value; never NULL. It stays
    /// until the next gmp_call of this goroutine or thread, or the end of a
    /// gmp_call around it.
    pub text: *const c_char,
    /// The value of gmp_panic_with; NULL after gmp_panic.
    pub value: *mut c_void,
    /// gmp_goid() of the caller that panicked.
    pub goid: u64,
}

const _: () = {
    assert!(size_of::<gmp_panic_info>() == size_of::<PanicInfo>());
    assert!(offset_of!(gmp_panic_info, text) == offset_of!(PanicInfo, text));
    assert!(offset_of!(gmp_panic_info, value) == offset_of!(PanicInfo, value));
    assert!(offset_of!(gmp_panic_info, goid) == offset_of!(PanicInfo, goid));
};

/// Calls `func(arg)` as Go calls a function: what it defers (gmp_defer) runs
/// when it returns, panics, or is left by an exception; the last one first. If
/// one of these functions stops a panic (gmp_recover), the frames up to this
/// call are unwound: destructors and cleanup attributes run. Then the rest of
/// the deferred functions run, and this call returns. It writes to `*info`,
/// unless `info` is NULL, of what panic.
///
/// longjmp over this call leaves what it has deferred to the gmp_call around
/// it, or to the goroutine.
///
/// Returns 0; 1 if there was a panic; -EINVAL for an unknown struct_size;
/// -EPERM inside an unlockf; -ENOMEM. Blocks as long as `func` runs.
///
/// ```c
/// gmp_panic_info info = GMP_PANIC_INFO_INIT;
/// if (gmp_call(serve, client, &info) == 1) // void serve(void *client)
///     fprintf(stderr, "serve: %s\n", info.text);
/// ```
///
/// # Safety
/// `func`: promise 4, with `arg`, on this thread. `info`: promise 2, until this
/// returns.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_call(
    func: gmp_fn,
    arg: *mut c_void,
    info: *mut gmp_panic_info,
) -> c_int {
    naked_asm!(".cfi_startproc", "jmp {}", ".cfi_endproc", sym gmprt_call)
}

/// `gmp_panic`; the header has it by hand, as it takes arguments like printf.
///
/// # Safety
/// `format`: promise 3, and arguments follow as it says.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_panic(format: *const c_char) {
    naked_asm!(".cfi_startproc", "jmp {}", ".cfi_endproc", sym gmprt_panic)
}

/// `gmp_panic_with`; the header has it by hand, as it does not return.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub extern "C" fn gmp_panic_with(value: *mut c_void) {
    naked_asm!(
        ".cfi_startproc",
        "jmp {}",
        ".cfi_endproc",
        sym gmprt_panic_with
    )
}

/// Stops a panic. It does so only in a deferred function that the panic has
/// called, and not in a function which that calls. Where the compiler has put a
/// function into its caller, or has made its last call a jump, the two are one.
///
/// Returns what is known of the panic, which stays as the text in it does; NULL
/// if there is none to stop. Never blocks.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub extern "C" fn gmp_recover() -> *const gmp_panic_info {
    naked_asm!(
        ".cfi_startproc",
        "mov rdi, [rsp]",
        "lea rsi, [rsp + 8]",
        "mov rdx, rbp",
        "jmp {}",
        ".cfi_endproc",
        sym recover
    )
}

extern "C" fn recover(
    pc: usize,
    sp: usize,
    rbp: usize,
) -> *const gmp_panic_info {
    recover::gorecover(Caller { pc, sp, rbp }).cast()
}

/// Begins a gmp_call whose frame is at `place`: the address of its record, or a
/// negative errno.
///
/// # Safety
/// `info`: promise 2.
#[unsafe(no_mangle)]
unsafe extern "C" fn gmprt_call_begin(
    func: gmp_fn,
    info: *const gmp_panic_info,
    place: usize,
) -> isize {
    if boot::is_up() && func.is_some() {
        // SAFETY: promise 2, of `info`.
        if unsafe { check(info) }.is_ok() {
            let mark = panics::begin_now(place);
            if !mark.is_null() {
                return mark.addr() as isize;
            }
        }
    }
    // SAFETY: promise 2, of `info`.
    unsafe { begin_slow(func, info, place) }
}

/// # Safety
/// `info`: promise 2.
#[cold]
#[inline(never)]
unsafe extern "C" fn begin_slow(
    func: gmp_fn,
    info: *const gmp_panic_info,
    place: usize,
) -> isize {
    let begun = boot::gate().and_then(|()| {
        func.ok_or(Errno::EINVAL)?;
        // SAFETY: promise 2, of `info`.
        unsafe { check(info) }?;
        panics::begin(place)
    });
    match begun {
        Ok(mark) => mark.addr() as isize,
        Err(e) => e.neg() as isize,
    }
}

/// # Safety
/// `info`: promise 2.
unsafe fn check(info: *const gmp_panic_info) -> Result<()> {
    if info.is_null() {
        return Ok(());
    }
    // SAFETY: promise 2: each version of the structure has its first field.
    let known = unsafe { (*info).struct_size };
    (known == size_of::<gmp_panic_info>()).then_some(()).ok_or(Errno::EINVAL)
}

/// `callbacks.c`: the caller panics.
///
/// # Safety
/// `text` is null or a C string from `malloc`, and the panic's from now on;
/// `otherwise` is a C string. `cfa` and `ret` are those of the frame.
#[unsafe(no_mangle)]
unsafe extern "C" fn gmprt_panic_begin(
    text: *mut c_char,
    otherwise: *const c_char,
    value: *mut c_void,
    cfa: usize,
    ret: usize,
) -> &'static Panic {
    suspended::blocking_is_left();
    panics::gopanic(&Said { text, otherwise, value }, Frame { cfa, ret })
}

/// `callbacks.c`: the caller ends by gmp_exit. 0, or the error that it returns
/// to the host.
#[unsafe(no_mangle)]
extern "C" fn gmprt_exit_begin() -> c_int {
    match current::current_goroutine() {
        Ok(gp) => {
            suspended::blocking_is_left();
            panics::goexit(gp);
            0
        }
        Err(e) => boot::gate().err().unwrap_or(e).neg(),
    }
}
