//! What the start finds out for the layers below it: the settings of the
//! environment, and the seed of all random numbers.
//!
//! `boot` parses and writes, before the first goroutine runs; everybody reads,
//! relaxed, for creating a thread or queueing a goroutine orders the rest.

use crate::base::sync::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::*,
};

/// How much a fatal error tells about goroutines (`GMP_TRACEBACK`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Traceback {
    /// Nothing.
    None = 0,
    /// The one that failed; all of the host's where none did.
    Single = 1,
    /// All of the host's.
    All = 2,
    /// The library's own too.
    System = 3,
}

/// The settings of `GMPDEBUG` and `GMP_TRACEBACK`.
pub(crate) struct DebugVars {
    /// Print each stage of the start with its time.
    pub inittrace: AtomicBool,
    /// Print the scheduler's state every so many milliseconds; 0: never.
    pub schedtrace: AtomicU32,
    /// With each P, M and goroutine.
    pub scheddetail: AtomicBool,
    /// sysmon takes Ps from goroutines that block or run long.
    pub handoff: AtomicBool,
    /// A host thread that joins an unstarted goroutine runs it in place.
    pub hostrun: AtomicBool,
    /// No goroutine goes on on the thread that it left.
    pub migrate: AtomicBool,
    /// `GMP_STACKSIZE` is set: nobody else changes the default.
    pub stack_size: AtomicBool,
    /// A [`Traceback`].
    traceback: AtomicU8,
}

pub(crate) static DEBUG: DebugVars = DebugVars {
    inittrace: AtomicBool::new(false),
    schedtrace: AtomicU32::new(0),
    scheddetail: AtomicBool::new(false),
    handoff: AtomicBool::new(true),
    hostrun: AtomicBool::new(true),
    migrate: AtomicBool::new(false),
    stack_size: AtomicBool::new(false),
    traceback: AtomicU8::new(Traceback::Single as u8),
};

/// Where all random numbers start: those of Ms, of Ps, and of threads that
/// have no G. Another one in each process; `randinit` writes.
pub(crate) static RANDSEED: AtomicU64 = AtomicU64::new(0);

/// Where the random numbers of the P with this number start; never 0.
pub(crate) fn seed_of_p(id: u64) -> u64 {
    seed(id)
}

/// The same of an M: none starts where a P does.
pub(crate) fn seed_of_m(id: u64) -> u64 {
    seed(id | 1 << 32)
}

fn seed(stream: u64) -> u64 {
    /// An odd number without a pattern: 2^64 by the golden ratio.
    const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
    // Relaxed: written before the first P and the first thread.
    let start = RANDSEED.load(Relaxed);
    start.wrapping_add(STEP.wrapping_mul(stream)) | 1
}

/// Bytes of stack of the goroutine that runs the program's `main`; 0 where
/// the main goroutine only initialises, which is in a library.
pub(crate) static MAIN_STACK: AtomicUsize = AtomicUsize::new(0);

impl DebugVars {
    pub(crate) fn traceback(&self) -> Traceback {
        match self.traceback.load(Relaxed) {
            0 => Traceback::None,
            2 => Traceback::All,
            3 => Traceback::System,
            _ => Traceback::Single,
        }
    }

    pub(crate) fn set_traceback(&self, level: Traceback) {
        self.traceback.store(level as u8, Relaxed);
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    /// What starts anywhere is told by the seed, and all of them differ.
    #[test]
    fn random_numbers_start_by_the_seed() {
        let starts = |seed| {
            RANDSEED.store(seed, Relaxed);
            let ids = 0..100;
            let all = ids.flat_map(|id| [seed_of_p(id), seed_of_m(id)]);
            all.collect::<std::collections::BTreeSet<_>>()
        };
        let (one, other) = (starts(0x1234_5678_9abc), starts(0xfedc_ba98));
        assert!(one.len() > 195 && other.len() > 195);
        assert!(!one.contains(&0) && one.intersection(&other).count() < 5);
    }
}
