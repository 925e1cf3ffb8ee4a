//! What a snapshot says of a goroutine.

use crate::{
    regs::Registers,
    walk::{End, Frame},
};

/// What the system knows of the threads of the process.
pub trait Threads {
    /// Where a goroutine is that a thread runs.
    fn seen(&self, it: &Goroutine, to: &mut Vec<u8>) -> Seen;

    /// The monotonic clock in nanoseconds; None for a core.
    fn now(&self) -> Option<u64>;

    /// Called every some dozen goroutines: others may need the processor.
    fn breathe(&self) {}

    /// The bytes of the stack `[lo, hi)` that were ever in use, if known.
    fn stack_used(&self, lo: u64, hi: u64) -> Option<u64> {
        _ = (lo, hi);
        None
    }
}

/// What is known of the place of a goroutine that runs.
#[derive(Clone, Copy, Debug)]
pub enum Seen {
    /// Nothing, and why, if that is known; else empty.
    No(&'static str),
    /// Its registers, and its stack is where it is.
    Registers(Registers),
    /// Its registers, and the bytes of its stack from an address on.
    Copied(Registers, u64),
}

/// What a goroutine does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// It waits; see [`Goroutine::reason`].
    #[default]
    Waiting,
    /// It waits for its turn.
    Runnable,
    /// It was started and has not run yet.
    New,
    /// A thread runs it.
    Running,
}

impl Status {
    /// As in Go's dumps.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Runnable | Self::New => "runnable",
            Self::Running => "running",
        }
    }
}

/// The actor that must go on before a wait can end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Holder {
    /// Nobody is known.
    #[default]
    Unknown,
    /// The goroutine with this id.
    Goroutine(u64),
    /// The thread of the host's with this id of the kernel's.
    Thread(u32),
    /// The members of the group at this address.
    Group(u64),
}

/// A goroutine, or a thread of the host's in a call of the library's.
#[derive(Clone, Debug, Default)]
pub struct Goroutine {
    /// Where its descriptor is.
    pub at: u64,
    /// Its number.
    pub id: u64,
    /// The number of the goroutine that has started it; 0 for a thread.
    pub parent: u64,
    /// It was started by a thread of the host's, whose stand-in has the number
    /// `parent`.
    pub by_thread: bool,
    /// What it does.
    pub status: Status,
    /// A stand-in for a thread of the host's.
    pub host: bool,
    /// The library's own.
    pub system: bool,
    /// It waits for what nothing else can reach, as the last search for such
    /// goroutines has found.
    pub leaked: bool,
    /// Its name; empty if it has none.
    pub name: Vec<u8>,
    /// What it waits for, in words; empty if it does not.
    pub reason: Vec<u8>,
    /// The address of what it waits for, or 0.
    pub object: u64,
    /// Who has to go on first.
    pub holder: Holder,
    /// For how long it waits, in nanoseconds, about.
    pub waits: Option<u64>,
    /// Where the call that made it returns to, or 0.
    pub gopc: u64,
    /// Its function, or 0.
    pub func: u64,
    /// The thread that runs it, or that it is locked to; 0 if there is none.
    pub tid: u32,
    /// Its stack; 0 if it has none.
    pub stack: (u64, u64),
    /// Bytes of the stack that were ever in use.
    pub stack_used: Option<u64>,
    /// Its frames, the innermost first.
    pub frames: Vec<Frame>,
    /// Why there are no more frames; None if none were looked for.
    pub end: Option<End>,
    /// It went on each time while its stack was read.
    pub moved: bool,
    /// Why a goroutine that runs has no frames; empty if it has, or none were
    /// looked for.
    pub unseen: &'static str,
}

/// Which goroutines, and how much of them.
#[derive(Clone, Copy, Debug)]
pub struct Want {
    /// The library's own, and all stand-ins of threads.
    pub system: bool,
    /// The most frames of each.
    pub frames: usize,
    /// Frames of goroutines that other threads run.
    pub running: bool,
}
