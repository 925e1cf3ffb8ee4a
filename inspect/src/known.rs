//! The rules of frames on the stack of the calling thread, looked up once.
//!
//! Code that panics often asks for the same few frames each time. A lookup in
//! the tables takes more than a thousand instructions; here it takes some
//! hundred, most of them to see that the tables still say the same. That has to
//! be seen, because an object may be unloaded, and another one loaded in its
//! place: nobody tells.
//!
//! ```text
//!   pc --[`TABLE`]--> entry: the words of the tables that led to its rules
//!                       |
//!                       '-- are these words there now? --> its rules
//! ```
//! An entry is written once, and stays: readers hold it. There are [`MOST`];
//! with these in use no more are remembered, also if their objects are gone. So
//! in a host that loads objects again and again, at ever new addresses, lookups
//! take the long way in the end.
//!
//! # Invariants
//! 1. The object of a function on the stack of the calling thread is loaded,
//!    and stays so during the call.
//! 2. A word is read only where it is there: the C library says where the
//!    header of the object's tables is; its first words have the number of
//!    rows; a row has the place of the function's record, which has its own
//!    length, and the place of the other record. So each comparison that
//!    succeeds makes the next one possible.
//! 3. Where all words are as they were, so are the rules: they follow from
//!    these words alone.
//! 4. A slot has 0, or a number whose entry is complete.

use crate::{
    cfi,
    loaded::Loaded,
    memory::Memory,
    modules::{Modules, OwnModules, own_tables},
    walk::Simple,
};
use core::{
    cell::UnsafeCell,
    mem::MaybeUninit,
    ops::Range,
    sync::atomic::{AtomicU16, AtomicUsize, Ordering::*},
};

/// What is known of the frames at a pc.
pub(crate) struct Entry {
    pc: u64,
    /// The header of the tables, and its first words.
    hdr: u64,
    head: [u64; 2],
    /// The row, and what is there.
    row_at: u64,
    row: u64,
    /// Where the records are.
    fde: u64,
    cie: u64,
    /// Their bytes, and the words of both.
    lens: [u8; 2],
    words: [u64; WORDS],
    /// None: other rules than nearly all frames have.
    pub(crate) rules: Option<Simple>,
    /// The function has a personality routine.
    pub(crate) personality: bool,
}

/// Records with more words are not remembered.
const WORDS: usize = 32;
/// So many entries.
const MOST: usize = 256;
const SLOTS: usize = 512;
/// So many slots may have an entry.
const TRIES: usize = 4;

struct Table {
    /// The number of an entry, from 1 on, or 0.
    slots: [AtomicU16; SLOTS],
    /// How many entries are taken.
    used: AtomicUsize,
    entries: [UnsafeCell<MaybeUninit<Entry>>; MOST],
}

// SAFETY: an entry is written by the thread that took it, before its number is
// in a slot, and not after (invariant 4).
unsafe impl Sync for Table {}

static TABLE: Table = Table {
    slots: [const { AtomicU16::new(0) }; SLOTS],
    used: AtomicUsize::new(0),
    entries: [const { UnsafeCell::new(MaybeUninit::uninit()) }; MOST],
};

/// The object of a frame, which is as a rule that of the frame before.
#[derive(Default)]
pub(crate) struct Object {
    at: Range<u64>,
    hdr: u64,
}

impl Object {
    /// Where the header of the tables for `pc` is.
    #[inline]
    fn tables(&mut self, pc: u64) -> Option<u64> {
        if !self.at.contains(&pc) {
            (self.at, self.hdr) = own_tables(pc)?;
        }
        (self.hdr != 0).then_some(self.hdr)
    }
}

/// The word at `at`.
///
/// # Safety
/// It is there.
#[inline(always)]
unsafe fn word(at: u64) -> u64 {
    // SAFETY: the caller promises.
    unsafe { (at as *const u64).read_unaligned() }
}

impl Entry {
    /// Whether the tables of an object, whose header is at `hdr`, still say so.
    ///
    /// # Safety
    /// They are the tables for `pc`, and invariant 1.
    #[inline]
    unsafe fn holds(&self, hdr: u64) -> bool {
        let [of_fde, of_cie] = self.lens;
        hdr == self.hdr
            // SAFETY: invariant 2, in this order.
            && unsafe { head(hdr) } == self.head
            // SAFETY: as above.
            && unsafe { word(self.row_at) } == self.row
            // SAFETY: as above.
            && unsafe { same(self.fde, of_fde, &self.words) }
                // SAFETY: as above.
                .and_then(|words| unsafe { same(self.cie, of_cie, words) })
                .is_some()
    }
}

/// The first words of the header: the last one is half a word.
///
/// # Safety
/// It is there.
#[inline(always)]
unsafe fn head(hdr: u64) -> [u64; 2] {
    // SAFETY: the caller promises.
    let first = unsafe { word(hdr) };
    // SAFETY: as above.
    let count = unsafe { ((hdr + 8) as *const u32).read_unaligned() };
    [first, u64::from(count)]
}

/// Where the words of a record are, the first one first. The last two may
/// overlap.
#[inline(always)]
fn places(at: u64, len: u8) -> impl Iterator<Item = u64> {
    let last = u64::from(len) - 8;
    (0..=last.div_ceil(8)).map(move |i| at + (8 * i).min(last))
}

/// Whether a record of `len` bytes at `at` has these words, as [`places`] has
/// them; behind them are the rest.
///
/// # Safety
/// The first is there; and if it is the same, so are the others.
#[inline(always)]
unsafe fn same(at: u64, len: u8, words: &[u64]) -> Option<&[u64]> {
    let (mut by, last) = (0, u64::from(len) - 8);
    let mut rest = words;
    loop {
        let (first, others) = rest.split_first()?;
        // SAFETY: the caller promises.
        if unsafe { word(at + by) } != *first {
            return None;
        }
        rest = others;
        if by == last {
            return Some(rest);
        }
        by = (by + 8).min(last);
    }
}

/// What is known of the frames at `pc`; None if that is too much to remember.
///
/// # Safety
/// `pc` is in a function on the stack of the calling thread.
#[inline]
pub(crate) unsafe fn find(
    object: &mut Object,
    pc: u64,
) -> Option<&'static Entry> {
    let hdr = object.tables(pc)?;
    let slots = slots(pc);
    for slot in slots {
        // Acquire: pairs with `remember`.
        let number = slot.load(Acquire);
        let Some(entry) = entry(number) else { break };
        // SAFETY: the caller promises invariant 1.
        if entry.pc == pc && unsafe { entry.holds(hdr) } {
            return Some(entry);
        }
    }
    // SAFETY: the caller promises.
    unsafe { remember(object, pc, slots) }
}

/// The entry whose number is in a slot.
#[inline(always)]
fn entry(number: u16) -> Option<&'static Entry> {
    let at = usize::from(number).checked_sub(1)?;
    let place = TABLE.entries[at].get().cast::<Entry>();
    // SAFETY: invariant 4.
    Some(unsafe { &*place })
}

/// The slots that may have an entry for `pc`.
#[inline(always)]
fn slots(pc: u64) -> &'static [AtomicU16] {
    let hash = pc.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let from = hash as usize % (SLOTS - TRIES);
    &TABLE.slots[from..from + TRIES]
}

/// Looks the rules at `pc` up, and puts them into the first of `slots` that is
/// free or has an older entry for `pc`.
///
/// # Safety
/// As [`find`].
#[cold]
#[inline(never)]
unsafe fn remember(
    object: &Object,
    pc: u64,
    slots: &[AtomicU16],
) -> Option<&'static Entry> {
    let is_free = |slot: &&AtomicU16| {
        // Acquire: pairs with the store below.
        let number = slot.load(Acquire);
        entry(number).is_none_or(|entry| entry.pc == pc)
    };
    let slot = slots.iter().find(is_free)?;
    // Relaxed: a hint, so that the number stays small.
    if TABLE.used.load(Relaxed) >= MOST {
        return None;
    }
    // SAFETY: the caller promises.
    let entry = unsafe { look_up(object, pc) }?;
    // Relaxed: it gives each place once.
    let at = TABLE.used.fetch_add(1, Relaxed);
    let place = TABLE.entries.get(at)?.get();
    // SAFETY: nobody else has this place.
    let entry = unsafe { (*place).write(entry) };
    // Release: invariant 4.
    slot.store(at as u16 + 1, Release);
    Some(entry)
}

/// # Safety
/// As [`find`].
unsafe fn look_up(object: &Object, pc: u64) -> Option<Entry> {
    let hdr = object.hdr;
    // SAFETY: invariant 2.
    let head = unsafe { head(hdr) };
    if !cfi::is_usual(head[0]) {
        return None;
    }
    let module = OwnModules.find(pc).filter(|it| it.eh_frame_hdr == hdr)?;
    // SAFETY: invariant 1.
    let tables = unsafe { Loaded::tables(&module) }?;
    let (row, source) = cfi::find_source(&tables, &module, pc)?;
    let mut entry = Entry {
        pc,
        hdr,
        head,
        row_at: source.row_at,
        row: tables.u64(source.row_at)?,
        fde: source.fde.start,
        cie: source.cie.start,
        lens: [0; 2],
        words: [0; WORDS],
        rules: Simple::from_row(&row),
        personality: source.personality,
    };
    let mut lens = [&source.fde, &source.cie]
        .map(|it| u8::try_from(it.end - it.start).unwrap_or(u8::MAX));
    let words: usize = lens.iter().map(|&len| len.div_ceil(8) as usize).sum();
    if lens.contains(&u8::MAX) || words > WORDS {
        // That there are no rules need not be seen each time.
        entry.rules = None;
        lens = [8; 2];
    }
    let [of_fde, of_cie] = lens;
    let all = places(entry.fde, of_fde).chain(places(entry.cie, of_cie));
    for (to, at) in entry.words.iter_mut().zip(all) {
        *to = tables.u64(at)?;
    }
    entry.lens = lens;
    Some(entry)
}

/// The stack of the calling thread.
pub(crate) struct Here;

impl Memory for Here {
    #[inline]
    fn near(&self) -> bool {
        true
    }

    #[inline]
    fn read(&self, at: u64, to: &mut [u8]) -> bool {
        let from = at as *const u8;
        // SAFETY: it is there.
        unsafe {
            core::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len())
        };
        true
    }
}
