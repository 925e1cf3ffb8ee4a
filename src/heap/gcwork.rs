//! What markers have yet to scan, and how they share it and end: Go's `gcWork`,
//! `workbuf` and `lfstack`.
//!
//! Each marker has two blocks of its own, and pushes to and pops from one of
//! them. A block that is one too many goes to the list `full`, and a marker
//! without any takes one from there. The list is lock-free, because a marker
//! takes no lock: the thread that holds one might not run.
//!
//! ```text
//!             push            too many               trygetfull
//!   marker ---------> block ------------> full ----------------> marker
//!                       ^                                          |
//!                       |        getempty             emptied      |
//!                       +--------------------- empty <-------------+
//! ```
//!
//! # The end
//! A marker that finds nothing counts itself in `idle`, and looks at `full` and
//! at the count in turn.
//!
//! ```text
//!   marker that pushes             marker without work
//!     (a) put a block into full      (c) idle += 1
//!     (b) idle += 1, in its turn     (d) all idle? then full is empty
//! ```
//! (b) pairs with (d). Only a marker that is not idle puts a block, and it does
//! so before it counts itself. So whoever sees all idle sees all that was put,
//! and all that was taken: if `full` is empty then, it stays so.
//!
//! Invariants:
//! 1. A block is in one list, or one marker has it.
//! 2. A marker that is counted as idle has no block with entries.
//! 3. A marker that takes a block is not counted. It takes itself out of the
//!    count before it looks.
//! 4. Blocks are never unmapped while their heap lives, so the link of a block
//!    that another marker has just taken can be read. The count in a list's
//!    word grows with each push, so a word that was seen does not come back.
//!
//! # A marker that comes later
//! The collector does not wait for a marker whose thread does not run. So the
//! collector is the only marker at first, and others pass a [`Gate`] when they
//! come.
//!
//! ```text
//!   collector                         another
//!     open
//!     take jobs, scan                   inside += 1, if it is open  (e)
//!     none left: (c) (d)                markers += 1                (f)
//!     shut; wait until none is inside   take jobs, scan: none left
//!     the marking's memory goes         inside -= 1                 (g)
//! ```
//! Jobs are taken in one order. Who has taken one comes before the collector in
//! it, so the collector sees (f) when it finds none left. A marker that comes
//! after that finds none either. (e) and (g) make the collector wait.
//!
//! Where there is no memory for a block, what was to be pushed is dropped and
//! `overflow` set. The object is marked all the same, and the marker looks for
//! marked objects with unmarked ones in them at the end.

use crate::base::sync::{
    AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::*,
    const_unless_loom, spin_loop,
};
#[cfg(not(loom))]
use crate::os::{ours, thread::osyield};
use core::ptr;

/// Bytes of a block, which is aligned to them.
const BLOCK: usize = 2048;
/// Entries of a block.
#[cfg(not(loom))]
pub const ENTRIES: usize = BLOCK / 8 - 2;
#[cfg(loom)]
pub const ENTRIES: usize = 2;
/// Bytes of blocks that are mapped at once.
#[cfg(not(loom))]
const CHUNK: usize = 64 << 10;
/// How often a marker looks before it lets another thread run.
const LOOKS: u32 = if cfg!(loom) { 1 } else { 100 };

/// A block of entries. All Relaxed: a block changes hands through a list.
#[repr(C, align(2048))]
pub struct WorkBuf {
    /// atomic: the next one in its list, as an address.
    next: AtomicUsize,
    /// holder
    len: AtomicUsize,
    /// holder
    entries: [AtomicUsize; ENTRIES],
}

impl WorkBuf {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            next: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            entries: core::array::from_fn(|_| AtomicUsize::new(0)),
        }
    }
}

impl Default for WorkBuf {
    fn default() -> Self {
        Self::new()
    }
}

/// A list of blocks: Go's `lfstack`. The word has the first one's address,
/// without the bits that are 0 by alignment, above a count (invariant 4).
pub struct LfStack(AtomicU64);

/// Bits of the count.
const COUNT: u32 = 28;

impl LfStack {
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    fn address(word: u64) -> usize {
        (word >> COUNT) as usize * BLOCK
    }

    pub fn push(&self, block: &'static WorkBuf) {
        let at = ptr::from_ref(block).addr();
        let mut word = self.0.load(Relaxed);
        loop {
            block.next.store(Self::address(word), Relaxed);
            let count = word.wrapping_add(1) & ((1 << COUNT) - 1);
            let new = ((at / BLOCK) as u64) << COUNT | count;
            // Release: pairs with the acquire of pop.
            match self.0.compare_exchange_weak(word, new, Release, Relaxed) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    pub fn pop(&self) -> Option<&'static WorkBuf> {
        // Acquire, here and below: pairs with the release of push.
        let mut word = self.0.load(Acquire);
        loop {
            let at = Self::address(word) as *const WorkBuf;
            // SAFETY: null or a block, and blocks stay (invariant 4).
            let block = unsafe { at.as_ref() }?;
            let next = block.next.load(Relaxed) / BLOCK;
            let count = word & ((1 << COUNT) - 1);
            let new = (next as u64) << COUNT | count;
            // AcqRel: passes on what the blocks below were pushed with.
            match self.0.compare_exchange_weak(word, new, AcqRel, Acquire) {
                Ok(_) => return Some(block),
                Err(now) => word = now,
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        Self::address(self.0.load(Acquire)) == 0
    }
}

impl Default for LfStack {
    fn default() -> Self {
        Self::new()
    }
}

/// What all markers share.
pub struct Work {
    full: LfStack,
    empty: LfStack,
    /// How many markers there are. Set before they begin.
    markers: AtomicU32,
    /// atomic: invariant 2.
    idle: AtomicU32,
    /// atomic: entries were dropped.
    overflow: AtomicBool,
    /// How many blocks there are. atomic
    blocks: AtomicUsize,
    /// Chunks that may yet be mapped; for tests, to have too few. atomic
    may_map: AtomicUsize,
}

impl Work {
    #[must_use]
    pub fn new() -> Self {
        Self {
            full: LfStack::new(),
            empty: LfStack::new(),
            markers: AtomicU32::new(0),
            idle: AtomicU32::new(0),
            overflow: AtomicBool::new(false),
            blocks: AtomicUsize::new(0),
            may_map: AtomicUsize::new(usize::MAX),
        }
    }

    /// Before so many markers begin, for which there are blocks. None without
    /// memory.
    pub fn begin(&self, markers: u32) -> Option<()> {
        while self.blocks.load(Relaxed) < markers as usize {
            let block = self.map()?;
            self.empty.push(block);
        }
        self.markers.store(markers, Relaxed);
        self.idle.store(0, Relaxed);
        self.overflow.store(false, Relaxed);
        Some(())
    }

    /// (f): one marker more begins, while others have not ended.
    pub fn join(&self) {
        self.markers.fetch_add(1, AcqRel);
    }

    /// Lets only so many more chunks be mapped.
    pub fn set_may_map(&self, chunks: usize) {
        self.may_map.store(chunks, Relaxed);
    }

    /// Whether entries were dropped since the last question.
    pub fn take_overflow(&self) -> bool {
        self.overflow.swap(false, Relaxed)
    }

    /// Adds a block.
    pub fn add(&self, block: &'static WorkBuf) {
        self.empty.push(block);
        self.blocks.fetch_add(1, Relaxed);
    }

    /// A block without entries; None without memory.
    fn getempty(&self) -> Option<&'static WorkBuf> {
        self.empty.pop().or_else(|| self.map())
    }

    #[cfg(loom)]
    fn map(&self) -> Option<&'static WorkBuf> {
        None
    }

    /// Maps a chunk of blocks, and takes one of them.
    #[cfg(not(loom))]
    #[cold]
    fn map(&self) -> Option<&'static WorkBuf> {
        let less = |n: usize| n.checked_sub(1);
        self.may_map.fetch_update(Relaxed, Relaxed, less).ok()?;
        // A page more, of which the part before an aligned address is lost.
        let at = ours::map_ours(CHUNK + BLOCK).ok()? as usize;
        let first = at.next_multiple_of(BLOCK);
        for at in (first..first + CHUNK).step_by(BLOCK).skip(1) {
            // SAFETY: a block of a fresh mapping: zeros are an empty block. The
            // mapping stays.
            self.empty.push(unsafe { &*(at as *const WorkBuf) });
        }
        self.blocks.fetch_add(CHUNK / BLOCK, Relaxed);
        // SAFETY: as above; this one no list has.
        Some(unsafe { &*(first as *const WorkBuf) })
    }

    /// Whether a marker waits for work, and there is none in the list.
    #[inline]
    fn is_wanted(&self) -> bool {
        self.idle.load(Relaxed) != 0 && self.full.is_empty()
    }

    /// A block with entries, as soon as there is one; None when all markers are
    /// without. The caller has no entries.
    fn getfull(&self) -> Option<&'static WorkBuf> {
        if let Some(block) = self.full.pop() {
            return Some(block);
        }
        // (c), which is (b) of a marker that has pushed.
        self.idle.fetch_add(1, AcqRel);
        let mut looks = 0;
        loop {
            if !self.full.is_empty() {
                // Invariant 3.
                self.idle.fetch_sub(1, AcqRel);
                if let Some(block) = self.full.pop() {
                    return Some(block);
                }
                self.idle.fetch_add(1, AcqRel);
            }
            // (d), an Acquire: pairs with (b).
            let all = self.markers.load(Relaxed);
            if self.idle.load(Acquire) == all && self.full.is_empty() {
                return None;
            }
            looks += 1;
            if looks % LOOKS == 0 {
                let_others_run();
            } else {
                spin_loop();
            }
        }
    }
}

impl Default for Work {
    fn default() -> Self {
        Self::new()
    }
}

fn let_others_run() {
    #[cfg(not(loom))]
    osyield();
    #[cfg(loom)]
    loom::thread::yield_now();
}

/// A marker's own part: Go's `gcWork`.
pub struct GcWork<'a> {
    work: &'a Work,
    block: &'static WorkBuf,
    /// Entries of `block`.
    len: usize,
    /// Empty or full.
    spare: Option<&'static WorkBuf>,
}

impl<'a> GcWork<'a> {
    /// One of so many markers as `begin` was told. None without memory: the
    /// others have all blocks, and this marker has no work, and never will.
    #[must_use]
    pub fn new(work: &'a Work) -> Option<Self> {
        let Some(block) = work.getempty() else {
            // (b), without a push.
            work.idle.fetch_add(1, AcqRel);
            return None;
        };
        Some(Self { work, block, len: 0, spare: None })
    }

    #[inline(always)]
    pub fn push(&mut self, entry: usize) {
        if self.len == ENTRIES && !self.make_room() {
            return;
        }
        // SAFETY: less than ENTRIES, and `len` never exceeds it.
        let place = unsafe { self.block.entries.get_unchecked(self.len) };
        place.store(entry, Relaxed);
        self.len += 1;
    }

    /// The block is full: goes on with an empty one. False without memory.
    #[cold]
    fn make_room(&mut self) -> bool {
        let empty = match self.spare.take() {
            Some(spare) if spare.len.load(Relaxed) == 0 => Some(spare),
            Some(full) => {
                self.work.full.push(full);
                self.work.getempty()
            }
            None => self.work.getempty(),
        };
        let Some(empty) = empty else {
            self.work.overflow.store(true, Relaxed);
            return false;
        };
        self.block.len.store(ENTRIES, Relaxed);
        self.spare = Some(self.block);
        self.block = empty;
        self.len = 0;
        true
    }

    /// The last entry that was pushed; None if there are none of one's own.
    #[inline(always)]
    pub fn pop(&mut self) -> Option<usize> {
        if self.len == 0 && !self.swap() {
            return None;
        }
        self.len -= 1;
        // SAFETY: less than ENTRIES, which `len` never exceeds.
        let entry = unsafe { self.block.entries.get_unchecked(self.len) };
        Some(entry.load(Relaxed))
    }

    /// The block is empty: goes on with the spare one. False: empty too.
    fn swap(&mut self) -> bool {
        let Some(spare) = self.spare else { return false };
        let len = spare.len.load(Relaxed);
        if len == 0 {
            return false;
        }
        self.block.len.store(0, Relaxed);
        self.spare = Some(self.block);
        self.block = spare;
        self.len = len;
        true
    }

    /// Waits for entries of others; false when there will be none. The caller
    /// has no entries.
    pub fn wait(&mut self) -> bool {
        let Some(full) = self.work.getfull() else { return false };
        self.block.len.store(0, Relaxed);
        self.work.empty.push(self.block);
        self.len = full.len.load(Relaxed);
        self.block = full;
        true
    }

    /// Gives some entries to markers that have none: Go's `balance`.
    #[inline]
    pub fn balance(&mut self) {
        if self.work.is_wanted() {
            self.give();
        }
    }

    #[cold]
    fn give(&mut self) {
        if let Some(spare) = self.spare
            && spare.len.load(Relaxed) != 0
        {
            self.work.full.push(spare);
            self.spare = None;
            return;
        }
        let half = self.len / 2;
        let Some(other) = self.spare.take().or_else(|| self.work.getempty())
        else {
            return;
        };
        if half == 0 {
            self.spare = Some(other);
            return;
        }
        // The older half, since it leads further.
        for i in 0..half {
            let entry = self.block.entries[i].load(Relaxed);
            other.entries[i].store(entry, Relaxed);
        }
        for i in half..self.len {
            let entry = self.block.entries[i].load(Relaxed);
            self.block.entries[i - half].store(entry, Relaxed);
        }
        self.len -= half;
        other.len.store(half, Relaxed);
        self.work.full.push(other);
    }
}

impl Drop for GcWork<'_> {
    /// The blocks go back. There are no entries.
    fn drop(&mut self) {
        self.block.len.store(0, Relaxed);
        self.work.empty.push(self.block);
        if let Some(spare) = self.spare.take() {
            self.work.empty.push(spare);
        }
    }
}

/// What a marker passes that comes later.
pub struct Gate(AtomicU32);

/// The gate is open; below are those inside.
const OPEN: u32 = 1 << 31;

impl Gate {
    const_unless_loom! {
        pub fn new() -> Self {
            Self(AtomicU32::new(0))
        }
    }

    /// The collector lets others in, after what they will look at.
    pub fn open(&self) {
        // Release: pairs with enter.
        self.0.store(OPEN, Release);
    }

    /// (e). False: it is shut.
    #[must_use]
    pub fn enter(&self) -> bool {
        let more = |word: u32| (word & OPEN != 0).then_some(word + 1);
        self.0.fetch_update(Acquire, Relaxed, more).is_ok()
    }

    /// (g).
    pub fn leave(&self) {
        self.0.fetch_sub(1, Release);
    }

    /// Nobody comes in any more. Waits for those inside, who have no more work
    /// than the caller.
    pub fn shut(&self) {
        self.0.fetch_and(!OPEN, Relaxed);
        // Acquire: pairs with (g).
        while self.0.load(Acquire) != 0 {
            let_others_run();
        }
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}
