//! What concerns all of a run: who is alive, and what goes wrong on purpose.

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
pub(super) struct World {
    /// Goroutines that have not ended.
    pub live: Cell<usize>,
    /// The body has ended.
    pub over: Cell<bool>,
    mistake: Cell<Option<Mistake>>,
    /// How many goroutines there is no memory for.
    pub refused: Cell<u32>,
}

shuttle::lazy_static! {
    pub(super) static ref WORLD: Shared<World> = Shared(World::default());
}

/// From now on the scheduler makes this mistake.
pub(crate) fn make_mistake(mistake: Mistake) {
    WORLD.0.mistake.set(Some(mistake));
}

/// Whether it makes this one.
pub(crate) fn mistakes(mistake: Mistake) -> bool {
    WORLD.0.mistake.get() == Some(mistake)
}

/// The next `n` goroutines that are started find no memory.
pub(crate) fn refuse(n: u32) {
    WORLD.0.refused.set(n);
}
