//! Layer 5: goroutines that wait for file descriptors (Go's netpoller).
//!
//! One epoll instance, edge-triggered, for all descriptors and both directions.
//! It tells who may go on: [`poll`] returns a list, and whoever polled readies
//! them. It knows no scheduler.
//!
//! ```text
//!   call: try ---> done
//!          | EAGAIN
//!          v
//!   a Desc for each number: lock; register (ADD); ready? -> clear, try again
//!                                                 |  no
//!                                                 v
//!                         queue a record, unlock once off the stack, wait
//!   poll: event -> lock; ready = true; take all waiters of that side out
//! ```
//! Go keeps one waiter in a word for each direction (`pdReady`, `pdWait`), as
//! its `fdMutex` lets one reader in at a time. Here many goroutines may accept
//! from one socket, so each side has a queue, and all in it try again.
//!
//! # Numbers are used again
//! Whoever waits registers the number each time. `EEXIST`: still the file that
//! is registered. Success on a number that was registered before: that file is
//! gone, and who waits for it gets `EBADF`. So the event needs no generation:
//! one that comes late for a file that is gone makes somebody try once too
//! often.
//!
//! # A read that falls short
//! On TCP it has taken all there was, so the next one need not try before it
//! waits, unless an edge has come since the read began, or the end has come
//! at all: that is said once and then to every read. A server that answers
//! small requests saves a system call in four.
//!
//! Invariants:
//! 1. A Desc is made once for a number and stays.
//! 2. `ready`, `registered` and the queues are touched under the Desc's lock.
//! 3. A side is registered before its waiter is queued, and `ready` is cleared
//!    before a try: an edge is seen by that try, or sets `ready`, or takes a
//!    waiter, who then tries.
//! 4. `WAITERS` counts those who wait, until they run again: whoever goes to
//!    sleep polls if it is not 0.

use crate::{
    base::{
        self,
        lock::Rank,
        sync::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, Ordering::*},
    },
    gmp::wait::{Sudog, WaitQ, WakeList},
    os::{self, Errno, Lock, Result, epoll, futex::OsFutex},
};
use core::{cell::Cell, ptr};

/// `Drained::edges` after the end of a connection.
const ENDED: u32 = u32::MAX;
/// Events taken at a time.
const EVENTS: usize = 128;
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
    /// An edge came that nobody has tried since.
    ready: Cell<bool>,
    queue: WaitQ,
}

/// What a read may know before it tries; see [`Desc::drained`].
struct Drained {
    /// TCP, of which a read that falls short has taken all.
    stream: AtomicBool,
    /// Edges so far; ends count for ever.
    edges: AtomicU32,
    /// `edges` before the read that took all; 0: none has.
    at: AtomicU32,
}

/// A descriptor's number (Go's `pollDesc`).
pub(crate) struct Desc {
    fd: i32,
    lock: RawLock,
    /// lock: the file of this number was seen in the epoll instance
    registered: Cell<bool>,
    /// lock
    ways: [Way; 2],
    drained: Drained,
}

// SAFETY: the Cells and queues are touched under the lock.
unsafe impl Sync for Desc {}

type RawLock = base::lock::RawLock<OsFutex>;

static TABLE: [AtomicPtr<Desc>; SLABS] =
    [const { AtomicPtr::new(ptr::null_mut()) }; SLABS];
static MAKING: Lock<()> = Lock::new(Rank::Netpoll, ());
/// The epoll instance and the bell in it; -1 before anybody waits.
static EPOLL: AtomicI32 = AtomicI32::new(-1);
static BELL: AtomicI32 = AtomicI32::new(-1);
/// Invariant 4.
static WAITERS: AtomicU32 = AtomicU32::new(0);

impl Desc {
    fn new(fd: i32) -> Self {
        let way = || Way { ready: Cell::new(false), queue: WaitQ::new() };
        Self {
            fd,
            lock: RawLock::new(Rank::Poll),
            registered: Cell::new(false),
            ways: [way(), way()],
            drained: Drained {
                stream: AtomicBool::new(false),
                edges: AtomicU32::new(1),
                at: AtomicU32::new(0),
            },
        }
    }

    /// A number that changes with each edge, for [`Desc::took_all`]; None for
    /// what is no TCP connection.
    pub(crate) fn edges(&self) -> Option<u32> {
        // Acquire: what came before the edge is there for the read.
        let stream = self.drained.stream.load(Relaxed);
        stream.then(|| self.drained.edges.load(Acquire))
    }

    /// A read fell short, with `edges` as they were before it: nothing is left
    /// but what makes another edge.
    pub(crate) fn took_all(&self, edges: u32) {
        // The end of a connection is reported once, and then to every read.
        let at = if edges == ENDED { 0 } else { edges };
        self.drained.at.store(at, Relaxed);
    }

    /// Whether nothing has come since a read took all, so that another need
    /// not try before it waits. A number that is used again for another file
    /// is found out when it waits.
    pub(crate) fn is_drained(&self) -> bool {
        let at = self.drained.at.load(Relaxed);
        at != 0 && at == self.drained.edges.load(Acquire)
    }

    /// Under the lock, of a file that is new: whether it is TCP.
    fn forget(&self) {
        self.drained.stream.store(os::net::is_tcp(self.fd), Relaxed);
        self.drained.at.store(0, Relaxed);
        self.drained.edges.store(1, Release);
    }

    /// Under the lock: another edge, or with `end` the last one that counts.
    fn count_edge(&self, end: bool) {
        // Relaxed: changed under the lock only.
        let edges = self.drained.edges.load(Relaxed);
        let next = match edges {
            ENDED => ENDED,
            _ if end => ENDED,
            n => n % (ENDED - 1) + 1,
        };
        self.drained.edges.store(next, Release);
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

    /// Under the lock: has the kernel report what becomes ready. False: an
    /// edge has come that the caller has not tried yet. In `gone` are those
    /// who waited for a file that is gone.
    ///
    /// Errors: `EPERM` for a file that is always ready, `EBADF`, `ENOMEM`,
    /// `ENOSPC`.
    pub(crate) fn may_wait(
        &self,
        side: Side,
        gone: &mut WakeList,
    ) -> Result<bool> {
        // Relaxed: desc has looked.
        let new = epoll::add(EPOLL.load(Relaxed), self.fd)?;
        if new {
            self.forget();
            if self.registered.replace(true) {
                self.give_up(gone);
            }
        }
        Ok(!self.ways[side as usize].ready.replace(false))
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
    pub(crate) fn close(&self, gone: &mut WakeList) {
        if self.registered.replace(false) {
            // It is not there where another file took the number meanwhile.
            let _not_there = epoll::remove(EPOLL.load(Relaxed), self.fd);
        }
        self.give_up(gone);
    }

    /// Has the kernel report once more what is ready now.
    pub(crate) fn report_again(&self) -> Result<()> {
        epoll::again(EPOLL.load(Relaxed), self.fd)
    }

    /// An event came.
    fn happened(&self, events: u32, list: &mut WakeList) {
        let both = (libc::EPOLLERR | libc::EPOLLHUP) as u32;
        let read = (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLPRI) as u32;
        let write = libc::EPOLLOUT as u32;
        let end = both | libc::EPOLLRDHUP as u32;
        self.lock();
        if events & (read | both) != 0 {
            self.count_edge(events & end != 0);
        }
        for (way, bits) in self.ways.iter().zip([read, write]) {
            if events & (bits | both) != 0 {
                // Who is taken tries.
                way.ready.set(!way.take(list, true));
            }
        }
        self.unlock();
    }

    /// Under the lock: who waits does so in vain.
    fn give_up(&self, gone: &mut WakeList) {
        for way in &self.ways {
            way.ready.set(false);
            let _any = way.take(gone, false);
        }
    }
}

impl Way {
    /// Takes all waiters out; `again`: they shall try again. Whether there
    /// were any.
    fn take(&self, list: &mut WakeList, again: bool) -> bool {
        let mut any = false;
        self.queue.dequeue_all(
            |_| true,
            |sg| {
                sg.success.set(again);
                list.push(sg);
                any = true;
            },
        );
        any
    }
}

/// The Desc of a number, and the epoll instance made; true: just now.
///
/// Errors: `EBADF`, `EMFILE`, `ENFILE`, `ENOMEM`.
pub(crate) fn desc(fd: i32) -> Result<(&'static Desc, bool)> {
    let made = EPOLL.load(Acquire) < 0 && start()?;
    if let Some(desc) = known(fd) {
        return Ok((desc, made));
    }
    make(fd)?;
    known(fd).map(|desc| (desc, made)).ok_or(Errno(libc::EBADF))
}

/// The Desc of a number that somebody has waited for.
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

/// Makes the epoll instance. True: this call did.
#[cold]
fn start() -> Result<bool> {
    let _making = MAKING.lock();
    if EPOLL.load(Relaxed) >= 0 {
        return Ok(false);
    }
    let bell = epoll::bell()?;
    let ep = epoll::create().and_then(|ep| epoll::add(ep, bell).map(|_| ep));
    match ep {
        Ok(ep) => {
            BELL.store(bell, Relaxed);
            // Release: pairs with desc and started.
            EPOLL.store(ep, Release);
            Ok(true)
        }
        Err(e) => {
            let _closed = os::fd::close(bell);
            Err(e)
        }
    }
}

/// Whether there is an epoll instance.
pub(crate) fn started() -> bool {
    // Acquire: pairs with start.
    EPOLL.load(Acquire) >= 0
}

/// Whether anybody waits for a descriptor.
pub(crate) fn waited_for() -> bool {
    WAITERS.load(SeqCst) != 0
}

/// Takes what has become ready, waiting at most `timeout` nanoseconds
/// (`i64::MAX`: for ever; 0: not at all) or until [`break_poll`]. The caller
/// readies those in the list.
pub(crate) fn poll(timeout: i64) -> WakeList {
    let mut list = WakeList::new();
    let mut events = [const { epoll::Event { events: 0, u64: 0 } }; EVENTS];
    let n = epoll::wait(EPOLL.load(Acquire), &mut events, timeout);
    for event in &events[..n] {
        let fd = event.u64 as i32;
        if fd == BELL.load(Relaxed) {
            epoll::hush(fd);
        } else if let Some(desc) = known(fd) {
            desc.happened(event.events, &mut list);
        }
    }
    list
}

/// Ends a [`poll`] that waits, or the next one that would.
pub(crate) fn break_poll() {
    epoll::ring(BELL.load(Relaxed));
}
