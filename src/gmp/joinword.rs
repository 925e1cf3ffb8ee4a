//! Who waits for a goroutine's end: one word per G.
//!
//! | word | meaning | moves |
//! |---|---|---|
//! | DETACHED | nobody else holds it | |
//! | JOINABLE | a handle is out | enter -> record, release -> DETACHED |
//! | a record's address | who waits, on its stack | leave -> JOINABLE |
//! | ENDING | the end reads the record | hand_over -> DETACHED |
//! | EXITED | it has ended, and a handle is out | take -> DETACHED |
//!
//! A detached goroutine is freed at its end; one that ends as JOINABLE, by who
//! takes EXITED; one that ends with a waiter, by that waiter, whatever ended
//! its wait: nobody else can come between, so that takes no read-modify-write.
//!
//! All but the first and the record carry the generation of the G, so that who
//! comes with a handle that goes stale under its hands changes nothing of the
//! next goroutine in the same place.
//!
//! Invariants:
//! 1. The goroutine's end moves the word to ENDING or EXITED, once. A waiter
//!    that cannot leave, or was woken, waits for the end of ENDING: so its
//!    record stays while the end reads it, and the descriptor while the end
//!    has not left the stack.
//! 2. Of all who find EXITED, the one whose compare-and-swap takes it frees
//!    the descriptor.

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

/// What who comes with a handle finds.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Joinable,
    Exited,
    /// Look again.
    Ending,
    /// Detached, or somebody waits; or another generation.
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

    /// Of a new goroutine, by who starts it; None: detached.
    #[inline(always)]
    pub fn start(&self, words: Option<Words>) {
        // Relaxed: the handle is not out yet.
        self.0.store(words.map_or(DETACHED, |w| w.joinable), Relaxed);
    }

    /// The end: whether nobody waits nor ever will.
    #[inline(always)]
    pub fn detached(&self) -> bool {
        // Relaxed: a detached goroutine stays so.
        self.0.load(Relaxed) == DETACHED
    }

    /// The end, before the goroutine has left its stack: the record of who
    /// waits, if anybody does; then the word is ENDING.
    #[inline(always)]
    pub fn claim(&self, words: Words) -> Option<usize> {
        let word = self.0.load(Relaxed);
        if word == DETACHED || word & 7 != 0 {
            return None;
        }
        // Acquire: the waiter's record. One that leaves now finds JOINABLE,
        // and the end finds it in `end`.
        self.0.compare_exchange(word, words.ending, AcqRel, Relaxed).ok()
    }

    /// The end, unless it claimed a waiter: nobody uses the stack any more.
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
            // Acquire: the waiter's record. Release: all that the goroutine
            // did, for who joins.
            match self.0.compare_exchange(word, to, AcqRel, Relaxed) {
                Ok(_) if to == words.exited => return End::Exited,
                Ok(_) => return End::Record(word),
                Err(DETACHED) => return End::Detached,
                Err(now) => word = now,
            }
        }
    }

    /// The end, done with the record: the waiter frees the descriptor.
    pub fn hand_over(&self) {
        // Release: all that the goroutine did, for its waiter.
        self.0.store(DETACHED, Release);
    }

    /// Who has a handle of this generation.
    pub fn look(&self, words: Words) -> Seen {
        // Acquire: pairs with the end.
        match self.0.load(Acquire) {
            word if word == words.joinable => Seen::Joinable,
            word if word == words.exited => Seen::Exited,
            word if word == words.ending => Seen::Ending,
            _ => Seen::NotOurs,
        }
    }

    /// Waits from now on, with `record`; false: look again.
    #[must_use]
    pub fn enter(&self, words: Words, record: usize) -> bool {
        // Release: the record, for the end.
        self.0.compare_exchange(words.joinable, record, AcqRel, Relaxed).is_ok()
    }

    /// Waits no more; false: it has ended, and is this waiter's to free.
    #[must_use]
    pub fn leave(&self, words: Words, record: usize) -> bool {
        self.0.compare_exchange(record, words.joinable, AcqRel, Relaxed).is_ok()
    }

    /// Takes what has ended; false: somebody else has.
    #[must_use]
    pub fn take(&self, words: Words) -> bool {
        // Acquire: pairs with the end.
        self.0.compare_exchange(words.exited, DETACHED, AcqRel, Relaxed).is_ok()
    }

    /// Gives the handle up; false: look again.
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
