//! This process as the search for deadlocks sees it, and the words for what it
//! finds.
//!
//! All goroutines go on meanwhile. Gs stay where they are; all else is read
//! through [`Memory`], which knows when it is gone. Nothing here allocates or
//! locks.

use super::{
    cycles::{Circle, Next, View, Waiter, Waiting, find},
    dump::{self, peek},
};
use crate::{
    block::{group, holder, rwmutex},
    gmp::{
        G, GStatus, WAITMARK_SHIFT, each_g, g_at, lookup,
        wait::{Wait, held},
        waitmark,
    },
    sched::{host::standin_of, join::joiner_of},
    timers::Deadline,
};
use core::{cell::Cell, fmt, mem::offset_of, ptr, sync::atomic::Ordering::*};
use gmprt_inspect::memory::{Memory, OwnMemory};

/// Objects from whose waiters a search came to nothing, that are remembered.
const DULL: usize = 64;
/// Circles that are found at most.
const MOST: usize = 256;

/// Waiters of this process in a circle.
pub(super) type Deadlock = Circle<Ref>;

/// Searches that find each circle once.
pub(super) struct Search {
    /// `Wait::held` of waiters from which this scan came to nothing.
    dull: [Cell<usize>; DULL],
    /// The numbers of the circles that were found; 0 in a free place.
    found: [Cell<u64>; MOST],
}

impl Search {
    pub(super) const fn new() -> Self {
        Self {
            dull: [const { Cell::new(0) }; DULL],
            found: [const { Cell::new(0) }; MOST],
        }
    }

    /// A scan of all Gs begins.
    pub(super) fn begin(&self) {
        self.dull.iter().for_each(|held| held.set(0));
    }

    /// A waiter from which a search may begin: `gp`, or the G that joins it.
    pub(super) fn waiter(&self, gp: &'static G) -> Option<&'static G> {
        // Relaxed: a hint.
        if gp.held.load(Relaxed) {
            return Some(gp);
        }
        g_of(joiner_of(&OwnMemory, gp)?)
    }

    /// The circle to which the ways from `gp` lead, if all of its waiters have
    /// waited for `ns` at least, and none of [`Self::found`] is it.
    pub(super) fn look(&self, gp: &'static G, ns: i64) -> Option<Deadlock> {
        // Relaxed: a hint.
        if waited(gp.waitsince.load(Relaxed)) < ns {
            return None;
        }
        let held = Live.wait(Ref(gp))?.held;
        let dull = &self.dull[(held >> 4) % DULL];
        if dull.get() == held {
            return None;
        }
        let circle = find(&Live, Ref(gp)).filter(|circle| {
            let long = |w: &Waiter<Ref>| waited(w.wait.since) >= ns;
            circle.waiters().all(long) && self.place(circle).is_some()
        });
        if circle.is_none() {
            dull.set(held);
        }
        circle
    }

    /// Finds each circle of this process.
    pub(super) fn each(&self, mut f: impl FnMut(&Deadlock)) {
        self.begin();
        for gp in each_g().filter_map(|gp| self.waiter(gp)) {
            if let Some(circle) = self.look(gp, 0) {
                self.found(&circle);
                f(&circle);
            }
        }
    }

    /// Where the number of a circle goes; none if it is there, or no room is.
    fn place(&self, circle: &Deadlock) -> Option<&Cell<u64>> {
        let number = number(circle);
        let place =
            |at: &&Cell<u64>| matches!(at.get(), 0) || at.get() == number;
        self.found.iter().find(place).filter(|at| at.get() == 0)
    }

    /// This circle is not looked for any more.
    pub(super) fn found(&self, circle: &Deadlock) {
        if let Some(place) = self.place(circle) {
            place.set(number(circle));
        }
    }
}

fn number(circle: &Deadlock) -> u64 {
    circle.number(|gp| u64::from(gp.0.index)).max(1)
}

/// Nanoseconds since a mark.
fn waited(since: u32) -> i64 {
    let marks = waitmark().wrapping_sub(since);
    // A mark may be a little younger than the one that was read before.
    let marks = if marks > u32::MAX / 2 { 0 } else { marks };
    i64::from(marks) << WAITMARK_SHIFT
}

/// A G, compared by its address.
#[derive(Clone, Copy)]
pub(super) struct Ref(pub &'static G);

impl PartialEq for Ref {
    fn eq(&self, other: &Self) -> bool {
        ptr::eq(self.0, other.0)
    }
}

/// This process, which goes on.
struct Live;

impl View for Live {
    type G = Ref;

    fn wait(&self, Ref(gp): Ref) -> Option<Waiting> {
        let ticket = parked(gp)?;
        // Acquire: pairs with gopark.
        let at = gp.waiting.load(Acquire) as usize;
        // Relaxed: a measure.
        let since = gp.waitsince.load(Relaxed);
        let mut bytes = [0; size_of::<Wait>()];
        if !OwnMemory.read(at as u64, &mut bytes) {
            return None;
        }
        // The same ticket after the copy as before: it is of this wait.
        if parked(gp) != Some(ticket) {
            return None;
        }
        let deadline = word(&bytes, offset_of!(Wait, deadline)) as i64;
        let wait = Waiting {
            ticket,
            held: word(&bytes, offset_of!(Wait, held)),
            object: word(&bytes, offset_of!(Wait, object)),
            reason: word(&bytes, offset_of!(Wait, reason)),
            since,
        };
        let known = wait.held != 0 && deadline == Deadline::NEVER.ns();
        known.then_some(wait)
    }

    fn next(&self, held: usize, record: usize) -> Option<Next<Ref>> {
        let at = held & !held::TAG;
        if held & held::TAG == held::GROUP {
            let member = group::member_after(&OwnMemory, at, record)?;
            let gp = lookup(member.handle as *mut _).ok()?;
            return Some(Next { gp: Ref(gp), record: member.record });
        }
        let gp = match held & held::TAG {
            held::WORD => {
                let found = holder::read(&OwnMemory, at)?;
                let gp = holder_g(found)?;
                if found.doubt && !self.waits_at(gp, at) {
                    return None;
                }
                gp
            }
            held::READ => self.ahead_of_reader(at)?,
            _ => g_of(at)?,
        };
        Some(Next { gp: Ref(gp), record: 0 })
    }

    fn leads(&self, held: usize, next: Next<Ref>) -> bool {
        let at = held & !held::TAG;
        if held & held::TAG != held::GROUP {
            return self.next(held, 0).is_some_and(|now| now.gp == next.gp);
        }
        // A goroutine that is parked stays a member, and its record with it.
        let member = group::found_member(&OwnMemory, next.record);
        let at_end = peek(&next.gp.0.at_end).addr();
        at_end == next.record && member.is_some_and(|m| m.group == at)
    }
}

impl Live {
    /// Whether a G waits for the object of these words.
    fn waits_at(&self, gp: &'static G, words: usize) -> bool {
        let wait = self.wait(Ref(gp));
        wait.is_some_and(|wait| wait.held & !held::TAG == words)
    }

    /// The G that keeps a reader out of an rwmutex: the writer that has it, or
    /// one that will not give up and waits for the readers that have it. Those
    /// are what the reader waits for, too.
    fn ahead_of_reader(&self, words: usize) -> Option<&'static G> {
        match rwmutex::ahead(&OwnMemory, words)? {
            rwmutex::Ahead::Writer(found) => holder_g(found),
            rwmutex::Ahead::Next { gp, object } => {
                let gp = g_of(gp)?;
                let wait = self.wait(Ref(gp))?;
                let writes = wait.held & held::TAG == held::WORD;
                (writes && wait.object == object).then_some(gp)
            }
        }
    }
}

/// The ticket of a G that is parked.
fn parked(gp: &G) -> Option<u64> {
    let waits = gp.readgstatus() == GStatus::Waiting;
    gp.park.parked(&gp.claim).filter(|_| waits)
}

/// The G that holder words name, if they can be relied on.
fn holder_g(found: holder::Found) -> Option<&'static G> {
    if found.around {
        return None;
    }
    match found.who {
        holder::Who::Thread(tp, tid) => standin_of(tp, tid),
        holder::Who::G(at, goid) => {
            g_of(at).filter(|gp| peek(&gp.goid) as u32 == goid)
        }
    }
}

/// The G at an address that may be none's.
fn g_of(at: usize) -> Option<&'static G> {
    let index = at.checked_add(offset_of!(G, index))?;
    let gp = g_at(OwnMemory.u32(index as u64)?)?;
    (ptr::from_ref(gp).addr() == at).then_some(gp)
}

/// The word at this place of a structure.
fn word(bytes: &[u8], at: usize) -> usize {
    let bytes = &bytes[at..at + size_of::<usize>()];
    bytes.iter().rev().fold(0, |n, &byte| n << 8 | usize::from(byte))
}

/// The line that a report begins with.
pub(super) struct Headline<'a>(pub &'a Deadlock);

impl fmt::Display for Headline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0.waiters().len();
        let any = |host| self.0.waiters().any(|w| w.gp.0.is_host() == host);
        let what = match (any(false), any(true)) {
            (true, true) => "goroutines and threads",
            (true, false) if n == 1 => "a goroutine",
            (true, false) => "goroutines",
            _ if n == 1 => "a thread",
            _ => "threads",
        };
        match n {
            1 => write!(f, "deadlock: {what} waits for itself"),
            _ => write!(f, "deadlock: {n} {what} wait for each other"),
        }
    }
}

/// A waiter of a circle, and the next, for which it waits.
pub(super) struct Edge<'a> {
    pub waiter: &'a Waiter<Ref>,
    pub next: &'a Waiter<Ref>,
}

/// The edges of a circle.
pub(super) fn edges(circle: &Deadlock) -> impl Iterator<Item = Edge<'_>> {
    let next = circle.waiters().cycle().skip(1);
    circle.waiters().zip(next).map(|(waiter, next)| Edge { waiter, next })
}

impl fmt::Display for Edge<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { waiter, next } = self;
        let wait = &waiter.wait;
        who(f, waiter.gp.0)?;
        let name = waiter.gp.0.name.load(Acquire);
        if !name.is_null() {
            f.write_str(" \"")?;
            dump::text(f, name.addr())?;
            f.write_str("\"")?;
        }
        f.write_str(" waits for ")?;
        let tag = wait.held & held::TAG;
        if tag == held::G {
            f.write_str("the end of ")?;
        } else {
            dump::text(f, wait.reason)?;
            write!(f, " {:#x}, ", wait.object)?;
            f.write_str(match tag {
                held::GROUP => "with the member ",
                held::READ if next.wait.object == wait.object => "behind ",
                _ => "held by ",
            })?;
        }
        who(f, next.gp.0)?;
        write!(f, ", since {} s", waited(wait.since) / 1_000_000_000)
    }
}

/// Writes which goroutine or thread a G is.
fn who(f: &mut fmt::Formatter<'_>, gp: &G) -> fmt::Result {
    if !gp.is_host() {
        return write!(f, "goroutine {}", peek(&gp.goid));
    }
    // SAFETY: null, or a type-stable M.
    let mp = unsafe { peek(&gp.m).as_ref() };
    let tid = mp.map_or(0, |mp| mp.procid.load(Relaxed));
    write!(f, "thread {tid}")
}
