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
//! Most waits are for something behind a lock: who queues holds it until the
//! hook has committed, and who wakes it holds it too ([`Wakers::Locked`]). Then
//! only a cancel comes from elsewhere, which is rare, and pays for all
//! (`base::barrier`): commit is a store; and so is the fire where that lock is
//! one, the *claim* ([`Wakers::OneLock`]). Read-modify-writes are what a wait
//! costs.
//!
//! ```text
//!   hook:    word = Parked              waker, under the lock:
//!            attention: CANCEL?           claim = true
//!            yes: fire                    attention: CANCEL?
//!                                         yes: fire, as in the drawing
//!   cancel:  attention |= CANCEL          no: won; the word stays Parked
//!            barrier in every thread
//!            word Parked, no claim: fire
//! ```
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
//!    are SeqCst, or have the barrier in between, so at least one sees the
//!    other.
//! 5. `attention` carries the generation of the G, which grows when it dies: a
//!    permit or a cancel that comes with an old handle is not posted. Between
//!    the post and the fire the G may die and live again, so the poster reads
//!    the word first and the generation after it: if that is still its own,
//!    so was the wait.
//! 6. Behind a lock nobody fires an Armed word: wakers come after the commit,
//!    since they need the lock, and a cancel leaves it to the hook, which then
//!    stores Parked after the barrier and so finds CANCEL. So that store is
//!    over nobody's change.
//! 7. Behind one lock, a waker that does not find CANCEL claimed before the
//!    barrier, and the cancel sees it; one that does, and the cancel, fire by
//!    compare-and-swap.
//! 8. Who loses to a cancel has claimed before it lets go of the lock, which
//!    the goroutine takes before it waits again (invariant 3 of `wait`). So an
//!    arm finds nobody who still claims, and takes the claim back.
//!
//! Rejected: to claim in the word itself. A waker that looks, loses to a cancel
//! and then stores would undo it.

use crate::base::{
    barrier::light,
    sync::{
        AtomicBool, AtomicU64, Ordering::*, const_unless_loom,
        release_over_changes, seqcst_accesses,
    },
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
const TIMEOUT: u64 = (Cause::Timeout as u64) << CAUSE_SHIFT;
/// Wakers hold a lock that the waiter held until its commit.
const LOCKED: u64 = 1 << 6;
/// It is the same one for all of them.
const ONE_LOCK: u64 = 1 << 7;
/// Where the sequence number begins.
const SEQ: u64 = 1 << 8;

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

/// Who ends a wait, besides a cancel, where that is not anybody at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wakers {
    /// Only who holds a lock that the waiter takes before it queues, and that
    /// is unlocked after the commit; and the waiter takes it once more before
    /// it waits again, unless its waker took it out of its only queue.
    Locked,
    /// The same, and that lock is one.
    OneLock,
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

/// The one who ends a wait behind one lock says so here; beside the word, so
/// that it fits where a goroutine has a byte to spare.
#[derive(Debug)]
pub struct Claim(AtomicBool);

impl Claim {
    const_unless_loom! {
        pub fn new() -> Self {
            Self(AtomicBool::new(false))
        }
    }
}

impl ParkWord {
    const_unless_loom! {
        pub fn new() -> Self {
            Self { word: AtomicU64::new(0), attention: AtomicU64::new(FIRST) }
        }
    }

    /// The generation of the G.
    pub fn generation(&self) -> u32 {
        // Acquire: pairs with next_generation.
        generation_in(self.attention.load(Acquire))
    }

    /// Owner of a G that has died: old handles go stale, permit and cancel are
    /// forgotten. The sequence of waits goes on.
    pub fn next_generation(&self) {
        let old = self.attention.load(Relaxed) & !(FIRST - 1);
        // Release: who finds the new generation sees all that the old one did.
        // A post that comes in between is for the old one, and dropped.
        release_over_changes(&self.attention, old.wrapping_add(FIRST));
    }

    /// Owner: begins a wait that anybody may end. Behind a shield a cancel does
    /// not end it.
    #[inline]
    pub fn arm(&self, kind: WaitKind) -> Ticket {
        self.arm_as(kind, 0)
    }

    /// The same for one that `wakers` end.
    #[inline]
    pub fn arm_for(
        &self,
        kind: WaitKind,
        wakers: Wakers,
        claim: &Claim,
    ) -> Ticket {
        let wakers = match wakers {
            Wakers::Locked => LOCKED,
            Wakers::OneLock => {
                // Release: who does not find the claim of the last wait finds
                // that wait over, too.
                claim.0.store(false, Release);
                LOCKED | ONE_LOCK
            }
        };
        self.arm_as(kind, wakers)
    }

    #[inline(always)]
    fn arm_as(&self, kind: WaitKind, wakers: u64) -> Ticket {
        // Relaxed: only the owner moves an Idle word (invariant 1).
        let old = self.word.load(Relaxed);
        debug_assert_eq!(old & STATE, IDLE, "arm: already waiting");
        let kind = match kind {
            WaitKind::Plain => 0,
            WaitKind::Cancellable => CANCELLABLE,
            WaitKind::Park => CANCELLABLE | READYABLE,
        };
        let kind = if self.shielded() { kind & !CANCELLABLE } else { kind };
        let base = ((old & !(SEQ - 1)).wrapping_add(SEQ)) | kind | wakers;
        // Release: pairs with post, which must not find this wait and then an
        // older generation (invariant 5). Other wakers learn of the ticket
        // through something that orders.
        self.word.store(base | ARMED, Release);
        Ticket(base)
    }

    /// Hook: the goroutine is off its stack. False: the wait is over, and the
    /// hook readies the goroutine.
    #[must_use]
    #[inline]
    pub fn commit(&self, t: Ticket) -> bool {
        if t.0 & LOCKED != 0 {
            // Release: pairs with the acquire of the cancel that fires. Over
            // nobody's change (invariant 6).
            self.word.store(t.0 | PARKED, Release);
            light();
            let posted = self.attention.load(Acquire);
            return posted & CANCEL == 0 || self.commit_slow(t, posted);
        }
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

    /// Who holds the lock of a wait `t`: ends it, if it is still under way.
    #[inline]
    pub fn fire_locked(&self, t: Ticket, claim: &Claim) -> Fire {
        if t.0 & ONE_LOCK != 0 {
            // Release: a cancel that sees it loses, and does no more.
            claim.0.store(true, Release);
            light();
            if self.attention.load(Acquire) & CANCEL == 0 {
                return Fire::Parked;
            }
        }
        self.fire(t, Cause::Wake)
    }

    /// Anybody: ends the wait `t`, if it is still under way. Of the wakers
    /// behind one lock only those that have claimed.
    #[inline]
    pub fn fire(&self, t: Ticket, cause: Cause) -> Fire {
        let fired = t.0 | FIRED | ((cause as u64) << CAUSE_SHIFT);
        match self.replace(t.0 | PARKED, fired) {
            Ok(_) => Fire::Parked,
            Err(now) => self.fire_slow(t, fired, now),
        }
    }

    #[cold]
    fn fire_slow(&self, t: Ticket, fired: u64, mut now: u64) -> Fire {
        loop {
            let won = if now == t.0 | PARKED {
                Fire::Parked
            } else if now == t.0 | ARMED && t.0 & LOCKED == 0 {
                Fire::Early
            } else {
                // Over, or invariant 6.
                return Fire::Lost;
            };
            match self.replace(now, fired) {
                Ok(_) => return won,
                Err(other) => now = other,
            }
        }
    }

    #[inline]
    fn replace(&self, from: u64, to: u64) -> Result<u64, u64> {
        // Acquire: the goroutine's saved context, released by commit.
        // Release: what the waker wrote for it, acquired by finish.
        self.word.compare_exchange(from, to, SeqCst, SeqCst)
    }

    /// Owner, running again: ends the wait and says why.
    #[inline]
    pub fn finish(&self) -> Cause {
        // Acquire: pairs with fire. One that is still Parked was claimed, and
        // what its waker wrote comes with the goroutine.
        let word = self.word.load(Acquire);
        debug_assert!(
            word & STATE == FIRED
                || word & (STATE | ONE_LOCK | CAUSE) == PARKED | ONE_LOCK,
            "finish: not woken"
        );
        // Relaxed: late wakers compare the sequence number, which stays.
        self.word.store(word & !(STATE | CAUSE), Relaxed);
        if word & CAUSE == 0 {
            return Cause::Wake;
        }
        match word & CAUSE {
            TIMEOUT => Cause::Timeout,
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
        self.post_bit(generation, PERMIT)?;
        seqcst_accesses();
        let wait = self.wait_of(generation, READYABLE);
        Some(wait.map_or(Fire::Lost, |t| self.fire(t, Cause::Wake)))
    }

    /// Anybody: cancels the goroutine for good. Then the caller has every
    /// thread pass a barrier, unless the goroutine is its own, and calls
    /// [`ParkWord::end_cancelled`]. None: that generation has ended.
    pub fn post_cancel(&self, generation: u32) -> Option<()> {
        self.post_bit(generation, CANCEL)
    }

    /// Ends a wait that may be cancelled, after the barrier. The caller readies
    /// the goroutine on [`Fire::Parked`].
    pub fn end_cancelled(&self, generation: u32, claim: &Claim) -> Fire {
        let Some(t) = self.wait_of(generation, CANCELLABLE) else {
            return Fire::Lost;
        };
        // Acquire: invariant 7. The word came first: if it is Parked by this
        // wait, the claim is none of an older one.
        if t.0 & ONE_LOCK != 0 && claim.0.load(Acquire) {
            return Fire::Lost;
        }
        self.fire(t, Cause::Cancel)
    }

    fn post_bit(&self, generation: u32, bit: u64) -> Option<()> {
        let posted = |a| generation_in(a) == generation;
        self.attention
            .fetch_update(SeqCst, Relaxed, |a| posted(a).then_some(a | bit))
            .map(drop)
            .ok()
    }

    /// The wait of that generation that is under way, if it is of this kind.
    fn wait_of(&self, generation: u32, kind: u64) -> Option<Ticket> {
        let word = self.word.load(SeqCst);
        // In this order: invariant 5.
        let live = generation_in(self.attention.load(SeqCst)) == generation;
        let waiting = matches!(word & STATE, ARMED | PARKED);
        (waiting && live && word & kind != 0).then_some(Ticket(word & !STATE))
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
    pub fn waiting(&self, claim: &Claim) -> bool {
        let word = self.word.load(SeqCst);
        matches!(word & STATE, ARMED | PARKED)
            && (word & ONE_LOCK == 0 || !claim.0.load(SeqCst))
    }
}

fn generation_in(attention: u64) -> u32 {
    (attention >> GENERATION_SHIFT) as u32
}

impl Default for ParkWord {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for Claim {
    fn default() -> Self {
        Self::new()
    }
}
