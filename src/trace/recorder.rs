//! This thread's ring, and the hook that writes into it.
//!
//! An M's thread writes into the M's ring, which is mapped at the first event.
//! Threads without an M (a host thread before its first call that waits) share
//! one ring, under a lock. Each event there is preceded by the thread's number
//! if another thread wrote last. Such calls take the scheduler's lock anyway.
//!
//! An event is four words: the time; the kind, with the goroutine above it; a
//! and b. Text comes before its event, in slots of its own, which have the same
//! time, and 16 bytes of the text instead of a and b.
//!
//! Invariants:
//! 1. Recorders stay mapped until the library is unloaded. `RECORDERS` leads to
//!    all of them.
//! 2. Only the M's thread, or for [`SHARED`] the holder of its lock, writes.
//! 3. `reader` is touched by the holder of the session's lock only.

use super::{
    reader::{Reader, TEXT_BEGINS, TEXT_PART},
    stamp::ticks,
};
use crate::{
    arch,
    base::{
        lock::Rank,
        ring::{MAX_TEXT, Ring, Slot, Words},
        trace::Kind,
    },
    gmp::{G, M},
    os::{
        Errno, Lock, Result,
        clock::{cycles, cycles_are_even},
        mem, thread,
    },
};
use core::{
    cell::UnsafeCell,
    mem::offset_of,
    ptr,
    sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering::*},
};

/// Slots of a ring, unless a setting says otherwise: 4 MiB.
const SLOTS: usize = 128 << 10;

/// Slots of a ring.
static RING_SLOTS: AtomicUsize = AtomicUsize::new(SLOTS);
/// Invariant 1.
static RECORDERS: AtomicPtr<Recorder> = AtomicPtr::new(ptr::null_mut());
/// Events for which there was no memory.
pub(super) static REFUSED: AtomicU64 = AtomicU64::new(0);

/// Who writes into the ring of threads without an M.
struct Sender {
    recorder: Option<&'static Recorder>,
    /// The thread that wrote last.
    tid: i32,
}

static SHARED: Lock<Sender> =
    Lock::new(Rank::Recorder, Sender { recorder: None, tid: 0 });

/// What begins with a cache line of its own. The processor fetches lines in
/// pairs, so it begins with a pair.
#[repr(align(128))]
struct Apart<T>(T);

/// A ring, and what its reader remembers: apart, because the reader writes
/// there with each event, and the writer would wait for the line each time.
#[repr(C)]
pub(super) struct Recorder {
    pub ring: Ring,
    /// Null for the shared one.
    m: *const M,
    next: *mut Recorder,
    /// The time of the last event. The writer stores it; at the begin of a
    /// session it becomes 0, for none.
    last: AtomicU64,
    /// The first event of this session: as `reader`
    begun: AtomicU64,
    reader: Apart<UnsafeCell<Reader>>,
}

// SAFETY: `m` and `next` are constant, and the M is type-stable; the reader is
// the session's (invariant 3).
unsafe impl Sync for Recorder {}

impl Recorder {
    /// # Safety
    /// The caller holds the session's lock, and no other reference from here.
    #[expect(clippy::mut_from_ref, reason = "guarded by the session's lock")]
    pub(super) unsafe fn reader(&self) -> &mut Reader {
        // SAFETY: invariant 3, the caller promises.
        unsafe { &mut *self.reader.0.get() }
    }

    /// Begins the reading, with the events from now on.
    ///
    /// # Safety
    /// As [`Recorder::reader`].
    pub(super) unsafe fn begin(&self) {
        // Relaxed: a late event of the session before may hide it, and then
        // the next event has an old time and is none of this session.
        self.last.store(0, Relaxed);
        // Relaxed: the session's lock orders it.
        self.begun.store(self.ring.written(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { self.begin_again() };
    }

    /// Begins the reading again, with the first event of this session.
    ///
    /// # Safety
    /// As [`Recorder::reader`].
    pub(super) unsafe fn begin_again(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.reader() }.begin(self.begun.load(Relaxed));
    }

    /// The M whose thread writes into it.
    pub(super) fn m(&self) -> Option<&'static M> {
        // SAFETY: null, or a type-stable M.
        unsafe { self.m.as_ref() }
    }

    /// Bytes of the recorder before its slots, in whole pages.
    fn head() -> usize {
        size_of::<Self>().next_multiple_of(mem::page_size())
    }

    /// Gives the pages of the slots back, which nobody reads any more.
    pub(super) fn discard(&self) {
        let at = ptr::from_ref(self).cast::<u8>().cast_mut();
        let len = self.ring.capacity() as usize * size_of::<Slot>();
        // Without this the memory stays until the next trace.
        // SAFETY: whole pages of the mapping; a writer that is late writes to a
        // fresh page.
        let _kept = unsafe { mem::discard(at.wrapping_add(Self::head()), len) };
    }
}

/// Sets the size of the rings that are mapped from now on, in bytes.
pub(crate) fn set_ring_size(bytes: usize) {
    let slots = (bytes / size_of::<Slot>()).max(1024).next_power_of_two();
    RING_SLOTS.store(slots, Relaxed);
}

/// All recorders.
pub(super) fn each() -> impl Iterator<Item = &'static Recorder> {
    let first = RECORDERS.load(Acquire);
    // SAFETY: null, or a recorder, invariant 1.
    let first: Option<&'static Recorder> = unsafe { first.as_ref() };
    // SAFETY: null, or a recorder, invariant 1.
    core::iter::successors(first, |r| unsafe { r.next.as_ref() })
}

/// Where the fields of a recorder are that has not been published.
fn fields_of(
    at: *mut Recorder,
) -> (*mut Ring, *mut *const M, *mut *mut Recorder) {
    let field = |offset| at.cast::<u8>().wrapping_add(offset);
    (
        field(offset_of!(Recorder, ring)).cast(),
        field(offset_of!(Recorder, m)).cast(),
        field(offset_of!(Recorder, next)).cast(),
    )
}

/// Maps a recorder and publishes it.
fn map(m: *const M) -> Result<&'static Recorder> {
    let slots = RING_SLOTS.load(Relaxed);
    let head = Recorder::head();
    let at = mem::reserve_kept(head + slots * size_of::<Slot>())?;
    let first = at.wrapping_add(head).cast::<Slot>();
    // SAFETY: zeroed by the kernel, aligned to pages, never unmapped, and
    // nobody else's.
    let ring = unsafe { Ring::new(first, slots) };
    let place = at.cast::<Recorder>();
    // Field by field, as the reader is large, and zeros are one that begins.
    let fields = fields_of(place);
    // SAFETY: within the mapping, and not in use.
    unsafe { fields.0.write(ring) };
    // SAFETY: as above.
    unsafe { fields.1.write(m) };
    let mut next = RECORDERS.load(Relaxed);
    loop {
        // SAFETY: as above.
        unsafe { fields.2.write(next) };
        // Release: pairs with each.
        match RECORDERS.compare_exchange(next, place, Release, Relaxed) {
            // SAFETY: written just now, and never unmapped.
            Ok(_) => return Ok(unsafe { &*place }),
            Err(now) => next = now,
        }
    }
}

/// Maps the shared ring, before the first trace.
///
/// Errors: `ENOMEM`.
pub(super) fn prepare() -> Result<()> {
    let mut shared = SHARED.lock();
    if shared.recorder.is_none() {
        shared.recorder = Some(map(ptr::null()).map_err(|_| Errno::ENOMEM)?);
    }
    Ok(())
}

/// The hook: notes an event. What happens often is done here, without a call,
/// so that no register has to be saved.
pub(super) fn note(kind: Kind, id: u64, a: u64, b: u64, text: *const [u8]) {
    let Some(gp) = arch::getg() else {
        return note_shared(kind, id, a, b, text);
    };
    // SAFETY: null, or a type-stable M.
    let Some(mp) = (unsafe { gp.m.get().as_ref() }) else { return };
    // Relaxed: only this thread stores it.
    let at = mp.recorder.load(Relaxed).cast::<Recorder>();
    // SAFETY: null, or this M's recorder, invariant 1.
    let Some(recorder) = (unsafe { at.as_ref() }) else {
        return note_slow(kind, id, a, b, text);
    };
    if text.len() != 0 || !cycles_are_even() {
        return note_slow(kind, id, a, b, text);
    }
    // What only this layer knows: the goroutine that does it, and the P.
    let (time, a) = match kind {
        Kind::Park => (cycles(), a),
        Kind::Ready => (cycles(), actor(gp, mp)),
        Kind::Resume if b == 1 => {
            // Relaxed: this thread has stored it.
            match recorder.last.load(Relaxed) {
                0 => (cycles(), holds(mp)),
                last => (last, holds(mp)),
            }
        }
        _ => return note_slow(kind, id, a, b, text),
    };
    // SAFETY: this M's thread, invariant 2.
    unsafe { recorder.write(time, kind, id, a, b) };
}

/// The same for all events of a thread with an M.
#[cold]
#[inline(never)]
fn note_slow(kind: Kind, id: u64, a: u64, b: u64, text: *const [u8]) {
    let Some(gp) = arch::getg() else { return };
    let mp = gp.mp();
    // Relaxed: only this thread stores it.
    let at = mp.recorder.load(Relaxed).cast::<Recorder>();
    // SAFETY: null, or this M's recorder, invariant 1.
    let Some(recorder) = unsafe { at.as_ref() }.or_else(|| first(mp)) else {
        return;
    };
    if text.len() != 0 {
        // SAFETY: this M's thread, invariant 2; and who tells of an event lets
        // its text be read.
        unsafe { recorder.write_text(text) };
    }
    let (mut id, mut a) = (id, a);
    match kind {
        Kind::Resume => a = holds(mp),
        Kind::Ready => a = actor(gp, mp),
        Kind::TakeP | Kind::DropP if gp.is_host() => {}
        Kind::TakeP | Kind::DropP | Kind::LostP | Kind::Mark | Kind::Fatal => {
            id = actor(gp, mp);
        }
        _ => {}
    }
    // SAFETY: this M's thread, invariant 2.
    unsafe { recorder.write(ticks(), kind, id, a, b) };
}

/// The goroutine that runs on this thread; 0 for none.
fn actor(gp: &G, mp: &M) -> u64 {
    if mp.is_g0(gp) { 0 } else { gp.goid.get() }
}

/// The P that this thread holds, plus 1; 0 for none.
fn holds(mp: &M) -> u64 {
    mp.p.get().map_or(0, |p| u64::from(p.id) + 1)
}

/// The recorder of an M that has none yet.
#[cold]
fn first(mp: &'static M) -> Option<&'static Recorder> {
    match map(mp) {
        Ok(recorder) => {
            let at = ptr::from_ref(recorder).cast_mut();
            mp.recorder.store(at.cast(), Relaxed);
            Some(recorder)
        }
        Err(_) => {
            REFUSED.fetch_add(1, Relaxed);
            None
        }
    }
}

#[cold]
#[inline(never)]
fn note_shared(kind: Kind, id: u64, a: u64, b: u64, text: *const [u8]) {
    let shared = match kind {
        // A thread that fails may hold the lock.
        Kind::Fatal => SHARED.try_lock(),
        _ => Some(SHARED.lock()),
    };
    let Some(mut shared) = shared else { return };
    let Some(recorder) = shared.recorder else { return };
    let tid = thread::gettid();
    if shared.tid != tid {
        shared.tid = tid;
        // SAFETY: the lock is held, invariant 2.
        unsafe { recorder.write(ticks(), Kind::Sender, 0, tid as u64, 0) };
    }
    if text.len() != 0 {
        // SAFETY: the lock is held, invariant 2; and who tells of an event lets
        // its text be read.
        unsafe { recorder.write_text(text) };
    }
    // SAFETY: the lock is held, invariant 2.
    unsafe { recorder.write(ticks(), kind, id, a, b) };
}

impl Recorder {
    /// Writes an event.
    ///
    /// # Safety
    /// The caller is the writer of the ring.
    #[inline(always)]
    unsafe fn write(&self, time: u64, kind: Kind, id: u64, a: u64, b: u64) {
        // SAFETY: the caller is the writer.
        unsafe { self.ring.put([time, id << 8 | kind as u64, a, b]) };
        // Relaxed: for this thread.
        self.last.store(time, Relaxed);
    }

    /// Writes the text of the event that follows.
    ///
    /// # Safety
    /// The caller is the writer of the ring, and the text may be read.
    #[cold]
    #[inline(never)]
    unsafe fn write_text(&self, text: *const [u8]) {
        // SAFETY: the caller's promise.
        let text = unsafe { &*text };
        let text = &text[..text.len().min(MAX_TEXT)];
        let time = ticks();
        for (i, part) in text.chunks(TEXT_PART).enumerate() {
            let mut words = [0; TEXT_PART];
            words[..part.len()].copy_from_slice(part);
            let [a, b] = halves(u128::from_le_bytes(words));
            let begins = if i == 0 { TEXT_BEGINS } else { 0 };
            let id = begins | part.len() as u64;
            // SAFETY: the caller is the writer.
            unsafe { self.write(time, Kind::Text, id, a, b) };
        }
    }
}

fn halves(words: u128) -> [u64; 2] {
    [words as u64, (words >> 64) as u64]
}

/// The kind and the goroutine of an event.
pub(super) fn split(event: &Words) -> (Option<Kind>, u64) {
    (Kind::from_number(event[1] as u8), event[1] >> 8)
}

/// Puts the statics of this file back to what they were before the start
/// (`boot::reset`).
///
/// # Safety
/// No other thread runs code of the library.
pub(crate) unsafe fn reset() {
    REFUSED.store(0, Relaxed);
}
