//! The sleep of sysmon, and what sysmon is asked to do.
//!
//! sysmon holds no P and looks at all of them from time to time. Between two
//! looks it sleeps:
//!
//! ```text
//!            fall_asleep(Nap)                 fall_asleep(Deep)
//!   Napping <----------------- Awake -----------------------> Deep asleep
//!      |                        ^  ^                            |
//!      +-- time over, `ask` ----+  +-- time over, `ask`, -------+
//!                                      `wake_deep`
//! ```
//! A nap is the distance of two looks. The deep sleep ends when a P is taken
//! from the idle list, or when something is left that only sysmon sees to; it
//! costs an idle process no wake-ups.
//!
//! Invariants:
//! 1. The actor that takes `mode` away, a waker or sysmon, ends the sleep. A
//!    waker then wakes the note, once. Where sysmon finds `mode` taken it waits
//!    for that wake, so the note is clear when the next sleep begins.
//! 2. A request is served at the next look, and no sleep comes before that
//!    look.
//! 3. sysmon decides for the deep sleep under `sched.lock`, and `wake_deep` is
//!    called under it. So a change that is made under that lock either comes
//!    before the decision, and sysmon sees it, or finds sysmon asleep.
//!
//! Invariant 2: both sides change `mode` by swaps.
//!
//! ```text
//!   sysmon                                  asker
//!     swap mode: Nap or Deep      (a)         asked |= what
//!     asked is 0: sleep                       swap mode: Awake           (b)
//!                                             it was not Awake: wake
//! ```
//! (a) pairs with (b): a swap (b) that came before (a) and found sysmon awake
//! is read by (a), so sysmon sees what is asked; a later one finds it asleep,
//! or another waker has done so and wakes it.

use crate::base::{
    Futex,
    note::Note,
    sync::{
        AtomicU32,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
        const_unless_loom,
    },
};

const AWAKE: u32 = 0;

/// How sysmon sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Depth {
    /// From one look to the next.
    Nap = 1,
    /// Until a P is taken.
    Deep = 2,
}

/// sysmon's sleep; see the module.
pub struct Watchman<F> {
    mode: AtomicU32,
    /// Bits; their meaning is the askers'.
    asked: AtomicU32,
    note: Note<F>,
}

impl<F: Futex> Watchman<F> {
    const_unless_loom! {
        pub fn new() -> Self {
            Self {
                mode: AtomicU32::new(AWAKE),
                asked: AtomicU32::new(0),
                note: Note::new(),
            }
        }
    }

    /// sysmon: is about to sleep; for the deep sleep under the lock under which
    /// it has decided for that.
    pub fn fall_asleep(&self, depth: Depth) {
        // Invariant 1: nobody wakes it.
        self.note.clear();
        // AcqRel: (a), and the cleared note for a waker.
        self.mode.swap(depth as u32, AcqRel);
    }

    /// sysmon, after [`Self::fall_asleep`]: sleeps until a waker comes, or
    /// until this time. False: the time has come, or something was asked
    /// already.
    pub fn sleep_until(&self, until: i64) -> bool {
        // Relaxed: ordered by (a).
        let asked = self.asked.load(Relaxed) != 0;
        if !asked && self.note.sleep_until(until) {
            return true;
        }
        // Relaxed: the note orders, where a waker has come.
        let woken = self.mode.swap(AWAKE, Relaxed) == AWAKE;
        if woken {
            // Invariant 1.
            self.note.sleep();
        }
        woken
    }

    /// sysmon, awake: what was asked for since the last time.
    pub fn take_asked(&self) -> u32 {
        // Acquire: what the asker has done before.
        self.asked.swap(0, Acquire)
    }

    /// Asks for `what`; from any thread, async-signal-safe.
    pub fn ask(&self, what: u32) {
        // Release: pairs with take_asked.
        self.asked.fetch_or(what, Release);
        // AcqRel: (b), and the note is clear.
        if self.mode.swap(AWAKE, AcqRel) != AWAKE {
            self.note.wakeup();
        }
    }

    /// Ends a deep sleep; under the lock of invariant 3. Returns whether
    /// sysmon slept deeply.
    pub fn wake_deep(&self) -> bool {
        // Relaxed: the lock orders it, and the note is clear.
        let deep = Depth::Deep as u32;
        let slept = self.is_deep()
            && self
                .mode
                .compare_exchange(deep, AWAKE, Relaxed, Relaxed)
                .is_ok();
        if slept {
            self.note.wakeup();
        }
        slept
    }

    /// Whether sysmon sleeps deeply; a hint.
    pub fn is_deep(&self) -> bool {
        self.mode.load(Relaxed) == Depth::Deep as u32
    }
}

impl<F: Futex> Default for Watchman<F> {
    fn default() -> Self {
        Self::new()
    }
}
