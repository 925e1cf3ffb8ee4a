//! A copy of the process that does one thing and ends.
//!
//! The copy is the child of a raw clone(2) without shared memory: the calling
//! thread alone, with all memory as it is now. A failing process uses the copy
//! to look at itself with code that allocates and may fail again. The child
//! has no exit signal, so the host gets no SIGCHLD, and no wait of the host's
//! finds the child without `__WALL`. Handlers of pthread_atfork(3) do not run.

use super::{
    clock::{nanotime, usleep},
    errno::{Errno, KeepErrno},
    signal::SigMask,
};
use core::{
    arch::asm,
    ffi::{c_int, c_void},
    ptr,
};

/// Microseconds between two looks whether the copy has ended: the first, and
/// the most.
const LOOK: (u32, u32) = (100, 5000);
/// How many times a copy that was killed is looked at.
const PATIENCE: u32 = 200;
/// A debugger of the process does not get the copy as a thread of it.
const CLONE_UNTRACED: c_int = 0x0080_0000;

/// Runs `f(arg)` in a copy of the process, on the stack below `sp`, for `limit`
/// nanoseconds at most. True if `f` has returned there. Works in a signal
/// handler, and needs 1 KiB of stack here.
///
/// # Safety
/// `f(arg)` may be called in a process with one thread, where any lock may be
/// held for ever. The stack is mapped and unused.
pub(crate) unsafe fn in_copy(
    f: unsafe extern "C" fn(*mut c_void),
    arg: *mut c_void,
    sp: usize,
    limit: i64,
) -> bool {
    let _keep = KeepErrno::new();
    let work = Work { f, arg };
    // SAFETY: `sp` is an unused stack, the caller promises.
    let pid = unsafe { clone_onto(sp, &work) };
    pid > 0 && ends_well(pid as libc::pid_t, limit)
}

struct Work {
    f: unsafe extern "C" fn(*mut c_void),
    arg: *mut c_void,
}

/// clone(2); the child runs `child(work)`. Returns a pid, or a negative errno.
///
/// # Safety
/// The stack below `sp` is mapped and unused.
unsafe fn clone_onto(sp: usize, work: &Work) -> isize {
    let result: isize;
    // SAFETY: the child continues in `child` on a stack of its own and never
    // returns here; the parent goes on as after any system call.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r8", // not read by the call: it sets no thread pointer
            "call r9",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone as isize => result,
            in("rdi") CLONE_UNTRACED as usize,
            in("rsi") sp & !15,
            in("rdx") 0usize,
            in("r10") 0usize,
            in("r8") ptr::from_ref(work),
            in("r9") child as unsafe extern "C" fn(*const Work) -> !,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// The first function of the copy.
unsafe extern "C" fn child(work: *const Work) -> ! {
    become_harmless();
    // SAFETY: on the parent's stack, of which this process has a copy.
    let work = unsafe { &*work };
    // SAFETY: the caller of in_copy promises.
    unsafe { (work.f)(work.arg) };
    // SAFETY: ends this process, and runs no handlers of exit.
    unsafe { libc::_exit(0) }
}

/// The copy ends with its parent's thread, dumps no core, and dies of whatever
/// signal comes.
fn become_harmless() {
    const SIGNALS: c_int = 64;
    // SAFETY: takes numbers only.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: reads a local variable.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
    // The kernel's form, since libc's function locks for SIGABRT: handler,
    // flags, restorer and mask are all zero for the default action.
    let default = [0u64; 4];
    for sig in 1..=SIGNALS {
        // SAFETY: the default action runs no code.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                sig,
                default.as_ptr(),
                ptr::null_mut::<u64>(),
                size_of::<u64>(),
            )
        };
    }
    SigMask::NONE.restore();
}

/// Waits for the copy, and ends it after `limit` nanoseconds. Whether it has
/// ended by itself, with status 0.
fn ends_well(pid: libc::pid_t, limit: i64) -> bool {
    let end = nanotime().saturating_add(limit);
    let mut pause = LOOK.0;
    loop {
        if let Some(well) = look(pid) {
            return well;
        }
        if nanotime() > end {
            break;
        }
        usleep(pause);
        pause = (pause * 2).min(LOOK.1);
    }
    // SAFETY: a child of ours that nobody has waited for.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    for _ in 0..PATIENCE {
        if look(pid).is_some() {
            break;
        }
        usleep(LOOK.1);
    }
    false
}

/// Whether the child has ended, and well; None while it runs.
fn look(pid: libc::pid_t) -> Option<bool> {
    let mut status = 0;
    let how = libc::WNOHANG | libc::__WALL;
    // Not the C library's function, which is a cancellation point.
    // SAFETY: status is a local variable.
    let r = unsafe {
        let none = ptr::null_mut::<c_void>();
        libc::syscall(libc::SYS_wait4, pid, &raw mut status, how, none)
    };
    match Errno::check(r) {
        Ok(0) | Err(Errno(libc::EINTR)) => None,
        Ok(_) => Some(status == 0),
        Err(_) => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::mem;
    use std::sync::atomic::{AtomicUsize, Ordering::*};

    const STACK: usize = 64 << 10;

    fn stack() -> usize {
        mem::map_data(STACK).unwrap() as usize + STACK
    }

    unsafe extern "C" fn store(at: *mut c_void) {
        // SAFETY: the test passes a counter.
        unsafe { &*at.cast::<AtomicUsize>() }.store(7, Relaxed);
    }

    #[test]
    fn a_copy_has_memory_of_its_own() {
        let word = AtomicUsize::new(1);
        let arg = ptr::from_ref(&word).cast_mut().cast();
        // SAFETY: `store` takes a counter, the stack is new.
        assert!(unsafe { in_copy(store, arg, stack(), 5_000_000_000) });
        assert_eq!(word.load(Relaxed), 1);
    }

    unsafe extern "C" fn fault(_: *mut c_void) {
        // SAFETY: it is what the test is about: the copy dies of it.
        unsafe { asm!("ud2") };
    }

    unsafe extern "C" fn hang(_: *mut c_void) {
        loop {
            usleep(1000);
        }
    }

    #[test]
    fn a_copy_that_fails_or_hangs_is_told() {
        for f in [fault, hang] as [unsafe extern "C" fn(*mut c_void); 2] {
            let before = nanotime();
            // SAFETY: the functions take nothing, the stacks are new.
            let well =
                unsafe { in_copy(f, ptr::null_mut(), stack(), 50_000_000) };
            assert!(!well);
            assert!(nanotime() - before < 5_000_000_000);
        }
        let mut status = 0;
        // Not those of the tests on other threads.
        let mine = libc::__WALL | libc::__WNOTHREAD;
        // SAFETY: status is a local variable.
        let r = unsafe { libc::waitpid(-1, &raw mut status, mine) };
        assert!(r < 0, "no child is left");
    }
}
