//! Where marking begins.
//!
//! | root | found by |
//! |---|---|
//! | the stack of a goroutine that a thread stands on | the thread's sp |
//! | that of another goroutine that runs | all of it |
//! | that of one that is parked or queued | `sched_sp` |
//! | the stacks of a host thread | sp, and the thread's own end |
//! | registers | the handler's context |
//! | arguments, values of keys, deferred calls | the G |
//! | elements of channels, arguments of timers and groups | `heap::kept` |
//! | writable data of the program and its libraries | the loader |
//! | what the host names | `gmp_gc_add_roots` |
//!
//! A goroutine that runs without a thread's stack pointer on its stack is one
//! whose thread is on g0 for a moment: nothing says how deep it has gone.
//!
//! The stacks of a host thread are read as memory that may not be there, since
//! their ends are a guess (`host_stack`); and so is data, since a library may
//! be unloaded by a thread that nobody stops, and a program may take the rights
//! to a part of its own. The C library's is there.
//!
//! Of long data only pages with contents are read, as the kernel tells: to read
//! a page of `.bss` that nobody has touched takes a fault, and a program that
//! has a gigabyte of it would stand for a third of a second. (A page of a file
//! that was never written has what the linker put there: no pointer of ours.)
//!
//! Words of the C library's data that could be the first byte of an arena are
//! no roots. glibc's `malloc` has the address at which its next heap would lie,
//! and where the arenas lie among the kernel's mappings (`heap::mheap` asks for
//! another place) that is often where one begins. It would keep the arena's
//! first object, and the last one of the arena below. Lost is a pointer that
//! the C library alone has for the host, as an argument of `on_exit`, to an
//! object that begins there: these are of 8 MB and more (`heap::pagealloc`). In
//! a static program the C library's data are the program's, and all of it is
//! roots.
//!
//! Below a stack pointer lie 128 bytes that a leaf function may use. At the top
//! of a stack lie bytes that `gostart` leaves free: what is there is old, and
//! is not looked at unless arguments lie there.
//!
//! The stacks of bgsweep and its like, and of the thread that dumps and so
//! collects, are no roots: the host has nothing there, and a frame in which one
//! waits has words that a sweep has left, which are addresses of objects. Only
//! what the signal finds such a goroutine in may be a handler of the host's: no
//! function of the library is called in a handler.
//!
//! With `detect_stack_use_after_return` AddressSanitizer has the variables of a
//! frame elsewhere. There is a pointer to them on the stack, as long as the
//! frame lives, and so each word of a stack is looked at for such pointers too.
//!
//! Rejected: Go's `gcscanvalid`, by which a parked stack without pointers is
//! not scanned again. Only its goroutine writes to a stack of Go's. In C others
//! do, by a pointer: the results of goroutines go into an array of their
//! parent's, which waits for them.

use super::{
    host_stack,
    ranges::Ranges,
    settings,
    stop::{Stopped, has_left},
};
use crate::{
    base::{
        lock::Rank,
        sanitize::{Fake, current_fake, fake_frame, follows_stacks},
    },
    gmp::{G, M, MKind, each_g, gflag, watched::watched},
    heap::{arena::ARENA, kept},
    os::{Errno, Lock, LongLock, Result, exiting, maps::Touched, objects},
    sched::{background::has_no_host, frame, local, panicrecord, putoff},
};
use core::{
    mem, ptr,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::*},
};
use gmprt_inspect::memory::{Memory, OwnMemory};

/// How many goroutines ahead the collector fetches what it asks of one.
const AHEAD: usize = 8;
/// Bytes below the stack pointer.
const RED_ZONE: usize = 128;
/// Bytes from which on data is long.
const LONG: usize = 1 << 20;
/// Bytes without contents that are left out of long data: fewer are faster read
/// than listed.
const HOLE: usize = 64 << 10;

/// What the host has named.
static NAMED: Lock<Ranges> = Lock::new(Rank::Kept, Ranges::new());
/// Data of the program and its libraries are roots.
static DATA: AtomicBool = AtomicBool::new(true);
/// Where the loader's list is, plus 1; 0: not looked for yet.
static LIST: AtomicUsize = AtomicUsize::new(0);

/// All addresses.
pub(super) const ANYWHERE: (usize, usize) = (0, usize::MAX);

/// Room for the roots of one collection at a time.
pub(super) static ROOTS: LongLock<Roots> =
    LongLock::new(Rank::Roots, Roots::new());

/// All roots of one collection.
pub(super) struct Roots {
    pub plain: Ranges,
    pub guarded: Ranges,
    /// The stack pointers of all threads, and their Ms.
    stands: Ranges,
    /// A single word that is outside of these addresses is left out.
    near: Hidden,
    /// Bytes of stacks and of data, for `gctrace`.
    sizes: (usize, usize),
}

/// Two addresses, low and high, as no words that a collection takes for them:
/// in a static program the library's data are roots, and an object may begin
/// where the heap does.
struct Hidden(usize, usize);

impl Hidden {
    const fn new((low, high): (usize, usize)) -> Self {
        Self(!low, !high)
    }

    fn get(&self) -> (usize, usize) {
        (!self.0, !self.1)
    }
}

/// What the loader said, before the stop: it has a lock, which a constructor of
/// the host's may hold while it waits for a collection. So no lock of ours is
/// held while it is asked.
pub(super) struct Objects {
    /// The entries of its list.
    entries: Ranges,
    /// Data of what may be unloaded, or is the host's.
    data: Ranges,
    /// Data of the C library's.
    of_libc: Ranges,
}

// SAFETY: what the lists name is not theirs.
unsafe impl Send for Objects {}

/// Lists that were used before.
static SPARE: Lock<Objects> = Lock::new(Rank::Kept, Objects::new());

impl Objects {
    const fn new() -> Self {
        Self {
            entries: Ranges::new(),
            data: Ranges::new(),
            of_libc: Ranges::new(),
        }
    }

    /// Asks the loader.
    pub(super) fn ask() -> Self {
        putoff::learn();
        let mut this = mem::replace(&mut *SPARE.lock(), Self::new());
        this.lists_mut().into_iter().for_each(Ranges::clear);
        if !DATA.load(Relaxed) {
            return this;
        }
        let Self { entries, data, of_libc } = &mut this;
        let mut entry = |entry| entries.push(entry);
        objects::each_writable(list(), &mut entry, &mut |from, to, is_libc| {
            if is_libc {
                push_of_libc(of_libc, from, to);
            } else {
                data.push_words(from, to);
            }
        });
        this
    }

    /// Another collection may have the lists.
    pub(super) fn give_back(self) {
        // Those of two collections at once are unmapped, but for the last.
        let last = mem::replace(&mut *SPARE.lock(), self);
        drop(last);
    }

    fn lists(&self) -> [&Ranges; 3] {
        [&self.entries, &self.data, &self.of_libc]
    }

    fn lists_mut(&mut self) -> [&mut Ranges; 3] {
        [&mut self.entries, &mut self.data, &mut self.of_libc]
    }

    /// Where the lists are.
    pub(super) fn each_mapping(&self, found: &mut dyn FnMut(usize, usize)) {
        self.lists().into_iter().for_each(|list| list.mapping(found));
    }

    /// Whether there was no memory for the answer.
    pub(super) fn is_short(&self) -> bool {
        self.lists().into_iter().any(Ranges::is_short)
    }

    /// Whether it still says so.
    fn holds(&self) -> bool {
        !self.is_short()
            && (!DATA.load(Relaxed)
                || objects::still_has(list(), self.entries.all()))
    }
}

// SAFETY: what the lists name is not theirs.
unsafe impl Send for Roots {}

/// `gmp_gc_add_roots`.
///
/// Errors: `EINVAL`, `ENOMEM`.
pub(crate) fn add(lo: usize, hi: usize) -> Result<()> {
    if lo == 0 || hi < lo {
        return Err(Errno::EINVAL);
    }
    exiting::watch();
    let mut named = NAMED.lock();
    named.push((lo, hi));
    if named.is_short() {
        return Err(Errno::ENOMEM);
    }
    Ok(())
}

/// `gmp_gc_remove_roots`: those within.
pub(crate) fn remove(lo: usize, hi: usize) {
    NAMED.lock().retain(|(from, to)| from < lo || to > hi);
}

/// `gmp_gc_set_roots`.
pub(crate) fn set_data(all: bool) {
    DATA.store(all, Relaxed);
}

/// Unmaps all lists.
pub(super) fn free() {
    *ROOTS.lock() = Roots::new();
    *SPARE.lock() = Objects::new();
    *NAMED.lock() = Ranges::new();
}

fn list() -> usize {
    match LIST.load(Relaxed) {
        0 => {
            let list = objects::list();
            LIST.store(list + 1, Relaxed);
            list
        }
        list => list - 1,
    }
}

impl Roots {
    pub(super) const fn new() -> Self {
        Self {
            plain: Ranges::new(),
            guarded: Ranges::new(),
            stands: Ranges::new(),
            near: Hidden::new(ANYWHERE),
            sizes: (0, 0),
        }
    }

    /// Gathers all roots, but for goroutines that are `left_out`, and for
    /// single words that are not `near`. False if there is no memory for them,
    /// or if objects were loaded since the loader was asked. All threads stand;
    /// that of `me` has all its frames and registers from `sp` on.
    pub(super) fn gather(
        &mut self,
        stopped: &Stopped,
        objects: &Objects,
        (me, sp): (&'static M, usize),
        near: (usize, usize),
        left_out: impl Fn(&G) -> bool,
    ) -> bool {
        self.near = Hidden::new(near);
        self.plain.clear();
        self.guarded.clear();
        self.stands.clear();
        if !objects.holds() {
            return false;
        }
        // Below lie frames of ours, and no leaf of the host's. So it has no
        // red zone, which is taken off later.
        me.watched.stands.set(current_fake());
        self.stand(me, sp + RED_ZONE, 0);
        stopped.each(|mp, sp, regs| self.stand(mp, sp, regs));
        self.stands.all_mut().sort_unstable();
        let wanted = || each_g().filter(|gp| !left_out(gp));
        let mut soon = wanted().skip(AHEAD);
        for gp in wanted() {
            soon.next().inspect(|gp| gp.prefetch());
            self.goroutine(gp);
        }
        let traced = settings::TRACE.load(Relaxed);
        if traced {
            self.sizes.0 = self.plain.sum() + self.guarded.sum();
        }
        let plain = &mut self.plain;
        kept::each(&mut |from, to| plain.push_words(from, to));
        objects.of_libc.all().iter().for_each(|it| plain.push(*it));
        let before = self.guarded.sum();
        self.data(objects.data.all());
        let data = self.guarded.sum() - before;
        for (from, to) in NAMED.lock().all() {
            self.guarded.push_words(*from, *to);
        }
        if traced {
            let loaded = data + objects.of_libc.sum();
            self.sizes.1 = loaded + NAMED.lock().sum();
        }
        !self.is_short()
    }

    /// Bytes of stacks, with what the Gs keep, and of data; known where
    /// collections are traced.
    pub(super) fn sizes(&self) -> (usize, usize) {
        self.sizes
    }

    /// Whether one was left out for want of memory.
    pub(super) fn is_short(&self) -> bool {
        let lists = [&self.plain, &self.guarded, &self.stands];
        lists.iter().any(|list| list.is_short())
    }

    /// The roots of other goroutines come next. They find room if all roots of
    /// all goroutines had.
    pub(super) fn begin_again(&mut self) {
        self.plain.clear();
        self.guarded.clear();
    }

    /// Where the lists of roots are.
    pub(super) fn each_mapping(&self, found: &mut dyn FnMut(usize, usize)) {
        for list in [&self.plain, &self.guarded, &self.stands] {
            list.mapping(found);
        }
        NAMED.lock().mapping(found);
    }

    /// The lowest stack pointer of a thread within these addresses, less what a
    /// leaf function may use below.
    pub(super) fn lowest_stand(&self, from: usize, to: usize) -> Option<usize> {
        let all = self.stands.all();
        let at = all.partition_point(|(sp, _)| *sp < from);
        let (sp, _) = all.get(at).filter(|(sp, _)| *sp < to)?;
        Some(sp.saturating_sub(RED_ZONE).max(from))
    }

    /// Data of the program and its libraries, which is private to the process.
    fn data(&mut self, all: &[(usize, usize)]) {
        let short = |it: &&(usize, usize)| it.1 - it.0 < LONG;
        all.iter().filter(short).for_each(|it| self.guarded.push(*it));
        let mut long = all.iter().filter(|it| !short(it)).peekable();
        if long.peek().is_none() {
            return;
        }
        let touched = Touched::open();
        for &(from, to) in long {
            let mut last = (from, from);
            touched.each(from, to, &mut |a, z| {
                if a - last.1 < HOLE {
                    last.1 = z;
                    return;
                }
                self.guarded.push_words(last.0, last.1);
                last = (a, z);
            });
            self.guarded.push_words(last.0, last.1);
        }
    }

    /// For another collector: the stacks of goroutines, and what the runtime
    /// keeps for the host, as `kept` has it; false if there is no memory.
    pub(super) fn gather_ours(
        &mut self,
        stopped: &Stopped,
        kept: &kept::Held,
    ) -> bool {
        self.near = Hidden::new(ANYWHERE);
        self.plain.clear();
        self.guarded.clear();
        self.stands.clear();
        stopped.each(|mp, sp, regs| self.stand(mp, sp, regs));
        self.stands.all_mut().sort_unstable();
        for gp in each_g().filter(|gp| !gp.is_host()) {
            self.goroutine(gp);
        }
        let plain = &mut self.plain;
        kept.each(&mut |from, to| plain.push_words(from, to));
        let lists = [&self.plain, &self.guarded, &self.stands];
        !lists.iter().any(|list| list.is_short())
    }

    /// A thread that stands at `sp`.
    fn stand(&mut self, mp: &'static M, sp: usize, regs: usize) {
        // SAFETY: null, or a type-stable G.
        let gp = unsafe { mp.curg.load(Relaxed).as_ref() };
        let is_host = mp.kind.get() == MKind::Host;
        let is_ours = mp.is_system() || gp.is_some_and(has_no_host);
        if regs == 0 && !is_host && is_ours {
            return;
        }
        let at = ptr::from_ref(mp).expose_provenance();
        self.stands.push((sp, at));
        let fake = mp.watched.stands.get();
        if regs != 0 {
            self.registers(regs, fake);
        }
        if is_host {
            self.host_stack(mp, sp);
            return;
        }
        let g0 = mp.g0();
        if g0.on_stack(sp) {
            self.stack(sp.saturating_sub(RED_ZONE), g0.stack_hi.get(), fake);
        }
    }

    /// The registers of a thread, as its handler has them.
    fn registers(&mut self, context: usize, fake: Fake) {
        // SAFETY: the handler's argument, and the handler waits.
        let context = unsafe { &*(context as *const libc::ucontext_t) };
        let general = context.uc_mcontext.gregs.as_ptr_range();
        self.stack(general.start.addr(), general.end.addr(), fake);
        let wide = context.uc_mcontext.fpregs.addr();
        if wide != 0 {
            self.plain.push_words(wide, wide + wide_bytes(wide));
        }
    }

    /// A host thread's own stack.
    fn host_stack(&mut self, mp: &M, sp: usize) {
        // SAFETY: null, or a type-stable G.
        let gp = unsafe { mp.curg.load(Relaxed).as_ref() };
        let in_place = gp.is_some_and(|gp| gp.on_stack(sp));
        // Where the thread has left its own stack for a goroutine's.
        let (from, fake) = if in_place {
            (mp.g0().sched_sp.get(), mp.watched.fake.get())
        } else {
            (sp, mp.watched.stands.get())
        };
        host_stack::each(mp, from.saturating_sub(RED_ZONE), &mut |lo, hi| {
            self.guarded.push_words(lo, hi);
            self.frames(lo, hi, fake);
        });
    }

    /// The words of a stack, all of which are there, and its frames in `fake`.
    fn stack(&mut self, from: usize, to: usize, fake: Fake) {
        self.plain.push_words(from, to);
        self.frames(from, to, fake);
    }

    /// The frames in `fake` to which words from `from` to `to` point.
    #[inline]
    fn frames(&mut self, from: usize, to: usize, fake: Fake) {
        if !fake.is_null() {
            self.frames_slow(from, to, fake);
        }
    }

    #[cold]
    fn frames_slow(&mut self, from: usize, to: usize, fake: Fake) {
        let mut last = None;
        for at in (from.next_multiple_of(8)..to & !7).step_by(8) {
            let Some(word) = OwnMemory.u64(at as u64) else { break };
            let frame = fake_frame(fake, word as usize);
            if let Some((lo, hi)) = frame.filter(|_| frame != last) {
                self.plain.push_words(lo, hi);
                last = frame;
            }
        }
    }

    /// The roots of a goroutine, or of a thread's stand-in.
    pub(super) fn goroutine(&mut self, gp: &'static G) {
        let plain = &mut self.plain;
        let mut found = |from: usize, to: usize| plain.push_words(from, to);
        let (low, high) = self.near.get();
        let (lo, hi) = (gp.stack_lo.get(), gp.stack_hi.get());
        let ended = matches!(
            gp.readgstatus(),
            crate::gmp::GStatus::Dead | crate::gmp::GStatus::Idle
        );
        if !ended {
            panicrecord::words(gp, &mut found);
            local::words(gp, &mut found);
            if !gp.is_host() {
                let near = |word| (low..=high).contains(&word);
                frame::words(gp, near, &mut found);
            }
        }
        if gp.is_host() || lo == 0 {
            return;
        }
        let fake = frames_of(gp);
        let all = self.stands.all();
        let at = all.partition_point(|(sp, _)| *sp < lo);
        let on = all.get(at).filter(|(sp, _)| *sp <= hi);
        if on.is_none() && has_no_host(gp) {
            return;
        }
        if let Some((sp, mp)) = on {
            // SAFETY: of an M, which stays.
            let mp = unsafe { &*ptr::with_exposed_provenance::<M>(*mp) };
            let fake = mp.watched.stands.get();
            let end = frame::end_of_words(gp);
            self.stack((sp - RED_ZONE).max(lo), end, fake);
        } else if !ended && has_left(gp) {
            if gp.has(gflag::STARTED) {
                self.stack(gp.sched_sp.get(), frame::end_of_words(gp), fake);
            }
        } else if !ended {
            self.guarded.push_words(lo, hi);
            self.frames(lo, hi, fake);
        }
    }
}

/// The words of data of the C library's, but those that could be the first byte
/// of an arena. A word that becomes one before the stop is a root this time.
fn push_of_libc(data: &mut Ranges, from: usize, to: usize) {
    const WORD: usize = size_of::<usize>();
    // SAFETY: a word of an object that the loader has, and its lock is held.
    // Other threads write there.
    let word = |at| unsafe { (*(at as *const AtomicUsize)).load(Relaxed) };
    let (mut begin, end) = (from.next_multiple_of(WORD), to & !(WORD - 1));
    let mut at = begin;
    while at < end {
        // Most are 0.
        let next = end.min(at + 8 * WORD);
        let line = (at..next).step_by(WORD);
        if line.clone().fold(0, |all, at| all | word(at)) != 0 {
            for at in line {
                let word = word(at);
                if word != 0 && word.is_multiple_of(ARENA) {
                    data.push_words(begin, at);
                    begin = at + WORD;
                }
            }
        }
        at = next;
    }
    data.push_words(begin, to);
}

/// Where the frames are of a goroutine that does not run.
fn frames_of(gp: &G) -> Fake {
    if !follows_stacks() {
        return ptr::null_mut();
    }
    watched(gp).map_or(ptr::null_mut(), |it| it.fake.get())
}

/// Bytes of the wide registers that the kernel has saved at `at`.
fn wide_bytes(at: usize) -> usize {
    /// Of the least form; and where a longer one tells so, and how long it is.
    const LEAST: usize = 512;
    const MAGIC_AT: usize = 464;
    const MAGIC: u32 = 0x4650_5853;
    // SAFETY: within the least form.
    let magic = unsafe { ((at + MAGIC_AT) as *const u32).read() };
    if magic != MAGIC {
        return LEAST;
    }
    // SAFETY: the same.
    let bytes = unsafe { ((at + MAGIC_AT + 4) as *const u32).read() };
    bytes as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_libc_that_an_arena_may_begin_at_is_no_root() {
        let words = [0, 5 * ARENA, 5 * ARENA + 8, 7, 9 * ARENA, ARENA, 1];
        let at = (&raw const words).addr();
        let place = |n: usize| at + n * size_of::<usize>();
        let mut data = Ranges::new();
        push_of_libc(&mut data, at, place(words.len()));
        let left = [(0, 1), (2, 4), (6, 7)];
        assert_eq!(data.all(), left.map(|(a, z)| (place(a), place(z))));
        data.clear();
        push_of_libc(&mut data, at + 1, place(2) - 1);
        assert!(data.all().is_empty());
    }
}
