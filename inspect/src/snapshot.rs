//! The goroutines of a process that goes on, one after the other.
//!
//! Nobody is stopped, so what is read may change meanwhile. A goroutine's stack
//! is walked between two looks at its descriptor, and the walk counts if the
//! second look finds the same wait: the same status, park words and saved stack
//! pointer (a seqlock). Otherwise it is tried again, [`TRIES`] times, and then
//! the goroutine has *moved*: it is told without frames.
//!
//! # Invariants
//! 1. All memory is read through [`Memory`]: what is gone is no crash.
//! 2. A goroutine comes once, as it was at some moment during the snapshot.
//!    One that is made or ends meanwhile may be left out.
//!
//! The promise is for waits: each has a ticket of its own. A yield has none. A
//! goroutine that is Runnable in both looks, with the same saved stack pointer,
//! may have run and yielded there again in between, and then its frames may be
//! of two moments.

use crate::{
    ahead::{Ahead, STACK, WAIT, Wanted},
    cache::Cache,
    holders::Holders,
    layout::{Layout, Missing},
    memory::{Copied, Fenced, Memory},
    modules::Modules,
    offsets::At,
    places::Places,
    regs::Registers,
    walk::{End, Frame},
};
use core::cell::RefCell;
use std::collections::HashMap;

pub use crate::goroutine::{Goroutine, Holder, Seen, Status, Threads, Want};

/// How often a goroutine that goes on is looked at.
const TRIES: usize = 3;
/// Descriptors that are read at a time.
const BATCH: u64 = 64;
/// The most bytes of a name or a reason.
const TEXT: usize = 80;
/// Reasons that are remembered by their address.
const REASONS: usize = 256;

/// A process with goroutines.
pub struct World<M, O, T> {
    /// Its memory.
    pub memory: M,
    /// Its objects.
    pub modules: O,
    /// Its threads.
    pub threads: T,
    at: At,
    /// The marks of waits are compared with this one.
    now: u32,
    /// Texts of reasons, which are few, by their addresses.
    reasons: RefCell<HashMap<u64, Vec<u8>, crate::hash::State>>,
}

impl<M: Memory, O: Modules, T: Threads> World<M, O, T> {
    /// A process whose table is known.
    ///
    /// # Errors
    /// Where the table lacks a name, or a number of it cannot be true.
    pub fn new(
        memory: M,
        modules: O,
        threads: T,
        layout: &Layout,
    ) -> Result<Self, Missing> {
        let at = At::new(layout)?;
        let now = match threads.now() {
            Some(now) => (now >> at.mark_shift) as u32,
            None => memory.u32(at.waitmark).unwrap_or(0),
        };
        let reasons = RefCell::default();
        Ok(Self { memory, modules, threads, at, now, reasons })
    }

    /// Names for this world; `short` is [`Places::new`]'s.
    pub fn places<'a>(
        &'a self,
        short: &'a dyn Fn() -> bool,
    ) -> Places<'a, M, O> {
        Places::new(&self.memory, &self.modules, self.at.table, short)
    }

    /// Calls `f` for each goroutine that is wanted, until `f` fails. The value
    /// is reused.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn each<E>(
        &self,
        want: &Want,
        mut f: impl FnMut(&mut Goroutine) -> Result<(), E>,
    ) -> Result<(), E> {
        let at = &self.at;
        let count = u64::from(self.memory.u32(at.count).unwrap_or(0));
        let mut batch = Batch::default();
        let mut first = 0;
        while first < count {
            let in_slab = first % at.slab;
            let many = BATCH.min(count - first).min(at.slab - in_slab);
            let entry = at.table.wrapping_add(first / at.slab * 8);
            let slab = self.memory.u64(entry);
            let in_slab = in_slab.wrapping_mul(at.g_size);
            let from = slab.unwrap_or(0).wrapping_add(in_slab);
            batch.gs.resize((many * at.g_size) as usize, 0);
            if slab.is_some_and(|slab| slab != 0)
                && self.memory.read(from, &mut batch.gs)
            {
                self.batch(want, from, &mut batch, &mut f)?;
            }
            self.threads.breathe();
            first += many;
        }
        Ok(())
    }

    /// Looks at the goroutines whose descriptors, from this address on, are in
    /// the batch: all are described, and then read again.
    fn batch<E>(
        &self,
        want: &Want,
        from: u64,
        batch: &mut Batch,
        f: &mut impl FnMut(&mut Goroutine) -> Result<(), E>,
    ) -> Result<(), E> {
        let Batch { gs, again, ahead, its, room } = batch;
        let size = self.at.g_size as usize;
        let wanted = gs.chunks(size).map(|g| self.wanted(want, g));
        ahead.read(&self.memory, wanted, self.at.wait_size);
        its.resize_with(gs.len() / size, Default::default);
        for (i, (g, (is, it))) in gs.chunks(size).zip(&mut *its).enumerate() {
            it.at = from.wrapping_add((i * size) as u64);
            let read = Some((&*ahead, i));
            *is = self.describe(want, g, it, read);
            if *is {
                self.stack(want, g, it, read, room);
            }
        }
        again.resize(gs.len(), 0);
        let read = self.memory.read(from, again);
        let pairs = gs.chunks(size).zip(again.chunks_mut(size));
        for ((g, now), (is, it)) in pairs.zip(&mut *its) {
            let good = it.status == Status::Running
                || read && self.is_same(g, now, it);
            if *is && (good || self.look(want, now, it, room)) {
                f(it)?;
            }
        }
        Ok(())
    }

    /// What is read ahead of the goroutine with the descriptor `g`.
    fn wanted(&self, want: &Want, g: &[u8]) -> Wanted {
        let at = &self.at;
        let mut it = Wanted::default();
        let flags = self.flags(g);
        let status = u32_at(g, at.status);
        let system = flags & at.system != 0 && !want.system;
        let host = flags & at.host != 0;
        let waits = status == at.waiting_status;
        let lives = waits || status == at.runnable || status == at.running;
        if !lives || system && !(host && waits) {
            return it;
        }
        it.name = u64_at(g, at.name);
        if waits {
            it.wait = u64_at(g, at.waiting);
        }
        let parked = waits || status == at.runnable;
        if parked && !host && flags & at.started != 0 && want.frames != 0 {
            let sp = u64_at(g, at.sched_sp);
            let len = u64_at(g, at.stack_hi).saturating_sub(sp);
            it.stack = (sp, len.min(STACK as u64) as usize);
        }
        it
    }

    /// The goroutine whose descriptor is at this address, if it is alive.
    pub fn one(&self, g: u64, want: &Want) -> Option<Goroutine> {
        let mut bytes = vec![0; self.at.g_size as usize];
        let mut it = Goroutine { at: g, ..Goroutine::default() };
        let found = self.memory.read(g, &mut bytes)
            && self.look(want, &mut bytes, &mut it, &mut Room::default());
        found.then_some(it)
    }

    /// Describes the goroutine with the descriptor `g`, a copy that is renewed
    /// here. False if it is none, or not wanted.
    fn look(
        &self,
        want: &Want,
        g: &mut [u8],
        it: &mut Goroutine,
        room: &mut Room,
    ) -> bool {
        let mut before = g.to_vec();
        for tried in 1.. {
            if !self.describe(want, g, it, None) {
                return false;
            }
            self.stack(want, g, it, None, room);
            if it.status == Status::Running {
                break;
            }
            before.copy_from_slice(g);
            if !self.memory.read(it.at, g) || self.is_same(&before, g, it) {
                break;
            }
            if tried == TRIES {
                it.frames.clear();
                it.end = None;
                it.moved = true;
                break;
            }
        }
        true
    }

    /// Whether a goroutine that does not run has not moved between two copies
    /// of its descriptor, and had a frame at its saved stack pointer: it is
    /// Waiting a moment before that.
    fn is_same(&self, before: &[u8], now: &[u8], it: &Goroutine) -> bool {
        let state = u64_at(now, self.at.park) & self.at.park_state;
        let off =
            it.status != Status::Waiting || it.host || state == self.at.parked;
        off && self.version(before) == self.version(now)
    }

    /// What changes when a goroutine goes on.
    fn version(&self, g: &[u8]) -> (u32, u64, [u8; 16]) {
        let at = &self.at;
        let mut park = [0; 16];
        let len = at.park_len.min(16);
        park[..len].copy_from_slice(&g[at.park..at.park + len]);
        (u32_at(g, at.status), u64_at(g, at.sched_sp), park)
    }

    fn flags(&self, g: &[u8]) -> u16 {
        u16::from_le_bytes([g[self.at.flags], g[self.at.flags + 1]])
    }

    /// The fields of the descriptor. False if it is no goroutine that is
    /// wanted.
    fn describe(
        &self,
        want: &Want,
        g: &[u8],
        it: &mut Goroutine,
        read: Read<'_>,
    ) -> bool {
        let at = &self.at;
        let status = u32_at(g, at.status);
        let flags = self.flags(g);
        it.host = flags & at.host != 0;
        it.system = flags & at.system != 0;
        let started = flags & (at.started | at.steps) != 0 || it.host;
        it.status = match status {
            s if s == at.waiting_status => Status::Waiting,
            s if s == at.running => Status::Running,
            s if s == at.runnable && started => Status::Runnable,
            s if s == at.runnable => Status::New,
            _ => return false,
        };
        let waits = it.status == Status::Waiting;
        it.leaked = waits && flags & at.leaked != 0;
        it.by_thread = flags & at.by_thread != 0;
        if it.system && !want.system && !(it.host && waits) {
            return false;
        }
        it.id = u64_at(g, at.goid);
        it.parent = if it.host { 0 } else { u64_at(g, at.parent) };
        it.gopc = u64_at(g, at.gopc);
        it.func = if it.host { 0 } else { u64_at(g, at.func) };
        it.stack = (u64_at(g, at.stack_lo), u64_at(g, at.stack_hi));
        it.stack_used = None;
        it.moved = false;
        self.name(g, it, read);
        it.tid = self.tid(g, it);
        self.wait(g, it, read);
        true
    }

    /// Bytes of its stack that were ever in use, if that can be known: a look
    /// at the pages, which is not free.
    pub fn stack_used(&self, it: &Goroutine) -> Option<u64> {
        match it.stack {
            (0, _) => None,
            (lo, hi) => self.threads.stack_used(lo, hi),
        }
    }

    fn name(&self, g: &[u8], it: &mut Goroutine, read: Read<'_>) {
        it.name.clear();
        let at = u64_at(g, self.at.name);
        if at == 0 {
            return;
        }
        let ahead = read.and_then(|(ahead, i)| ahead.name(i, at));
        let mut room = [0; TEXT];
        let name = ahead.or_else(|| self.memory.c_str(at, &mut room));
        it.name.extend_from_slice(name.unwrap_or_default());
    }

    /// The thread that runs it, or that it is locked to.
    fn tid(&self, g: &[u8], it: &Goroutine) -> u32 {
        let at = &self.at;
        let m = if it.status == Status::Running || it.host {
            u64_at(g, at.m)
        } else {
            u64_at(g, at.lockedm)
        };
        if m == 0 {
            return 0;
        }
        self.memory.u32(m.wrapping_add(at.m_procid)).unwrap_or(0)
    }

    /// What it waits for.
    fn wait(&self, g: &[u8], it: &mut Goroutine, read: Read<'_>) {
        let at = &self.at;
        it.reason.clear();
        it.object = 0;
        it.holder = Holder::Unknown;
        it.waits = None;
        let wait = u64_at(g, at.waiting);
        if it.status != Status::Waiting {
            return;
        }
        let marks = self.now.wrapping_sub(u32_at(g, at.waitsince));
        // A mark may be a little younger than the clock that was read before.
        let marks = if marks > u32::MAX / 2 { 0 } else { marks };
        it.waits = Some(u64::from(marks) << at.mark_shift);
        let mut room = [0; WAIT];
        let ahead = read.and_then(|(ahead, i)| ahead.wait(i, wait));
        let bytes = match ahead {
            Some(bytes) => bytes,
            None => {
                let bytes = &mut room[..at.wait_size.min(WAIT)];
                if wait == 0 || !self.memory.read(wait, bytes) {
                    return;
                }
                bytes
            }
        };
        it.object = u64_at(bytes, at.wait_object);
        it.holder = self.holders().holder(u64_at(bytes, at.wait_held));
        self.reason(u64_at(bytes, at.wait_reason), &mut it.reason);
    }

    /// The name of the channel at this address, for which a goroutine waits
    /// with this reason; empty if it is no channel, or has none.
    pub fn channel_name(&self, reason: &[u8], channel: u64) -> Vec<u8> {
        let At { chan_extra, extra_name, extra_size, .. } = self.at;
        let word = |at: u64, off| self.memory.u64(at.wrapping_add(off));
        let place = || {
            let extra = word(channel, chan_extra)?;
            // The channel may be gone: so its name has to be where a channel
            // has it.
            let here = extra.wrapping_add(extra_size);
            let named = extra > channel && word(extra, extra_name)? == here;
            named.then_some(here)
        };
        if !reason.starts_with(b"chan ") || channel == 0 {
            return Vec::new();
        }
        let mut room = [0; TEXT];
        let name = place().and_then(|at| self.memory.c_str(at, &mut room));
        name.unwrap_or_default().to_vec()
    }

    fn reason(&self, at: u64, to: &mut Vec<u8>) {
        let mut known = self.reasons.borrow_mut();
        if let Some(text) = known.get(&at) {
            to.extend_from_slice(text);
            return;
        }
        let mut room = [0; TEXT];
        let text = self.memory.c_str(at, &mut room).unwrap_or_default();
        to.extend_from_slice(text);
        if known.len() < REASONS {
            known.insert(at, text.to_vec());
        }
    }

    fn holders(&self) -> Holders<'_, M> {
        Holders { memory: &self.memory, at: &self.at }
    }

    /// The id of the host's thread whose stand-in has this number; None if the
    /// thread has ended.
    pub fn thread_with(&self, goid: u64) -> Option<u32> {
        self.holders().thread_with(goid)
    }

    /// Its frames.
    fn stack(
        &self,
        want: &Want,
        g: &[u8],
        it: &mut Goroutine,
        read: Read<'_>,
        room: &mut Room,
    ) {
        it.frames.clear();
        it.end = None;
        it.unseen = "";
        match it.status {
            _ if want.frames == 0 => {}
            Status::New => {}
            // Between two steps.
            _ if !it.host && self.flags(g) & self.at.started == 0 => {}
            _ if it.status == Status::Running || it.host => {
                if want.running && it.tid != 0 {
                    self.running(want, it, room);
                }
            }
            _ => {
                let sp = u64_at(g, self.at.sched_sp);
                self.parked(want, sp, it, read, room);
            }
        }
    }

    /// The frames of one that a thread runs.
    fn running(&self, want: &Want, it: &mut Goroutine, room: &mut Room) {
        let mut copy = core::mem::take(&mut room.stack);
        match self.threads.seen(it, &mut copy) {
            Seen::No(why) => it.unseen = why,
            Seen::Registers(regs) => {
                self.walk(&self.memory, want, &regs, it, room);
            }
            Seen::Copied(regs, at) => {
                // The stack has changed since, and what lies above the copy
                // need not belong to it.
                let end = at.wrapping_add(copy.len() as u64);
                let below = &Fenced {
                    below: &self.memory,
                    from: end,
                    to: it.stack.1.max(end),
                };
                let memory = Copied { below, at, bytes: &copy };
                self.walk(&memory, want, &regs, it, room);
                if end < it.stack.1
                    && let Some(End::Unreadable(_)) = it.end
                {
                    it.end = Some(End::Full);
                }
            }
        }
        room.stack = copy;
    }

    fn parked(
        &self,
        want: &Want,
        sp: u64,
        it: &mut Goroutine,
        read: Read<'_>,
        room: &mut Room,
    ) {
        let mut copy = [0; STACK];
        let ahead = read.and_then(|(ahead, i)| ahead.stack(i, sp));
        let bytes = match ahead {
            Some(bytes) => bytes,
            None => {
                let len = it.stack.1.saturating_sub(sp).min(STACK as u64);
                let copy = &mut copy[..len as usize];
                if len == 0 || !self.memory.read(sp, copy) {
                    return;
                }
                copy
            }
        };
        let copied = Copied { below: &self.memory, at: sp, bytes };
        if let Some(regs) = Registers::parked(&copied, sp) {
            self.walk(&copied, want, &regs, it, room);
        }
    }

    fn walk(
        &self,
        memory: &impl Memory,
        want: &Want,
        regs: &Registers,
        it: &mut Goroutine,
        room: &mut Room,
    ) {
        let Room { frames, cache, .. } = room;
        frames.resize(want.frames, Frame::default());
        let (n, end) = cache.walk(memory, &self.modules, regs, frames);
        it.frames.extend_from_slice(&frames[..n]);
        it.end = Some(end);
    }
}

/// What was read ahead of a goroutine.
type Read<'a> = Option<(&'a Ahead, usize)>;

/// A batch of goroutines.
#[derive(Default)]
struct Batch {
    /// Their descriptors, and what these are a moment later.
    gs: Vec<u8>,
    again: Vec<u8>,
    ahead: Ahead,
    /// Whether each is wanted, and what it does.
    its: Vec<(bool, Goroutine)>,
    room: Room,
}

/// Room for frames, and the rules of those that were met.
#[derive(Default)]
struct Room {
    frames: Vec<Frame>,
    cache: Cache,
    /// A stack that was copied.
    stack: Vec<u8>,
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    word.map_or(0, |word| u64::from_le_bytes(*word))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    word.map_or(0, |word| u32::from_le_bytes(*word))
}
