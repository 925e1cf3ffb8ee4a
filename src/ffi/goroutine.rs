//! Goroutines: start, join, identity, park and ready, thread locks.

use super::{call, code};
use crate::{
    boot,
    gmp::{gflag, handle_of, set_name},
    os::{Errno, Result},
    sched::{
        self,
        calls::{UnlockFn, Unlockf},
        cancel, current, goexit, join,
        newproc::{self, NewG},
        park, ready, yields,
    },
    timers::FOREVER,
};
use core::{
    ffi::{CStr, c_char, c_int, c_void},
    mem::{offset_of, size_of},
    slice,
};

/// A goroutine's function.
#[expect(non_camel_case_types, reason = "the C name")]
pub type gmp_fn = Option<unsafe extern "C" fn(arg: *mut c_void)>;

/// A goroutine's handle: not an address, and found out when it is stale.
#[expect(non_camel_case_types, reason = "the C name")]
pub struct gmp_g;

/// Runs on the scheduler's stack once the parking goroutine is Waiting; may
/// unlock `lock` and make calls that cannot block. 0 resumes at once. It
/// returns: an exception that leaves it is a fatal error, and it must not be
/// left by longjmp.
#[expect(non_camel_case_types, reason = "the C name")]
pub type gmp_unlockf =
    Option<unsafe extern "C" fn(g: *mut gmp_g, lock: *mut c_void) -> c_int>;

type Unlock = unsafe extern "C" fn(g: *mut gmp_g, lock: *mut c_void) -> c_int;

/// In `gmp_attr.flags`: the goroutine runs with its thread locked from the
/// start, as by gmp_lock_os_thread.
pub const GMP_LOCKED_THREAD: u32 = 1;

/// How to start a goroutine; begin with GMP_ATTR_INIT.
#[repr(C)]
pub struct gmp_attr {
    /// sizeof(gmp_attr), which GMP_ATTR_INIT sets.
    pub struct_size: usize,
    /// Its name in dumps and reports, copied; NULL for none.
    pub name: *const c_char,
    /// Bytes of stack; 0 for the default (GMP_STACKSIZE, 192 KiB), at most
    /// 1 GiB. At least 64 KiB, and with the 64 KiB guard below rounded up to a
    /// power of two, up to 8 MiB. Code with frames of more than 64 KiB needs
    /// `-fstack-clash-protection` for an overflow to be seen.
    pub stack_size: usize,
    /// GMP_LOCKED_THREAD or 0.
    pub flags: u32,
}

/// Starts a goroutine that calls `fn(arg)`.
///
/// Returns 0; -EINVAL for a null `fn`; -ENOMEM. Never blocks.
///
/// # Safety
/// `func` may be called with `arg`, on another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_go(func: gmp_fn, arg: *mut c_void) -> c_int {
    call(|| {
        let func = func.ok_or(Errno::EINVAL)?;
        newproc::newproc_plain(func, arg)
    })
}

/// Starts a goroutine that calls `fn(copy)`, where `copy` is the address of a
/// copy of the `size` bytes at `args` on its own stack, 16-byte aligned.
///
/// `size`: at most 64 KiB or a quarter of the stack, whichever is less.
///
/// Returns 0; -EINVAL for a null `fn`, null `args` with a size, or too large
/// a size; -ENOMEM. Never blocks; `args` may go when it returns.
///
/// # Safety
/// `args` is readable for `size` bytes; `func` may be called so.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_go_copy(
    func: gmp_fn,
    args: *const c_void,
    size: usize,
) -> c_int {
    call(|| {
        let func = func.ok_or(Errno::EINVAL)?;
        if size > newproc::MAX_ARGS || (args.is_null() && size > 0) {
            return Err(Errno::EINVAL);
        }
        let bytes: &[u8] = if size == 0 {
            &[]
        } else {
            // SAFETY: readable, as the caller promises.
            unsafe { slice::from_raw_parts(args.cast(), size) }
        };
        let spec = NewG {
            args: Some(bytes),
            ..NewG::new(func, core::ptr::null_mut())
        };
        newproc::newproc1(&spec).map(drop)
    })
}

/// Starts a goroutine as `attr` says (NULL: as gmp_go does), and gives its
/// handle.
///
/// `out`: the handle, to be joined or released; NULL if it is not wanted.
///
/// Returns 0; -EINVAL for a null `fn`, a `struct_size` that is no known one,
/// unknown flags, or more than 1 GiB of stack; -ENOMEM. Never blocks.
///
/// # Safety
/// `attr` is null or valid, its name null or a C string; `out` is null or
/// writable; `func` may be called with `arg`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_go_with(
    attr: *const gmp_attr,
    func: gmp_fn,
    arg: *mut c_void,
    out: *mut *mut gmp_g,
) -> c_int {
    call(|| {
        let mut spec = NewG::new(func.ok_or(Errno::EINVAL)?, arg);
        // SAFETY: as the caller promises.
        unsafe { apply(attr, &mut spec) }?;
        spec.joinable = !out.is_null();
        let handle = newproc::newproc1(&spec)?;
        if !out.is_null() {
            // SAFETY: writable, as the caller promises.
            unsafe { out.write(handle.cast()) };
        }
        Ok(())
    })
}

/// # Safety
/// `attr` is null or valid.
unsafe fn apply(attr: *const gmp_attr, spec: &mut NewG<'_>) -> Result<()> {
    /// What the first version of the structure had.
    const FIRST: usize = offset_of!(gmp_attr, flags) + size_of::<u32>();
    if attr.is_null() {
        return Ok(());
    }
    // SAFETY: valid, so its first field is.
    let known = unsafe { (*attr).struct_size };
    if !(FIRST..=size_of::<gmp_attr>()).contains(&known) {
        return Err(Errno::EINVAL);
    }
    // SAFETY: at least the first version, which is all there is.
    let attr = unsafe { &*attr };
    if attr.flags & !GMP_LOCKED_THREAD != 0 {
        return Err(Errno::EINVAL);
    }
    spec.stack_size = attr.stack_size;
    if !attr.name.is_null() {
        // SAFETY: a C string, as the caller promises.
        spec.name = Some(unsafe { CStr::from_ptr(attr.name) });
    }
    if attr.flags & GMP_LOCKED_THREAD != 0 {
        spec.flags |= gflag::LOCK_AT_START;
    }
    Ok(())
}

/// Waits until `g` has ended, and releases it. A goroutine is joined once.
///
/// Returns 0; -EINVAL for a null or stale handle, or if somebody joins it
/// already; -EDEADLK from itself or from inside an unlockf; -ECANCELED. Parks
/// the goroutine; blocks a host thread.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_join(g: *mut gmp_g) -> c_int {
    call(|| join::join(g.cast(), FOREVER))
}

/// gmp_join until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for none):
/// then -ETIMEDOUT, and `g` can be joined again.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_join_until(g: *mut gmp_g, deadline: i64) -> c_int {
    call(|| join::join(g.cast(), deadline))
}

/// Gives up the handle `g` without waiting: the goroutine is freed when it
/// ends. A null or stale handle does nothing. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_release(g: *mut gmp_g) {
    let _nothing_to_say = call(|| join::release(g.cast()));
}

/// Cancels `g`: whatever it waits for now, and every call of its that may
/// wait from now on, returns -ECANCELED, until it ends. Not interrupted are
/// locking (gmp_mutex_lock, gmp_rwmutex_lock and _rlock, the end of
/// gmp_cond_wait), gmp_once_do, gmp_group_free, what gmp_defer put off,
/// destructors of keys, and what a shield covers (gmp_shield_enter). It may be
/// done more than once.
///
/// It costs up to some 10 us while other threads run, so that waiting costs
/// little; a group cancels all its goroutines for the same.
///
/// Returns 0; -EINVAL if `g` has ended, or for null; -EPERM for the handle of
/// a host thread. From any thread; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_cancel(g: *mut gmp_g) -> c_int {
    call(|| cancel::cancel(g.cast()))
}

/// Whether the calling goroutine was cancelled, also behind a shield; false
/// on a host thread. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_cancelled() -> bool {
    cancel::cancelled()
}

/// From here to gmp_shield_leave a cancel does not interrupt the calling
/// goroutine. Shields nest. On a host thread, which nobody can cancel, it does
/// nothing.
///
/// Returns 0. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_shield_enter() -> c_int {
    cancel::shield_enter();
    0
}

/// Undoes one gmp_shield_enter.
///
/// Returns 0; -EPERM on a goroutine that has entered none. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_shield_leave() -> c_int {
    code(cancel::shield_leave())
}

/// Lets other goroutines run (runtime.Gosched); on a host thread, other
/// threads. May resume on another thread.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_yield() {
    yields::gosched();
}

/// For long loops: yields if the scheduler has asked for it, and costs a few
/// instructions otherwise. May resume on another thread.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_checkpoint() {
    yields::checkpoint();
}

/// Ends the calling goroutine (runtime.Goexit); does not return on one.
/// Destructors of C++ objects on its stack do not run.
///
/// Returns -EPERM on a host thread, and where the caller may not park;
/// -ENOTSUP in the child of a fork.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_exit() -> c_int {
    match current::current_goroutine() {
        Ok(gp) => goexit::exit(gp),
        Err(e) => boot::gate().err().unwrap_or(e).neg(),
    }
}

/// The handle of the calling goroutine, valid until it ends; NULL on a host
/// thread that has never blocked in a call of this library. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_self() -> *mut gmp_g {
    current::self_g().map_or(core::ptr::null_mut(), |gp| handle_of(gp).cast())
}

/// The number of the calling goroutine, never used twice; 0 on a host thread
/// that has never blocked in a call of this library. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_goid() -> u64 {
    current::self_g().map_or(0, |gp| gp.goid.get())
}

/// Names the calling goroutine in dumps and reports; the name is copied.
///
/// Returns 0; -EINVAL for null; -EPERM on a host thread; -ENOMEM. Never
/// blocks.
///
/// # Safety
/// `name` is null or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_set_name(name: *const c_char) -> c_int {
    call(|| {
        if name.is_null() {
            return Err(Errno::EINVAL);
        }
        let gp = current::on_goroutine().ok_or(Errno(libc::EPERM))?;
        // SAFETY: a C string, as the caller promises.
        set_name(gp, unsafe { CStr::from_ptr(name) })
    })
}

/// Parks the caller until gmp_ready gives it a permit (gopark); one that came
/// before is taken at once.
///
/// `unlockf`, `lock`: NULL, or called as unlockf(g, lock) once the caller is
/// Waiting, so that what it unlocks lets only wakers in that can wake it; 0
/// from it resumes the caller at once. It must not block.
/// `reason`: a C string for dumps that stays valid until the call returns;
/// NULL for "park".
///
/// Returns 0, now and then without a permit: check your condition again;
/// -EDEADLK from inside an unlockf; -ECANCELED, after which a permit is still
/// there; -ENOMEM. Parks the goroutine;
/// blocks a host thread.
///
/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_park(
    unlockf: gmp_unlockf,
    lock: *mut c_void,
    reason: *const c_char,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { gmp_park_until(unlockf, lock, reason, FOREVER) }
}

/// gmp_park until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for none):
/// then -ETIMEDOUT, with `unlockf` called all the same.
///
/// # Safety
/// As gmp_park.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_park_until(
    unlockf: gmp_unlockf,
    lock: *mut c_void,
    reason: *const c_char,
    deadline: i64,
) -> c_int {
    call(|| {
        let unlockf = unlockf.map(|f| Unlockf {
            // SAFETY: the same function; a handle is a handle.
            f: unsafe { core::mem::transmute::<Unlock, UnlockFn>(f) },
            handle: core::ptr::null_mut(),
            lock,
        });
        let reason: &'static CStr = if reason.is_null() {
            c"park"
        } else {
            // SAFETY: valid for the park, which is how long it is used.
            unsafe { CStr::from_ptr(reason) }
        };
        park::park_user(unlockf, reason, deadline).and_then(park::outcome)
    })
}

/// Gives `g` its permit (goready): ends its gmp_park, now or when it comes to
/// it. Permits do not add up.
///
/// Returns 0; -EINVAL if `g` has ended, or for null. From any thread; never
/// blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_ready(g: *mut gmp_g) -> c_int {
    call(|| ready::ready_permit(g.cast()))
}

/// Locks the calling goroutine to its thread (runtime.LockOSThread): it runs
/// on that thread only, and nothing else does. Calls nest. If it ends locked,
/// the thread ends with it, unless that is the process's first. On a host
/// thread it does nothing.
///
/// Returns 0. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_lock_os_thread() -> c_int {
    call(|| {
        sched::lock_os_thread();
        Ok(())
    })
}

/// Undoes one gmp_lock_os_thread.
///
/// Returns 0; -EPERM on a goroutine that is not locked. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_unlock_os_thread() -> c_int {
    code(boot::gate().and_then(|()| sched::unlock_os_thread()))
}
