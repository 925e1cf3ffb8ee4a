//! A descriptor's number: its waiters, its edges, and who may wait.
//!
//! # Edges
//! An *edge* is an event of one direction of a descriptor, counted in its
//! [`Direction`]. An event may come between a waiter's try and its wait; by the
//! count the waiter notices that event:
//!
//! ```text
//!   a waiter                              an M that polls
//!     (a) note the edges                    (e) an event: lock
//!     (b) try: EAGAIN                       (f) one more edge
//!     (c) lock; register; a file that       (g) take all waiters out; unlock
//!         was registered, and an edge
//!         since (a)? then (a) again
//!     (d) queue a record; unlock, once
//!         off the stack; wait; (a)
//! ```
//! (f) pairs with (a): a waiter that notes the new edge finds in (b) what the
//! event tells. A waiter that notes the old edge either locks before (e), and
//! (g) takes it out; or locks after (g), and (c) finds the edge. A file that
//! (c) registers for the first time makes an edge of what is ready then.
//!
//! The kernel is asked about writing only once a writer waits: a socket's send
//! buffer empties all the time. So (c) of a writer has the kernel look once
//! more (MOD), whatever the edges are, and what is ready then makes an edge,
//! too.
//!
//! Go keeps one waiter in a word for each direction (`pdReady`, `pdWait`), as
//! its `fdMutex` lets one reader in at a time. Here many goroutines may accept
//! from one socket, and one edge may bring several connections. So each
//! direction has a queue; an edge wakes the whole queue, and each waiter tries
//! again before it queues again.
//!
//! # Numbers are used again
//! Each wait registers the number: a reader by ADD, a writer by MOD, and by ADD
//! after `ENOENT`. Where ADD says `EEXIST`, or MOD succeeds, the number is
//! still that of the registered file. Where ADD succeeds on a number that was
//! registered before, in the same poller, that file is gone. The waiters for
//! that file get `EBADF`, and so do those that were woken and have not run yet:
//! they find another `generation`. An event needs no generation: one that comes
//! late, for a file that is gone, costs a try.
//!
//! # Who polls
//! A waiter is work in the sense of `gmp::spinning`: it counts itself in
//! [`WAITERS`], then wakes an M unless the timekeeper sleeps in the poller. An
//! M that stops looking for work looks at the count once more, and if the count
//! is not 0 becomes the timekeeper, unless another M is.
//!
//! Invariants:
//! 1. A Desc is made once for a number and stays.
//! 2. `registered` and the queues are touched under the Desc's lock; `edges`,
//!    `generation` and `closes` change under it.
//! 3. A waiter is queued only while its side is registered, and only if its own
//!    try, in vain, began after the last edge, or if (c) has had the kernel
//!    look at the file. So readiness that is there, or comes, makes an edge,
//!    and the edge takes the waiter out. A side stays registered while it has a
//!    queue: bits go only by MOD, which keeps those of both queues.
//! 4. `WAITERS` counts the records from (d) until their waiters run again.
//! 5. A new poller is there before `renew` locks each Desc in turn to take
//!    its waiters out: a waiter that locks later registers in the new poller,
//!    and one that locks earlier in the old poller or in the new one.
//!    `registered` names which: what one poller says is no news of another.
//! 6. `file` names the file that was registered last, by its inode.

use super::{
    poller::{
        GONE, MAKING, Made, STALE, STALE_NEW, poller, seems_ours, was_lost,
    },
    speculation::{self, Speculation},
};
use crate::{
    base::{
        self,
        alloc::put,
        lock::Rank,
        sync::{AtomicPtr, AtomicU32, Ordering::*},
        trace::{self, Event, Kind},
    },
    gmp::wait::{At, Sudog, WaitQ, WakeList},
    os::{self, Errno, Result, epoll, futex::OsFutex},
};
use core::{cell::Cell, ptr};

const _: () = assert!(size_of::<Desc>() == 128);
/// Descs in a slab, and slabs: a million numbers, far beyond `RLIMIT_NOFILE`
/// as it is set up anywhere.
const SLAB: usize = 1024;

const SLABS: usize = 1024;

/// Which direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Read = 0,
    Write = 1,
}

/// One direction of one descriptor.
struct Direction {
    /// Edges so far.
    edges: AtomicU32,
    queue: WaitQ,
}

/// A descriptor's number (Go's `pollDesc`). Two lines of the cache.
#[repr(align(128))]
pub(crate) struct Desc {
    fd: i32,
    lock: RawLock,
    /// lock: the poller in which the file of this number was seen, or 0
    registered: Cell<u32>,
    /// lock: which file that is (invariant 6)
    file: Cell<u32>,
    /// Counts the files that have lost the number.
    generation: AtomicU32,
    /// Counts the calls of `gmp_close` on the number.
    closes: AtomicU32,
    /// lock: twice how many calls need the file in non-blocking mode, and one
    /// if it was in that mode before the first of them
    modes: Cell<u32>,
    directions: [Direction; 2],
    speculation: speculation::State,
}

/// The result of [`Desc::may_wait`].
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quiet {
    /// No edge since the caller's try: the caller may wait.
    Yes,
    /// An edge has come: the caller tries again.
    No,
}

// SAFETY: the Cells and queues are touched under the lock.
unsafe impl Sync for Desc {}

type RawLock = base::lock::RawLock<OsFutex>;

static TABLE: [AtomicPtr<Desc>; SLABS] =
    [const { AtomicPtr::new(ptr::null_mut()) }; SLABS];

/// Invariant 4.
static WAITERS: AtomicU32 = AtomicU32::new(0);

impl Desc {
    /// Its number, as an address for dumps.
    pub(crate) fn number(&self) -> *const () {
        ptr::without_provenance(self.fd as usize)
    }

    fn new(fd: i32) -> Self {
        let direction =
            || Direction { edges: AtomicU32::new(0), queue: WaitQ::new() };
        Self {
            fd,
            lock: RawLock::new(Rank::Poll),
            registered: Cell::new(0),
            file: Cell::new(0),
            generation: AtomicU32::new(0),
            closes: AtomicU32::new(0),
            modes: Cell::new(0),
            directions: [direction(), direction()],
            speculation: speculation::State::new(),
        }
    }

    /// How many edges a side has had: noted before a try.
    pub(crate) fn edges(&self, side: Side) -> u32 {
        // Acquire: pairs with edge; (a) and (f).
        self.directions[side as usize].edges.load(Acquire)
    }

    /// Which of the number's files it stands for, as far as is known.
    pub(crate) fn generation(&self) -> u32 {
        // Acquire: pairs with give_up.
        self.generation.load(Acquire)
    }

    /// How often `gmp_close` has closed the number.
    pub(crate) fn closes(&self) -> u32 {
        // Acquire: pairs with close.
        self.closes.load(Acquire)
    }

    /// Under the lock: a call begins that needs the file in non-blocking mode.
    /// The file stays in that mode until the last of these calls ends.
    ///
    /// Errors: `EBADF`.
    pub(crate) fn enter_nonblocking(&self) -> Result<()> {
        let was = os::fd::set_nonblocking(self.fd, true)?;
        let modes = match self.modes.get() {
            0 => u32::from(was),
            others => others,
        };
        self.modes.set(modes + 2);
        Ok(())
    }

    /// Under the lock: one of these calls ends. The last one puts the mode
    /// back, if `ours`: the number is still that of the file.
    pub(crate) fn leave_nonblocking(&self, ours: bool) {
        let left = self.modes.get() - 2;
        // The bit goes with the last call.
        self.modes.set(if left == 1 { 0 } else { left });
        if left == 0 && ours {
            // The same call has just worked.
            let _restored = os::fd::set_nonblocking(self.fd, false);
        }
    }

    /// Locks the Desc. The caller is inside: its thread may sleep, and does
    /// not count as blocked.
    pub(crate) fn lock(&self) {
        self.lock.lock();
    }

    /// Unlocks the Desc, which the caller has locked.
    pub(crate) fn unlock(&self) {
        // SAFETY: locked by the caller.
        unsafe { self.lock.unlock() };
    }

    /// Under the lock, step (c): registers a side, and says whether the caller
    /// may wait. `gone` gets the waiters for a file that is gone.
    ///
    /// `seen`: the edges from before the caller's try; None if it noted none.
    /// With a speculation there was no try: the edges are the speculation's.
    ///
    /// Errors: `EPERM` for a file that is always ready, `ENOMEM`, `ENOSPC`,
    /// `EBADF`; [`GONE`].
    pub(crate) fn may_wait(
        &'static self,
        side: Side,
        seen: Option<u32>,
        speculation: Speculation,
        gone: &mut WakeList,
    ) -> Result<Quiet> {
        let looked = side == Side::Write || seen.is_none();
        let same_file =
            matches!(speculation, Speculation::DrainedSameFile { .. });
        let new = if same_file { None } else { self.watch(side, looked)? };
        if let Some(poller) = new {
            self.register(poller, gone);
        }
        let new = new.is_some();
        // Relaxed: changed under the lock.
        let edges = self.directions[side as usize].edges.load(Relaxed);
        // Where the kernel looks, whatever is ready makes an edge.
        let quiet = new || looked || seen == Some(edges);
        if quiet && !new && speculation != Speculation::None {
            self.speculation.set_unverified(self.fd);
        }
        Ok(if quiet { Quiet::Yes } else { Quiet::No })
    }

    /// Under the lock: the number is new in the poller. True: the file that
    /// was registered has lost the number, and its waiters are in `gone`.
    fn register(&self, poller: &Made, gone: &mut WakeList) -> bool {
        let before = self.registered.replace(poller.nth);
        let file = os::own::name(self.fd);
        let same = self.file.replace(file) == file;
        // A poller that was made anew knows no number. It may be here before
        // `restart`, which wakes those who wait in the old one.
        let lost = before == poller.nth || before != 0 && !same;
        if lost {
            self.give_up(gone);
        }
        lost
    }

    /// Under the lock: registers a side. `look`: the kernel reports what is
    /// ready already, as it always does for a file that is new. The poller, if
    /// the number is new there.
    ///
    /// Errors: as [`Desc::may_wait`].
    fn watch(&self, side: Side, look: bool) -> Result<Option<&'static Made>> {
        let writing = side == Side::Write
            || !self.directions[Side::Write as usize].queue.first().is_null();
        let bits = epoll::READ | if writing { epoll::WRITE } else { 0 };
        let poller = poller().ok_or(GONE)?;
        let known = poller.nth == self.registered.get();
        if !seems_ours(poller, if known { STALE } else { STALE_NEW }) {
            return Err(GONE);
        }
        let added = loop {
            if look {
                match poller.modify(self.fd, bits) {
                    Err(Errno(libc::ENOENT)) => {}
                    done => break done.map(|()| false),
                }
            }
            let new = poller.add(self.fd, bits);
            if new != Ok(false) || !look {
                break new;
            }
        };
        match added {
            Ok(true) if !is_still(poller, known) => {
                let _added = poller.remove(self.fd);
                Err(GONE)
            }
            Ok(new) => Ok(new.then_some(poller)),
            Err(why) if was_lost(poller, why) => Err(GONE),
            Err(why) => Err(why),
        }
    }

    /// Under the lock, step (d): the waiter enters the queue of a side.
    pub(crate) fn enqueue(&self, side: Side, sg: &Sudog) {
        self.directions[side as usize].queue.enqueue(sg, At::Back);
        // SeqCst: before the caller looks whether an M polls. Pairs with
        // waited_for.
        WAITERS.fetch_add(1, SeqCst);
    }

    /// A waiter is awake. `left`: its record is queued still, as a deadline, a
    /// cancel or another side has ended the wait; this call takes it out.
    /// Locks.
    pub(crate) fn awake(&self, side: Side, sg: &Sudog, left: bool) {
        // Release: a count that is too high for a while costs a poll.
        WAITERS.fetch_sub(1, Release);
        if left {
            self.lock();
            self.directions[side as usize].queue.remove(sg);
            self.unlock();
        }
    }

    /// Under the lock: the descriptor is about to be closed. Its waiters get
    /// `EBADF`.
    ///
    /// The caller keeps the lock until the descriptor is closed, or else calls
    /// [`Desc::closed`].
    pub(crate) fn close(&self, gone: &mut WakeList) {
        // Release: pairs with closes. Relaxed: changed under the lock only.
        self.closes.store(self.closes.load(Relaxed).wrapping_add(1), Release);
        self.modes.set(0);
        let known = self.registered.replace(0);
        let ours = poller().filter(|ours| ours.nth == known);
        if let Some(ours) = ours.filter(|ours| seems_ours(ours, STALE_NEW)) {
            // Not there if another file has taken the number meanwhile.
            let _not_there = ours.remove(self.fd);
        }
        self.give_up(gone);
    }

    /// Under the lock: the descriptor was closed without the lock. Waiters that
    /// came meanwhile try again: they may have registered the file that is
    /// gone.
    pub(crate) fn closed(&self, awake: &mut WakeList) {
        for direction in &self.directions {
            direction.edge();
            direction.take(awake, true);
        }
    }

    /// An event has come: steps (e) to (g).
    pub(super) fn happened(&self, events: u32, list: &mut WakeList) {
        let both = (libc::EPOLLERR | libc::EPOLLHUP) as u32;
        let read = epoll::READ as u32 & !(libc::EPOLLET as u32);
        let write = libc::EPOLLOUT as u32;
        let more = both | (libc::EPOLLRDHUP | libc::EPOLLPRI) as u32;
        trace::event(move || {
            Event::of(Kind::Net, 0).with(self.fd as u64, events.into())
        });
        self.lock();
        if events & (read | both) != 0 {
            self.speculation.edge(events & more != 0);
        }
        for (direction, bits) in self.directions.iter().zip([read, write]) {
            if events & (bits | both) != 0 {
                direction.edge();
                direction.take(list, true);
            }
        }
        self.unlock();
    }

    /// The poller is a new one, and the waiters try `again`; or it has failed
    /// for good. Waiters for a file that is gone get `EBADF` instead of a try,
    /// which would be on the number's next file.
    pub(super) fn restart(&self, again: bool, list: &mut WakeList) {
        self.lock();
        let waited =
            self.directions.iter().any(|side| !side.queue.seems_empty());
        if again && waited && self.file.get() != os::own::name(self.fd) {
            self.give_up(list);
        }
        for direction in &self.directions {
            direction.edge();
            direction.take(list, again);
        }
        self.unlock();
    }

    /// Under the lock: the file has lost the number, and its waiters wait in
    /// vain.
    fn give_up(&self, gone: &mut WakeList) {
        // Release: pairs with generation.
        self.generation.fetch_add(1, Release);
        self.speculation.forget();
        for direction in &self.directions {
            direction.edge();
            direction.take(gone, false);
        }
    }
}

/// After an ADD that went through: whether the instance is that of `poller`. An
/// instance that does not know a `known` number may be the host's, and one that
/// was asked while the poller was made anew may be the new one's.
fn is_still(poller: &Made, known: bool) -> bool {
    if known {
        return poller.has_wake_fd();
    }
    super::poller::poller().is_some_and(|now| now.nth == poller.nth)
}

impl Direction {
    /// Under the lock, step (f): one more edge. 0 is for none so far.
    fn edge(&self) {
        // Release: pairs with edges. Relaxed: changed under the lock only.
        let next = self.edges.load(Relaxed).wrapping_add(1).max(1);
        self.edges.store(next, Release);
    }

    /// Under the lock, step (g): takes all waiters out. `again`: they try
    /// again; else their calls fail.
    fn take(&self, list: &mut WakeList, again: bool) {
        self.queue.dequeue_all(
            |_| true,
            |sg| {
                sg.success.set(again);
                list.push(sg);
            },
        );
    }
}

/// The Desc of a number.
///
/// Errors: `EBADF`, `ENOMEM`.
pub(crate) fn desc(fd: i32) -> Result<&'static Desc> {
    if known(fd).is_none() {
        make(fd)?;
    }
    known(fd).ok_or(Errno(libc::EBADF))
}

/// The Desc of a number, if there is one already.
pub(crate) fn known(fd: i32) -> Option<&'static Desc> {
    let at = usize::try_from(fd).ok()?;
    // Acquire: pairs with make.
    let slab = TABLE.get(at / SLAB)?.load(Acquire);
    if slab.is_null() {
        return None;
    }
    // SAFETY: at % SLAB < SLAB, so within the slab.
    let desc = unsafe { slab.add(at % SLAB) };
    // SAFETY: made with the slab, which stays (invariant 1).
    Some(unsafe { &*desc })
}

/// Makes the slab of `fd`'s Desc.
#[cold]
fn make(fd: i32) -> Result<()> {
    let at = usize::try_from(fd).map_err(|_| Errno(libc::EBADF))?;
    let entry = TABLE.get(at / SLAB).ok_or(Errno::ENOMEM)?;
    let _making = MAKING.lock();
    if !entry.load(Relaxed).is_null() {
        return Ok(());
    }
    let slab = os::mem::map_kept(SLAB * size_of::<Desc>())?.cast::<Desc>();
    for i in 0..SLAB {
        // SAFETY: i < SLAB, so within the mapping.
        let place = unsafe { slab.add(i) };
        // SAFETY: fresh memory, aligned to a page.
        unsafe { place.write(Desc::new((at - at % SLAB + i) as i32)) };
    }
    // Release: pairs with known.
    entry.store(slab, Release);
    Ok(())
}

pub(super) fn each_desc(mut f: impl FnMut(&'static Desc)) {
    for number in (0..SLABS * SLAB).step_by(SLAB) {
        if known(number as i32).is_some() {
            (number..number + SLAB)
                .filter_map(|number| known(number as i32))
                .for_each(&mut f);
        }
    }
}

/// How many waits for descriptors there are now.
pub(crate) fn waiters() -> u32 {
    // Relaxed: for statistics.
    WAITERS.load(Relaxed)
}

/// Whether a goroutine waits for a descriptor.
pub(crate) fn waited_for() -> bool {
    // SeqCst: after the caller has said that it is about to sleep. Pairs with
    // enqueue.
    WAITERS.load(SeqCst) != 0
}

/// A goroutine, in a call on a file whose Desc there was when it began.
#[derive(Clone, Copy)]
pub(crate) struct Caller {
    pub desc: &'static Desc,
    pub goid: u64,
}

impl Caller {
    /// A call begins. `reads`: as a read, which may wait on the result instead
    /// of its first try.
    #[inline]
    pub(crate) fn before_try(self, reads: bool) -> Speculation {
        let edges = || self.desc.edges(Side::Read);
        self.desc.speculation.before_try(self.goid, reads, edges)
    }

    /// A call has gone through. `drained`: it was a read that has drained the
    /// stream, after these edges.
    #[inline]
    pub(crate) fn after_try(self, drained: Option<u32>) {
        self.desc.speculation.after_try(self.desc.fd, self.goid, drained);
    }
}

impl Desc {
    /// Under the lock: asks the kernel whether the number is still that of the
    /// file, and the file empty; if not, the waiters are in `list`. True: the
    /// file has data that no event has told of. None: the kernel cannot tell.
    fn verify(&self, list: &mut WakeList) -> Option<bool> {
        match self.watch(Side::Read, false) {
            Ok(None) => {}
            Ok(Some(poller)) => {
                return self.register(poller, list).then_some(false);
            }
            Err(GONE | Errno(libc::ENOMEM | libc::ENOSPC)) => return None,
            Err(_) => {
                self.registered.set(0);
                self.file.set(os::own::name(self.fd));
                self.give_up(list);
                return Some(false);
            }
        }
        // Below SO_RCVLOWAT, data are there though poll finds nothing.
        let missed = os::fd::ready(self.fd, libc::POLLIN).is_ok()
            || os::net::unread(self.fd) > 0;
        if missed {
            let read = &self.directions[Side::Read as usize];
            read.edge();
            read.take(list, true);
        }
        Some(missed)
    }
}

/// Verifies all waits on speculation that began before the last call. The
/// caller, of whom there is one at a time, readies those in the list.
pub(crate) fn verify() -> WakeList {
    let mut list = WakeList::new();
    let (round, mut next) = speculation::take_unverified();
    while let Some(desc) = next.and_then(known) {
        desc.lock();
        next = desc.speculation.unlist();
        let read = &desc.directions[Side::Read as usize];
        let waited_for = !read.queue.seems_empty();
        let ask = || desc.verify(&mut list);
        desc.speculation.verify_if_due(desc.fd, round, waited_for, ask);
        desc.unlock();
    }
    list
}

/// Puts the statics of this file back to what they were before the start
/// (`boot::reset`).
///
/// # Safety
/// No other thread runs code of the library.
pub(crate) unsafe fn reset() {
    WAITERS.store(0, Relaxed);
    each_desc(|desc| {
        let generation = desc.generation.load(Relaxed).wrapping_add(1);
        // SAFETY: nobody uses it, the caller promises.
        unsafe { put(ptr::from_ref(desc), Desc::new(desc.fd)) };
        desc.generation.store(generation, Relaxed);
    });
}
