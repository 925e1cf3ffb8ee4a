//! The spans of one class and kind that no mcache has: Go's `mcentral`.
//!
//! There are four lists: spans with free objects (*partial*) and without
//! (*full*), each swept and unswept. The lists change their roles when the
//! heap's generation h moves: what was swept is unswept then.
//!
//! ```text
//!               cache_swept                uncache
//!   swept list ------------> mcache of a P --------> swept list
//!       |                                                ^
//!       | h moves                                        | put
//!       v           take_unswept              swept      |
//!   unswept list -----------------> a sweeper -----------+--> page heap
//! ```
//! A span in which nothing is allocated goes back to the page heap, but for a
//! few in which all was freed by hand.
//!
//! Invariants:
//! 1. A span in a swept list has the phase Ready, one in an unswept list
//!    Unswept.
//! 2. `list` of a span in a list is the truth, and its `alloc_count` too, as
//!    far as it is swept.
//!
//! A free of an object whose span is here or elsewhere works under this lock,
//! so each of its cases is one that lasts (invariant 1 of `sweepgen`).

use super::mspan::{InList, MSpan, SpanList};
use super::seal;
use super::sweepgen::{Phase, Uncached};
use crate::base::Futex;
use crate::base::lock::{Lock, Rank};
use crate::base::sync::const_unless_loom;

/// How many spans in which all was freed by hand a central keeps, so that
/// freeing and allocating in turn does not ask the page heap each time.
const EMPTIES: u32 = 4;

/// The lists, by their role in even and odd cycles.
struct Lists {
    partial: [SpanList; 2],
    full: [SpanList; 2],
    /// How many spans in which nothing is allocated are in the swept list,
    /// and of which generation that list is.
    empties: u32,
    empties_of: u32,
}

// SAFETY: spans are handed on under the central's lock.
unsafe impl Send for Lists {}

/// One central.
#[repr(align(64))]
pub struct MCentral<F> {
    /// lock
    lists: Lock<Lists, F>,
}

/// What became of a span that was brought back.
#[must_use]
pub enum Brought {
    /// In a list, with so many free bytes.
    Kept(usize),
    /// Nothing in it is allocated. The caller brings it to the page heap.
    Empty(&'static MSpan),
    /// It has to be swept first, by the caller: then `put`.
    Stale(&'static MSpan),
}

/// What an mcache gets.
#[must_use]
pub enum Next {
    /// A span with free objects, which is cached.
    Cached(&'static MSpan),
    /// A span that it sweeps first.
    Unswept(&'static MSpan),
}

/// What freeing an object has come to.
#[must_use]
pub enum Freed {
    Done,
    /// The mcache that has the span frees it, all of whose bytes are counted as
    /// live meanwhile.
    Later,
    /// Nothing in its span is allocated any more. The caller brings the span to
    /// the page heap.
    Empty(&'static MSpan),
    /// No object, or free already.
    NoObject,
    /// Another thread sweeps the span: try again.
    Busy,
}

/// Which of the two lists has the swept spans of generation h.
const fn swept(h: u32) -> usize {
    (h / 2 % 2) as usize
}

impl<F: Futex> Default for MCentral<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: Futex> MCentral<F> {
    const_unless_loom! {
        pub fn new() -> Self {
            let lists = Lists {
                partial: [const { SpanList::new() }; 2],
                full: [const { SpanList::new() }; 2],
                empties: 0,
                empties_of: 0,
            };
            Self { lists: Lock::new(Rank::HeapCentral, lists) }
        }
    }

    /// A swept span with free objects, for an mcache.
    pub fn cache_swept(&self, h: u32) -> Option<&'static MSpan> {
        self.lists.lock().cache_swept(h)
    }

    /// An unswept span, for the caller to sweep; one with free objects first.
    pub fn take_unswept(&self, h: u32) -> Option<&'static MSpan> {
        self.lists.lock().take_unswept(h)
    }

    /// [`Self::uncache`], if the mcache has a span, and what it gets instead:
    /// all at once, since each lock costs as much as many allocations.
    pub fn exchange(
        &self,
        h: u32,
        s: Option<&'static MSpan>,
    ) -> (Option<Brought>, Option<Next>) {
        let mut lists = self.lists.lock();
        let brought = s.map(|s| lists.uncache(h, s));
        let next = match lists.cache_swept(h) {
            Some(s) => Some(Next::Cached(s)),
            None => lists.take_unswept(h).map(Next::Unswept),
        };
        (brought, next)
    }

    /// Brings a span that the caller has swept, or a new one with objects.
    pub fn put(&self, h: u32, s: &'static MSpan) -> Brought {
        if s.alloc_count.get() == 0 {
            return Brought::Empty(s);
        }
        let lists = self.lists.lock();
        if s.sweepgen.phase(h) == Phase::Sweeping {
            s.sweepgen.swept(h);
        }
        lists.add(h, s);
        Brought::Kept(s.free_bytes())
    }

    /// Makes a span that the caller has swept one that its mcache has.
    pub fn cache(&self, h: u32, s: &'static MSpan) {
        let _lists = self.lists.lock();
        if s.sweepgen.phase(h) == Phase::Sweeping {
            s.sweepgen.swept(h);
        }
        s.sweepgen.cache(h);
    }

    /// Frees what others have freed in a span of the caller's mcache; true if
    /// there was something.
    pub fn settle(&self, s: &'static MSpan) -> bool {
        // Else a second free could find the object half free: allocated, and
        // not marked any more.
        let _lists = self.lists.lock();
        s.settle()
    }

    /// Brings a span from an mcache: Go's `uncacheSpan`.
    pub fn uncache(&self, h: u32, s: &'static MSpan) -> Brought {
        self.lists.lock().uncache(h, s)
    }

    /// Frees the object `offset` bytes behind the base of `s`, and fills it if
    /// `poison`. The caller does not cache the span.
    pub fn free(
        &self,
        h: u32,
        s: &'static MSpan,
        offset: usize,
        poison: bool,
    ) -> Freed {
        let mut lists = self.lists.lock();
        if !s.has_bit(offset) {
            // The caller's object is gone, and the span another one by now.
            return Freed::NoObject;
        }
        let (pair, bit) = s.bit(offset);
        if s.sweepgen.phase(h) == Phase::Sweeping {
            return Freed::Busy;
        }
        if pair.alloc() & bit == 0 {
            return Freed::NoObject;
        }
        if s.class.get() == 0 {
            return lists.free(h, s, offset, poison);
        }
        let at = s.base.get() + offset;
        let Some(was) = seal::claim(at) else { return Freed::NoObject };
        let freed = lists.free(h, s, offset, poison);
        if !poison || matches!(freed, Freed::NoObject) {
            seal::release(at, was);
        }
        freed
    }

    /// How many spans are in the lists: swept, unswept.
    pub fn count(&self, h: u32) -> (usize, usize) {
        let lists = self.lists.lock();
        let of = |i: usize| lists.partial[i].count() + lists.full[i].count();
        (of(swept(h)), of(1 - swept(h)))
    }
}

impl Lists {
    /// [`MCentral::cache_swept`].
    fn cache_swept(&mut self, h: u32) -> Option<&'static MSpan> {
        let s = self.partial[swept(h)].pop()?;
        s.list.set(InList::None);
        if s.alloc_count.get() == 0 {
            self.empties -= 1;
        }
        s.sweepgen.cache(h);
        Some(s)
    }

    /// [`MCentral::take_unswept`].
    fn take_unswept(&self, h: u32) -> Option<&'static MSpan> {
        let old = 1 - swept(h);
        let s = self.partial[old].pop().or_else(|| self.full[old].pop())?;
        s.list.set(InList::None);
        s.sweepgen.acquire(h);
        Some(s)
    }

    /// [`MCentral::uncache`].
    fn uncache(&mut self, h: u32, s: &'static MSpan) -> Brought {
        if s.sweepgen.uncache(h) == Uncached::Stale {
            return Brought::Stale(s);
        }
        s.settle();
        s.let_go();
        if s.alloc_count.get() == 0 && !self.keep_empty(h) {
            return Brought::Empty(s);
        }
        self.add(h, s);
        Brought::Kept(s.free_bytes())
    }

    /// Adds a swept span.
    fn add(&self, h: u32, s: &'static MSpan) {
        let (list, name) = if s.is_full() {
            (&self.full, InList::Full)
        } else {
            (&self.partial, InList::Partial)
        };
        list[swept(h)].push(s);
        s.list.set(name);
    }

    /// Whether one more span with nothing in it stays in the swept list, where
    /// the next sweep finds it if nobody takes it before.
    fn keep_empty(&mut self, h: u32) -> bool {
        if self.empties_of != h {
            (self.empties, self.empties_of) = (0, h);
        }
        let keep = self.empties < EMPTIES;
        self.empties += u32::from(keep);
        keep
    }

    /// Frees an object that is allocated, of a span that nobody sweeps.
    fn free(
        &mut self,
        h: u32,
        s: &'static MSpan,
        offset: usize,
        poison: bool,
    ) -> Freed {
        let (pair, bit) = s.bit(offset);
        let freed = match s.sweepgen.phase(h) {
            // The sweep to come frees what has no mark.
            Phase::Unswept | Phase::CachedUnswept => pair.unmark(bit),
            Phase::Cached => {
                if !s.free_later(offset) {
                    return Freed::NoObject;
                }
                if poison {
                    s.poison(offset);
                }
                return Freed::Later;
            }
            Phase::Ready | Phase::Sweeping => {
                if poison {
                    s.poison(offset);
                }
                return self.free_ready(h, s, offset);
            }
        };
        if freed && poison {
            s.poison(offset);
        }
        if freed { Freed::Done } else { Freed::NoObject }
    }

    /// Frees an object of a span that is Ready, and so in a list.
    fn free_ready(
        &mut self,
        h: u32,
        s: &'static MSpan,
        offset: usize,
    ) -> Freed {
        let (pair, bit) = s.bit(offset);
        pair.clear_alloc(bit);
        s.needzero.set(true);
        let count = s.alloc_count.get() - 1;
        s.alloc_count.set(count);
        let drop = count == 0 && (s.class.get() == 0 || !self.keep_empty(h));
        let was = s.list.get();
        if drop || was == InList::Full {
            let list = match was {
                InList::Full => &self.full,
                _ => &self.partial,
            };
            list[swept(h)].remove(s);
            s.list.set(InList::None);
            if drop {
                return Freed::Empty(s);
            }
            self.add(h, s);
        }
        Freed::Done
    }
}
