//! The heap of one P without its lock; `timers` has the invariants.
//!
//! Timers lie on the stacks of many goroutines, where each touch misses the
//! caches and the TLB. So the heap keeps copies of what it needs, and the
//! positions of entries, in dense tables: a timer that comes up is not touched
//! at all. An entry is one number, so a comparison is one step without a
//! branch that can be mispredicted.

use super::{
    spill::Spill,
    timer::{Call, Entry, NOWHERE, SPILLED, STOPPED, Timer},
};
use crate::base::sync::Ordering;
use core::ptr;

/// Children of a node.
const ARITY: usize = 4;
/// Stopped timers are swept when they are more than one in `SWEEP_PART`, and
/// more than `SWEEP_MIN`.
const SWEEP_PART: usize = 2;
const SWEEP_MIN: usize = 32;

/// A heap of pending timers, the earliest first.
pub(super) struct Heap {
    entries: Vec<Entry>,
    /// By slot: the position of its entry; for a free slot, the next free one.
    places: Vec<u32>,
    /// By slot.
    pending: Vec<Pending>,
    /// The first free slot, or [`NONE`].
    free: u32,
    /// Timers for which these tables had no memory.
    spill: Spill,
    /// How many timers are stopped (invariant 6), spilled ones included.
    stopped: usize,
    /// The next timer's order among those of equal time.
    added: u32,
    /// How many timers have come due here.
    fired: u64,
    /// Set by a test: no more slots, as without memory.
    full: bool,
}

/// A pending timer.
#[derive(Clone, Copy)]
pub(super) struct Pending {
    pub call: Call,
    /// Null in a slot that is free.
    pub timer: *const Timer,
    /// Its own time (invariant 6).
    pub when: i64,
}

const NONE: u32 = u32::MAX;

// SAFETY: the timers behind the pointers live while they are pending, and only
// the thread that holds the heap's lock changes them.
unsafe impl Send for Heap {}

impl Heap {
    pub(super) const fn new() -> Self {
        Self {
            entries: Vec::new(),
            places: Vec::new(),
            pending: Vec::new(),
            free: NONE,
            spill: Spill::new(),
            stopped: 0,
            added: 0,
            fired: 0,
            full: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len() + self.spill.len()
    }

    /// How many timers are stopped.
    pub(super) fn stopped(&self) -> usize {
        self.stopped
    }

    /// How many timers have come due here so far.
    pub(super) fn fired(&self) -> u64 {
        self.fired
    }

    /// The earliest entry's time, `i64::MAX` without one.
    pub(super) fn first(&self) -> i64 {
        let first = self.entries.first().map_or(i64::MAX, |e| e.when());
        if self.spill.len() == 0 { first } else { self.first_of_all(first) }
    }

    #[cold]
    fn first_of_all(&self, first: i64) -> i64 {
        let spilled = self.spill.first().map(|(_, n)| n.key.get().when());
        spilled.map_or(first, |when| when.min(first))
    }

    fn pending(&self, e: Entry) -> Pending {
        self.pending[e.slot() as usize]
    }

    /// Whether `t`, whose field `heap` names this one, is in it.
    pub(super) fn has(&self, t: &Timer) -> bool {
        match self.pending.get(t.slot() as usize) {
            Some(slot) => ptr::eq(slot.timer, t),
            None => t.slot() == SPILLED,
        }
    }

    /// The position of the entry of `t`; None for a spilled timer.
    fn place_of(&self, t: &Timer) -> Option<usize> {
        self.places.get(t.slot() as usize).map(|pos| *pos as usize)
    }

    /// Adds a timer whose entry comes up at `when`; its own time may be later.
    /// True if the entry is the first one.
    pub(super) fn push(&mut self, when: i64, new: Pending) -> bool {
        if self.added == u32::MAX {
            self.renumber();
        }
        let Some(slot) = self.take_slot(new) else {
            return self.spill(when, new);
        };
        // SAFETY: pending from now on, invariant 2.
        unsafe { &*new.timer }.set_slot(slot);
        let entry = Entry::new(when, self.added, slot);
        self.added += 1;
        self.stopped += usize::from(new.when == STOPPED);
        self.entries.push(entry);
        self.sift_up(self.entries.len() - 1, entry) == 0
    }

    /// [`Self::push`] without memory for the tables.
    #[cold]
    fn spill(&mut self, when: i64, new: Pending) -> bool {
        // SAFETY: pending from now on, invariant 2.
        let t = unsafe { &*new.timer };
        t.set_slot(SPILLED);
        // Relaxed: pending, so the heap owns the field, under its lock.
        t.seq.store(new.call.seq, Ordering::Relaxed);
        self.stopped += usize::from(new.when == STOPPED);
        if self.added == u32::MAX {
            self.renumber();
        }
        let when = if new.when == STOPPED { when } else { new.when };
        let first = when < self.first();
        self.spill.add(t, Entry::new(when, self.added, 0), new.when);
        self.added += 1;
        first
    }

    /// Takes a spilled timer out; returns its call.
    #[cold]
    fn unspill(&mut self, t: *const Timer) -> Call {
        self.stopped -= usize::from(self.spill.remove(t) == STOPPED);
        // SAFETY: pending until now, invariant 2.
        let t = unsafe { &*t };
        t.set_slot(NOWHERE);
        t.call()
    }

    /// A slot for `new` and room for its entry; None without memory.
    fn take_slot(&mut self, new: Pending) -> Option<u32> {
        let slot = self.free;
        if let Some(next) = self.places.get(slot as usize) {
            self.free = *next;
            self.pending[slot as usize] = new;
            return Some(slot);
        }
        let room = !self.full
            && self.entries.try_reserve(1).is_ok()
            && self.places.try_reserve(1).is_ok()
            && self.pending.try_reserve(1).is_ok()
            && self.places.len() < SPILLED as usize;
        if !room {
            return None;
        }
        let slot = self.places.len() as u32;
        self.places.push(NONE);
        self.pending.push(new);
        Some(slot)
    }

    fn give_slot(&mut self, e: Entry) {
        self.pending[e.slot() as usize].timer = ptr::null();
        self.places[e.slot() as usize] = self.free;
        self.free = e.slot();
    }

    /// Called when the order numbers are used up: numbers all entries anew,
    /// from 0, in the same order.
    #[cold]
    fn renumber(&mut self) {
        // A sorted list is a heap.
        self.entries.sort_unstable();
        self.added = 0;
        for pos in 0..self.entries.len() {
            let e = self.entries[pos];
            self.place(pos, Entry::new(e.when(), self.added, e.slot()));
            self.added += 1;
        }
    }

    /// Takes the first timer if it is due at `now`, or stopped.
    pub(super) fn pop(&mut self, now: i64) -> Option<Call> {
        if self.spill.len() != 0
            && let Some(call) = self.pop_spilled(now)
        {
            return Some(call);
        }
        loop {
            let first = *self.entries.first()?;
            let timer = self.pending(first);
            let when = timer.when;
            if when != STOPPED && first.when() > now {
                return None;
            }
            if when == STOPPED || when == first.when() {
                self.fired += u64::from(when != STOPPED);
                self.remove_at(0);
                return Some(timer.call);
            }
            self.sift_down(0, Entry::new(when, first.order(), first.slot()));
        }
    }

    /// [`Self::pop`] for the first spilled timer, if it comes before all
    /// entries.
    #[cold]
    fn pop_spilled(&mut self, now: i64) -> Option<Call> {
        let (t, node) = self.spill.first()?;
        let (key, own) = (node.key.get(), node.when.get());
        let due = own == STOPPED || key.when() <= now;
        let first = self.entries.first().is_none_or(|e| key < *e);
        let call = (due && first).then(|| self.unspill(t))?;
        self.fired += u64::from(own != STOPPED);
        Some(call)
    }

    /// Makes `t` due at `when`, with `seq`. True if that has made it the first.
    pub(super) fn set(&mut self, t: &Timer, when: i64, seq: u64) -> bool {
        let Some(pos) = self.place_of(t) else {
            let call = Call { seq, ..self.unspill(t) };
            return self.spill(when, Pending { call, timer: t, when });
        };
        let entry = self.entries[pos];
        let pending = &mut self.pending[entry.slot() as usize];
        self.stopped -= usize::from(pending.when == STOPPED);
        pending.when = when;
        pending.call.seq = seq;
        if when >= entry.when() {
            return false;
        }
        let sooner = Entry::new(when, entry.order(), entry.slot());
        self.sift_up(pos, sooner) == 0
    }

    /// Stops `t`, which stays in the heap. A spilled timer is taken out
    /// instead; then its call is the result.
    pub(super) fn stop(&mut self, t: &Timer) -> Option<Call> {
        let Some(pending) = self.pending.get_mut(t.slot() as usize) else {
            return Some(self.unspill(t));
        };
        let own = &mut pending.when;
        self.stopped += usize::from(*own != STOPPED);
        *own = STOPPED;
        None
    }

    /// Takes all stopped timers out if there are many and there is memory for
    /// the list of their calls.
    pub(super) fn sweep_if_many(&mut self) -> Vec<Call> {
        if self.stopped > SWEEP_MIN.max(self.entries.len() / SWEEP_PART) {
            self.sweep()
        } else {
            Vec::new()
        }
    }

    #[cold]
    fn sweep(&mut self) -> Vec<Call> {
        let mut calls = Vec::new();
        if calls.try_reserve_exact(self.stopped).is_err() {
            return calls;
        }
        let mut stay = 0;
        for at in 0..self.entries.len() {
            let e = self.entries[at];
            let Pending { call, when, .. } = self.pending(e);
            if when == STOPPED {
                self.give_slot(e);
                calls.push(call);
            } else {
                self.entries[stay] = e;
                stay += 1;
            }
        }
        self.entries.truncate(stay);
        self.stopped -= calls.len();
        for pos in (0..stay).rev() {
            self.sift_down(pos, self.entries[pos]);
        }
        calls
    }

    /// Takes `t` out.
    pub(super) fn remove(&mut self, t: &Timer) {
        match self.place_of(t) {
            Some(pos) => self.remove_at(pos),
            None => {
                self.unspill(t);
            }
        }
    }

    fn remove_at(&mut self, pos: usize) {
        let removed = self.entries.swap_remove(pos);
        self.stopped -= usize::from(self.pending(removed).when == STOPPED);
        self.give_slot(removed);
        // The last entry fills the hole and finds its place from there.
        let Some(entry) = self.entries.get(pos).copied() else { return };
        if entry < removed {
            self.sift_up(pos, entry);
        } else {
            self.sift_down(pos, entry);
        }
    }

    /// Takes all timers out, in the order in which they come up. `each` gets
    /// the time of the entry, and the timer.
    pub(super) fn drain_in_order(
        &mut self,
        mut each: impl FnMut(i64, Pending),
    ) {
        self.entries.sort_unstable();
        for &e in &self.entries {
            each(e.when(), self.pending(e));
        }
        while let Some((timer, node)) = self.spill.first() {
            let (key, when) = (node.key.get(), node.when.get());
            let call = self.unspill(timer);
            each(key.when(), Pending { call, timer, when });
        }
        let Self { added, fired, full, .. } = *self;
        *self = Self { added, fired, full, ..Self::new() };
    }

    /// Puts `entry` at `pos` or above, below an earlier parent; returns its
    /// position.
    fn sift_up(&mut self, mut pos: usize, entry: Entry) -> usize {
        while pos > 0 {
            let parent = (pos - 1) / ARITY;
            if entry > self.entries[parent] {
                break;
            }
            self.place(pos, self.entries[parent]);
            pos = parent;
        }
        self.place(pos, entry);
        pos
    }

    /// Puts `entry` at `pos` or below, above later children.
    fn sift_down(&mut self, mut pos: usize, entry: Entry) {
        while let Some((child, first)) = self.first_child(pos)
            && first < entry
        {
            self.place(pos, first);
            pos = child;
        }
        self.place(pos, entry);
    }

    /// The earliest child of the node at `pos`, after its position.
    #[inline]
    fn first_child(&self, pos: usize) -> Option<(usize, Entry)> {
        let at = pos * ARITY + 1;
        let rest = self.entries.get(at..)?;
        let earlier = |a: (usize, Entry), b: (usize, Entry)| {
            if b.1 < a.1 { b } else { a }
        };
        if let Some(&[a, b, c, d]) = rest.first_chunk::<ARITY>() {
            let left = earlier((at, a), (at + 1, b));
            let right = earlier((at + 2, c), (at + 3, d));
            return Some(earlier(left, right));
        }
        (at..).zip(rest.iter().copied()).reduce(earlier)
    }

    fn place(&mut self, pos: usize, entry: Entry) {
        self.entries[pos] = entry;
        self.places[entry.slot() as usize] = pos as u32;
    }

    /// Whether the tables and the tree agree.
    #[cfg(test)]
    pub(super) fn is_sound(&self) -> bool {
        let stopped = self.pending.len() - self.count_free();
        stopped == self.entries.len()
            && self.spill.is_sound()
            && self.entries.iter().enumerate().all(|(i, &e)| {
                let parent = self.entries[i.saturating_sub(1) / ARITY];
                let Pending { timer, when, .. } = self.pending(e);
                // SAFETY: pending, so it lives.
                let slot = unsafe { &*timer }.slot();
                let placed = self.places[e.slot() as usize] as usize == i;
                e >= parent && placed && slot == e.slot() && when >= e.when()
            })
    }

    #[cfg(test)]
    fn count_free(&self) -> usize {
        let (mut n, mut slot) = (0, self.free);
        while slot != NONE {
            n += 1;
            slot = self.places[slot as usize];
        }
        n
    }

    /// Lets new slots fail as without memory.
    #[cfg(test)]
    pub(super) fn set_full(&mut self, full: bool) {
        self.full = full;
    }

    /// Sets how many timers were ever added.
    #[cfg(test)]
    pub(super) fn set_added(&mut self, added: u32) {
        self.added = added;
    }
}
