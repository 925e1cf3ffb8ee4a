//! Goroutines that wait for what nothing else can reach, for dumps: Go's
//! goroutine leak profile.
//!
//! A wait on a channel or a lock ends when somebody uses that object. An object
//! of the heap that no pointer leads to, but from the stacks of goroutines that
//! wait so themselves, is used by nobody any more: its waiters are *leaked*.
//!
//! The search is a collection that marks in rounds:
//!
//! ```text
//!   blocked: parked, without a deadline, for objects of the heap only
//!   mark from all roots but the stacks of the blocked
//!      |            +------------------------------------+
//!      v            v                                    |
//!   reached: an object that one waits for is marked,     |
//!            or a word was seen that leads to it         |
//!      |  some: they are blocked no more, mark from them +
//!      v  none
//!   the blocked that are left are leaked; mark from them, so that what they
//!   hold stays, as in each collection
//! ```
//! It errs to one side: a goroutine that is called leaked is. So the roots are
//! more than a collection's: a pointer may lie in memory of `malloc`, in a
//! variable of a thread, on the stack of a thread that is not attached, since
//! the stack of the waiter keeps the object while the waiter waits. All memory
//! of the process is looked through that can be read, but for the library's
//! own. A waiter is reached, too, by
//!
//! - its handle, if that was ever given out: a goroutine that can be cancelled
//!   is not leaked;
//! - a pointer into the part of its stack that is in use: from there one may
//!   lead to the object.
//!
//! Waiters for objects in memory of `malloc` are never told: nobody can say
//! where the block that such an object lies in begins, so a pointer to that may
//! be any word. Nor is a goroutine of steps, whose memory is the host's.
//!
//! That a goroutine is leaked stays true until it is cancelled. So a flag in
//! its G says so, which also other processes can read.
//!
//! Invariants:
//! 1. The world is stopped. A blocked goroutine is parked, so its `Wait`, and
//!    what a select waits for, stay as they are. Meanwhile a thread of the
//!    host's may get its first G, and one that makes a thread a g0: no search
//!    knows a G that has come after its beginning.
//! 2. The lists have had room for the roots of all goroutines before marking
//!    begins: from then on the collection cannot fail.

use super::{
    ranges::Ranges,
    roots::{Objects, Roots},
};
use crate::{
    base::{
        sync::{AtomicU8, Ordering::*},
        throw::throw,
    },
    gmp::{
        G, GStatus, each_g, each_m, g_at, gflag, num_gs,
        offsets::GOSTART_SPACE, wait::Wait,
    },
    heap::{self, Look, MHEAP, Marking, Work, arena::ARENA},
    os::{
        Errno, Result,
        maps::{self, Touched},
        mem::{each_kept, map_data, unmap},
        objects, ours,
    },
    sched::threads,
    stack,
};
use core::slice;
use gmprt_inspect::memory::{Memory, OwnMemory};

/// More bytes of private memory than so many are not looked through: what a
/// tool has reserved for itself.
const MOST: usize = 64 << 30;

/// What the layer of the waits knows.
pub(crate) struct Waits {
    /// Calls the function with the address of each object for which a parked
    /// goroutine waits, while that is true, and whether the object is a
    /// channel. False if the function was, or if something else may end the
    /// wait.
    pub each_object: fn(&G, &mut dyn FnMut(usize, bool) -> bool) -> bool,
    /// Calls the function with the library's memory, from and to, that lies on
    /// no stack and leads to that of a parked goroutine.
    pub each_record: fn(&G, &mut dyn FnMut(usize, usize)),
    /// Data that leads to waiters: from, to.
    pub table: (usize, usize),
}

/// Memory of the library's own, as far as it has to be asked for before the
/// stop.
pub(super) struct Own(Ranges);

impl Own {
    pub(super) fn ask(waits: &Waits) -> Self {
        let mut own = Ranges::new();
        objects::each_own(&mut |from, to| own.push((from, to)));
        stack::each_slab(&mut |from, to| own.push((from, to)));
        own.push(waits.table);
        Self(own)
    }
}

/// What is known of a G.
const NONE: u8 = 0;
const BLOCKED: u8 = 1;
/// It was blocked, and a word leads to it.
const SEEN: u8 = 2;

/// One search.
pub(super) struct Search<'a> {
    waits: &'a Waits,
    /// By the index of a G, as many as there were at the beginning.
    states: &'static [AtomicU8],
    /// The stacks of the blocked, by their low ends, and the indexes.
    blocked: Ranges,
    /// The channels that they wait for. Nobody but the library has a pointer to
    /// the end of one.
    channels: Ranges,
    /// The addresses of these stacks.
    low: usize,
    length: usize,
}

impl Drop for Search<'_> {
    fn drop(&mut self) {
        let at = self.states.as_ptr().cast_mut().cast();
        // SAFETY: mapped by begin, and used no more.
        unsafe { unmap(at, self.states.len()) };
    }
}

impl<'a> Search<'a> {
    /// Finds the blocked. The world is stopped.
    ///
    /// Errors: `ENOMEM`.
    pub(super) fn begin(waits: &'a Waits) -> Result<Self> {
        let count = num_gs().max(1);
        let at = map_data(count)?.cast::<AtomicU8>();
        // SAFETY: a mapping of so many bytes, zeroed, until the drop.
        let states = unsafe { slice::from_raw_parts(at, count) };
        let (blocked, channels) = (Ranges::new(), Ranges::new());
        let (low, length) = (0, 0);
        let mut this = Self { waits, states, blocked, channels, low, length };
        for gp in each_g().take(count).filter(|gp| is_blocked(waits, gp)) {
            this.set_state(gp, BLOCKED);
            this.blocked.push((gp.stack_lo.get(), gp.index as usize));
            (waits.each_object)(gp, &mut |at, is_channel| {
                if is_channel {
                    this.channels.push((at, 0));
                }
                true
            });
        }
        this.blocked.all_mut().sort_unstable();
        this.channels.all_mut().sort_unstable();
        if this.blocked.is_short() || this.channels.is_short() {
            return Err(Errno::ENOMEM);
        }
        if let [(low, _), .., (_, last)] | [(low, last)] = *this.blocked.all() {
            let end = g_at(last as u32).map_or(low, |gp| gp.stack_hi.get());
            (this.low, this.length) = (low, end - low);
        }
        Ok(this)
    }

    /// What is known of a G.
    fn state(&self, gp: &G) -> u8 {
        let state = self.states.get(gp.index as usize);
        // None: invariant 1.
        state.map_or(NONE, |state| state.load(Relaxed))
    }

    /// Notes what is known of a G, which was there at the beginning.
    fn set_state(&self, gp: &G, state: u8) {
        self.states[gp.index as usize].store(state, Relaxed);
    }

    /// Whether the roots of `gp` are left out at first.
    pub(super) fn leaves_out(&self, gp: &G) -> bool {
        self.state(gp) == BLOCKED
    }

    fn each_blocked(&self) -> impl Iterator<Item = &'static G> {
        let all = self.blocked.all().iter();
        all.filter_map(|(_, index)| g_at(*index as u32))
    }

    /// Adds all memory of the host's to the roots. `own` and what the other
    /// arguments use are not the host's.
    ///
    /// Errors: `ENOMEM`, also where there is too much; those of open(2) and
    /// read(2), where the kernel does not tell.
    pub(super) fn add_memory(
        &self,
        roots: &mut Roots,
        own: &mut Own,
        objects: &Objects,
    ) -> Result<()> {
        let mut memory = Ranges::new();
        maps::each_readable(&mut |it| {
            let mut from = it.from;
            if it.stack
                && let Some(stand) = roots.lowest_stand(it.from, it.to)
            {
                // What lies below was used by frames that are gone.
                from = stand & !(PAGE - 1);
            }
            memory.push((from | usize::from(it.shared), it.to));
        })?;
        self.add_own(own, &[&memory, &self.blocked, &self.channels], objects)?;
        own.add_itself_and(roots);
        if own.0.is_short() || memory.is_short() {
            return Err(Errno::ENOMEM);
        }
        let mut bytes = 0;
        let touched = Touched::open();
        for &(from, to) in memory.all() {
            let guarded = &mut roots.guarded;
            let shared = from & 1 != 0;
            own.without(from & !1, to, &mut |from, to| {
                let mut add = |from, to| guarded.push_words(from, to);
                if shared {
                    add(from, to);
                    return;
                }
                bytes += to - from;
                if bytes <= MOST {
                    touched.each(from, to, &mut add);
                }
            });
        }
        let short = roots.is_short() || bytes > MOST;
        if short { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// Adds what is known of the library's own memory, and these lists.
    ///
    /// Errors: `ENOMEM`.
    fn add_own(
        &self,
        own: &mut Own,
        lists: &[&Ranges],
        objects: &Objects,
    ) -> Result<()> {
        let mut add = |from, to| own.0.push((from, to));
        let whole = ours::each(&mut add);
        each_kept(&mut add);
        each_arena(&mut add);
        MHEAP.each_list(&mut add);
        for gp in self.each_blocked() {
            (self.waits.each_record)(gp, &mut add);
        }
        objects.each_mapping(&mut add);
        // A g0 has never a status; the stack may be that of another thread now.
        let has_stack = |gp: &&G| {
            let ended = [GStatus::Idle, GStatus::Dead];
            let lives = !ended.contains(&gp.readgstatus());
            lives && !gp.is_host() && gp.stack_lo.get() != 0
        };
        for gp in each_g().filter(has_stack) {
            add(gp.stack_lo.get(), gp.stack_hi.get());
        }
        for (lo, hi) in each_m().filter_map(threads::own_stack) {
            add(lo, hi);
        }
        let states = self.states.as_ptr().addr();
        add(states, states + self.states.len());
        lists.iter().for_each(|list| list.mapping(&mut add));
        if whole { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// Marks, in rounds, and says which goroutines are leaked. All is swept,
    /// and no mcache has a span. Returns the bytes that live.
    pub(super) fn mark(&self, roots: &mut Roots, work: &Work) -> usize {
        let mut marked = self.round(roots, work);
        loop {
            roots.begin_again();
            let mut any = false;
            for gp in self.each_blocked().filter(|gp| self.is_reached(gp)) {
                self.set_state(gp, NONE);
                roots.goroutine(gp);
                any = true;
            }
            if !any {
                break;
            }
            marked += self.round(roots, work);
        }
        for gp in each_g() {
            if self.leaves_out(gp) {
                gp.set_flag(gflag::LEAKED);
                roots.goroutine(gp);
            } else if gp.has(gflag::LEAKED) {
                gp.clear_flag(gflag::LEAKED);
            }
        }
        marked + self.round(roots, work)
    }

    /// Marks from these roots; returns the bytes that were not marked before.
    fn round(&self, roots: &Roots, work: &Work) -> usize {
        if roots.is_short() {
            throw("leaks: no room for roots (invariant 2)");
        }
        let roots = heap::Roots {
            plain: roots.plain.all(),
            guarded: roots.guarded.all(),
            copy: |from, to| OwnMemory.read(from as u64, to),
        };
        // There was memory for the same number of markers before.
        match Marking::new(&MHEAP, work, roots, 1) {
            Some(marking) => marking.run_looking(self),
            None => throw("leaks: no memory for the marker"),
        }
    }

    /// Whether a blocked goroutine has turned out not to be.
    fn is_reached(&self, gp: &G) -> bool {
        match self.state(gp) {
            NONE => false,
            SEEN => true,
            _ => !(self.waits.each_object)(gp, &mut |at, _| {
                let object = MHEAP.arenas().and_then(|it| it.find(at));
                object.is_some_and(|object| {
                    let (pair, bit) = object.bit();
                    pair.mark() & bit == 0
                })
            }),
        }
    }

    /// A word that may point into the stack of a blocked goroutine.
    #[cold]
    fn look_at_stacks(&self, word: usize) {
        let all = self.blocked.all();
        let at = all.partition_point(|(low, _)| *low <= word);
        let Some((_, index)) = at.checked_sub(1).map(|at| all[at]) else {
            return;
        };
        if let Some(gp) = g_at(index as u32)
            && is_of_host(gp, word)
        {
            self.see(gp);
        }
    }

    /// A word that may be a handle.
    #[inline(never)]
    fn look_at_handle(&self, index: usize, generation: u32) {
        if self.states[index].load(Relaxed) == BLOCKED
            && let Some(gp) = g_at(index as u32)
            && gp.has(gflag::HANDLE)
            && gp.park.generation() == generation
        {
            self.see(gp);
        }
    }

    fn see(&self, gp: &G) {
        if self.leaves_out(gp) {
            self.set_state(gp, SEEN);
        }
    }
}

impl Look for &Search<'_> {
    #[inline(always)]
    fn look(self, word: usize) {
        if word.wrapping_sub(self.low) < self.length {
            self.look_at_stacks(word);
        }
        // A handle's low half is an index and 1, and the high half not 0.
        let index = (word as u32).wrapping_sub(1) as usize;
        if word >> 32 != 0 && index < self.states.len() {
            self.look_at_handle(index, (word >> 32) as u32);
        }
    }

    fn end_keeps(self, base: usize) -> bool {
        self.channels.all().binary_search(&(base, 0)).is_err()
    }
}

/// Whether an address on the stack of a parked goroutine may be that of an
/// object of the host's. The host's frames lie above the `Wait`, which a
/// function of the library's has in its frame, and below that of `gostart`.
///
/// Addresses of the library's frames there are on other stacks: a goroutine
/// that parks may begin the next one on its own stack, and that one then runs
/// what the first has left to do.
fn is_of_host(gp: &G, word: usize) -> bool {
    let (hi, arg) = (gp.stack_hi.get(), gp.arg.get().addr());
    // Where arguments were copied, they lie above.
    let top = if gp.on_stack(arg) { arg } else { hi };
    let wait = gp.waiting.load(Relaxed).addr() + size_of::<Wait>();
    let frames = wait..top.saturating_sub(GOSTART_SPACE);
    frames.contains(&word) || (top..hi).contains(&word)
}

/// Bytes of a page, or fewer.
const PAGE: usize = 4096;

impl Own {
    /// Sorts the list, with its own mapping and those of the roots in it.
    fn add_itself_and(&mut self, roots: &Roots) {
        roots.each_mapping(&mut |from, to| self.0.push((from, to)));
        let (mut from, mut to) = (0, 0);
        self.0.mapping(&mut |a, z| (from, to) = (a, z));
        self.0.push((from, to));
        self.0.all_mut().sort_unstable();
    }

    /// Calls `found` with the parts of a range that are not the library's.
    fn without(
        &self,
        from: usize,
        to: usize,
        found: &mut dyn FnMut(usize, usize),
    ) {
        let mut at = from;
        // Ranges may lie within others, so not only the last before `from`
        // may reach into it.
        for &(a, z) in self.0.all().iter().take_while(|(a, _)| *a < to) {
            if z <= at {
                continue;
            }
            if a > at {
                found(at, a);
            }
            at = z;
        }
        if at < to {
            found(at, to);
        }
    }
}

fn each_arena(found: &mut dyn FnMut(usize, usize)) {
    let (low, high) = MHEAP.bounds();
    let Some(arenas) = MHEAP.arenas() else { return };
    for base in (low..high).step_by(ARENA) {
        if arenas.of(base).is_some() {
            found(base, base + ARENA);
        }
    }
}

/// Whether only somebody who uses an object of the heap can end the wait of
/// `gp`, or nobody.
fn is_blocked(waits: &Waits, gp: &G) -> bool {
    if gp.readgstatus() != GStatus::Waiting
        || !gp.is_suspended()
        || gp.has(gflag::SYSTEM | gflag::STEPS)
        || gp.park.parked(&gp.claim).is_none()
    {
        return false;
    }
    (waits.each_object)(gp, &mut |at, _| {
        let object = MHEAP.arenas().and_then(|arenas| arenas.find(at));
        object.is_some_and(|object| object.is_allocated())
    })
}
