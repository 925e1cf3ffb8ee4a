//! How a goroutine ends for the one that joins it: one word per G.
//!
//! Three actors meet here: the *ender*, which is the goroutine that ends and
//! then its hook, the holder of its handle, and the waiter, which is a holder
//! that joins. The descriptor has to be freed once, after the goroutine has
//! left its stack, and a waiter's record, which lies on the waiter's stack, has
//! to stay while the ender reads the record.
//!
//! | word | meaning | moves |
//! |---|---|---|
//! | DETACHED | no handle is out, or its holder frees | `start` -> JOINABLE |
//! | JOINABLE | a handle is out | `enter` -> the record |
//! | | | `release` -> DETACHED, `end` -> EXITED |
//! | a record's address | a waiter waits | `leave` -> JOINABLE |
//! | | | `take_waiter`, `end` -> ENDING |
//! | ENDING | the ender uses the record | `hand_over` -> DETACHED |
//! | EXITED | it has ended, a handle is out | `take` -> DETACHED |
//!
//! | the word at the end | the descriptor is freed by |
//! |---|---|
//! | DETACHED | the ender |
//! | JOINABLE, then EXITED | the holder whose `take` succeeds |
//! | a record, then ENDING | its waiter, whatever ended the wait |
//!
//! In the last row the waiter is the only holder that may free, and needs no
//! read-modify-write to claim that.
//!
//! JOINABLE, ENDING and EXITED carry the generation of the G. A handle may go
//! stale while its holder looks, and then the holder's moves fail: they change
//! nothing of the next goroutine in the same place.
//!
//! Invariants:
//! 1. The ender moves the word to ENDING or EXITED, once, or finds DETACHED. A
//!    waiter that cannot leave, or was woken, waits until ENDING is over. So
//!    the record stays while the ender reads it, and the descriptor until the
//!    ender has left the goroutine's stack.
//! 2. Of all holders that find EXITED, the one whose compare-and-swap takes it
//!    frees the descriptor.
//! 3. Each move but those of `start` and `hand_over` is a compare-and-swap, and
//!    releases what its actor did to the actor of the next move, which acquires
//!    it. `hand_over` releases to the waiter's `look`.

use crate::base::sync::{AtomicUsize, Ordering::*};

const DETACHED: usize = 0;

/// The words of one generation.
#[derive(Clone, Copy)]
pub struct Words {
    joinable: usize,
    exited: usize,
    ending: usize,
}

impl Words {
    /// A record's address is a multiple of 8, so it is none of these.
    pub fn of(generation: u32) -> Self {
        let base = (generation as usize) << 3;
        Self { joinable: base | 1, exited: base | 2, ending: base | 3 }
    }
}

/// What a goroutine found at its end.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It frees its descriptor.
    Detached,
    /// EXITED now: a handle is out.
    Exited,
    /// ENDING now: this waiter is to be woken, [`JoinWord::hand_over`] called.
    Record(usize),
}

/// The state of the word, as the holder of a handle sees it.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinState {
    Joinable,
    Exited,
    /// Look again.
    Ending,
    /// Detached, or a waiter waits; or another generation.
    NotOurs,
}

/// One goroutine's word.
#[derive(Debug)]
pub struct JoinWord(AtomicUsize);

impl JoinWord {
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self(AtomicUsize::new(DETACHED))
    }

    #[cfg(loom)]
    pub fn new() -> Self {
        Self(AtomicUsize::new(DETACHED))
    }

    /// Of a new goroutine, by the actor that starts it; None: detached.
    #[inline(always)]
    pub fn start(&self, words: Option<Words>) {
        // Relaxed: the handle is not out yet.
        self.0.store(words.map_or(DETACHED, |w| w.joinable), Relaxed);
    }

    /// The ender: whether no holder joins, nor ever will.
    #[inline(always)]
    pub fn detached(&self) -> bool {
        // Relaxed: a detached goroutine stays so.
        self.0.load(Relaxed) == DETACHED
    }

    /// The ender, before the goroutine has left its stack: the record of the
    /// waiter, if there is one; then the word is ENDING.
    #[inline(always)]
    pub fn take_waiter(&self, words: Words) -> Option<usize> {
        let word = self.0.load(Relaxed);
        if word == DETACHED || word & 7 != 0 {
            return None;
        }
        // Acquire: the waiter's record, from enter. Where the waiter leaves at
        // this moment the word is JOINABLE, which `end` finds.
        self.0.compare_exchange(word, words.ending, AcqRel, Relaxed).ok()
    }

    /// For reports: the record of the waiter, if there is one.
    pub fn record(&self) -> Option<usize> {
        // Relaxed: the reader finds out whether it is true.
        let word = self.0.load(Relaxed);
        (word != DETACHED && word & 7 == 0).then_some(word)
    }

    /// In the child of a fork, whose waiter is in the parent: nobody waits.
    #[cfg(not(loom))]
    pub(crate) fn forget_waiter(&self, words: Words) {
        if self.record().is_some() {
            self.0.store(words.joinable, Relaxed);
        }
    }

    /// The ender, off the goroutine's stack, unless it has taken the waiter.
    pub fn end(&self, words: Words) -> End {
        if self.detached() {
            return End::Detached;
        }
        let mut word = words.joinable;
        loop {
            let to = if word == words.joinable {
                words.exited
            } else {
                words.ending
            };
            // Acquire: the waiter's record, from enter. Release: all that the
            // goroutine did, for take.
            match self.0.compare_exchange(word, to, AcqRel, Relaxed) {
                Ok(_) if to == words.exited => return End::Exited,
                Ok(_) => return End::Record(word),
                Err(DETACHED) => return End::Detached,
                Err(now) => word = now,
            }
        }
    }

    /// The ender, done with the record: the waiter frees the descriptor.
    pub fn hand_over(&self) {
        // Release: all that the goroutine did. Pairs with `look`.
        self.0.store(DETACHED, Release);
    }

    /// A holder of a handle of this generation looks.
    pub fn look(&self, words: Words) -> JoinState {
        // Acquire: pairs with end and hand_over.
        match self.0.load(Acquire) {
            word if word == words.joinable => JoinState::Joinable,
            word if word == words.exited => JoinState::Exited,
            word if word == words.ending => JoinState::Ending,
            _ => JoinState::NotOurs,
        }
    }

    /// The holder waits from now on, with `record`; false: look again.
    #[must_use]
    pub fn enter(&self, words: Words, record: usize) -> bool {
        // Release: the record, for take_waiter and end.
        self.0.compare_exchange(words.joinable, record, AcqRel, Relaxed).is_ok()
    }

    /// The waiter waits no more; false: the goroutine has ended, and is this
    /// waiter's to free.
    #[must_use]
    pub fn leave(&self, words: Words, record: usize) -> bool {
        self.0.compare_exchange(record, words.joinable, AcqRel, Relaxed).is_ok()
    }

    /// A holder takes what has ended; false: another has.
    #[must_use]
    pub fn take(&self, words: Words) -> bool {
        // Acquire: pairs with end.
        self.0.compare_exchange(words.exited, DETACHED, AcqRel, Relaxed).is_ok()
    }

    /// A holder gives its handle up; false: look again.
    #[must_use]
    pub fn release(&self, words: Words) -> bool {
        self.0
            .compare_exchange(words.joinable, DETACHED, AcqRel, Relaxed)
            .is_ok()
    }
}

#[cfg(not(loom))]
impl Default for JoinWord {
    fn default() -> Self {
        Self::new()
    }
}
