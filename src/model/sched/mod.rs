//! The scheduler in a model: each goroutine is a thread of shuttle's, which
//! decides who runs. What is left is how goroutines start, wait and end.
//!
//! A run ([`run`]) ends when its body and all goroutines have ended; if one
//! waits for ever, shuttle reports a deadlock.

#[path = "../../sched/calls.rs"]
pub(crate) mod calls;
#[path = "../../sched/cancel.rs"]
pub(crate) mod cancel;
#[path = "../../sched/ending.rs"]
pub(crate) mod ending;
pub(crate) mod newproc;
pub(crate) mod park;
pub(crate) mod timing;

use crate::os::Shared;
use core::cell::Cell;

/// A mistake that the scheduler makes on purpose, to see it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// The hook of a park lets wakers in before it commits.
    UnlocksFirst,
    /// A deadline readies its goroutine even if it lost the race for it.
    LoserReadies,
    /// A once that an exception leaves is new again, and nobody is woken.
    AbandonsInSilence,
    /// The owner of a call that is left by a jump is not told.
    LosesInSilence,
    /// It is told while the call is still live.
    TellsTooEarly,
}

/// What concerns all of a run.
#[derive(Default)]
struct World {
    /// Goroutines that have not ended.
    live: Cell<usize>,
    /// The body has ended.
    over: Cell<bool>,
    mistake: Cell<Option<Mistake>>,
    /// How many goroutines there is no memory for.
    refused: Cell<u32>,
}

shuttle::lazy_static! {
    static ref WORLD: Shared<World> = Shared(World::default());
}

/// One run.
pub(crate) fn run(body: impl FnOnce()) {
    let keeper = timing::start();
    body();
    park::detach();
    WORLD.0.over.set(true);
    timing::look_again();
    keeper.join().expect("a panic ends the run at once");
    assert_eq!(timing::sweep(), 0, "timers are left");
}

/// From now on the scheduler makes this mistake.
pub(crate) fn make_mistake(mistake: Mistake) {
    WORLD.0.mistake.set(Some(mistake));
}

pub(crate) fn mistakes(mistake: Mistake) -> bool {
    WORLD.0.mistake.get() == Some(mistake)
}

/// The next `n` goroutines that are started find no memory.
pub(crate) fn refuse(n: u32) {
    WORLD.0.refused.set(n);
}

/// Inside and outside the runtime, which a model does not tell apart.
pub(crate) mod enter {
    pub(crate) struct Inside;

    impl Inside {
        pub(crate) fn enter() -> Self {
            Self
        }
    }
}

/// What the model has in one room.
pub(crate) mod current {
    pub(crate) use super::park::{current_goroutine, has_g, on_goroutine};
}
pub(crate) mod host {
    pub(crate) use super::park::current;
}
pub(crate) mod ready {
    pub(crate) use super::park::{ready, ready_all};
}
pub(crate) mod yields {
    pub(crate) use super::park::gosched;
}

/// Locks of what lies above.
pub(crate) mod lock {
    pub(crate) use crate::os::{Lock, LockGuard, RawLock};
}

/// Nobody forks.
pub(crate) mod child {
    pub(crate) fn in_child() -> bool {
        false
    }
}

pub(crate) mod random {
    pub(crate) fn cheaprand() -> u32 {
        crate::os::random(1 << 32) as u32
    }
}

/// Values of keys, which no goroutine of a model has.
mod local {
    pub(super) fn destroy(_gp: &crate::gmp::G) {}
}
