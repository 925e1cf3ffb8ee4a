//! Who wakes a waiting goroutine: one word per G, one winner per wait.
//!
//! ```text
//!            arm            commit (hook)
//!   Idle ---------> Armed ----------------> Parked
//!    ^                |                       |
//!    |                | fire: Early           | fire: Parked, who won it
//!    |                v                       v  readies the goroutine
//!    +------------- Fired <-------------------+
//!        finish
//! ```
//!
//! A wait begins when its owner arms the word; the ticket of that wait goes
//! into every place that may end it: a queue of waiters, a timer, a cancel.
//! Each of them *fires* the ticket; one wins, the others change nothing. The
//! hook that runs after the goroutine has left its stack *commits*; if the
//! wait was over by then (Early), the hook readies the goroutine. So nobody
//! can run a stack that is still in use.
//!
//! Invariants:
//! 1. Idle -> Armed and Fired -> Idle are the owner's (the goroutine, or its
//!    host thread); Armed -> Parked is the hook's, which runs once for each
//!    arm that parks.
//! 2. The sequence number grows with each arm, so a ticket fires at most the
//!    wait that it was made for: a late waker finds another number.
//! 3. Exactly one of the hook (commit fails) and the winner of a fire that
//!    returned [`Fire::Parked`] readies the goroutine.
//! 4. A permit ([`ParkWord::give_permit`]) or a cancel that is posted while no
//!    wait of its kind is under way stays in `attention`. The hook looks there
//!    after its commit, and the poster looks at the word after posting; both
//!    are SeqCst, so at least one sees the other.
//! 5. `attention` carries the generation of the G, which grows when it dies: a
//!    permit or a cancel that comes with an old handle is not posted. Between
//!    the post and the fire the G may die and live again, so the poster reads
//!    the word first and the generation after it: if that is still its own,
//!    so was the wait.

use crate::base::sync::{
    AtomicU64, Ordering::*, release_over_changes, seqcst_accesses,
};

const STATE: u64 = 3;
const IDLE: u64 = 0;
const ARMED: u64 = 1;
const PARKED: u64 = 2;
const FIRED: u64 = 3;
/// The wait ends at a `gmp_ready`.
const READYABLE: u64 = 1 << 2;
/// The wait ends at a cancel.
const CANCELLABLE: u64 = 1 << 3;
const CAUSE_SHIFT: u32 = 4;
const CAUSE: u64 = 3 << CAUSE_SHIFT;
/// Where the sequence number begins.
const SEQ: u64 = 1 << 6;

/// Bits of `attention`, below the generation.
const PERMIT: u64 = 1;
const CANCEL: u64 = 2;
/// Cancels do not reach the goroutine.
const SHIELD: u64 = 4;
const GENERATION_SHIFT: u32 = 32;
const FIRST: u64 = 1 << GENERATION_SHIFT;

/// Which outside events end a wait, besides what it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitKind {
    /// Only the wake-up and a deadline: locks, joins of clean-up code.
    Plain,
    /// A cancel too.
    Cancellable,
    /// `gmp_park`: a cancel and a permit too.
    Park,
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// What it waited for happened.
    Wake = 0,
    /// Its deadline passed.
    Timeout = 1,
    /// Its goroutine was cancelled.
    Cancel = 2,
}

/// What a fire did.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fire {
    /// The wait was over already: nothing changed.
    Lost,
    /// Won, before the goroutine left its stack: the hook will ready it.
    Early,
    /// Won: the caller has to ready the goroutine.
    Parked,
}

/// One wait of one goroutine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

impl Ticket {
    /// The ticket as a number, to travel through a timer.
    pub fn raw(self) -> u64 {
        self.0
    }

    /// The reverse of [`Ticket::raw`].
    pub fn from_raw(raw: u64) -> Self {
        Self(raw)
    }
}

/// One goroutine's waits.
#[derive(Debug)]
pub struct ParkWord {
    word: AtomicU64,
    /// The generation, owner. PERMIT and CANCEL: atomic, anybody sets. SHIELD:
    /// owner.
    attention: AtomicU64,
}

impl ParkWord {
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self { word: AtomicU64::new(0), attention: AtomicU64::new(FIRST) }
    }

    #[cfg(loom)]
    pub fn new() -> Self {
        Self { word: AtomicU64::new(0), attention: AtomicU64::new(FIRST) }
    }

    /// The generation of the G.
    pub fn generation(&self) -> u32 {
        // Acquire: pairs with next_generation.
        (self.attention.load(Acquire) >> GENERATION_SHIFT) as u32
    }

    /// Owner of a G that has died: old handles go stale, permit and cancel are
    /// forgotten. The sequence of waits goes on.
    pub fn next_generation(&self) {
        let old = self.attention.load(Relaxed) & !(FIRST - 1);
        // Release: who finds the new generation sees all that the old one did.
        // A post that comes in between is for the old one, and dropped.
        release_over_changes(&self.attention, old.wrapping_add(FIRST));
    }

    /// Owner: begins a wait. Behind a shield a cancel does not end it.
    pub fn arm(&self, kind: WaitKind) -> Ticket {
        // Relaxed: only the owner moves an Idle word (invariant 1).
        let old = self.word.load(Relaxed);
        debug_assert_eq!(old & STATE, IDLE, "arm: already waiting");
        let kind = match kind {
            WaitKind::Plain => 0,
            WaitKind::Cancellable => CANCELLABLE,
            WaitKind::Park => CANCELLABLE | READYABLE,
        };
        let kind = if self.shielded() { kind & !CANCELLABLE } else { kind };
        let base = ((old & !(SEQ - 1)).wrapping_add(SEQ)) | kind;
        // Release: pairs with post, which must not find this wait and then an
        // older generation (invariant 5). Other wakers learn of the ticket
        // through something that orders.
        self.word.store(base | ARMED, Release);
        Ticket(base)
    }

    /// Hook: the goroutine is off its stack. False: the wait is over, and the
    /// hook readies the goroutine.
    #[must_use]
    pub fn commit(&self, t: Ticket) -> bool {
        // SeqCst: with `attention`, invariant 4. Release: pairs with the
        // winner's acquire, which then runs the goroutine.
        let parked = self
            .word
            .compare_exchange(t.0 | ARMED, t.0 | PARKED, SeqCst, Acquire)
            .is_ok();
        if !parked {
            return false;
        }
        seqcst_accesses();
        let posted = self.attention.load(SeqCst);
        if posted & (PERMIT | CANCEL) == 0 {
            return true;
        }
        self.commit_slow(t, posted)
    }

    #[cold]
    fn commit_slow(&self, t: Ticket, posted: u64) -> bool {
        let cause = if posted & CANCEL != 0 && t.0 & CANCELLABLE != 0 {
            Cause::Cancel
        } else if posted & PERMIT != 0 && t.0 & READYABLE != 0 {
            Cause::Wake
        } else {
            return true;
        };
        // Parked: ours to ready, which the hook does on false. Lost: whoever
        // won readies it.
        self.fire(t, cause) == Fire::Lost
    }

    /// Anybody: ends the wait `t`, if it is still under way.
    pub fn fire(&self, t: Ticket, cause: Cause) -> Fire {
        let fired = t.0 | FIRED | ((cause as u64) << CAUSE_SHIFT);
        let mut state = PARKED;
        loop {
            // Acquire: the goroutine's saved context, released by commit.
            // Release: what the waker wrote for it, acquired by finish.
            match self.word.compare_exchange(t.0 | state, fired, SeqCst, SeqCst)
            {
                Ok(_) if state == PARKED => return Fire::Parked,
                Ok(_) => return Fire::Early,
                Err(now) if now == t.0 | ARMED => state = ARMED,
                Err(now) if now == t.0 | PARKED => state = PARKED,
                Err(_) => return Fire::Lost,
            }
        }
    }

    /// Owner, running again: ends the wait and says why.
    pub fn finish(&self) -> Cause {
        // Acquire: pairs with fire.
        let word = self.word.load(Acquire);
        debug_assert_eq!(word & STATE, FIRED, "finish: not woken");
        // Relaxed: late wakers compare the sequence number, which stays.
        self.word.store(word & !(STATE | CAUSE), Relaxed);
        match (word & CAUSE) >> CAUSE_SHIFT {
            0 => Cause::Wake,
            1 => Cause::Timeout,
            _ => Cause::Cancel,
        }
    }

    /// Owner: takes the permit, if there is one.
    pub fn take_permit(&self) -> bool {
        // Acquire: pairs with give_permit's release.
        self.attention.fetch_and(!PERMIT, AcqRel) & PERMIT != 0
    }

    /// Anybody: leaves a permit, and ends a wait that takes one. The caller
    /// readies the goroutine on [`Fire::Parked`]. None: that generation has
    /// ended.
    pub fn give_permit(&self, generation: u32) -> Option<Fire> {
        self.post(generation, PERMIT, READYABLE, Cause::Wake)
    }

    /// Anybody: cancels the goroutine for good, and ends a wait that may be
    /// cancelled. The caller readies the goroutine on [`Fire::Parked`]. None:
    /// that generation has ended.
    pub fn cancel(&self, generation: u32) -> Option<Fire> {
        self.post(generation, CANCEL, CANCELLABLE, Cause::Cancel)
    }

    fn post(
        &self,
        generation: u32,
        bit: u64,
        kind: u64,
        cause: Cause,
    ) -> Option<Fire> {
        let ours = |attention: u64| {
            (attention >> GENERATION_SHIFT) as u32 == generation
        };
        self.attention
            .fetch_update(SeqCst, Relaxed, |a| ours(a).then_some(a | bit))
            .ok()?;
        seqcst_accesses();
        let word = self.word.load(SeqCst);
        let waiting = matches!(word & STATE, ARMED | PARKED);
        // In this order: invariant 5.
        let live = ours(self.attention.load(SeqCst));
        if !waiting || word & kind == 0 || !live {
            return Some(Fire::Lost);
        }
        Some(self.fire(Ticket(word & !STATE), cause))
    }

    /// Whether the goroutine was cancelled.
    pub fn cancelled(&self) -> bool {
        // Acquire: pairs with cancel's release.
        self.attention.load(Acquire) & CANCEL != 0
    }

    /// Owner: whether a call that may be cancelled has to give up.
    #[inline]
    pub fn must_give_up(&self) -> bool {
        // Acquire: pairs with cancel's release.
        self.attention.load(Acquire) & (CANCEL | SHIELD) == CANCEL
    }

    /// Owner: whether cancels do not reach it.
    pub fn shielded(&self) -> bool {
        // Relaxed: only the owner sets it.
        self.attention.load(Relaxed) & SHIELD != 0
    }

    /// Owner: from now on cancels do not reach it, or do again.
    pub fn shield(&self, on: bool) {
        // Relaxed: only the owner reads it; cancels are kept.
        if on {
            self.attention.fetch_or(SHIELD, Relaxed);
        } else {
            self.attention.fetch_and(!SHIELD, Relaxed);
        }
    }

    /// Whether a wait is under way, and nobody has ended it yet.
    pub fn waiting(&self) -> bool {
        matches!(self.word.load(SeqCst) & STATE, ARMED | PARKED)
    }
}

#[cfg(not(loom))]
impl Default for ParkWord {
    fn default() -> Self {
        Self::new()
    }
}
