//! The end of the runtime, `gmp_shutdown`: what no longer begins, and what
//! ends.
//!
//! | stage | new goroutines | waits of host threads | Ms |
//! |---|---|---|---|
//! | Open | begin | last | stay |
//! | Refusing | none of the host's: the gate and timers refuse | last | stay |
//! | Closed | none | end with an error | stay |
//! | Leaving | none | end with an error | end, and none is made |
//!
//! ```text
//!   Open <--> Refusing --> Closed --> Leaving --> Open, in the next start
//! ```
//! One thread at a time moves the stage: the one that shuts down, and m0 of the
//! next start, once its main goroutine has begun. A goroutine that is made
//! while an M holds a P cannot come into being once the world has been stopped
//! in the stage Refusing. One that is made without a P looks at the stage under
//! `sched.lock`, under which Closed is set.
//!
//! # The sleep of a host thread
//! ```text
//!   host thread                          the thread that shuts down
//!     its note: Clear -> Sleeping (a)      stage = Closed            (c)
//!     fence                                fence
//!     stage Closed? gives up      (b)      a note that is Sleeping?  (d)
//!     sleeps; again from (b)                 nudge it, until it is not
//! ```
//! (a) pairs with (d) and (b) with (c): the host thread gives up, or the thread
//! that shuts down finds it asleep. A nudge may come between (b) and the sleep,
//! and wakes nobody then; so it is repeated. (Waits that a cancel does not end
//! last here too: locks, once, the end of a group.)
//!
//! Invariants:
//! 1. The stage moves along the drawing only.
//! 2. In Closed no goroutine of the host's exists. The library's own end.
//! 3. Leaving is set under `sched.lock`: an M that has been counted before is
//!    known, and none is counted after that.
//!
//! Rejected: a wake-up of the note by the thread that shuts down. The waker
//! that has ended the wait may wake the note too, and a note is woken once.

use crate::base::{
    Futex,
    note::Note,
    sync::{
        AtomicU32,
        Ordering::{Relaxed, SeqCst},
        const_unless_loom, fence,
    },
};

/// The stages, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Stage {
    Open = 0,
    Refusing = 1,
    Closed = 2,
    Leaving = 3,
}

/// How far the end has come; see the module.
pub struct Closing(AtomicU32);

impl Closing {
    const_unless_loom! {
        pub fn new() -> Self {
            Self(AtomicU32::new(Stage::Open as u32))
        }
    }

    /// The thread that shuts down moves the stage.
    pub fn set(&self, to: Stage) {
        // SeqCst, and the fence: (c) before (d).
        self.0.store(to as u32, SeqCst);
        fence(SeqCst);
    }

    /// Whether the stage has been reached: a hint, or under the lock under
    /// which the stage is set.
    #[inline(always)]
    pub fn has_come(&self, stage: Stage) -> bool {
        self.0.load(Relaxed) >= stage as u32
    }

    /// A host thread sleeps on its note until it is woken, or until `deadline`,
    /// or until its waits end. True: it was woken. False: it has to end the
    /// wait itself.
    pub fn sleep<F: Futex>(&self, note: &Note<F>, deadline: i64) -> bool {
        note.sleep_unless(deadline, || {
            // Between (a), the note's, and (b).
            fence(SeqCst);
            self.has_come(Stage::Closed)
        })
    }

    /// The thread that shuts down, in the stage Closed: whether the owner of
    /// the note sleeps on it. If so, the owner looks at the stage again.
    pub fn nudge<F: Futex>(&self, note: &Note<F>) -> bool {
        // (d)
        let asleep = note.is_sleeping();
        if asleep {
            note.nudge();
        }
        asleep
    }
}

impl Default for Closing {
    fn default() -> Self {
        Self::new()
    }
}
