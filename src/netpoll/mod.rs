//! Layer 5: goroutines that wait for file descriptors (Go's netpoller).
//!
//! One epoll instance, edge-triggered, for all descriptors and both directions.
//! It tells who may go on: [`poll`] returns a list, and whoever polled readies
//! them. It knows no scheduler.
//!
//! ```text
//!   call: note the number of edges; try ---> done
//!          | EAGAIN
//!          v
//!   a Desc for each number: lock; register (ADD);
//!   an edge since the note? -> try again
//!          | no
//!          v
//!   queue a record, unlock once off the stack, wait; then try again
//!
//!   poll: event -> lock; one more edge; take all waiters of that side out
//! ```
//! For writers nothing is reported while none waits: a socket's send buffer
//! empties all the time. So a writer has the kernel look once more (MOD), and
//! what is ready makes an edge.
//!
//! Go keeps one waiter in a word for each direction (`pdReady`, `pdWait`), as
//! its `fdMutex` lets one reader in at a time. Here many goroutines may accept
//! from one socket, and one edge may bring several connections: so each side
//! has a queue, all in it try again, and nobody waits who has not tried in
//! vain since the last edge.
//!
//! # Numbers are used again
//! Whoever waits registers the number each time. `EEXIST`: still the file that
//! is registered. Success on a number that was registered before: that file is
//! gone, and who waits for it gets `EBADF`, also who has been woken and has not
//! run yet: a generation tells. The event needs none: one that comes late for
//! a file that is gone makes somebody try once too often.
//!
//! Invariants:
//! 1. A Desc is made once for a number and stays.
//! 2. `registered` and the queues are touched under the Desc's lock; `edges`,
//!    `generation` and `closes` change under it.
//! 3. A waiter is queued while its side is registered, and after its own try
//!    in vain, which began after the last edge, or after the kernel looked. So
//!    whatever comes or is there makes an edge, and that takes the waiter out.
//!    Nothing takes the side away before: bits go only by MOD, which keeps
//!    those of the sides that have a queue.
//! 4. `WAITERS` counts those who wait, until they run again: whoever goes to
//!    sleep polls if it is not 0.
//! 5. A new poller is there before [`renew`] locks each Desc in turn to take
//!    its waiters out: who locks one after that registers in the new one.
//! 6. `file` names the file that was registered last, by its inode.

use crate::{
    base::{
        self,
        lock::Rank,
        sync::{AtomicPtr, AtomicU32, Ordering::*},
    },
    gmp::wait::{Sudog, WaitQ, WakeList},
    os::{self, Errno, Lock, Result, epoll, futex::OsFutex},
};
use core::{cell::Cell, ptr};
use poller::{GONE, STALE_NEW, poller, seems_ours};
pub(crate) use poller::{
    KEEPER, Polled, break_poll, end_waits, failure, lost, poll, polls, renew,
    start, started,
};
use trust::Drained;
pub(crate) use trust::{Trust, doubts, settle};

mod poller;
mod trust;

const _: () = assert!(size_of::<Desc>() == 128);
/// Descs in a slab, and slabs: a million numbers, far beyond `RLIMIT_NOFILE`
/// as it is set up anywhere.
const SLAB: usize = 1024;
const SLABS: usize = 1024;

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Read = 0,
    Write = 1,
}

/// One direction of one descriptor.
struct Way {
    /// Edges so far.
    edges: AtomicU32,
    queue: WaitQ,
}

/// A descriptor's number (Go's `pollDesc`). Two lines of the cache.
#[repr(align(128))]
pub(crate) struct Desc {
    fd: i32,
    lock: RawLock,
    /// lock: the file of this number was seen in the epoll instance
    registered: Cell<bool>,
    /// lock: which file that is, for [`renew`]
    file: Cell<u32>,
    /// Grows when the number stops to be that of a file.
    generation: AtomicU32,
    /// How often `gmp_close` has closed the number.
    closes: AtomicU32,
    /// lock: how many calls want the file in non-blocking mode
    modes: Cell<u32>,
    /// lock: whether it was before the first of them
    was_nonblocking: Cell<bool>,
    ways: [Way; 2],
    drained: Drained,
}

/// What [`Desc::may_wait`] found.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quiet {
    /// Nothing is there: the caller may wait.
    Yes,
    /// An edge has come that it has not tried yet.
    No,
}

// SAFETY: the Cells and queues are touched under the lock.
unsafe impl Sync for Desc {}

type RawLock = base::lock::RawLock<OsFutex>;

static TABLE: [AtomicPtr<Desc>; SLABS] =
    [const { AtomicPtr::new(ptr::null_mut()) }; SLABS];
static MAKING: Lock<()> = Lock::new(Rank::Netpoll, ());
/// Invariant 4.
static WAITERS: AtomicU32 = AtomicU32::new(0);

impl Desc {
    fn new(fd: i32) -> Self {
        let way = || Way { edges: AtomicU32::new(0), queue: WaitQ::new() };
        Self {
            fd,
            lock: RawLock::new(Rank::Poll),
            registered: Cell::new(false),
            file: Cell::new(0),
            generation: AtomicU32::new(0),
            closes: AtomicU32::new(0),
            modes: Cell::new(0),
            was_nonblocking: Cell::new(false),
            ways: [way(), way()],
            drained: Drained::new(),
        }
    }

    /// How many edges a side has had: noted before a try.
    pub(crate) fn edges(&self, side: Side) -> u32 {
        // Acquire: what came before the edge is there for the try.
        self.ways[side as usize].edges.load(Acquire)
    }

    /// Which file the number stands for, as far as is known.
    pub(crate) fn generation(&self) -> u32 {
        self.generation.load(Acquire)
    }

    /// How often the number has been closed by `gmp_close`.
    pub(crate) fn closes(&self) -> u32 {
        self.closes.load(Acquire)
    }

    /// Under the lock: the file goes into non-blocking mode, until as many
    /// calls as came have left.
    ///
    /// Errors: `EBADF`.
    pub(crate) fn enter_nonblocking(&self) -> Result<()> {
        let was = os::fd::set_nonblocking(self.fd, true)?;
        if self.modes.get() == 0 {
            self.was_nonblocking.set(was);
        }
        self.modes.set(self.modes.get() + 1);
        Ok(())
    }

    /// Under the lock: one of these calls ends. The last one puts the mode
    /// back, if `ours`: the number still is that of its file.
    pub(crate) fn leave_nonblocking(&self, ours: bool) {
        self.modes.set(self.modes.get() - 1);
        if self.modes.get() == 0 && ours && !self.was_nonblocking.get() {
            // It has just worked.
            let _restored = os::fd::set_nonblocking(self.fd, false);
        }
    }

    /// Locks it. The caller is inside: it may sleep, and is not blocked.
    pub(crate) fn lock(&self) {
        self.lock.lock();
    }

    /// Unlocks it.
    pub(crate) fn unlock(&self) {
        // SAFETY: the caller has locked it.
        unsafe { self.lock.unlock() };
    }

    /// Under the lock: has the kernel report what becomes ready. In `gone` are
    /// those who waited for a file that is gone.
    ///
    /// `seen`: the edges before the caller's try; None if it noted none. With
    /// `trust` there was no such try: they are from before it drained the file.
    ///
    /// Errors: `EPERM` for a file that is always ready, `ENOMEM`, `ENOSPC`;
    /// `EBADF` and `EINVAL`, also where it is the poller that is [`lost`].
    pub(crate) fn may_wait(
        &'static self,
        side: Side,
        seen: Option<u32>,
        trust: Trust,
        gone: &mut WakeList,
    ) -> Result<Quiet> {
        let looked = side == Side::Write || seen.is_none();
        let new = trust != Trust::Same && self.watch(side, looked)?;
        if new && self.registered.replace(true) {
            if let Some(poller) = poller().filter(|p| !p.has_bell()) {
                // It is another file's poller that did not know the number.
                let _added = poller.remove(self.fd);
                return Err(GONE);
            }
            self.give_up(gone);
        }
        if new {
            self.file.set(os::own::name(self.fd));
        }
        let edges = self.ways[side as usize].edges.load(Relaxed);
        // What is ready where the kernel looks makes an edge.
        let quiet = new || looked || seen == Some(edges);
        if quiet && !new && trust != Trust::None {
            self.doubt();
        }
        Ok(if quiet { Quiet::Yes } else { Quiet::No })
    }

    /// Under the lock: registers a side; `look`: even what is ready already is
    /// reported. True: the file is new, and then it is too.
    fn watch(&self, side: Side, look: bool) -> Result<bool> {
        let writing = side == Side::Write
            || !self.ways[Side::Write as usize].queue.first().is_null();
        let bits = epoll::READ | if writing { epoll::WRITE } else { 0 };
        let poller = poller().ok_or(GONE)?;
        if !self.registered.get() && !seems_ours(poller, STALE_NEW) {
            return Err(GONE);
        }
        loop {
            if look {
                match poller.modify(self.fd, bits) {
                    Err(Errno(libc::ENOENT)) => {}
                    done => return done.map(|()| false),
                }
            }
            let new = poller.add(self.fd, bits)?;
            if new || !look {
                return Ok(new);
            }
        }
    }

    /// Under the lock: the waiter enters the queue of a side.
    pub(crate) fn enqueue(&self, side: Side, sg: &Sudog) {
        self.ways[side as usize].queue.enqueue(sg, false);
        // SeqCst: before the caller looks whether anybody polls, and before
        // who goes to sleep looks here.
        WAITERS.fetch_add(1, SeqCst);
    }

    /// A waiter is awake; `left`: nobody has woken it for this, and it takes
    /// its record out itself. Locks.
    pub(crate) fn awake(&self, side: Side, sg: &Sudog, left: bool) {
        WAITERS.fetch_sub(1, Release);
        if left {
            self.lock();
            self.ways[side as usize].queue.remove(sg);
            self.unlock();
        }
    }

    /// Under the lock: the descriptor is about to be closed. Who waits on it
    /// gets `EBADF`.
    ///
    /// The lock is kept until it is; or else [`Desc::closed`] follows.
    pub(crate) fn close(&self, gone: &mut WakeList) {
        // Release: pairs with closes. Relaxed: changed under the lock only.
        self.closes.store(self.closes.load(Relaxed).wrapping_add(1), Release);
        self.modes.set(0);
        if self.registered.replace(false) {
            // It is not there where another file took the number meanwhile.
            if let Some(ours) = poller().filter(|p| seems_ours(p, STALE_NEW)) {
                let _not_there = ours.remove(self.fd);
            }
        }
        self.give_up(gone);
    }

    /// Under the lock: it has been closed without it. Who came meanwhile tries
    /// again: it may have registered the file that is gone.
    pub(crate) fn closed(&self, awake: &mut WakeList) {
        for way in &self.ways {
            way.edge();
            way.take(awake, true);
        }
    }

    /// An event came.
    fn happened(&self, events: u32, list: &mut WakeList) {
        let both = (libc::EPOLLERR | libc::EPOLLHUP) as u32;
        let read = epoll::READ as u32 & !(libc::EPOLLET as u32);
        let write = libc::EPOLLOUT as u32;
        let odd = both | (libc::EPOLLRDHUP | libc::EPOLLPRI) as u32;
        self.lock();
        if events & (read | both) != 0 {
            self.drained.edge(events & odd != 0);
        }
        for (way, bits) in self.ways.iter().zip([read, write]) {
            if events & (bits | both) != 0 {
                way.edge();
                way.take(list, true);
            }
        }
        self.unlock();
    }

    /// The poller is a new one, or (`again` is false) has failed for good. Who
    /// waits for a file that is gone is not let loose on the next one.
    fn restart(&self, again: bool, list: &mut WakeList) {
        self.lock();
        self.registered.set(false);
        let waited = self.ways.iter().any(|way| !way.queue.seems_empty());
        if again && waited && self.file.get() != os::own::name(self.fd) {
            self.give_up(list);
        }
        for way in &self.ways {
            way.edge();
            way.take(list, again);
        }
        self.unlock();
    }

    /// Under the lock: the number is no more that of the file that it was.
    /// Who waits does so in vain.
    fn give_up(&self, gone: &mut WakeList) {
        // Release: pairs with generation.
        self.generation.fetch_add(1, Release);
        self.drained.forget();
        for way in &self.ways {
            way.edge();
            way.take(gone, false);
        }
    }
}

impl Way {
    /// Under the lock: one more. 0 is where all begin.
    fn edge(&self) {
        // Release: pairs with edges. Relaxed: changed under the lock only.
        let next = self.edges.load(Relaxed).wrapping_add(1).max(1);
        self.edges.store(next, Release);
    }

    /// Takes all waiters out; `again`: they shall try again.
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

/// The Desc of a number, if one was asked for already of it or a neighbour.
pub(crate) fn known(fd: i32) -> Option<&'static Desc> {
    let at = usize::try_from(fd).ok()?;
    // Acquire: pairs with make.
    let slab = TABLE.get(at / SLAB)?.load(Acquire);
    if slab.is_null() {
        return None;
    }
    // SAFETY: within the slab.
    let desc = unsafe { slab.add(at % SLAB) };
    // SAFETY: made with the slab, which stays (invariant 1).
    Some(unsafe { &*desc })
}

/// Makes the slab with `fd`'s Desc.
#[cold]
fn make(fd: i32) -> Result<()> {
    let at = usize::try_from(fd).map_err(|_| Errno(libc::EBADF))?;
    let entry = TABLE.get(at / SLAB).ok_or(Errno::ENOMEM)?;
    let _making = MAKING.lock();
    if !entry.load(Relaxed).is_null() {
        return Ok(());
    }
    let slab = os::mem::map_data(SLAB * size_of::<Desc>())?.cast::<Desc>();
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

fn each_desc(mut f: impl FnMut(&'static Desc)) {
    for number in (0..SLABS * SLAB).step_by(SLAB) {
        if known(number as i32).is_some() {
            (number..number + SLAB)
                .filter_map(|number| known(number as i32))
                .for_each(&mut f);
        }
    }
}

/// Whether anybody waits for a descriptor.
pub(crate) fn waited_for() -> bool {
    WAITERS.load(SeqCst) != 0
}
