//! The stages that `rt0_go` calls on m0, on its g0, in this order: `check`,
//! `args`, `osinit`, `schedinit` with its own stages.
//!
//! Invariant: m0 is still the only thread of the runtime, so stores here need
//! no ordering.

use super::{
    arguments::{runtime_argc, runtime_argv},
    env::{self, Settings},
    exe, hooks,
    inittrace::stage,
    preinit,
};
use crate::{
    arch,
    base::{
        random::RANDSEED,
        sanitize,
        sync::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::*},
        throw::throw,
    },
    gc::settings,
    gmp::{
        DEBUG, G, M, MAXPROCS, NCPUALLOWED, RUNTIME_INIT_TIME, runtime_g0,
        runtime_m0,
    },
    os::{
        auxv,
        clock::{self, nanotime},
        cpu, mem, proc, thread,
    },
    sched::{migrate, python, sigmask, stw, threads},
    stack,
};
use core::{
    ffi::{c_char, c_int},
    hint::black_box,
    ptr,
};

/// The smallest page size that guards are made for.
const MIN_PAGE_SIZE: usize = 4096;
/// Bit of CPUID's EDX for leaf 0x80000007: the time stamp counter is invariant,
/// it runs evenly at any speed and sleep of the processor.
const INVARIANT_TSC: u32 = 1 << 8;

unsafe extern "C" {
    /// CPUID's EDX for leaf 0x80000007, from `rt0_go`, or 0.
    safe static runtime_processorPower: AtomicU32;
}

/// The page size of the auxiliary vector; `args` writes it.
static PHYS_PAGE_SIZE: AtomicUsize = AtomicUsize::new(0);
static STARTUP_RANDOM: AtomicU64 = AtomicU64::new(0);

/// The start begins: notes the time, and tests what the rest takes for granted
/// about the machine.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn check() {
    // Relaxed: there is no other thread yet.
    RUNTIME_INIT_TIME.store(nanotime(), Relaxed);
    if size_of::<usize>() != 8 || align_of::<AtomicU64>() != 8 {
        throw("check: bad size of a word");
    }
    check_cas();
    check_bytes();
    if !arch::is_running(&runtime_g0)
        || !ptr::eq(runtime_g0.mp(), &runtime_m0)
        || !runtime_m0.is_g0(&runtime_g0)
    {
        throw("check: g0 and m0 do not know each other");
    }
    let g0 = ptr::from_ref(&runtime_g0).addr();
    let m0 = ptr::from_ref(&runtime_m0).addr();
    if !g0.is_multiple_of(align_of::<G>())
        || !m0.is_multiple_of(align_of::<M>())
    {
        throw("check: g0 or m0 is not aligned");
    }
}

/// Tests compare-and-swap on 32 and 64 bits, and addition across the middle.
fn check_cas() {
    let z = black_box(AtomicU32::new(1));
    if z.compare_exchange(1, 2, SeqCst, SeqCst).is_err()
        || z.compare_exchange(5, 6, SeqCst, SeqCst) != Err(2)
    {
        throw("check: 32-bit compare-and-swap");
    }
    let z = black_box(AtomicU64::new(u64::from(u32::MAX)));
    if z.fetch_add(1, SeqCst) != u64::from(u32::MAX)
        || z.load(SeqCst) != 1 << 32
        || z.compare_exchange(0, 1, SeqCst, SeqCst) != Err(1 << 32)
        || z.swap(u64::MAX, SeqCst) != 1 << 32
    {
        throw("check: 64-bit atomics");
    }
}

/// Tests that a store to a byte leaves its neighbours alone.
fn check_bytes() {
    let m = black_box([const { AtomicU8::new(1) }; 4]);
    m[1].fetch_or(0xf0, SeqCst);
    m[2].fetch_and(0, SeqCst);
    if m.map(AtomicU8::into_inner) != [1, 0xf1, 0, 1] {
        throw("check: atomic bytes");
    }
}

/// Notes the arguments, if they are plausible, and reads the auxiliary vector.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn args(argc: c_int, argv: *const *const c_char) {
    if exe::entered_at_rt0() || preinit::args_plausible() {
        runtime_argc.store(argc, Relaxed);
        runtime_argv.store(argv.cast_mut(), Relaxed);
    }
    sysargs();
}

/// Reads the auxiliary vector.
fn sysargs() {
    PHYS_PAGE_SIZE.store(mem::page_size(), Relaxed);
    if let Some(random) = auxv::random() {
        let [low, high] = [0, 8].map(|at| {
            let mut word = [0; 8];
            word.copy_from_slice(&random[at..at + 8]);
            u64::from_ne_bytes(word)
        });
        STARTUP_RANDOM.store(low ^ high, Relaxed);
    }
}

/// Counts the processors that this process may run on.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn osinit() {
    NCPUALLOWED.store(cpu::getproccount(), Relaxed);
    if preinit::own_thread() {
        thread::set_thread_name(c"gmprt-m0");
    }
}

/// Prepares the scheduler, up to the first Ps. Returns 0 or an errno.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn schedinit() -> c_int {
    // Release: pairs with the acquires of thread_start and name_thread.
    threads::THREAD_START.store(hooks::thread_start(), Release);
    sanitize::raceinit();
    stackinit();
    mallocinit();
    fastrandinit();
    stage(c"mcommoninit");
    threads::mcommoninit(&runtime_m0);
    cpuinit();
    sigsave();
    goargs();
    env::goenvs();
    let settings = env::parsedebugvars();
    gcinit();
    set_stacks(&settings);
    if migrate::on() {
        python::watch_parks();
    }
    procresize(settings.maxprocs)
}

/// Paces the collections of the heap as the environment wants it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn gcinit() {
    stage(c"gcinit");
    settings::apply();
}

/// Makes the first Ps, as many as asked for, else one for each processor. m0
/// takes the first one, and the others are idle: that starts the world. Returns
/// 0 or an errno.
#[unsafe(no_mangle)]
#[inline(never)]
#[expect(improper_ctypes_definitions, reason = "plain name, called from here")]
extern "C" fn procresize(maxprocs: Option<usize>) -> c_int {
    stage(c"procresize");
    let procs = maxprocs.unwrap_or_else(|| {
        // An error means no memory to read the quota.
        stw::num_cpu().unwrap_or_else(|_| NCPUALLOWED.load(Relaxed))
    });
    stw::procresize(procs.min(MAXPROCS)).map_or_else(|e| e.0, |()| 0)
}

/// Prepares the stacks of goroutines, with the built-in sizes.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn stackinit() {
    stage(c"stackinit");
    set_stacks(&Settings::default());
}

fn set_stacks(settings: &Settings) {
    DEBUG.stack_size.store(settings.stack_size.is_some(), Relaxed);
    let size = settings.stack_size.unwrap_or(0);
    let Settings { guard_mprotect, stack_advice, .. } = *settings;
    // Valgrind's search for leaks reads all that is mapped, and would crash on
    // guards that are no mappings.
    let guards = guard_mprotect || sanitize::valgrind();
    if stack::stackinit(size, guards, stack_advice).is_err() {
        throw("stackinit: a size that was checked before");
    }
}

/// Checks that the page size suits slabs of descriptors, stacks with their
/// guards, and pages of the heap, which is mapped when it is first used
/// (`gc::malloc`).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mallocinit() {
    stage(c"mallocinit");
    let page = PHYS_PAGE_SIZE.load(Relaxed);
    if !page.is_power_of_two()
        || page < MIN_PAGE_SIZE
        || !stack::GUARD.is_multiple_of(page)
    {
        throw("mallocinit: bad system page size");
    }
}

/// Seeds all random numbers, with the kernel's random bytes or with the time.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fastrandinit() {
    stage(c"fastrandinit");
    let seed = match STARTUP_RANDOM.load(Relaxed) {
        0 => nanotime().unsigned_abs(),
        random => random,
    };
    RANDSEED.store(seed, Relaxed);
}

/// Reads the one property of the processor that matters here: whether its
/// cycles tell time.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cpuinit() {
    stage(c"cpuinit");
    if runtime_processorPower.load(Relaxed) & INVARIANT_TSC != 0 {
        clock::trust_cycles();
    }
}

/// Notes the signal mask that all Ms run with, if m0's thread is the host's:
/// that thread's mask. A thread of ours has all signals blocked, and the first
/// call tells the mask.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sigsave() {
    stage(c"sigsave");
    if !preinit::own_thread() {
        sigmask::msigsave(!exe::entered_at_rt0());
    }
}

/// Reads the arguments from the kernel, if the loader did not pass them.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn goargs() {
    stage(c"goargs");
    if runtime_argv.load(Relaxed).is_null()
        && let Some((argc, argv)) = proc::args()
    {
        runtime_argc.store(argc, Relaxed);
        runtime_argv.store(argv.cast_mut(), Relaxed);
    }
}
