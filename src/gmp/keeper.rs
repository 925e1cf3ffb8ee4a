//! The timekeeper: the one idle M that sleeps until the next timer is due, and
//! polls descriptors meanwhile. All other idle Ms sleep until they are woken.
//!
//! The timekeeper sleeps on a note, or, once a goroutine has waited for a
//! descriptor, in the poller.
//!
//! ```text
//!          become             publish              deadline, or deadline_moved
//!   Free ---------> Kept ----------------> Asleep ------+
//!    ^               ^                       |  |       |
//!    |               +-----------------------|--+-------+
//!    +-- end, by the timekeeper -- Kept      |
//!    +-- end, by abandon: the poller was renewed
//! ```
//! | word | value | meaning |
//! |---|---|---|
//! | `lastpoll` | 0 | Kept or Asleep |
//! | | other | Free: when descriptors were polled last |
//! | `sleep` | 0 | no M sleeps, or a waker is about to wake the sleeper |
//! | | `t` | the timekeeper sleeps on the note until `t` |
//! | | `-t` | the timekeeper sleeps in the poller until `t` |
//! | `sleeper` | 0 | the timekeeper, if any, is not in the poller |
//! | | an M | it sleeps in the poller, or is about to |
//!
//! Invariants:
//! 1. At most one M is the timekeeper: the one whose swap took `lastpoll` to 0.
//! 2. A deadline that is added is not slept past: either the timekeeper sees
//!    it, or the adder sees `sleep` and wakes the timekeeper, or the adder sees
//!    that no M sleeps.
//! 3. The actor that takes `sleep`, which is to set it to 0, ends the sleep: a
//!    waker or the timekeeper. A waker then wakes the place that the old value
//!    names, once. A timekeeper on the note whose time has come after a waker
//!    took `sleep` waits for that waker. So the note is clear and has no waker
//!    when the next sleep begins.
//! 4. An M that finds the time kept need not look at timers and waiters: the
//!    actor that ends the keeping looks at both afterwards, or wakes an M that
//!    does.
//! 5. Either the timekeeper or the renewer of the poller takes the M out of
//!    `sleeper`, and that side ends the keeping. So an M that sleeps in a
//!    poller that was replaced is not the timekeeper.
//!
//! Invariant 2, while the timekeeper goes to sleep and when it ends:
//!
//! ```text
//!   timekeeper                              adder of a deadline
//!     sleep = its deadline, or 0    (a)       add the deadline            (c)
//!     fence                                   fence
//!     look at the deadlines         (b)       sleep is later: take it,    (d)
//!                                               wake
//! ```
//! (a) pairs with (d), and (b) with (c): one of them sees the other. A waiter
//! for a descriptor counts itself by a SeqCst read-modify-write in the place of
//! the fence, and its load of `sleep` is SeqCst. Work that is left without a
//! thread counts as a deadline that has passed (`sched::nothread`).
//!
//! Invariant 4. Only read-modify-writes change `lastpoll`, so (e) before (f) is
//! read by (f), and what the other M has seen is seen by the look:
//!
//! ```text
//!   timekeeper                              another M, with something to keep
//!     swap lastpoll: 0 -> now       (f)       swap lastpoll: 0 -> 0: kept (e)
//!     look at deadlines and waiters
//! ```
//!
//! Invariant 5. The host may close the descriptors of the poller while the
//! timekeeper sleeps there. The epoll instance lives on as long as that sleep,
//! and no waker can reach it. So the renewer abandons the sleeper, which finds
//! itself abandoned when it wakes, however late:
//!
//! ```text
//!   timekeeper                   renewer                   waker
//!     publish `sleep`              poller = the new          take `sleep` (k)
//!     swap sleeper: M      (g)       one                     load the poller,
//!     `sleep` is not taken (j)     swap sleeper: 0 (h)         wake it
//!     load the poller, sleep
//!     sleeper: M -> 0      (i)
//! ```
//! (g) pairs with (h): a timekeeper whose (g) comes before (h) is abandoned,
//! and one whose (g) comes after (h) loads the new poller. Of (h) and (i) one
//! finds the M. (j) pairs with (k): a waker whose (k) came before (j) may have
//! woken the old poller, and then the timekeeper does not sleep; a waker that
//! comes later wakes the poller that the timekeeper loads, or the timekeeper is
//! abandoned.
//!
//! A timekeeper whose (g) comes before (h) may still load the new poller. That
//! abandoned M then sleeps there beside the next timekeeper, and a wake-up
//! meant for the timekeeper may reach the abandoned M, which wakes the poller
//! again.
//!
//! Rejected:
//! - a word of its own that says where the timekeeper sleeps: a waker that has
//!   taken `sleep` may read there the place of the next sleep, and wake a note
//!   on which no sleep was taken, so that the note is woken twice;
//! - (g) before the value is published: an M that is abandoned in between
//!   publishes over the value of the next timekeeper.
//!
//! Both break under the models in `tests/loom_keeper.rs`.

use crate::base::{
    Futex,
    note::Note,
    sync::{
        AtomicI64, AtomicUsize,
        Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
        const_unless_loom, fence, seqcst_accesses,
    },
};

/// No deadline is earlier.
pub const EARLIEST: i64 = 1;

/// Where the timekeeper sleeps, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// Nobody sleeps, or the sleeper is being woken.
    Nobody,
    OnNote(i64),
    InPoller(i64),
}

impl Sleep {
    #[inline]
    fn of(word: i64) -> Self {
        match word {
            0 => Self::Nobody,
            until if until > 0 => Self::OnNote(until),
            until => Self::InPoller(-until),
        }
    }

    fn word(self) -> i64 {
        match self {
            Self::Nobody => 0,
            Self::OnNote(until) => until,
            Self::InPoller(until) => -until,
        }
    }
}

/// What is left to do for the caller that may have woken the timekeeper.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Nothing.
    Done,
    /// The timekeeper sleeps in the poller: the caller wakes that.
    Poller,
}

/// How a sleep in the poller ended.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The M was the timekeeper until now.
    Kept,
    /// The M had been abandoned. A wake-up that it took may have been meant for
    /// the timekeeper: the caller wakes the poller once more.
    Abandoned,
}

/// Who keeps the time; see the module.
pub struct Keeper<F> {
    lastpoll: AtomicI64,
    sleep: AtomicI64,
    sleeper: AtomicUsize,
    note: Note<F>,
}

/// The role of the M that keeps the time. One sleep ends it.
#[must_use]
pub struct Timekeeper<'a, F>(&'a Keeper<F>);

impl<F: Futex> Keeper<F> {
    const_unless_loom! {
        pub fn new() -> Self {
            Self {
                lastpoll: AtomicI64::new(1),
                sleep: AtomicI64::new(0),
                sleeper: AtomicUsize::new(0),
                note: Note::new(),
            }
        }
    }

    /// The calling M keeps the time from now on: Free -> Kept. None: another M
    /// does.
    pub fn become_timekeeper(&self) -> Option<Timekeeper<'_, F>> {
        // AcqRel, also where it stays 0: (e).
        let free = self.lastpoll.swap(0, AcqRel) != 0;
        free.then_some(Timekeeper(self))
    }

    /// Whether an M keeps the time.
    #[inline]
    pub fn is_kept(&self) -> bool {
        // Acquire: pairs with (f).
        self.lastpoll.load(Acquire) == 0
    }

    /// When descriptors were polled last; None while an M keeps the time. A
    /// hint.
    #[inline]
    pub fn last_poll(&self) -> Option<i64> {
        let last = self.lastpoll.load(Relaxed);
        (last != 0).then_some(last)
    }

    /// Whether the caller may poll, without a sleep: no M keeps the time, and
    /// nobody else has polled just now.
    #[must_use]
    pub fn may_poll(&self, now: impl FnOnce() -> i64) -> bool {
        let Some(last) = self.last_poll() else { return false };
        // Relaxed: nobody learns anything by it.
        self.lastpoll.compare_exchange(last, now(), Relaxed, Relaxed).is_ok()
    }

    /// How the timekeeper sleeps, for a caller that has just counted itself as
    /// a waiter for a descriptor, or added a deadline.
    #[inline]
    pub fn sleep(&self) -> Sleep {
        seqcst_accesses();
        // SeqCst: (d) of such a waiter.
        Sleep::of(self.sleep.load(SeqCst))
    }

    /// A deadline at `when` was added: wakes the timekeeper if it sleeps past
    /// that; for [`EARLIEST`] in any case. From any thread.
    pub fn deadline_moved(&self, when: i64) -> Wake {
        // Between (c) and (d).
        fence(SeqCst);
        let word = self.sleep.load(Relaxed);
        let sleep = Sleep::of(word);
        let (Sleep::OnNote(until) | Sleep::InPoller(until)) = sleep else {
            return Wake::Done;
        };
        if until <= when {
            return Wake::Done;
        }
        // Acquire: pairs with publish, so that the note is clear; and (k).
        let taken = self.sleep.compare_exchange(word, 0, Acquire, Relaxed);
        match sleep {
            _ if taken.is_err() => Wake::Done,
            Sleep::InPoller(_) => Wake::Poller,
            _ => {
                self.note.wakeup();
                Wake::Done
            }
        }
    }

    /// Whether an M sleeps in the poller, or is about to: a wake-up that
    /// another M has taken there is meant for that one, or for nobody any more.
    pub fn sleeps_in_poller(&self) -> bool {
        self.sleeper.load(Acquire) != 0
    }

    /// There is a new poller: an M that sleeps in the old one keeps the time no
    /// longer.
    pub fn abandon(&self, now: impl FnOnce() -> i64) {
        // AcqRel: (h).
        if self.sleeper.swap(0, AcqRel) != 0 {
            self.end(now());
        }
    }

    /// The keeping ends: -> Free. The caller, or the M that it wakes, looks at
    /// deadlines and waiters next.
    fn end(&self, now: i64) {
        // Relaxed: the fence, and the swap below, order it.
        self.sleep.swap(0, Relaxed);
        // Release: pairs with is_kept. (f), whose acquire is the fence.
        self.lastpoll.swap(now, Release);
        // Between (a) and (b).
        fence(SeqCst);
    }
}

impl<F: Futex> Timekeeper<'_, F> {
    /// Says how it sleeps, `place` and at most until `latest` says, which is
    /// asked until nothing has changed.
    fn publish(
        &self,
        place: fn(i64) -> Sleep,
        latest: impl Fn() -> i64,
    ) -> i64 {
        let word = &self.0.sleep;
        let mut until = latest();
        // Release: a waker finds the note clear.
        word.swap(place(until).word(), Release);
        loop {
            // Between (a) and (b).
            fence(SeqCst);
            let next = latest();
            if next >= until {
                return until;
            }
            let (from, to) = (place(until).word(), place(next).word());
            // Release: a waker finds the note clear.
            if word.compare_exchange(from, to, Release, Relaxed).is_err() {
                // Taken by a waker: the sleep is over as it begins.
                return until;
            }
            until = next;
        }
    }

    /// Sleeps on the note until a waker comes or the time that `latest` gives
    /// has come: that of the earliest deadline, or [`EARLIEST`] for no sleep.
    pub fn sleep_on_note(
        self,
        latest: impl Fn() -> i64,
        now: impl FnOnce() -> i64,
    ) {
        let Keeper { note, sleep, .. } = self.0;
        note.clear();
        let until = self.publish(Sleep::OnNote, latest);
        let woken = note.sleep_until(until);
        // Relaxed: who is second does nothing that the first has to see.
        if !woken && sleep.swap(0, Relaxed) == 0 {
            // Invariant 3: a waker has taken it, and wakes this sleep.
            note.sleep();
        }
        self.0.end(now());
    }

    /// The same in the poller, by the M with this address: `poll` loads the
    /// poller, and sleeps there until the time that it gets.
    pub fn sleep_in_poller<R>(
        self,
        m: usize,
        latest: impl Fn() -> i64,
        now: impl FnOnce() -> i64,
        poll: impl FnOnce(i64) -> R,
    ) -> (R, Ended) {
        let Keeper { sleep, sleeper, .. } = self.0;
        let until = self.publish(Sleep::InPoller, latest);
        // AcqRel: (g), so a swap and no store.
        sleeper.swap(m, AcqRel);
        let word = Sleep::InPoller(until).word();
        // Release: (j). A waker that takes it from here on has seen what (g)
        // has.
        let asleep = sleep.compare_exchange(word, word, Release, Relaxed);
        let polled = poll(if asleep.is_ok() { until } else { EARLIEST });
        // (i). Acquire where it fails: pairs with (h), so that the caller wakes
        // the new poller.
        if sleeper.compare_exchange(m, 0, Relaxed, Acquire).is_err() {
            return (polled, Ended::Abandoned);
        }
        // A waker that comes late makes the next poll short, and no harm.
        self.0.end(now());
        (polled, Ended::Kept)
    }
}

impl<F: Futex> Default for Keeper<F> {
    fn default() -> Self {
        Self::new()
    }
}
