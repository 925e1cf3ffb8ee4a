//! Waiting on trust: for a stream that the same goroutine has just drained.
//!
//! A read that brought less than there was room for has left nothing behind,
//! so the next one need not ask the kernel whether there is anything (recv) and
//! whether the number is still that file's (ADD): it waits, and what comes
//! later makes an edge. The goroutine notes in the Desc that it has drained the
//! stream, and how long it has been away from it since, in cycles:
//!
//! - Away for less than a system call takes: it asks neither. It cannot have
//!   closed the file meanwhile; where another thread has, that is as if it did
//!   so while we wait.
//! - Longer: ADD, but no try.
//! - Where the read is too long ago, a try, as ever: who waits is told by the
//!   poller, which is asked late where all Ps are busy, and what is there
//!   already shall not wait for it.
//!
//! # Who is mistaken
//! That a short read leaves nothing is so for TCP, but for urgent data,
//! encryption in the kernel, and what else may come. So:
//!
//! - only TCP is trusted, and no longer after an event that
//!   tells more than that there is data: the end, an error, urgent data;
//! - now and then there is a try, and trust ends where it finds something;
//! - whoever waits on trust is in the list of [`DOUBTS`], and [`settle`], which
//!   sysmon calls, has the kernel look after all at those who have waited for a
//!   while. Twice in a row in vain, and the file is trusted no more.
//!
//! Invariants:
//! 1. Who waits on trust has compared the edges under the lock with those from
//!    before the read, so whatever has come since makes another edge.
//! 2. A Desc with `unsure` is in the list, or with whoever settles.
//! 3. The list is empty while sysmon sleeps for long: who enters it holds a P,
//!    and sysmon looks at it once all Ps are idle.

use super::{Desc, Side};
use crate::{
    base::sync::{
        AtomicPtr, AtomicU8, AtomicU32, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
    gmp::wait::WakeList,
    os::{self, Errno},
};
use core::{cell::Cell, ptr, sync::atomic::fence};

/// In cycles: no system call takes as few.
const NO_CALL: u64 = 200;
/// In cycles, some 40 µs: what came since may as well have come later.
const FRESH: u64 = 100_000;

/// Of so many reads, one is without trust: where that finds something, the next
/// ones are too, until one has to wait.
const TRIES: u8 = 32;

/// How far a file is trusted: nobody has asked what it is; it is TCP; it is,
/// and the last wait on trust was in vain; never.
mod faith {
    pub(super) const UNKNOWN: u8 = 0;
    pub(super) const YES: u8 = 1;
    pub(super) const SHAKEN: u8 = 2;
    pub(super) const NEVER: u8 = 3;
}

/// What a goroutine knows of a stream that it is about to read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Nothing, or it has tried.
    None,
    /// It is empty, if the number is still that file's.
    Empty,
    /// And the number is.
    Same,
}

/// A Desc's part in it.
pub(super) struct Drained {
    /// Who has drained the stream, and the edges before: low half. 0: nobody.
    by: AtomicU64,
    /// by: when, in cycles
    at: AtomicU64,
    /// by: when it last left a call on the file
    left: AtomicU64,
    /// by: how long it has been away since, but for now
    away: AtomicU64,
    /// How often it was noted; wraps.
    notes: AtomicU8,
    /// See `faith`.
    faith: AtomicU8,
    /// lock: somebody waits on trust, since this round of `settle`
    unsure: Cell<bool>,
    round: Cell<u32>,
    /// lock: it is in the list
    listed: Cell<bool>,
    /// the list's
    next: Cell<*const Desc>,
}

/// Descs where somebody waits on trust, linked by `next`. Pushed to one by
/// one, taken as a whole.
static DOUBTS: AtomicPtr<Desc> = AtomicPtr::new(ptr::null_mut());
/// Counts the calls of `settle`.
static ROUND: AtomicU32 = AtomicU32::new(0);

impl Drained {
    pub(super) fn new() -> Self {
        Self {
            by: AtomicU64::new(0),
            at: AtomicU64::new(0),
            left: AtomicU64::new(0),
            away: AtomicU64::new(0),
            notes: AtomicU8::new(0),
            faith: AtomicU8::new(faith::UNKNOWN),
            unsure: Cell::new(false),
            round: Cell::new(0),
            listed: Cell::new(false),
            next: Cell::new(ptr::null()),
        }
    }

    /// Under the lock: an event for readers; `odd`: it tells more than that
    /// there is data.
    pub(super) fn edge(&self, odd: bool) {
        if odd {
            self.faith.store(faith::NEVER, Relaxed);
        } else if self.unsure.get() && self.faith.load(Relaxed) == faith::SHAKEN
        {
            self.faith.store(faith::YES, Relaxed);
        }
        self.unsure.set(false);
    }

    /// Under the lock: the number is another file's.
    pub(super) fn forget(&self) {
        self.faith.store(faith::UNKNOWN, Relaxed);
        self.by.store(0, Relaxed);
        self.unsure.set(false);
    }
}

/// The low half of a goroutine's number stands for it.
fn name(goid: u64, edges: u32) -> u64 {
    goid << 32 | u64::from(edges)
}

impl Desc {
    fn drained_by(&self, goid: u64) -> bool {
        let by = self.drained.by.load(Relaxed);
        by != 0 && by >> 32 == u64::from(goid as u32)
    }

    /// A goroutine begins a call on the file. The time in cycles, if it has
    /// drained it.
    #[inline]
    pub(crate) fn come(&self, goid: u64) -> Option<u64> {
        if !self.drained_by(goid) {
            return None;
        }
        let d = &self.drained;
        let now = os::clock::cycles();
        let gone = now.wrapping_sub(d.left.load(Relaxed));
        // Saturates: a counter may differ between processors.
        d.away.store(d.away.load(Relaxed).saturating_add(gone), Relaxed);
        Some(now)
    }

    /// It leaves one.
    #[inline]
    pub(crate) fn leave(&self, goid: u64) {
        if self.drained_by(goid) {
            self.drained.left.store(os::clock::cycles(), Relaxed);
        }
    }

    /// Its read, after `edges`, brought less than there was room for; the file
    /// is the one that the poller knows: it had waited.
    #[inline]
    pub(crate) fn drained(&self, goid: u64, edges: u32) {
        let d = &self.drained;
        match d.faith.load(Relaxed) {
            faith::NEVER => return,
            faith::UNKNOWN if !self.first_read() => return,
            _ => {}
        }
        let notes = d.notes.load(Relaxed).wrapping_add(1);
        d.notes.store(notes, Relaxed);
        if notes.is_multiple_of(TRIES) {
            d.by.store(0, Relaxed);
            return;
        }
        let now = os::clock::cycles();
        // Another goroutine that reads it too may look in between.
        d.by.store(0, Relaxed);
        fence(Release);
        d.at.store(now, Relaxed);
        d.left.store(now, Relaxed);
        d.away.store(0, Relaxed);
        d.by.store(name(goid, edges), Release);
    }

    /// Whether it may be trusted, asked once for each file. Nothing is where
    /// the processor's cycles do not tell time: then every read that has to
    /// wait asks the kernel.
    #[cold]
    fn first_read(&self) -> bool {
        let tcp = os::clock::cycles_are_even() && os::net::is_tcp(self.fd);
        let found = if tcp { faith::YES } else { faith::NEVER };
        let d = &self.drained;
        // Unless an event has told otherwise.
        d.faith
            .compare_exchange(faith::UNKNOWN, found, Relaxed, Relaxed)
            .is_ok_and(|_| tcp)
    }

    /// What the goroutine knows of the file that it came to at `now`, and the
    /// edges before its read.
    #[inline]
    pub(crate) fn trust(&self, goid: u64, now: u64) -> Option<(Trust, u32)> {
        let d = &self.drained;
        let by = d.by.load(Acquire);
        let total = now.wrapping_sub(d.at.load(Relaxed));
        let away = d.away.load(Relaxed);
        fence(Acquire);
        let torn = d.by.load(Relaxed) != by;
        let edges = by as u32;
        if torn
            || !self.drained_by(goid)
            || total > FRESH
            || self.edges(Side::Read) != edges
            || d.faith.load(Relaxed) == faith::NEVER
        {
            return None;
        }
        let trust = if away < NO_CALL { Trust::Same } else { Trust::Empty };
        Some((trust, edges))
    }

    /// Under the lock: somebody waits for what can be read, on trust. It holds
    /// a P (invariant 3).
    pub(super) fn doubt(&'static self) {
        let d = &self.drained;
        d.unsure.set(true);
        d.round.set(ROUND.load(Relaxed));
        if !d.listed.replace(true) {
            self.list();
        }
    }

    fn list(&'static self) {
        let mut head = DOUBTS.load(Relaxed);
        loop {
            self.drained.next.set(head);
            let this = ptr::from_ref(self).cast_mut();
            // Release: pairs with settle.
            match DOUBTS.compare_exchange_weak(head, this, Release, Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Under the lock, out of the list: who has waited on trust for longer than
    /// since `round` is told what the kernel says.
    fn settle(&'static self, round: u32, list: &mut WakeList) {
        let d = &self.drained;
        d.listed.set(false);
        let read = &self.ways[Side::Read as usize];
        if !d.unsure.get() || read.queue.seems_empty() {
            d.unsure.set(false);
            return;
        }
        if d.round.get() == round || !self.verify(list) {
            d.listed.set(true);
            self.list();
        }
    }

    /// Under the lock: whether the number is still the file's, and nothing is
    /// there. False: that cannot be told now.
    fn verify(&self, list: &mut WakeList) -> bool {
        let d = &self.drained;
        match self.watch(Side::Read, false) {
            Ok(false) => {}
            Err(Errno(libc::ENOMEM | libc::ENOSPC)) => return false,
            Err(_) if super::lost() => return false,
            other => {
                self.registered.set(other.is_ok());
                self.file.set(os::own::name(self.fd));
                self.give_up(list);
                return true;
            }
        }
        d.unsure.set(false);
        // Less than SO_RCVLOWAT is something, too.
        if os::fd::ready(self.fd, libc::POLLIN).is_ok()
            || os::net::unread(self.fd) > 0
        {
            let shaken = d.faith.load(Relaxed) == faith::SHAKEN;
            let faith = if shaken { faith::NEVER } else { faith::SHAKEN };
            d.faith.store(faith, Relaxed);
            let read = &self.ways[Side::Read as usize];
            read.edge();
            read.take(list, true);
        }
        true
    }
}

/// Whether anybody waits on trust.
pub(crate) fn doubts() -> bool {
    !DOUBTS.load(Relaxed).is_null()
}

/// Makes sure of all that somebody has waited for on trust since the last call
/// or longer. The caller, of whom there is one at a time, readies those in the
/// list.
pub(crate) fn settle() -> WakeList {
    let mut list = WakeList::new();
    // Relaxed: a coarse clock.
    let round = ROUND.fetch_add(1, Relaxed);
    // Acquire: pairs with `list`.
    let mut next: *const Desc = DOUBTS.swap(ptr::null_mut(), Acquire);
    // SAFETY: a Desc stays.
    while let Some(desc) = unsafe { next.as_ref() } {
        desc.lock();
        next = desc.drained.next.get();
        desc.settle(round, &mut list);
        desc.unlock();
    }
    list
}
