//! The pointers by which a host takes part in the start.
//!
//! Each hook is an exported variable that is null. A host defines a variable of
//! the same name and type in its program, initialised with its function. The
//! program's variable then replaces ours, in `libgmprt.so` and in
//! `libgmprt.a`, where ours is a weak symbol. A host that loads the library
//! with `dlopen` exports its variable (`-rdynamic`), or starts with
//! `GMP_AUTOSTART=0` and, before its first call, stores to the address that
//! `dlsym` gives. All hooks are read once, at the start.
//!
//! ```c
//! /* On m0's thread, before anything else. g0 points to the two words of its
//!  * stack's bounds, low and high, which may be changed. setg stores the
//!  * thread's current goroutine, tls is the address of that word, and tlsbase
//!  * the thread's fs. */
//! void (*_cgo_init)(void *g0, void (*setg)(void *), void **tls,
//!                   void *tlsbase);
//!
//! /* Makes the thread m0, which calls fn(arg). 0 or an errno. Called by the
//!  * constructor, so it must not wait for other threads. */
//! int (*_cgo_sys_thread_create)(void *(*fn)(void *), void *arg);
//!
//! /* Makes a thread of the scheduler, which calls start->fn(start->arg). 0 or
//!  * an errno. The structure is gone when this returns. Called on an M's own
//!  * stack with signals blocked: must not call the library. */
//! struct gmp_thread_start {
//!     void *g;                  /* its g0 */
//!     uintptr_t *tls;           /* where it keeps its thread-local words */
//!     void *(*fn)(void *);
//!     void *arg;
//! };
//! int (*_cgo_thread_start)(const struct gmp_thread_start *start);
//!
//! /* Called when the runtime is up, on the main goroutine, which is locked to
//!  * m0's thread. May call the library. */
//! void (*_cgo_notify_runtime_init_done)(void);
//! ```
//!
//! Invariant: the hooks are read through the global offset table, so that the
//! host's variable is found; `asm/rt0_amd64.S` reads the first two.

use crate::base::sync::{AtomicUsize, Ordering::*};
use core::arch::asm;

/// Called on m0's thread with g0; see the module.
#[unsafe(no_mangle)]
pub static _cgo_init: AtomicUsize = AtomicUsize::new(0);

/// Makes m0's thread; see the module.
#[unsafe(no_mangle)]
pub static _cgo_sys_thread_create: AtomicUsize = AtomicUsize::new(0);

/// Makes the other threads; see the module.
#[unsafe(no_mangle)]
pub static _cgo_thread_start: AtomicUsize = AtomicUsize::new(0);

/// Called when the runtime is up; see the module.
#[unsafe(no_mangle)]
pub static _cgo_notify_runtime_init_done: AtomicUsize = AtomicUsize::new(0);

/// The variable of this name in the process: the host's, or ours.
macro_rules! in_process {
    ($name:ident) => {{
        let at: *const AtomicUsize;
        // SAFETY: loads an entry of the global offset table.
        unsafe {
            asm!(
                "mov {at}, qword ptr [rip + {name}@GOTPCREL]",
                at = out(reg) at,
                name = sym $name,
                options(nostack, preserves_flags, pure, readonly),
            );
        }
        // SAFETY: a variable of a pointer's size, by the hook's contract.
        unsafe { &*at }
    }};
}

/// The host's `_cgo_thread_start`, or null.
pub(super) fn thread_start() -> *mut () {
    in_process!(_cgo_thread_start).load(Relaxed) as *mut ()
}

/// Whether the host has a `_cgo_notify_runtime_init_done`.
pub(super) fn wants_notice() -> bool {
    in_process!(_cgo_notify_runtime_init_done).load(Relaxed) != 0
}

/// Calls the host's `_cgo_notify_runtime_init_done`, if there is one.
pub(super) fn notify_runtime_init_done() {
    let hook = in_process!(_cgo_notify_runtime_init_done).load(Relaxed);
    // SAFETY: null, or a function of this type by the hook's contract; an
    // Option of a function pointer is null where it is None.
    let hook: Option<unsafe extern "C" fn()> =
        unsafe { core::mem::transmute(hook) };
    if let Some(hook) = hook {
        // SAFETY: the hook's contract allows one call, here.
        unsafe { hook() };
    }
}
