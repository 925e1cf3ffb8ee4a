//! The scheduler in a model: each goroutine is a thread of shuttle's, and
//! shuttle decides which one runs. Here goroutines start, wait and end.
//!
//! A run ([`run`]) ends when its body and all goroutines have ended; if one
//! waits for ever, shuttle reports a deadlock.
//!
//! Its files, from the top to the bottom; each uses what stands below it:
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | a run, and the modules that a model leaves empty |
//! | `newproc` | goroutines made and ended |
//! | `park` | parking and readying |
//! | `timing` | deadlines |
//! | `world` | the state of a run |

#[path = "../../sched/calls.rs"]
pub(crate) mod calls;
#[path = "../../sched/cancel.rs"]
pub(crate) mod cancel;
#[path = "../../sched/defers.rs"]
mod defers;
#[path = "../../sched/ending.rs"]
pub(crate) mod ending;
pub(crate) mod newproc;
pub(crate) mod park;
pub(crate) mod timing;
mod world;

pub use world::Mistake;
use world::WORLD;
pub(crate) use world::{make_mistake, mistakes, refuse};

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

/// Inside and outside the runtime, which a model does not tell apart.
pub(crate) mod enter {
    pub(crate) struct Inside;

    impl Inside {
        pub(crate) fn enter() -> Self {
            Self
        }
    }
}

/// No sanitizer watches a model.
pub(crate) mod fiber {
    use crate::gmp::G;

    pub(crate) fn cancelling(_gp: &G) {}

    pub(crate) fn knows_of_cancel(_gp: &G) {}
}

/// Modules whose functions are in one file of the model.
pub(crate) mod current {
    pub(crate) use super::park::{current_goroutine, has_g, on_goroutine};
}
pub(crate) mod host {
    pub(crate) use super::park::current;

    /// Models do not end.
    pub(crate) fn take_shutdown() -> bool {
        false
    }
}
pub(crate) mod ready {
    pub(crate) use super::park::{goready, ready_all};
}
pub(crate) mod yields {
    pub(crate) use super::park::gosched;
}
pub(crate) mod steps {
    pub(crate) use super::park::{give_way, leave};

    /// A model keeps no masks.
    pub(crate) fn step_ends(_gp: &crate::gmp::G) {}
}

/// Locks of what lies above.
pub(crate) mod lock {
    pub(crate) use crate::os::{Lock, LockGuard, RawLock};
}

/// Models do not fork.
pub(crate) mod child {
    pub(crate) fn is_a_child() -> bool {
        false
    }

    pub(crate) fn is_dead_end() -> bool {
        false
    }

    pub(crate) fn is_here(_handle: *mut core::ffi::c_void) -> bool {
        true
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
