//! How a goroutine waits and is woken: one word per G, one winner per wait.
//!
//! Several actors may end the same wait: a waker, which has what the goroutine
//! waits for, a deadline, a canceller, and the giver of a permit. One of them
//! has to win, since a goroutine that is readied twice runs twice; and no M may
//! run the goroutine before the goroutine has left its stack.
//!
//! The goroutine *arms* its word, and gets a *ticket* for this one wait. The
//! ticket goes into each place that may end the wait: a queue of waiters, a
//! timer. Each actor *fires* the ticket that it finds there. A hook, which
//! runs on the next stack once the goroutine is off its own, *commits* the
//! wait.
//!
//! ```text
//!            arm            commit
//!   Idle ---------> Armed ---------> Parked ----------+
//!    ^                |                 |             | fire_locked
//!    |                | fire            | fire        | (one lock)
//!    |                v                 v             v
//!    +----------- Fired <---------------+     Parked, claimed
//!    |   finish                                       |
//!    +------------------------------------------------+
//! ```
//! | transition | actor | what follows |
//! |---|---|---|
//! | Idle -> Armed | the owner | it queues the ticket, leaves its stack |
//! | Armed -> Parked | the hook | the goroutine is off its stack |
//! | Armed -> Fired | an actor, too early | the hook readies the goroutine |
//! | Parked -> Fired | an actor, or the hook | that one readies the goroutine |
//! | Parked -> claimed | a waker | that waker readies the goroutine |
//! | Fired, claimed -> Idle | the owner | it runs again, and knows the cause |
//!
//! The owner is the goroutine, or its host thread. The hook is an actor where
//! it finds a permit or a cancel right after the commit. An owner that fires
//! its own ticket before it leaves the stack goes on without a hook.
//!
//! # Wakers behind a lock
//! Read-modify-writes are what a wait costs, and most waits can do without
//! them. Most waits are for something behind a lock: the waiter holds the lock
//! until the hook has committed, and each waker holds it too
//! ([`Wakers::Locked`]). A wait with a deadline is none of these, since its
//! timer fires without the lock, nor is a host thread's (`Wait::begin_locked`).
//! So in these waits a canceller is the only actor without the lock. Cancels
//! are rare and pay for the synchronisation, by a barrier in every thread
//! (`base::barrier`); the commit is a plain store. Where all wakers hold one
//! and the same lock ([`Wakers::OneLock`]) the wake-up is a plain store as
//! well, to the [`Claim`]; where each queue has its own lock, wakers compete by
//! compare-and-swap.
//!
//! ```text
//!   hook                      canceller                 waker, under the lock
//!     word = Parked     (a)     pending |= CANCEL (c)     claim = true     (f)
//!     light barrier             barrier in every          light barrier
//!     pending: CANCEL?  (b)       thread                  pending: CANCEL? (g)
//!       yes: fire               word Parked and   (d)       no: won
//!                                 no claim: fire  (e)       yes: fire
//! ```
//! (a) pairs with (d), (b) and (g) with (c), (f) with (e). The hook either
//! finds CANCEL, and then fires by compare-and-swap as the canceller does; or
//! the hook's store came before the barrier, and the canceller sees that store.
//! The same holds for a waker. A wait that was won by a claim stays Parked.
//!
//! # What comes while the goroutine does not wait
//! A permit stays in `pending` until the owner takes it, a cancel until the
//! goroutine dies. Each wait that they may end looks there:
//!
//! ```text
//!   hook of any other wait                  poster of a permit or cancel
//!     Armed -> Parked              (h)        post the bit               (k)
//!     look at `pending`            (i)        look at the word           (l)
//! ```
//! (h) pairs with (l), and (i) with (k). All four are SeqCst, and the first of
//! each side is a read-modify-write, so one side sees the other.
//!
//! # Invariants
//! 1. The owner alone moves Idle -> Armed, and Fired or claimed -> Idle. The
//!    hook alone moves Armed -> Parked, and runs once for each arm that parks.
//! 2. The sequence number grows with each arm. So a ticket ends the wait that
//!    it was made for and no later one: an actor that comes late finds another
//!    number.
//! 3. Exactly one actor readies a goroutine that has left its stack: the hook,
//!    where the commit fails, or the actor whose fire returned
//!    [`Fire::Parked`].
//! 4. A bit that is posted is seen by the hook of the next wait of its kind, or
//!    the poster finds that wait: (h) to (l), and behind a lock (a) to (d).
//! 5. `pending` carries the generation of the G, which grows when the goroutine
//!    dies. A poster with an old handle posts nothing. The G may die and live
//!    again between the post and the fire, so the poster reads the word first
//!    and the generation after it: if the generation is the poster's, so was
//!    the wait.
//! 6. Behind a lock no actor fires an Armed word. Wakers come after the commit,
//!    since they need the lock; a canceller leaves an Armed word to the hook,
//!    which stores Parked after the barrier and then finds CANCEL. So the store
//!    of Parked overwrites no change.
//! 7. Behind one lock, a waker that does not find CANCEL has claimed before the
//!    barrier, and the canceller sees the claim.
//! 8. A waker that loses to a canceller has claimed before it unlocks, and the
//!    goroutine takes that lock before it waits again (invariant 3 of `wait`).
//!    So no waker of the old wait claims any more when the next wait is armed,
//!    and arming takes the claim back.
//!
//! Rejected: a claim in the word itself. A waker that looks, loses to a
//! canceller and then stores would overwrite the canceller's change.

use super::waitword::{
    CANCEL, CANCELLABLE, FIRED, FIRST, IDLE, LOCKED, ONE_LOCK, PARKED, PERMIT,
    Pending, READYABLE, Word,
};
pub use super::waitword::{Cause, Ticket};
use crate::base::{
    barrier::light,
    sync::{
        AtomicBool, AtomicU64, Ordering, Ordering::*, const_unless_loom,
        release_over_changes, seqcst_accesses,
    },
};

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

/// Which wakers end a wait, where that is not any actor at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wakers {
    /// Those that hold a lock. The waiter takes that lock before it queues, and
    /// it is unlocked after the commit. The waiter takes it once more before it
    /// waits again, unless a waker took the waiter out of its only queue.
    Locked,
    /// The same, and all of them hold one and the same lock.
    OneLock,
}

/// What a fire did.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fire {
    /// The wait was over already: nothing changed.
    Lost,
    /// Won, before the goroutine left its stack: the hook will ready it.
    BeforePark,
    /// Won: the caller has to ready the goroutine.
    Parked,
}

/// One goroutine's waits.
#[derive(Debug)]
#[repr(C)]
pub struct ParkWord {
    /// atomic: a [`Word`]
    word: AtomicU64,
    /// A [`Pending`]. The generation: owner. PERMIT and CANCEL: atomic,
    /// anybody sets.
    pending: AtomicU64,
}

/// Set by the waker that ends a wait behind one lock. It is beside the word, so
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
            Self { word: AtomicU64::new(0), pending: AtomicU64::new(FIRST) }
        }
    }

    #[inline(always)]
    fn word(&self, order: Ordering) -> Word {
        Word(self.word.load(order))
    }

    #[inline(always)]
    fn pending(&self, order: Ordering) -> Pending {
        Pending(self.pending.load(order))
    }

    /// The generation of the G.
    pub fn generation(&self) -> u32 {
        // Acquire: pairs with next_generation.
        self.pending(Acquire).generation()
    }

    /// Owner of a G that has died: old handles go stale, permit and cancel are
    /// forgotten. The sequence of waits goes on.
    pub fn next_generation(&self) {
        let next = self.pending(Relaxed).next_generation();
        // Release: an actor that finds the new generation sees all that the
        // old one did. A post that comes in between is for the old one, and
        // dropped.
        release_over_changes(&self.pending, next.0);
    }

    /// The word of a G that nobody runs any more, for its next life. No wait is
    /// under way in it, and old handles and tickets stay stale.
    pub fn next_life(&self) -> Self {
        let word = self.word(Relaxed).idle();
        let pending = self.pending(Relaxed).next_generation();
        Self {
            word: AtomicU64::new(word.0),
            pending: AtomicU64::new(pending.0),
        }
    }

    /// Owner: begins a wait that any actor may end. Behind a shield, if it is
    /// `shielded`, a cancel does not end it.
    #[inline]
    pub fn arm(&self, kind: WaitKind, shielded: bool) -> Ticket {
        self.arm_as(kind, shielded, 0)
    }

    /// The same for one that `wakers` end.
    #[inline]
    pub fn arm_for(
        &self,
        kind: WaitKind,
        shielded: bool,
        wakers: Wakers,
        claim: &Claim,
    ) -> Ticket {
        let wakers = match wakers {
            Wakers::Locked => LOCKED,
            Wakers::OneLock => {
                // Release: pairs with (e). A canceller that does not find the
                // claim of the last wait finds that wait over, too.
                claim.0.store(false, Release);
                LOCKED | ONE_LOCK
            }
        };
        self.arm_as(kind, shielded, wakers)
    }

    #[inline(always)]
    fn arm_as(&self, kind: WaitKind, shielded: bool, wakers: u64) -> Ticket {
        // Relaxed: only the owner moves an Idle word (invariant 1).
        let old = self.word(Relaxed);
        debug_assert_eq!(old.state(), IDLE, "arm: already waiting");
        let kind = match kind {
            WaitKind::Plain => 0,
            WaitKind::Cancellable => CANCELLABLE,
            WaitKind::Park => CANCELLABLE | READYABLE,
        };
        let kind = if shielded { kind & !CANCELLABLE } else { kind };
        let t = old.next(kind | wakers);
        // Release: pairs with wait_of, which must not find this wait and then
        // an older generation (invariant 5). Other actors learn of the ticket
        // through something that orders.
        self.word.store(t.armed().0, Release);
        t
    }

    /// Hook: the goroutine is off its stack. False: the wait is over, and the
    /// hook readies the goroutine.
    #[must_use]
    #[inline]
    pub fn commit(&self, t: Ticket) -> bool {
        if t.is_locked() {
            // Release: (a). It overwrites no change (invariant 6).
            self.word.store(t.parked().0, Release);
            light();
            // Acquire: (b).
            let pending = self.pending(Acquire);
            return !pending.cancelled() || self.commit_slow(t, pending);
        }
        // SeqCst: (h). Release: pairs with replace, whose caller then runs the
        // goroutine.
        let parked = self
            .word
            .compare_exchange(t.armed().0, t.parked().0, SeqCst, Acquire)
            .is_ok();
        if !parked {
            return false;
        }
        seqcst_accesses();
        // SeqCst: (i).
        let pending = self.pending(SeqCst);
        pending.is_none() || self.commit_slow(t, pending)
    }

    #[cold]
    fn commit_slow(&self, t: Ticket, pending: Pending) -> bool {
        let wait = t.parked();
        let cause = if pending.cancelled() && wait.ends_at(CANCELLABLE) {
            Cause::Cancel
        } else if pending.permit() && wait.ends_at(READYABLE) {
            Cause::Wake
        } else {
            return true;
        };
        // Parked: the hook's to ready, which it does on false. Lost: the
        // winner readies it.
        self.fire(t, cause) == Fire::Lost
    }

    /// A waker that holds the lock of a wait `t`: ends it, if it is still under
    /// way.
    #[inline]
    pub fn fire_locked(&self, t: Ticket, claim: &Claim) -> Fire {
        if t.is_one_lock() {
            // Release: (f). A canceller that sees it loses, and does no more.
            claim.0.store(true, Release);
            light();
            // Acquire: (g).
            if !self.pending(Acquire).cancelled() {
                return Fire::Parked;
            }
        }
        self.fire(t, Cause::Wake)
    }

    /// Any actor: ends the wait `t`, if it is still under way. Of the wakers
    /// behind one lock only those that have claimed.
    #[inline]
    pub fn fire(&self, t: Ticket, cause: Cause) -> Fire {
        let fired = t.fired(cause);
        match self.replace(t.parked(), fired) {
            Ok(()) => Fire::Parked,
            Err(now) => self.fire_slow(t, fired, now),
        }
    }

    #[cold]
    fn fire_slow(&self, t: Ticket, fired: Word, mut now: Word) -> Fire {
        loop {
            let won = if now == t.parked() {
                Fire::Parked
            } else if now == t.armed() && !t.is_locked() {
                Fire::BeforePark
            } else {
                // Over, or invariant 6.
                return Fire::Lost;
            };
            match self.replace(now, fired) {
                Ok(()) => return won,
                Err(other) => now = other,
            }
        }
    }

    #[inline]
    fn replace(&self, from: Word, to: Word) -> Result<(), Word> {
        // Acquire: the goroutine's saved context, released by commit.
        // Release: what the waker wrote for it, acquired by finish.
        self.word
            .compare_exchange(from.0, to.0, SeqCst, SeqCst)
            .map(drop)
            .map_err(Word)
    }

    /// Owner, running again: ends the wait and says why.
    #[inline]
    pub fn finish(&self) -> Cause {
        // Acquire: pairs with replace. Where the word is still Parked the wait
        // was claimed, and what its waker wrote comes with the goroutine.
        let word = self.word(Acquire);
        debug_assert!(
            word.state() == FIRED || word.is_parked_behind_one_lock(),
            "finish: not woken"
        );
        // Relaxed: late actors compare the sequence number, which stays.
        self.word.store(word.idle().0, Relaxed);
        word.cause()
    }

    /// Owner: takes the permit, if there is one.
    pub fn take_permit(&self) -> bool {
        // Acquire: pairs with give_permit.
        Pending(self.pending.fetch_and(!PERMIT, AcqRel)).permit()
    }

    /// Anybody: leaves a permit, and ends a wait that takes one. The caller
    /// readies the goroutine on [`Fire::Parked`]. None: that generation has
    /// ended.
    pub fn give_permit(&self, generation: u32) -> Option<Fire> {
        self.post(generation, PERMIT)?;
        seqcst_accesses();
        let wait = self.wait_of(generation, READYABLE);
        Some(wait.map_or(Fire::Lost, |t| self.fire(t, Cause::Wake)))
    }

    /// Anybody: cancels the goroutine for good. Then the caller has every
    /// thread pass a barrier, unless the goroutine is its own, and calls
    /// [`ParkWord::end_cancelled`]. None: that generation has ended.
    pub fn post_cancel(&self, generation: u32) -> Option<()> {
        self.post(generation, CANCEL)
    }

    /// Ends a wait that may be cancelled, after the barrier. The caller readies
    /// the goroutine on [`Fire::Parked`].
    pub fn end_cancelled(&self, generation: u32, claim: &Claim) -> Fire {
        // (d)
        let Some(t) = self.wait_of(generation, CANCELLABLE) else {
            return Fire::Lost;
        };
        // Acquire: (e). The word came first: if it is Parked by this wait, the
        // claim is none of an older one.
        if t.is_one_lock() && claim.0.load(Acquire) {
            return Fire::Lost;
        }
        self.fire(t, Cause::Cancel)
    }

    fn post(&self, generation: u32, bit: u64) -> Option<()> {
        let ours = |p| Pending(p).generation() == generation;
        // SeqCst: (k), and (c). Release: what the poster did before.
        self.pending
            .fetch_update(SeqCst, Relaxed, |p| ours(p).then_some(p | bit))
            .map(drop)
            .ok()
    }

    /// The wait of that generation that is under way, if it ends at one of
    /// these events.
    fn wait_of(&self, generation: u32, events: u64) -> Option<Ticket> {
        // SeqCst: (l), and (d).
        let word = self.word(SeqCst);
        // In this order: invariant 5.
        let live = self.pending(SeqCst).generation() == generation;
        let ends = word.is_waiting() && live && word.ends_at(events);
        ends.then_some(word.ticket())
    }

    /// Whether the goroutine was cancelled.
    #[inline]
    pub fn cancelled(&self) -> bool {
        // Acquire: pairs with post.
        self.pending(Acquire).cancelled()
    }

    /// For reports: the ticket of a wait that is committed and that nobody has
    /// ended, as a number. Where it returns the same at two times, that wait
    /// was so all the time in between.
    pub fn parked(&self, claim: &Claim) -> Option<u64> {
        // Acquire: pairs with commit; all that its owner did before.
        let word = self.word(Acquire);
        // Acquire: keeps the loads in this order.
        let claimed = word.ticket().is_one_lock() && claim.0.load(Acquire);
        // Again: the claim may be taken back already, for the next wait.
        let still = self.word(Acquire) == word;
        (word.state() == PARKED && !claimed && still)
            .then(|| word.ticket().raw())
    }

    /// Whether a wait is under way, and nobody has ended it yet.
    pub fn waiting(&self, claim: &Claim) -> bool {
        let word = self.word(SeqCst);
        word.is_waiting()
            && (!word.ticket().is_one_lock() || !claim.0.load(SeqCst))
    }
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
