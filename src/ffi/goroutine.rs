//! Goroutines: start, join, yield, end.

use super::{
    call, call_at, call_to_start, call_to_undo, code, framed,
    watch::{Watch, gated, goroutine},
    with_caller,
};
use crate::{
    boot,
    gmp::{get_name, gflag, handle_of, set_name},
    os::{Errno, Result},
    sched::{
        current, join,
        newproc::{self, NewG},
        panics, yields,
    },
    timers::Deadline,
};
use core::{
    arch::naked_asm,
    ffi::{CStr, c_char, c_int, c_void},
    mem::{offset_of, size_of},
    slice,
};

unsafe extern "C" {
    fn gmprt_exit() -> c_int;
}

/// The function of a goroutine.
#[expect(non_camel_case_types, reason = "the C name")]
pub type gmp_fn = Option<unsafe extern "C" fn(arg: *mut c_void)>;

/// The handle of a goroutine.
#[expect(non_camel_case_types, reason = "the C name")]
pub struct gmp_g;

/// In the flags of a gmp_attr: the goroutine is locked to its thread from its
/// start, as by gmp_lock_os_thread.
pub const GMP_LOCKED_THREAD: u32 = 1;

/// How to start a goroutine; begin with GMP_ATTR_INIT.
#[repr(C)]
pub struct gmp_attr {
    /// sizeof(gmp_attr), which GMP_ATTR_INIT sets.
    pub struct_size: usize,
    /// The name in dumps and reports, which is copied; NULL for none.
    pub name: *const c_char,
    /// Bytes of stack, at most 1 GiB; 0 for the default (GMP_STACKSIZE, else
    /// 192 KiB; with Python in the process 8 MiB less the guard). A stack has
    /// at least 64 KiB, and up to 8 MiB it is rounded up so that it is, with
    /// its guard of 64 KiB, a power of two. Compile functions with frames of
    /// more than 64 KiB with -fstack-clash-protection, or an overflow may pass
    /// the guard.
    pub stack_size: usize,
    /// GMP_LOCKED_THREAD or 0.
    pub flags: u32,
}

/// Starts a goroutine that calls `func(arg)`.
///
/// Returns 0; -ENOMEM. Never blocks.
///
/// ```c
/// int rc = gmp_go(serve, client); // void serve(void *client)
/// if (rc != 0)
///     fprintf(stderr, "gmp_go: %s\n", gmp_strerror(rc));
/// ```
///
/// # Safety
/// `func`: promise 4, with `arg`.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_go(func: gmp_fn, arg: *mut c_void) -> c_int {
    with_caller!("rdx", go)
}

extern "C" fn go(func: gmp_fn, arg: *mut c_void, gopc: usize) -> c_int {
    if !boot::is_up() {
        return framed(go_gated(func, arg, gopc));
    }
    let func = func.ok_or(Errno::EINVAL);
    code(func.and_then(|func| newproc::newproc_plain(func, arg, gopc)))
}

/// Apart, so that the usual way puts nothing into memory for it.
#[cold]
#[inline(never)]
fn go_gated(func: gmp_fn, arg: *mut c_void, gopc: usize) -> c_int {
    let go = || {
        let spec = NewG { gopc, ..NewG::new(func.ok_or(Errno::EINVAL)?, arg) };
        newproc::newproc1(&spec).map(drop)
    };
    gated(boot::gate_to_start, || Watch::Nothing, go, code)
}

/// Starts a goroutine that calls `func` with the address of a copy of the
/// `size` bytes at `args`. The copy lies on the goroutine's stack, aligned to
/// 16 bytes; `args` is not used after the return.
///
/// Returns 0; -EINVAL if `size` is above 64 KiB or a quarter of the stack;
/// -ENOMEM. Never blocks.
///
/// # Safety
/// `args`: promise 2, for `size` bytes. `func`: promise 4, with a copy of them.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_go_copy(
    func: gmp_fn,
    args: *const c_void,
    size: usize,
) -> c_int {
    with_caller!("rcx", go_copy)
}

/// # Safety
/// `args`: promise 2, for `size` bytes.
unsafe extern "C" fn go_copy(
    func: gmp_fn,
    args: *const c_void,
    size: usize,
    gopc: usize,
) -> c_int {
    call_to_start(move || {
        let func = func.ok_or(Errno::EINVAL)?;
        if size > newproc::MAX_ARGS || (args.is_null() && size > 0) {
            return Err(Errno::EINVAL);
        }
        let bytes: &[u8] = if size == 0 {
            &[]
        } else {
            // SAFETY: promise 2: `args` has `size` bytes, and is not null here.
            unsafe { slice::from_raw_parts(args.cast(), size) }
        };
        let spec = NewG {
            args: Some(bytes),
            gopc,
            ..NewG::new(func, core::ptr::null_mut())
        };
        newproc::newproc1(&spec).map(drop)
    })
}

/// Starts a goroutine that calls `func(arg)`, as `attr` says; NULL for the
/// defaults. Writes its handle to `*out`: join or release it. `out` may be NULL
/// if no handle is wanted.
///
/// Returns 0; -EINVAL for an unknown struct_size, unknown flags, or a stack
/// above 1 GiB; -ENOMEM. Never blocks.
///
/// # Safety
/// `attr`: promise 1; its name: promise 3. `out`: promise 2. `func`: promise 4,
/// with `arg`.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_go_with(
    attr: *const gmp_attr,
    func: gmp_fn,
    arg: *mut c_void,
    out: *mut *mut gmp_g,
) -> c_int {
    with_caller!("r8", go_with)
}

/// # Safety
/// `attr`: promise 1; its name: promise 3. `out`: promise 2.
unsafe extern "C" fn go_with(
    attr: *const gmp_attr,
    func: gmp_fn,
    arg: *mut c_void,
    out: *mut *mut gmp_g,
    gopc: usize,
) -> c_int {
    call_to_start(move || {
        let mut spec = NewG::new(func.ok_or(Errno::EINVAL)?, arg);
        // SAFETY: promises 1 and 3, of `attr`.
        unsafe { apply(attr, &mut spec) }?;
        if !out.is_null() {
            spec.joinable = true;
            spec.flags |= gflag::HANDLE;
        }
        spec.gopc = gopc;
        let handle = newproc::newproc1(&spec)?;
        if !out.is_null() {
            // SAFETY: promise 2: `out` may be written, and is not null here.
            unsafe { out.write(handle.cast()) };
        }
        Ok(())
    })
}

/// # Safety
/// `attr`: promise 1; its name: promise 3.
pub(super) unsafe fn apply(
    attr: *const gmp_attr,
    spec: &mut NewG<'_>,
) -> Result<()> {
    /// What the first version of the structure had.
    const FIRST: usize = offset_of!(gmp_attr, flags) + size_of::<u32>();
    if attr.is_null() {
        return Ok(());
    }
    // SAFETY: promise 1: each version of the structure has its first field.
    let known = unsafe { (*attr).struct_size };
    if !(FIRST..=size_of::<gmp_attr>()).contains(&known) {
        return Err(Errno::EINVAL);
    }
    // SAFETY: promise 1, of a version that has all the fields there are.
    let attr = unsafe { &*attr };
    if attr.flags & !GMP_LOCKED_THREAD != 0 {
        return Err(Errno::EINVAL);
    }
    spec.stack_size = attr.stack_size;
    if !attr.name.is_null() {
        // SAFETY: promise 3: the name is a C string, and is not null here.
        spec.name = Some(unsafe { CStr::from_ptr(attr.name) });
    }
    if attr.flags & GMP_LOCKED_THREAD != 0 {
        spec.flags |= gflag::LOCK_AT_START;
    }
    Ok(())
}

/// Waits until the goroutine `g` has ended, and releases its handle. Join a
/// goroutine once.
///
/// Returns 0; -EINVAL for a stale handle, or if somebody else joins `g`;
/// -EDEADLK on `g` itself and inside an unlockf. May block.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_join(g: *mut gmp_g) -> c_int {
    call_at(
        move || Watch::Acquires(goroutine(g.cast())),
        move || join::join(g.cast(), Deadline::NEVER),
    )
}

/// gmp_join with a deadline; after -ETIMEDOUT join `g` again, or release it.
/// May block.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_join_until(g: *mut gmp_g, deadline: i64) -> c_int {
    let deadline = Deadline::from_c(deadline);
    call_at(
        move || Watch::Acquires(goroutine(g.cast())),
        move || join::join(g.cast(), deadline),
    )
}

/// Gives up the handle `g`: the goroutine is freed when it ends. NULL and a
/// stale handle do nothing. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_release(g: *mut gmp_g) {
    let _nothing_to_say = call_to_undo(move || join::release(g.cast()));
}

/// Lets other goroutines run (runtime.Gosched); on a host thread, other
/// threads. May continue on another thread.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_yield() {
    yields::gosched();
}

/// Yields if the scheduler has asked for it, else costs a few instructions:
/// call it in long loops. With GMP_GC_SIGNAL=0 it lets a collection begin, on
/// host threads as well. May continue on another thread.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_checkpoint() {
    yields::checkpoint();
}

/// Ends the calling goroutine (runtime.Goexit), and does not return. All that
/// it has deferred runs, the last one first. Then its frames are unwound:
/// destructors and cleanup attributes run. A panic under way is over.
///
/// A frame without unwind tables is a fatal error, and so is a catch (...) that
/// does not throw again. A noexcept function is std::terminate.
///
/// Returns only if it fails: -EPERM on a host thread, and inside an unlockf.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub extern "C" fn gmp_exit() -> c_int {
    naked_asm!(".cfi_startproc", "jmp {}", ".cfi_endproc", sym gmprt_exit)
}

/// Has `func(arg)` called when the function of the innermost gmp_call ends, in
/// whatever way; outside of one, when the calling goroutine ends. The last call
/// that was deferred comes first. Deferred calls of a panic and of gmp_exit
/// come before anything is unwound. A cancel does not interrupt them. An
/// exception that leaves `func` is uncaught.
///
/// Returns 0; -EPERM on a host thread outside of gmp_call, and inside an
/// unlockf; -ENOMEM. Never blocks.
///
/// # Safety
/// `func`: promise 4, with `arg`, until then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_defer(func: gmp_fn, arg: *mut c_void) -> c_int {
    if boot::is_up()
        && let Some(f) = func
        && panics::deferproc_now(f, arg)
    {
        return 0;
    }
    defer_slow(func, arg)
}

#[cold]
#[inline(never)]
extern "C" fn defer_slow(func: gmp_fn, arg: *mut c_void) -> c_int {
    call(|| panics::deferproc(func.ok_or(Errno::EINVAL)?, arg))
}

/// Returns the handle of the calling goroutine, valid until it ends; NULL on a
/// host thread that has never blocked in a call of this library. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_self() -> *mut gmp_g {
    current::self_g().map_or(core::ptr::null_mut(), |gp| {
        gp.set_flag(gflag::HANDLE);
        handle_of(gp).cast()
    })
}

/// Returns the number of the calling goroutine, which no other one ever has; 0
/// on a host thread that has never blocked in a call of this library. Never
/// blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_goid() -> u64 {
    current::self_g().map_or(0, |gp| gp.goid.get())
}

/// Names the calling goroutine in dumps and reports; `name` is copied.
///
/// Returns 0; -EPERM on a host thread; -ENOMEM. Never blocks.
///
/// # Safety
/// `name`: promise 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_set_name(name: *const c_char) -> c_int {
    call(move || {
        if name.is_null() {
            return Err(Errno::EINVAL);
        }
        let gp = current::on_goroutine().ok_or(Errno(libc::EPERM))?;
        // SAFETY: promise 3: `name` is a C string, and is not null here.
        set_name(gp, unsafe { CStr::from_ptr(name) })
    })
}

/// Copies the name of the goroutine `g`, with its NUL, to the `size` bytes at
/// `buf`; an empty string if it has none, or has ended and is not joined yet.
///
/// Returns 0; -EINVAL for a stale handle; -ERANGE, and `buf` stays, if the name
/// does not fit. Never blocks.
///
/// # Safety
/// `buf`: promise 2, for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_get_name(
    g: *mut gmp_g,
    buf: *mut c_char,
    size: usize,
) -> c_int {
    call(move || {
        if buf.is_null() {
            return Err(Errno::EINVAL);
        }
        let size = size.min(isize::MAX as usize);
        // SAFETY: promise 2, of `buf`, which is not null here.
        let to = unsafe { slice::from_raw_parts_mut(buf.cast(), size) };
        get_name(g.cast(), to)
    })
}
