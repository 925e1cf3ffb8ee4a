//! The numbers of the layout table that a snapshot needs.
//!
//! A table comes from another process or from a core, so it may be anything.
//! Here its numbers are checked once, and nothing that uses them checks again.
//!
//! # Invariants
//! 1. Each field of a descriptor ends within the descriptor, whose size is not
//!    0 and has a bound; so has that of a wait.
//! 2. A slab has a descriptor at least.

use crate::layout::{Layout, Missing};

/// The longest field of a descriptor, in bytes: the two park words.
const WORDS: u64 = 16;
/// More bytes than a descriptor has.
const LARGE: u64 = 1 << 16;

/// The offsets and addresses that are needed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    pub g_size: u64,
    pub goid: usize,
    pub status: usize,
    pub flags: usize,
    pub sched_sp: usize,
    pub stack_lo: usize,
    pub stack_hi: usize,
    pub m: usize,
    pub park: usize,
    pub park_len: usize,
    pub park_state: u64,
    pub parked: u64,
    pub waiting: usize,
    pub waitsince: usize,
    pub gopc: usize,
    pub func: usize,
    pub parent: usize,
    pub name: usize,
    pub lockedm: usize,
    pub m_procid: u64,
    pub wait_reason: usize,
    pub wait_object: usize,
    pub wait_held: usize,
    pub wait_size: usize,
    pub chan_extra: u64,
    pub extra_name: u64,
    pub extra_size: u64,
    pub runnable: u32,
    pub running: u32,
    pub waiting_status: u32,
    pub host: u16,
    pub system: u16,
    pub started: u16,
    /// 0 where the library has no goroutines of steps.
    pub steps: u16,
    /// 0 where the library does not search for leaks.
    pub leaked: u16,
    /// 0 where the library does not tell goroutines that threads have started.
    pub by_thread: u16,
    /// The first M of a host thread, or 0; its stand-in; the next one.
    pub hostms: u64,
    pub m_standin: u64,
    pub m_hostlink: u64,
    pub table: u64,
    pub count: u64,
    pub slab: u64,
    pub waitmark: u64,
    pub mark_shift: u64,
}

impl At {
    /// Looks all of them up.
    ///
    /// # Errors
    /// Where the table lacks a name, or a number of it cannot be true.
    pub fn new(layout: &Layout) -> Result<Self, Missing> {
        let get = |name| layout.get(name);
        // A number from `least` to `most`.
        let within = |name, least, most| match layout.get(name)? {
            n if n < least || n > most => Err(Missing::Value(name)),
            n => Ok(n),
        };
        let g_size = within("G.size", WORDS, LARGE)?;
        let g = |name| within(name, 0, g_size - WORDS).map(|n| n as usize);
        let wait = |name| within(name, 0, LARGE).map(|n| n as usize);
        Ok(Self {
            g_size,
            goid: g("G.goid")?,
            status: g("G.status")?,
            flags: g("G.flags")?,
            sched_sp: g("G.sched_sp")?,
            stack_lo: g("G.stack_lo")?,
            stack_hi: g("G.stack_hi")?,
            m: g("G.m")?,
            park: g("G.park")?,
            park_len: 2 * within("park.pending", 0, WORDS / 2)? as usize,
            park_state: get("park.state")?,
            parked: get("park.parked")?,
            waiting: g("G.waiting")?,
            waitsince: g("G.waitsince")?,
            gopc: g("G.gopc")?,
            func: g("G.func")?,
            parent: g("G.parent")?,
            name: g("G.name")?,
            lockedm: g("G.lockedm")?,
            m_procid: within("M.procid", 0, LARGE)?,
            wait_reason: wait("Wait.reason")?,
            wait_object: wait("Wait.object")?,
            wait_held: wait("Wait.held")?,
            wait_size: wait("Wait.size")?,
            chan_extra: get("chan.extra")?,
            extra_name: get("extra.name")?,
            extra_size: get("extra.size")?,
            runnable: get("status.runnable")? as u32,
            running: get("status.running")? as u32,
            waiting_status: get("status.waiting")? as u32,
            host: get("flag.host")? as u16,
            system: get("flag.system")? as u16,
            started: get("flag.started")? as u16,
            steps: get("flag.steps").map_or(0, |flag| flag as u16),
            leaked: get("flag.leaked").map_or(0, |flag| flag as u16),
            by_thread: get("flag.by_thread").map_or(0, |flag| flag as u16),
            hostms: get("hostms").unwrap_or(0),
            m_standin: get("M.standin").unwrap_or(0),
            m_hostlink: get("M.hostlink").unwrap_or(0),
            table: get("allgs.table")?,
            count: get("allgs.count")?,
            slab: within("allgs.slab", 1, u64::MAX)?,
            waitmark: get("waitmark")?,
            mark_shift: within("waitmark.shift", 0, 63)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 38] = [
        "G.goid",
        "G.status",
        "G.flags",
        "G.sched_sp",
        "G.stack_lo",
        "G.stack_hi",
        "G.m",
        "G.park",
        "G.waiting",
        "G.waitsince",
        "G.gopc",
        "G.func",
        "G.parent",
        "G.name",
        "G.lockedm",
        "G.size",
        "park.pending",
        "park.state",
        "park.parked",
        "M.procid",
        "Wait.reason",
        "Wait.object",
        "Wait.held",
        "Wait.size",
        "chan.extra",
        "extra.name",
        "extra.size",
        "status.runnable",
        "status.running",
        "status.waiting",
        "flag.host",
        "flag.system",
        "flag.started",
        "allgs.table",
        "allgs.count",
        "allgs.slab",
        "waitmark",
        "waitmark.shift",
    ];

    /// Each number is 8, but this one.
    fn with(wrong: &str, value: u64) -> Option<Missing> {
        let number = |&name: &&'static str| match name {
            name if name == wrong => (name, value),
            "G.size" => (name, 256),
            _ => (name, 8),
        };
        let layout = Layout::of(NAMES.iter().map(number));
        At::new(&layout).err()
    }

    #[test]
    fn a_table_whose_numbers_cannot_be_true_is_refused() {
        assert_eq!(with("", 0), None);
        for (name, value) in [
            ("allgs.slab", 0),
            ("G.size", 0),
            ("G.size", u64::MAX),
            ("G.flags", 256),
            ("G.park", u64::MAX),
            ("park.pending", u64::MAX / 2 + 1),
            ("M.procid", u64::MAX),
            ("Wait.size", u64::MAX),
            ("waitmark.shift", 64),
        ] {
            assert_eq!(with(name, value), Some(Missing::Value(name)));
        }
    }
}
