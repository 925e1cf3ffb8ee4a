//! The settings of the environment.
//!
//! `boot` writes them before the first goroutine runs. All loads are relaxed: a
//! thread that is created, or a goroutine that is queued, comes after the
//! writes.

use crate::base::sync::{
    AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering::*,
};

/// How much a fatal error tells about goroutines (`GMP_TRACEBACK`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Traceback {
    /// Nothing.
    None = 0,
    /// The goroutine that failed; all of the host's if none did.
    Single = 1,
    /// All goroutines of the host's.
    All = 2,
    /// The library's own goroutines too.
    System = 3,
}

/// The settings of `GMPDEBUG` and `GMP_TRACEBACK`.
pub(crate) struct DebugVars {
    /// Print each stage of the start with its time.
    pub inittrace: AtomicBool,
    /// Print the scheduler's state every so many milliseconds; 0: never.
    pub schedtrace: AtomicU32,
    /// Print each P, too.
    pub scheddetail: AtomicBool,
    /// Tell deadlocks whose waits are older than so many seconds; 0: none.
    pub lockwait: AtomicU32,
    /// sysmon takes Ps from goroutines that block or run long.
    pub handoff: AtomicBool,
    /// A host thread that joins an unstarted goroutine runs it in place. Off
    /// once an interpreter of Python is found.
    pub hostrun: AtomicBool,
    /// An idle M that is not needed ends after so many milliseconds; 0: never.
    pub idlethread: AtomicU32,
    /// A goroutine that parks or yields continues on another thread.
    pub migrate: AtomicBool,
    /// The signal that makes a dump; 0 if none does.
    pub dumpsignal: AtomicU32,
    /// `GMP_STACKSIZE` is set, so nothing else changes the default.
    pub stack_size: AtomicBool,
    /// A [`Traceback`].
    traceback: AtomicU8,
}

/// By default two minutes: long enough that a program with a burst of blocking
/// calls now and then makes its threads once.
const IDLETHREAD: u32 = 120_000;

pub(crate) static DEBUG: DebugVars = DebugVars {
    inittrace: AtomicBool::new(false),
    schedtrace: AtomicU32::new(0),
    scheddetail: AtomicBool::new(false),
    lockwait: AtomicU32::new(0),
    handoff: AtomicBool::new(true),
    hostrun: AtomicBool::new(true),
    idlethread: AtomicU32::new(IDLETHREAD),
    migrate: AtomicBool::new(false),
    dumpsignal: AtomicU32::new(0),
    stack_size: AtomicBool::new(false),
    traceback: AtomicU8::new(Traceback::Single as u8),
};

/// Bytes of stack of the goroutine that runs the program's `main`; 0 in a
/// library, where the main goroutine only initialises.
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
