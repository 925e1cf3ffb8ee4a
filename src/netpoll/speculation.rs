//! Speculation: the next read of a drained TCP stream waits without a try.
//!
//! A read that brings less than it has room for has drained the stream. When
//! the same goroutine soon reads again, a try (recv) would find nothing, and
//! registering the number (ADD) would find it registered. Both system calls
//! are left out: the goroutine waits at once. Data that have come since that
//! short read make an edge, and an edge ends the wait.
//!
//! `block::fdwait` makes two calls. `Caller::before_try` asks what the
//! goroutine may assume; `Caller::after_try` tells how its call has ended. The
//! answer depends on the age of the short read, and on how long the goroutine
//! has been away since, outside all calls on this file:
//!
//! | short read | away | [`Speculation`] | left out |
//! |---|---|---|---|
//! | older than [`FRESH`] | | `None` | nothing |
//! | younger | longer than [`SHORTEST_CALL`] | `Drained` | recv |
//! | younger | shorter | `DrainedSameFile` | recv, ADD |
//!
//! In the last row the goroutine has had no time to close the file. If another
//! thread has closed it, the effect is that of a close during the wait. In the
//! first row a wait could be long for data that are there already, as no M
//! polls for a while where all Ps are busy.
//!
//! # Confidence
//! The rule that a short read leaves nothing behind holds for TCP, but not at
//! an urgent mark, nor for encryption in the kernel. So each file has a
//! [`Confidence`], and a wait on speculation is *unverified* until an event
//! ends it, or sysmon asks the kernel (`verify`) whether the file is still
//! the same and empty.
//!
//! | from | to | when |
//! |---|---|---|
//! | `Unknown` | `Good` | the first short read: the file is a TCP socket |
//! | `Unknown` | `Never` | … is another file, or cycles are uneven here |
//! | `Good` | `Suspect` | sysmon finds data that a waiter has no event of |
//! | `Suspect` | `Never` | sysmon finds such data once more |
//! | `Suspect` | `Good` | an event ends an unverified wait |
//! | any | `Never` | an event of more than data: end, error, urgent data |
//! | any | `Unknown` | the number is another file's |
//!
//! One of [`TRY_EVERY`] short reads is not noted, so that the next read tries.
//!
//! Invariants:
//! 1. A goroutine that waits on speculation has compared, under the lock, the
//!    edges with those from before the short read. So data that have come since
//!    that read make one more edge.
//! 2. A Desc that is `unverified` is in the list [`UNVERIFIED`], or in the
//!    hands of `verify`.
//! 3. The list is empty while sysmon sleeps for long: a goroutine that enters
//!    the list holds a P, and sysmon looks at the list once all Ps are idle.
//! 4. `drained_at`, `left_at` and `away` belong to the goroutine in `drainer`.
//!    A reader that meets a change of hands sees it by (h):
//!
//! ```text
//!   a goroutine takes over            another one reads
//!     (a) drainer = 0                   (e) drainer             Acquire
//!     (b) fence                Release  (f) drained_at, away
//!     (c) drained_at, away, …           (g) fence               Acquire
//!     (d) drainer = itself     Release  (h) drainer again: differs from (e)?
//! ```
//! (d) pairs with (e): (f) loads nothing older than the drainer that (e) finds.
//! (b) pairs with (g): if (f) loads something newer, from (c), then (h) finds
//! the 0 of (a), or a drainer after it.
//!
//! # Its worth
//! An echo of 64 bytes on 64 connections (`bench/README.md`, echo64) takes 4.0
//! system calls a request without speculation, 3.0 with `Drained`, 2.1 with
//! `DrainedSameFile`, for 50 more instructions. A connection that rests for
//! longer than 10 ms loses by it: sysmon's look takes three calls, and one or
//! two are saved.

use crate::{
    base::sync::{
        AtomicI32, AtomicU8, AtomicU32, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
    os::{self, clock::cycles},
};
use core::{cell::Cell, sync::atomic::fence};

/// In cycles: no system call takes as few.
const SHORTEST_CALL: u64 = 200;
/// In cycles, some 40 µs: what has come since may as well have come later.
const FRESH: u64 = 100_000;
/// Of so many short reads, one is followed by a read that tries. Where that
/// read finds something, the reads after it try too, until one has to wait.
const TRY_EVERY: u8 = 32;

/// How sure it is that a short read of a file leaves nothing behind.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Confidence {
    /// Nobody has asked yet what the file is.
    Unknown,
    /// The file is a TCP socket.
    Good,
    /// A TCP socket whose last wait on speculation missed data.
    Suspect,
    /// Speculation is off for this file.
    Never,
}

impl Confidence {
    #[inline]
    fn of(word: u8) -> Self {
        match word {
            0 => Self::Unknown,
            1 => Self::Good,
            2 => Self::Suspect,
            _ => Self::Never,
        }
    }
}

/// The assumption of a goroutine that is about to read. `edges` are those from
/// before its last read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speculation {
    /// Nothing.
    None,
    /// The stream is empty, if the number is still that of the file.
    Drained { edges: u32 },
    /// The stream is empty, and the number is that of the file.
    DrainedSameFile { edges: u32 },
}

impl Speculation {
    /// The edges that a wait on speculation compares; None without one.
    pub(crate) fn edges(self) -> Option<u32> {
        match self {
            Self::None => None,
            Self::Drained { edges } | Self::DrainedSameFile { edges } => {
                Some(edges)
            }
        }
    }
}

/// Speculation's part of a Desc.
pub(super) struct State {
    /// The goroutine that has drained the stream, and the edges before its
    /// read, as [`drainer`] packs them; 0 for nobody.
    drainer: AtomicU64,
    /// the drainer's: when, in cycles
    drained_at: AtomicU64,
    /// the drainer's: the end of its last call on the file, in cycles
    left_at: AtomicU64,
    /// the drainer's: cycles that it has been away since, up to its last call
    away: AtomicU64,
    /// Short reads so far; wraps.
    short_reads: AtomicU8,
    /// A [`Confidence`].
    confidence: AtomicU8,
    /// lock: a goroutine waits on speculation, since this round of `verify`
    unverified: Cell<bool>,
    round: Cell<u32>,
    /// lock: the Desc is in the list
    listed: Cell<bool>,
    /// the list's: the next number plus 1; 0 at its end
    next: Cell<i32>,
}

/// The numbers for which a goroutine waits on speculation, linked by `next`:
/// the first one plus 1, or 0. Pushed one by one, taken as a whole.
static UNVERIFIED: AtomicI32 = AtomicI32::new(0);
/// Counts the calls of `verify`.
static ROUND: AtomicU32 = AtomicU32::new(0);

impl State {
    pub(super) fn new() -> Self {
        Self {
            drainer: AtomicU64::new(0),
            drained_at: AtomicU64::new(0),
            left_at: AtomicU64::new(0),
            away: AtomicU64::new(0),
            short_reads: AtomicU8::new(0),
            confidence: AtomicU8::new(Confidence::Unknown as u8),
            unverified: Cell::new(false),
            round: Cell::new(0),
            listed: Cell::new(false),
            next: Cell::new(0),
        }
    }

    // Relaxed: a wrong answer costs a try, or a wait that verify ends.
    #[inline]
    fn confidence(&self) -> Confidence {
        Confidence::of(self.confidence.load(Relaxed))
    }

    fn set_confidence(&self, confidence: Confidence) {
        self.confidence.store(confidence as u8, Relaxed);
    }

    /// Under the lock: an event for readers; `more`: it tells more than that
    /// there are data.
    pub(super) fn edge(&self, more: bool) {
        if more {
            self.set_confidence(Confidence::Never);
        } else if self.unverified.get()
            && self.confidence() == Confidence::Suspect
        {
            self.set_confidence(Confidence::Good);
        }
        self.unverified.set(false);
    }

    /// Under the lock: the number is another file's.
    pub(super) fn forget(&self) {
        self.set_confidence(Confidence::Unknown);
        self.drainer.store(0, Relaxed);
        self.unverified.set(false);
    }

    #[inline]
    fn is_drainer(&self, goid: u64) -> bool {
        // Relaxed: a goroutine looks for its own store.
        let drainer = self.drainer.load(Relaxed);
        drainer != 0 && drainer >> 32 == u64::from(goid as u32)
    }

    /// The drainer begins a call at `now`.
    #[inline]
    fn add_away(&self, now: u64) {
        let gone = now.wrapping_sub(self.left_at.load(Relaxed));
        // Saturates: a counter may differ between processors.
        let away = self.away.load(Relaxed).saturating_add(gone);
        self.away.store(away, Relaxed);
    }

    /// `goid` becomes the drainer: invariant 4.
    #[inline]
    fn set_drainer(&self, goid: u64, edges: u32) {
        let now = cycles();
        self.drainer.store(0, Relaxed);
        fence(Release);
        self.drained_at.store(now, Relaxed);
        self.left_at.store(now, Relaxed);
        self.away.store(0, Relaxed);
        self.drainer.store(drainer(goid, edges), Release);
    }

    /// A call of `goid` begins. `reads`: as a read, which may wait on the
    /// result instead of its first try. `edges` are those of readers now.
    #[inline]
    pub(super) fn before_try(
        &self,
        goid: u64,
        reads: bool,
        edges: impl FnOnce() -> u32,
    ) -> Speculation {
        if !self.is_drainer(goid) {
            return Speculation::None;
        }
        let now = cycles();
        self.add_away(now);
        if !reads {
            return Speculation::None;
        }
        self.speculate(goid, now, edges)
    }

    /// A call of `goid` on the file of `fd` has gone through. `drained`: it was
    /// a read that has drained the stream, after these edges. Such a read has
    /// waited before, so its file is the one that the poller knows.
    #[inline]
    pub(super) fn after_try(&self, fd: i32, goid: u64, drained: Option<u32>) {
        if let Some(edges) = drained {
            self.drained(fd, goid, edges);
        } else if self.is_drainer(goid) {
            self.left_at.store(cycles(), Relaxed);
        }
    }

    /// The table at the top.
    #[inline]
    fn speculate(
        &self,
        goid: u64,
        now: u64,
        edges_now: impl FnOnce() -> u32,
    ) -> Speculation {
        let drainer = self.drainer.load(Acquire);
        let age = now.wrapping_sub(self.drained_at.load(Relaxed));
        let away = self.away.load(Relaxed);
        fence(Acquire);
        // Invariant 4.
        let torn = self.drainer.load(Relaxed) != drainer;
        let edges = drainer as u32;
        if torn
            || !self.is_drainer(goid)
            || age > FRESH
            || edges_now() != edges
            || self.confidence() == Confidence::Never
        {
            return Speculation::None;
        }
        if away < SHORTEST_CALL {
            Speculation::DrainedSameFile { edges }
        } else {
            Speculation::Drained { edges }
        }
    }

    /// `goid` has drained the stream.
    #[inline]
    fn drained(&self, fd: i32, goid: u64, edges: u32) {
        match self.confidence() {
            Confidence::Never => return,
            Confidence::Unknown if !self.is_tcp(fd) => return,
            _ => {}
        }
        // Relaxed: a count that may miss some.
        let short_reads = self.short_reads.load(Relaxed).wrapping_add(1);
        self.short_reads.store(short_reads, Relaxed);
        if short_reads.is_multiple_of(TRY_EVERY) {
            self.drainer.store(0, Relaxed);
        } else {
            self.set_drainer(goid, edges);
        }
    }

    /// Whether speculation may begin, asked once for each file. It never does
    /// where the processor's cycles do not tell time.
    #[cold]
    fn is_tcp(&self, fd: i32) -> bool {
        let tcp = os::clock::cycles_are_even() && os::net::is_tcp(fd);
        let found = if tcp { Confidence::Good } else { Confidence::Never };
        // Unless an event has told otherwise.
        let (from, to) = (Confidence::Unknown as u8, found as u8);
        self.confidence
            .compare_exchange(from, to, Relaxed, Relaxed)
            .is_ok_and(|_| tcp)
    }

    /// Under the lock: a goroutine waits on speculation for `fd`, whose state
    /// this is. It holds a P (invariant 3).
    pub(super) fn set_unverified(&self, fd: i32) {
        self.unverified.set(true);
        // Relaxed: a coarse clock.
        self.round.set(ROUND.load(Relaxed));
        self.list(fd);
    }

    /// Under the lock: enters the list, unless it is there.
    fn list(&self, fd: i32) {
        if self.listed.replace(true) {
            return;
        }
        let mut head = UNVERIFIED.load(Relaxed);
        loop {
            self.next.set(head);
            let pushed =
                // Release: pairs with take_unverified.
                UNVERIFIED.compare_exchange_weak(head, fd + 1, Release, Relaxed);
            match pushed {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Under the lock, off the list: the next number of it.
    pub(super) fn unlist(&self) -> Option<i32> {
        self.listed.set(false);
        number(self.next.get())
    }

    /// Under the lock, off the list: asks the kernel by `verify` if a goroutine
    /// waits on speculation since before `round`. `verify` says whether it
    /// found data that no event has told of; None: the kernel cannot tell now.
    pub(super) fn verify_if_due(
        &self,
        fd: i32,
        round: u32,
        waited_for: bool,
        verify: impl FnOnce() -> Option<bool>,
    ) {
        if !self.unverified.get() || !waited_for {
            self.unverified.set(false);
            return;
        }
        if self.round.get() == round {
            return self.list(fd);
        }
        let Some(missed) = verify() else { return self.list(fd) };
        self.unverified.set(false);
        if missed {
            self.set_confidence(match self.confidence() {
                Confidence::Suspect => Confidence::Never,
                _ => Confidence::Suspect,
            });
        }
    }
}

/// The low half of a goroutine's number stands for the goroutine.
fn drainer(goid: u64, edges: u32) -> u64 {
    goid << 32 | u64::from(edges)
}

/// The number behind a link of the list.
fn number(link: i32) -> Option<i32> {
    (link > 0).then(|| link - 1)
}

/// Whether a goroutine waits on speculation.
pub(crate) fn any_unverified() -> bool {
    // Relaxed: asked again and again; before a long sleep, under sched.lock.
    UNVERIFIED.load(Relaxed) != 0
}

/// Begins a round of `verify`, of which there is one at a time: its number, and
/// the first number of the list, which it takes.
pub(super) fn take_unverified() -> (u32, Option<i32>) {
    // Relaxed: a coarse clock.
    let round = ROUND.fetch_add(1, Relaxed);
    // Acquire: pairs with `list`.
    let first = UNVERIFIED.swap(0, Acquire);
    (round, number(first))
}

/// Puts the statics of this file back to what they were before the start
/// (`boot::reset`).
///
/// # Safety
/// No other thread runs code of the library.
pub(crate) unsafe fn reset() {
    UNVERIFIED.store(0, Relaxed);
    ROUND.store(0, Relaxed);
}
