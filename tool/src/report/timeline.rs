//! The timeline of a program: what ran where and when, and who woke whom.
//!
//! The report is made from this alone. Times are nanoseconds from the start of
//! the trace. Goroutines and lanes are named by their index.
//!
//! Invariants:
//! 1. The slices of a lane, and the spans of a goroutine, are in the order of
//!    their time and do not overlap.
//! 2. Marks, wakes and the points of a counter are in the order of their time.

use super::perfetto::Texts;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneKind {
    P,
    /// A thread, or a track of the program's own.
    Other,
}

/// A piece of a lane: a goroutine that ran there, or what a name says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slice {
    pub from: u64,
    pub to: u64,
    pub name: u32,
    pub goroutine: Option<usize>,
}

/// A moment on a lane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    pub at: u64,
    pub name: u32,
}

#[derive(Clone, Debug)]
pub struct Lane {
    pub name: String,
    pub kind: LaneKind,
    pub slices: Vec<Slice>,
    pub moments: Vec<Moment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// On this lane, where it is known.
    Running(Option<usize>),
    Runnable,
    /// For this reason, and this object: two texts, the second empty where it
    /// is not known.
    Waiting(u32, u32),
    /// In the host's code, while its P is lent to others.
    Blocked,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    pub from: u64,
    pub to: u64,
    pub state: State,
}

#[derive(Clone, Debug, Default)]
pub struct Goroutine {
    pub id: u64,
    /// Its own name, else its entry function; may be empty.
    pub name: u32,
    /// The goroutine that made it.
    pub parent: Option<usize>,
    pub spans: Vec<Span>,
}

/// One goroutine made another runnable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wake {
    pub at: u64,
    /// None if it was no goroutine: a timer, the poller, a thread.
    pub by: Option<usize>,
    /// `create`, `ready`, `timer`, `netpoll`, …
    pub how: u32,
    /// Where the waker was.
    pub lane: Option<usize>,
    pub woken: usize,
    /// When the woken goroutine ran, and where.
    pub ran: Option<(u64, Option<usize>)>,
}

/// A mark of the program's own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    pub at: u64,
    pub text: u32,
    pub goroutine: Option<usize>,
    pub lane: Option<usize>,
}

#[derive(Clone, Debug)]
pub struct Counter {
    pub name: String,
    pub points: Vec<(u64, f64)>,
}

#[derive(Debug, Default)]
pub struct Timeline {
    pub program: String,
    pub pid: Option<u64>,
    /// The length of the trace.
    pub length: u64,
    /// The events that it was made from.
    pub events: u64,
    pub texts: Texts,
    pub lanes: Vec<Lane>,
    pub goroutines: Vec<Goroutine>,
    pub wakes: Vec<Wake>,
    pub marks: Vec<Mark>,
    pub counters: Vec<Counter>,
    pub warnings: Vec<String>,
}

impl Timeline {
    /// The name of a goroutine for people; its number is not in it.
    pub fn name_of(&self, goroutine: usize) -> &str {
        let name = self.texts.get(self.goroutines[goroutine].name);
        if name.is_empty() { "goroutine" } else { name }
    }
}
