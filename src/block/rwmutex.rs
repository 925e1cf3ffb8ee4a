//! Reader-writer mutexes: Go's `sync.RWMutex`.
//!
//! ```text
//!   state = readers << 2 | QUEUED | WRITER
//!
//!   readers  one more for each rlock, one less for each runlock
//!   WRITER   set by lock, cleared by unlock
//!   QUEUED   set by a waiter that queues; cleared by `let_in`, which leaves
//!            the line empty
//! ```
//! A writer that waits keeps new readers out. When a writer unlocks, all
//! readers in the line go on; when the last reader unlocks, the first writer
//! does. So neither side starves.
//!
//! Invariants:
//! 1. QUEUED is set while waiters are in the line. It changes under the lock of
//!    their bucket ([`super::parking`]). While it is set, no thread locks
//!    without that lock, and neither a writer nor the last reader unlocks
//!    without it.
//! 2. A waiter that is let in is entered in `state` by the thread that lets it
//!    in.
//! 3. No waiter waits for what is free: an unlock, and a waiter that gives up,
//!    let in all that can go ([`let_in`]).
//! 4. `writers` is the number of writers' records in the line, under the
//!    bucket's lock. The actor that takes a record out counts it out: a waker,
//!    even where the writer's wait was over already, or the writer that gives
//!    up and is still in the line.

#[cfg(not(shuttle))]
use super::holder;
use super::{
    holder::Holder,
    parking::{Bucket, Place, Waited, Woken, waiter},
};
use crate::{
    base::sync::{AtomicU32, Ordering::*},
    gmp::wait::{Wait, WakeList},
    os::{Errno, Result},
    sched::{cancel, child::is_a_child, ready::ready_all},
    timers::Deadline,
};
use core::{ptr, sync::atomic::AtomicUsize};
#[cfg(not(shuttle))]
use {core::mem, gmprt_inspect::memory::Memory};

const WRITER: u32 = 1;
const QUEUED: u32 = 2;
const READER: u32 = 4;

/// The words of a `gmp_rwmutex`; all zero is unlocked.
#[derive(Default)]
#[repr(C)]
pub struct RwMutex {
    state: AtomicU32,
    /// The bucket's lock.
    writers: AtomicU32,
    /// The writer, or one of the readers.
    holder: Holder,
    /// For reports: the address of the G that queued last as a writer without
    /// a deadline. It may have left the line since.
    patient: AtomicUsize,
}

/// What a waiter wants; as a number, how many writers it is.
const READ: u32 = 0;
const WRITE: u32 = 1;

/// `old` with one more reader; None if a reader has to wait.
fn one_more_reader(old: u32) -> Option<u32> {
    (old & (WRITER | QUEUED) == 0).then(|| old.checked_add(READER))?
}

/// Locks for reading if that is possible at once.
pub(crate) fn try_rlock(rw: &RwMutex) -> bool {
    // Acquire: pairs with unlock.
    let old = rw.state.fetch_update(Acquire, Relaxed, one_more_reader);
    match old {
        Ok(0) => rw.holder.set(),
        Ok(_) => rw.holder.set_if_free(),
        Err(_) => {}
    }
    old.is_ok()
}

/// Locks for writing if that is possible at once.
pub(crate) fn try_lock(rw: &RwMutex) -> bool {
    // Acquire: pairs with unlock and runlock.
    let locked = rw.state.compare_exchange(0, WRITER, Acquire, Relaxed).is_ok();
    if locked {
        rw.holder.set();
    }
    locked
}

/// Locks for reading; waits for as long as it takes.
///
/// Errors: `EDEADLK` where the caller may not park.
pub(crate) fn rlock(rw: &RwMutex) -> Result<()> {
    if try_rlock(rw) {
        return Ok(());
    }
    lock_slow(rw, READ, &reads(rw, Wait::uninterrupted(c"rwmutex read")))
}

/// Locks for reading, unless the deadline passes or the caller is cancelled.
///
/// Errors: as [`rlock`]; `ETIMEDOUT`, `ECANCELED`.
pub(crate) fn rlock_until(rw: &RwMutex, deadline: Deadline) -> Result<()> {
    cancel::check()?;
    if try_rlock(rw) {
        return Ok(());
    }
    lock_slow(rw, READ, &reads(rw, Wait::until(deadline, c"rwmutex read")))
}

/// Locks for writing; waits for as long as it takes.
///
/// Errors: as [`rlock`].
pub(crate) fn lock(rw: &RwMutex) -> Result<()> {
    if try_lock(rw) {
        return Ok(());
    }
    lock_slow(rw, WRITE, &waits(rw, Wait::uninterrupted(c"rwmutex write")))
}

/// Locks for writing, unless the deadline passes or the caller is cancelled.
///
/// Errors: as [`rlock_until`].
pub(crate) fn lock_until(rw: &RwMutex, deadline: Deadline) -> Result<()> {
    cancel::check()?;
    if try_lock(rw) {
        return Ok(());
    }
    lock_slow(rw, WRITE, &waits(rw, Wait::until(deadline, c"rwmutex write")))
}

/// `wait` of a reader, for `rw`.
fn reads(rw: &RwMutex, wait: Wait) -> Wait {
    wait.on(rw).kept_out_by(&rw.holder)
}

/// `wait` of a writer, for `rw`.
fn waits(rw: &RwMutex, wait: Wait) -> Wait {
    wait.on(rw).held_by(&rw.holder)
}

#[cold]
fn lock_slow(rw: &RwMutex, wants: u32, wait: &Wait) -> Result<()> {
    wait_to_lock(rw, wants, wait)?;
    if wants == WRITE {
        rw.holder.set();
    } else {
        rw.holder.set_if_free();
    }
    Ok(())
}

fn wait_to_lock(rw: &RwMutex, wants: u32, wait: &Wait) -> Result<()> {
    let gp = waiter(wait)?;
    let bucket = Bucket::of(rw);
    if is_a_child() && bucket.is_empty() {
        // Invariant 4 of `parking`.
        rw.state.fetch_and(!QUEUED, Relaxed);
        rw.writers.store(0, Relaxed);
    }
    let locked = |old: u32| match wants {
        READ => one_more_reader(old),
        _ => (old == 0).then_some(WRITER),
    };
    // Acquire: pairs with unlock and runlock. Never fails: it is always
    // Some.
    let old = rw.state.fetch_update(Acquire, Relaxed, |old| {
        Some(locked(old).unwrap_or(old | QUEUED))
    });
    if old.is_ok_and(|old| locked(old).is_some()) {
        return Ok(());
    }
    let writers = rw.writers.load(Relaxed);
    rw.writers.store(writers + wants, Relaxed);
    if wants == WRITE && wait.deadline.is_never() {
        // Core's atomics, as in `holder`.
        rw.patient.store(ptr::from_ref(gp).addr(), Relaxed);
    }
    match bucket.wait(gp, wait, Place { wants, ..Place::LAST }, ()) {
        Waited::Woken { .. } => Ok(()),
        Waited::GaveUp { why, bucket, queued } => {
            if queued {
                let writers = rw.writers.load(Relaxed);
                rw.writers.store(writers - wants, Relaxed);
            }
            let_in(rw, bucket, 0);
            Err(why)
        }
    }
}

/// Unlocks what was locked for writing.
///
/// Errors: `EPERM` if the mutex is not locked so.
pub(crate) fn unlock(rw: &RwMutex) -> Result<()> {
    let mut old = rw.state.load(Relaxed);
    if old & WRITER != 0 {
        rw.holder.leave();
    }
    while old & WRITER != 0 {
        if old & QUEUED != 0 {
            let bucket = Bucket::of(rw);
            if rw.state.load(Relaxed) & (WRITER | QUEUED) == WRITER | QUEUED {
                let_in(rw, bucket, WRITER);
                return Ok(());
            }
            old = rw.state.load(Relaxed);
            continue;
        }
        // Release: pairs with try_rlock, try_lock and lock_slow.
        match rw.state.compare_exchange_weak(old, 0, Release, Relaxed) {
            Ok(_) => return Ok(()),
            Err(now) => old = now,
        }
    }
    Err(Errno(libc::EPERM))
}

/// Unlocks what was locked for reading.
///
/// Errors: `EPERM` if the mutex is not locked so.
pub(crate) fn runlock(rw: &RwMutex) -> Result<()> {
    let last = |s: u32| s & QUEUED != 0 && s < 2 * READER;
    let mut old = rw.state.load(Relaxed);
    if old >= READER {
        let alone = || rw.state.load(Relaxed) < 2 * READER;
        rw.holder.leave_shared(alone);
    }
    while old >= READER {
        if last(old) {
            let bucket = Bucket::of(rw);
            old = rw.state.load(Relaxed);
            if old >= READER && last(old) {
                let_in(rw, bucket, READER);
                return Ok(());
            }
            continue;
        }
        let new = old - READER;
        // Release: pairs with try_lock and lock_slow.
        match rw.state.compare_exchange_weak(old, new, Release, Relaxed) {
            Ok(_) => return Ok(()),
            Err(now) => old = now,
        }
    }
    Err(Errno(libc::EPERM))
}

/// Gives up what the caller holds, WRITER, READER or nothing, and lets in all
/// that can go then. The change of `state` is the last touch of the mutex.
fn let_in(rw: &RwMutex, bucket: Bucket<'_>, gives_up: u32) {
    let mut list = WakeList::new();
    let held = rw.state.load(Relaxed) - gives_up;
    let free = held < READER && held & WRITER == 0;
    let mut comes = 0;
    if gives_up == WRITER {
        comes = READER * bucket.hand_to_all(&mut list, |w| w == READ);
    }
    if comes == 0
        && free
        && let Some(writer) = pop_writer(rw, &bucket)
    {
        writer.hand_over();
        writer.wake_later(&mut list);
        comes = WRITER;
    }
    if comes == 0 && held & WRITER == 0 && rw.writers.load(Relaxed) == 0 {
        comes = READER * bucket.hand_to_all(&mut list, |w| w == READ);
    }
    let queued = if bucket.is_empty() { 0 } else { QUEUED };
    // AcqRel: all that was done with the mutex locked happens before what the
    // waiters do. Never fails: it is always Some.
    let _old = rw.state.fetch_update(AcqRel, Relaxed, |old| {
        Some((old - gives_up + comes) & !QUEUED | queued)
    });
    drop(bucket);
    ready_all(list);
}

/// Takes the first writer out of the line (invariant 4).
fn pop_writer(rw: &RwMutex, bucket: &Bucket<'_>) -> Option<Woken> {
    let mut writers = rw.writers.load(Relaxed);
    let writer = bucket.pop_where(|wants| {
        writers -= wants;
        wants == WRITE
    });
    rw.writers.store(writers, Relaxed);
    writer
}

/// What keeps a reader out.
#[cfg(not(shuttle))]
pub(crate) enum Ahead {
    /// The writer that has the mutex.
    Writer(holder::Found),
    /// Readers have it, and a writer is next: the G at this address, if it
    /// still waits for this object, until all readers have unlocked.
    Next { gp: usize, object: usize },
}

/// For reports: what keeps readers out of the rwmutex whose holder words are at
/// this address, which may be none any more. While the reader waits it is none
/// of those that are let in before a writer.
#[cfg(not(shuttle))]
pub(crate) fn ahead(memory: &dyn Memory, words: usize) -> Option<Ahead> {
    let object = words.checked_sub(mem::offset_of!(RwMutex, holder))?;
    let state = object + mem::offset_of!(RwMutex, state);
    let state = memory.u32(state as u64)?;
    if state & WRITER != 0 {
        return holder::read(memory, words).map(Ahead::Writer);
    }
    if state < READER {
        return None;
    }
    let patient = object + mem::offset_of!(RwMutex, patient);
    let gp = memory.u64(patient as u64)? as usize;
    Some(Ahead::Next { gp, object })
}
