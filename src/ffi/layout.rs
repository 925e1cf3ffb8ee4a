//! `gmp_debug_layout`: what readers outside the library know of its data.
//!
//! gdb's script, the command `gmprt` and readers of cores find goroutines by
//! this table and by nothing else, as CPython's debuggers do by
//! `_Py_DebugOffsets`. The library's own dumps read it too. An entry is a name
//! and a number: the offset of a field, a size, a constant, or the address of a
//! global. A reader asks for the names that it needs, so entries may be added;
//! the version grows when an entry changes its meaning.

use crate::{
    block::{chan::GmpChan, element::Extra},
    gmp::{
        ALLM, ALLP, G, GOMAXPROCS, GStatus, M, MKind, NALLP, P, WAITMARK,
        WAITMARK_SHIFT, gflag, gtab, offsets::*, parkword::ParkWord,
        wait::Wait, waitword,
    },
    sched::host::HOSTMS,
};
use core::{mem::offset_of, ptr};

/// How many bytes a name has at most, with the NUL.
const NAME: usize = 24;

/// A number, or an address that the loader fills in.
#[derive(Clone, Copy)]
union Value {
    number: usize,
    address: *const (),
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Entry {
    name: [u8; NAME],
    value: Value,
}

const fn entry(name: &str, value: Value) -> Entry {
    let from = name.as_bytes();
    assert!(from.len() < NAME);
    let mut name = [0; NAME];
    let mut i = 0;
    while i < from.len() {
        name[i] = from[i];
        i += 1;
    }
    Entry { name, value }
}

const fn number(name: &str, number: usize) -> Entry {
    entry(name, Value { number })
}

const fn address<T>(name: &str, of: &'static T) -> Entry {
    entry(name, Value { address: ptr::from_ref(of).cast() })
}

macro_rules! fields {
    ($type:ident: $($field:ident)+) => {
        [
            number(concat!(stringify!($type), ".size"), size_of::<$type>()),
            $(number(
                concat!(stringify!($type), ".", stringify!($field)),
                offset_of!($type, $field),
            )),+
        ]
    };
}

const G_FIELDS: &[Entry] = &fields!(G:
    stack_lo stack_hi stackguard0 sched_sp m park schedlink flags claim index
    goid func arg parent lockedm name waiting waitsince stack_size shields
    defers locals at_end gopc);
const M_FIELDS: &[Entry] = &fields!(M:
    g0 curg p in_runtime spinning kind id procid lockedg alllink standin
    hostlink);
const P_FIELDS: &[Entry] = &fields!(P: owner id schedtick started ended);
const WAIT_FIELDS: &[Entry] = &fields!(Wait:
    kind deadline reason object held);

/// The frame of a suspended goroutine, at `G.sched_sp`.
const FRAME: &[Entry] = &[
    number("frame.size", FRAME_SIZE),
    number("frame.r15", FRAME_R15),
    number("frame.r14", FRAME_R14),
    number("frame.r13", FRAME_R13),
    number("frame.r12", FRAME_R12),
    number("frame.rbx", FRAME_RBX),
    number("frame.rbp", FRAME_RBP),
    number("frame.rip", FRAME_RIP),
];

const CONSTANTS: &[Entry] = &[
    number("G.status", G::STATUS_AT),
    // The first word of `park` has the state and ticket of a wait, the second
    // the generation. A goroutine that is Waiting is off its stack, with a
    // frame at `sched_sp`, once the state is `park.parked`. With `flag.steps`
    // and without `flag.started` it has neither stack nor frame.
    number("park.word", 0),
    number("park.state", waitword::STATE as usize),
    number("park.parked", waitword::PARKED as usize),
    number("park.pending", size_of::<ParkWord>() / 2),
    number("status.idle", GStatus::Idle as usize),
    number("status.runnable", GStatus::Runnable as usize),
    number("status.running", GStatus::Running as usize),
    number("status.waiting", GStatus::Waiting as usize),
    number("status.dead", GStatus::Dead as usize),
    number("flag.host", gflag::HOST as usize),
    number("flag.system", gflag::SYSTEM as usize),
    number("flag.started", gflag::STARTED as usize),
    number("flag.main", gflag::MAIN as usize),
    number("flag.ending", gflag::ENDING as usize),
    number("flag.steps", gflag::STEPS as usize),
    number("flag.leaked", gflag::LEAKED as usize),
    number("flag.by_thread", gflag::BY_THREAD as usize),
    number("kind.worker", MKind::Worker as usize),
    number("kind.early", MKind::Early as usize),
    number("kind.sysmon", MKind::Sysmon as usize),
    number("kind.template", MKind::Template as usize),
    number("kind.dumper", MKind::Dumper as usize),
    number("kind.host", MKind::Host as usize),
    // A P's word: the id of its M, a multiple of 4, or'ed with the state.
    number("owner.idle", 0),
    number("owner.running", 1),
    number("owner.retaking", 2),
    number("owner.stopped", 3),
    number("waitmark.shift", WAITMARK_SHIFT as usize),
    number("allgs.slab", gtab::SLAB),
    // A channel has a pointer to its extra part, or null; that a pointer to the
    // channel's name, which lies behind it, or null.
    number("chan.extra", GmpChan::EXTRA_AT),
    number("extra.name", Extra::NAME_AT),
    number("extra.size", size_of::<Extra>()),
];

/// The globals. `allgs.table` is an array of pointers to slabs of `allgs.slab`
/// Gs each, `allgs.count` how many Gs there are (4 bytes). `allp` is an array
/// of pointers, `nallp` its length and `gomaxprocs` how many are in use (8
/// bytes each). `allm` is a pointer to the first M, and `M.alllink` leads to
/// the others, but to no host thread's: those are from `hostms` on, by
/// `M.hostlink`, also of threads that have ended. `waitmark` is the time in
/// units of 2^`waitmark.shift` nanoseconds (4 bytes).
const GLOBALS: &[Entry] = &[
    address("allgs.table", &gtab::TABLE),
    address("allgs.count", &gtab::COUNT),
    address("allp", &ALLP),
    address("nallp", &NALLP),
    address("gomaxprocs", &GOMAXPROCS),
    address("allm", &ALLM),
    address("hostms", &HOSTMS),
    address("waitmark", &WAITMARK),
];

const PARTS: &[&[Entry]] =
    &[G_FIELDS, M_FIELDS, P_FIELDS, WAIT_FIELDS, FRAME, CONSTANTS, GLOBALS];

const COUNT: usize = {
    let (mut count, mut i) = (0, 0);
    while i < PARTS.len() {
        count += PARTS[i].len();
        i += 1;
    }
    count
};

const ENTRIES: [Entry; COUNT] = {
    let mut all = [number("", 0); COUNT];
    let (mut at, mut i) = (0, 0);
    while i < PARTS.len() {
        let mut k = 0;
        while k < PARTS[i].len() {
            all[at] = PARTS[i][k];
            at += 1;
            k += 1;
        }
        i += 1;
    }
    all
};

/// The table.
#[repr(C)]
pub struct Layout {
    magic: [u8; 8],
    version: u32,
    count: u32,
    entries: [Entry; COUNT],
}

// SAFETY: nobody writes it.
unsafe impl Sync for Layout {}

/// The table, by which a reader finds it in the symbols; in a program without
/// symbols, by its magic number.
#[unsafe(no_mangle)]
pub static gmp_debug_layout: Layout = Layout {
    magic: *b"gmprtlay",
    version: 1,
    count: COUNT as u32,
    entries: ENTRIES,
};
