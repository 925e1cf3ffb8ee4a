//! Statistics: the runtime in numbers.

use super::call;
use crate::{
    gc::cycle,
    heap::{MHEAP, arena::ARENA},
    os::Errno,
    sched::stats::{self, Stats},
};
use core::{ffi::c_int, ptr};

/// The runtime in numbers. A counter only grows, from 0 at the start of the
/// runtime, also where gmp_set_maxprocs() takes processors away and where
/// threads end. All other numbers tell of now. A version of the library may add
/// fields at the end.
#[repr(C)]
pub struct gmp_stats {
    /// The bytes that the library has filled in. Fields beyond are 0, since
    /// this library does not know them.
    pub struct_size: usize,
    /// Nanoseconds since the start of the runtime.
    pub uptime_ns: u64,

    /// Goroutines that exist, without the library's own:
    /// goroutines_running + goroutines_runnable + goroutines_waiting.
    pub goroutines: u64,
    /// Of these: running, on a processor or, outside the library, without one.
    pub goroutines_running: u64,
    /// Of these: queued, until a processor runs them.
    pub goroutines_runnable: u64,
    /// Of these: all others, which wait in a call.
    pub goroutines_waiting: u64,
    /// Of goroutines_running: blocked or busy in code outside the library, and
    /// without a processor, which runs other goroutines meanwhile. Each has a
    /// thread to itself.
    pub goroutines_without_p: u64,
    /// Of goroutines_runnable: not begun, and without memory for a stack.
    pub goroutines_starved: u64,
    /// Counter: goroutines started.
    pub goroutines_created: u64,
    /// Counter: goroutines that have ended.
    pub goroutines_ended: u64,
    /// Counter: goroutines that had to wait for memory for a stack.
    pub goroutines_starved_ever: u64,

    /// Processors, as gmp_set_maxprocs() sets their number.
    pub procs: u64,
    /// Of these: without a goroutine to run.
    pub procs_idle: u64,
    /// Counter: how often a processor has started or resumed a goroutine.
    pub switches: u64,
    /// Goroutines in the queue that all processors share.
    pub runq_global: u64,
    /// Goroutines in the queues of all processors.
    pub runq_local: u64,
    /// Goroutines in the longest of these queues.
    pub runq_longest: u64,
    /// Counter: how often a processor without work has looked for some on the
    /// others.
    pub steal_attempts: u64,
    /// Counter: goroutines that a processor has taken from another one.
    pub stolen: u64,
    /// Counter: how often a processor went on without the goroutine that had
    /// it, because that was in gmp_blocking() and the like, or because the
    /// processor was taken from it: retaken_blocked, retaken_busy.
    pub handoffs: u64,
    /// Counter: processors taken from a goroutine that had blocked its thread.
    pub retaken_blocked: u64,
    /// Counter: processors taken from a goroutine that had run for long without
    /// a call.
    pub retaken_busy: u64,
    /// Counter: requests to such a goroutine to yield in its next call.
    pub yields_requested: u64,

    /// Threads of the library.
    pub threads: u64,
    /// Of these: asleep, since there is nothing to run.
    pub threads_idle: u64,
    /// Of these: awake, and looking for a goroutine to run.
    pub threads_spinning: u64,
    /// Of these: for one goroutine only (gmp_lock_os_thread).
    pub threads_locked: u64,
    /// Of these: with a goroutine of goroutines_without_p that was busy when it
    /// lost its processor.
    pub threads_detached: u64,
    /// Counter: threads of the library that have begun.
    pub threads_begun: u64,
    /// Counter: threads of the library that have ended.
    pub threads_ended: u64,
    /// Counter: threads that the system or GMP_MAXTHREADS has refused while
    /// work waited for one.
    pub threads_refused: u64,
    /// Counter: how often a thread of the library fell asleep, for want of
    /// something to run.
    pub thread_sleeps: u64,
    /// Counter: how often such a thread was woken because there was something
    /// to run; a timer or a descriptor that wakes one does not count.
    pub thread_wakeups: u64,
    /// Host threads that sleep in a call without a deadline.
    pub host_threads_waiting: u64,

    /// Timers and deadlines to come, of sleeps and waits too; the library may
    /// have one of its own.
    pub timers_pending: u64,
    /// Counter: timers and deadlines that have come.
    pub timers_fired: u64,

    /// Waits for descriptors, one for each goroutine and direction.
    pub netpoll_waiting: u64,
    /// Counter: how often the kernel was asked for ready descriptors.
    pub netpoll_polls: u64,
    /// Counter: the answers to that.
    pub netpoll_events: u64,

    /// Bytes of stacks that goroutines have, as address space: what a goroutine
    /// does not touch is no memory.
    pub stack_in_use_bytes: u64,
    /// Bytes of stacks that processors keep for their next goroutines.
    pub stack_cached_bytes: u64,
    /// Bytes of all other free stacks.
    pub stack_idle_bytes: u64,
    /// Of stack_idle_bytes: those whose memory was given back to the kernel.
    pub stack_released_bytes: u64,
    /// Bytes mapped for all stacks: with guards, and with what is still unused.
    pub stack_mapped_bytes: u64,
    /// Stacks without a guard, since the kernel has refused one.
    pub stacks_unguarded: u64,

    /// Arenas of the collected heap, of 64 MiB of address space each; this and
    /// all that follows is 0 where the heap is not used. gmp_gc_get_stats() has
    /// more.
    pub heap_arenas: u64,
    /// Bytes of objects, dead ones that are not freed yet among them.
    pub heap_live_bytes: u64,
    /// Bytes of pages with objects.
    pub heap_in_use_bytes: u64,
    /// Bytes of pages without objects, as address space.
    pub heap_idle_bytes: u64,
    /// Of heap_idle_bytes: those whose memory the kernel has.
    pub heap_released_bytes: u64,
    /// Counter: collections.
    pub heap_collections: u64,
    /// Counter: nanoseconds for which collections have stopped the world.
    pub heap_pause_ns: u64,
}

/// Writes the numbers of this moment to `*out`, which has `size` bytes:
/// sizeof(gmp_stats). A program and a library of different versions agree on
/// the fields that both know, and the program gets 0 for others.
///
/// The numbers are read one after the other, while goroutines go on. So a
/// counter may be ahead of another one by what has happened meanwhile, but
/// goroutines_ended is never ahead of goroutines_created.
///
/// Returns 0; -EINVAL for a `size` without room for struct_size. Never blocks.
/// Takes microseconds, more with hundreds of processors or threads, and no
/// longer for many goroutines.
///
/// ```c
/// gmp_stats stats;
/// if (gmp_get_stats(&stats, sizeof stats) == 0)
///     printf("%llu goroutines wait\n",
///            (unsigned long long)stats.goroutines_waiting);
/// ```
///
/// # Safety
/// `out`: promise 2, with `size`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_get_stats(
    out: *mut gmp_stats,
    size: usize,
) -> c_int {
    call(move || {
        if out.is_null() || size < size_of::<usize>() {
            return Err(Errno::EINVAL);
        }
        let known = size.min(size_of::<gmp_stats>());
        let stats =
            gmp_stats { struct_size: known, ..with_heap(stats::read().into()) };
        let to = out.cast::<u8>();
        // SAFETY: promise 2: `size` bytes, which are `known` or more.
        unsafe { ptr::write_bytes(to, 0, size) };
        let from = (&raw const stats).cast::<u8>();
        // SAFETY: promise 2; both have `known` bytes, and they are apart.
        unsafe { ptr::copy_nonoverlapping(from, to, known) };
        Ok(())
    })
}

/// With the numbers of the heap, if there is one.
fn with_heap(stats: gmp_stats) -> gmp_stats {
    if MHEAP.arenas().is_none() {
        return stats;
    }
    let (heap, counts) = (MHEAP.stats(), cycle::counts());
    gmp_stats {
        heap_arenas: (heap.reserved / ARENA) as u64,
        heap_live_bytes: heap.live as u64,
        heap_in_use_bytes: heap.in_use as u64,
        heap_idle_bytes: heap.free as u64,
        heap_released_bytes: heap.clean as u64,
        heap_collections: counts.cycles,
        heap_pause_ns: counts.pauses,
        ..stats
    }
}

impl From<Stats> for gmp_stats {
    fn from(stats: Stats) -> Self {
        let Stats { goroutines, procs, threads, timers, net, stacks, .. } =
            stats;
        Self {
            struct_size: 0,
            uptime_ns: stats.uptime.max(0).unsigned_abs(),
            goroutines: goroutines.live,
            goroutines_running: goroutines.running,
            goroutines_runnable: goroutines.runnable,
            goroutines_waiting: goroutines.waiting,
            goroutines_without_p: goroutines.without_p,
            goroutines_starved: goroutines.starved,
            goroutines_created: goroutines.created,
            goroutines_ended: goroutines.ended,
            goroutines_starved_ever: goroutines.starved_ever,
            procs: procs.all,
            procs_idle: procs.idle,
            switches: procs.switches,
            runq_global: procs.runq_global,
            runq_local: procs.runq_local,
            runq_longest: procs.runq_longest,
            steal_attempts: procs.steal_attempts,
            stolen: procs.stolen,
            handoffs: procs.handoffs,
            retaken_blocked: procs.retaken_blocked,
            retaken_busy: procs.retaken_busy,
            yields_requested: procs.yields_requested,
            threads: threads.all,
            threads_idle: threads.idle,
            threads_spinning: threads.spinning,
            threads_locked: threads.locked,
            threads_detached: threads.detached,
            threads_begun: threads.begun,
            threads_ended: threads.ended,
            threads_refused: threads.refused,
            thread_sleeps: threads.sleeps,
            thread_wakeups: threads.wakeups,
            host_threads_waiting: threads.hosts_asleep,
            timers_pending: timers.pending,
            timers_fired: timers.fired,
            netpoll_waiting: net.waiters,
            netpoll_polls: net.polls,
            netpoll_events: net.events,
            stack_in_use_bytes: stacks.in_use,
            stack_cached_bytes: stacks.cached,
            stack_idle_bytes: stacks.idle,
            stack_released_bytes: stacks.cold,
            stack_mapped_bytes: stacks.mapped,
            stacks_unguarded: stacks.unguarded,
            heap_arenas: 0,
            heap_live_bytes: 0,
            heap_in_use_bytes: 0,
            heap_idle_bytes: 0,
            heap_released_bytes: 0,
            heap_collections: 0,
            heap_pause_ns: 0,
        }
    }
}
