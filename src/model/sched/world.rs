//! The state of a run: live goroutines, and mistakes made on purpose.

use crate::os::Shared;
use core::cell::Cell;

/// A mistake that the scheduler makes on purpose: a test must find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// The hook of a park lets wakers in before it commits.
    UnlocksFirst,
    /// A deadline readies its goroutine even if it lost the race for it.
    LoserReadies,
    /// A once that an exception leaves becomes New, and no waiter is woken.
    AbandonsInSilence,
    /// The owner of a call that is left by a jump is not told.
    LosesInSilence,
    /// The owner of such a call is told while the call is still live.
    TellsTooEarly,
}

/// The state of a run.
#[derive(Default)]
pub(super) struct World {
    /// Goroutines that have not ended.
    pub live: Cell<usize>,
    /// The body has ended.
    pub over: Cell<bool>,
    mistake: Cell<Option<Mistake>>,
    /// How many more goroutines find no memory.
    pub refused: Cell<u32>,
}

shuttle::lazy_static! {
    pub(super) static ref WORLD: Shared<World> = Shared(World::default());
}

/// Makes the scheduler commit this mistake from now on.
pub(crate) fn make_mistake(mistake: Mistake) {
    WORLD.0.mistake.set(Some(mistake));
}

/// Whether the scheduler makes this mistake.
pub(crate) fn mistakes(mistake: Mistake) -> bool {
    WORLD.0.mistake.get() == Some(mistake)
}

/// Refuses memory to the next `n` goroutines that are started.
pub(crate) fn refuse(n: u32) {
    WORLD.0.refused.set(n);
}
