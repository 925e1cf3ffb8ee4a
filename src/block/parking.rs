//! Waiting on addresses: Go's `semaRoot`, with the interface of a parking lot.
//!
//! Objects that hosts embed (mutex, condition, ...) are a few words without a
//! destructor. Who has to wait for one queues here, by the object's address,
//! in one of [`BUCKETS`] buckets:
//!
//! ```text
//!   bucket -> waiter of A        one for each address, the *holder*,
//!              /        \         in a search tree
//!       waiter of B   waiter of C
//!            | its line
//!          first .. last         everybody for it
//! ```
//! The line of an address lies in the record of one of its waiters, and moves
//! to another's when that one leaves. The tree is ordered by the scrambled
//! address, and so balanced by chance: many addresses with few waiters each
//! are found as fast as few with many. (Go balances by chance too, with a
//! random number for each node.)
//!
//! Invariants:
//! 1. Bucket, lines and queues are touched under the bucket's lock.
//! 2. An address has a line as long as somebody waits on it; its holder is in
//!    its queue.
//! 3. An object's word says that somebody waits if somebody does. Who finds
//!    it said changes that word under the bucket's lock only, in one step that
//!    is the last touch: whoever may take the object from then on may also
//!    free its memory.
//! 4. Who stops waiting without having been woken gets the bucket locked
//!    ([`End::Left`]) and sets right what its waiting has changed.

use crate::{
    base::{lock::Rank, sync::static_of_a_run},
    gmp::{
        G,
        parkword::{WaitKind, Wakers},
        wait::{self, Sudog, WaitQ, WakeList},
    },
    os::{Errno, Result, clock::nanotime},
    sched::{
        cancel, host,
        lock::RawLock,
        park::{self, Wait, gopark},
        ready::ready,
    },
    timers::FOREVER,
};
use core::{cell::Cell, cmp::Ordering, ffi::CStr, mem, ptr};

/// Buckets, as a power of two. Few in a model.
const BUCKET_BITS: u32 = if cfg!(shuttle) { 1 } else { 8 };
const BUCKETS: usize = 1 << BUCKET_BITS;

#[repr(align(64))]
struct Slot {
    lock: RawLock,
    /// lock: the top of the tree of holders
    holders: Link,
}

// SAFETY: `holders` is touched under the lock.
unsafe impl Sync for Slot {}

static_of_a_run! {
    static TABLE: [Slot; BUCKETS] = [const {
        Slot {
            lock: RawLock::new(Rank::Parking),
            holders: Cell::new(ptr::null()),
        }
    }; BUCKETS];
}

/// How to wait, and what for.
#[derive(Clone, Copy)]
pub(crate) struct How {
    pub kind: WaitKind,
    pub deadline: i64,
    pub reason: &'static CStr,
}

impl How {
    /// A wait that only what it waits for ends.
    pub(crate) fn uninterrupted(reason: &'static CStr) -> Self {
        Self { kind: WaitKind::Plain, deadline: FOREVER, reason }
    }

    /// A wait that a cancel ends, and a deadline.
    pub(crate) fn until(deadline: i64, reason: &'static CStr) -> Self {
        Self { kind: WaitKind::Cancellable, deadline, reason }
    }
}

/// A place in a line.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Before those that wait already.
    pub front: bool,
    /// Since when, for [`Woken::since`]; the object's own business.
    pub since: i64,
    /// What it wants, for [`Bucket::pop_where`]; likewise.
    pub wants: u32,
}

impl Place {
    /// At the end of the line.
    pub(crate) const LAST: Self = Self { front: false, since: 0, wants: 0 };
}

/// One goroutine that waits on one address, or rather its key. `sg` comes
/// first: a queue's records are found as waiters.
#[repr(C)]
struct Waiter {
    sg: Sudog,
    key: usize,
    place: Place,
    /// In the holder: the queue of this address.
    line: WaitQ,
    /// In a holder: those with a lower key in the tree, and a higher one.
    lower: Link,
    higher: Link,
}

/// A place of the tree: a holder or null.
type Link = Cell<*const Waiter>;

impl Waiter {
    /// The waiter of a record in a line.
    fn of(sg: &Sudog) -> &Self {
        // SAFETY: all records in lines are the first field of a Waiter, which
        // stays until it is woken.
        unsafe { &*ptr::from_ref(sg).cast::<Waiter>() }
    }
}

/// How a wait ended.
pub(crate) enum End<'a> {
    /// Somebody woke it; `handed`: with what it waits for.
    Woken { handed: bool },
    /// A deadline or a cancel, and the bucket locked for invariant 4.
    Left(Errno, Bucket<'a>),
}

/// A waiter taken out, whose wait has ended; it goes on once it is woken.
#[must_use]
pub(crate) struct Woken(&'static Sudog);

impl Woken {
    /// Since when it has been waiting, as it said.
    pub(crate) fn since(&self) -> i64 {
        Waiter::of(self.0).place.since
    }

    /// Tells it that it got what it waits for.
    pub(crate) fn hand_over(&self) {
        self.0.success.set(true);
    }

    /// Lets it go on.
    pub(crate) fn wake(self) {
        ready(self.0.gp, true);
    }

    /// Lets it go on later, with others.
    pub(crate) fn wake_later(self, list: &mut WakeList) {
        list.push(self.0);
    }
}

/// The bucket of one address, locked until it is dropped.
pub(crate) struct Bucket<'a> {
    slot: &'a Slot,
    key: usize,
}

impl Drop for Bucket<'_> {
    fn drop(&mut self) {
        // SAFETY: locked by `of`, on this thread.
        unsafe { self.slot.lock.unlock() };
    }
}

impl Bucket<'static> {
    /// Locks the bucket of an object.
    pub(crate) fn of<T>(object: &T) -> Self {
        Self::at(ptr::from_ref(object).addr())
    }

    /// The same of an object that may not exist any more.
    pub(crate) fn at(addr: usize) -> Self {
        // Fibonacci hashing: addresses that are near one another get far. An
        // odd factor makes no two of them equal.
        #[cfg(shuttle)]
        let addr = crate::os::memory::number(addr);
        let key = addr.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let slot = &TABLE[key >> (usize::BITS - BUCKET_BITS)];
        slot.lock.lock();
        Self { slot, key }
    }

    /// Waits in the line of this address until woken. `then`, with its
    /// argument, is called once the goroutine is off its stack and the bucket
    /// is unlocked.
    pub(crate) fn wait(
        self,
        gp: &'static G,
        how: How,
        place: Place,
        then: Option<(fn(usize), usize)>,
    ) -> End<'static> {
        let forever = how.deadline == FOREVER;
        let ticket = wait::arm(gp, how.kind, forever, Wakers::OneLock);
        let waiter = Waiter {
            sg: Sudog::new(gp, ticket, ptr::null_mut()),
            key: self.key,
            place,
            line: WaitQ::new(),
            lower: Cell::new(ptr::null()),
            higher: Cell::new(ptr::null()),
        };
        self.enqueue(&waiter);
        let slot = self.slot;
        let key = self.key;
        let leaving = Leaving { slot, then };
        let wait = Wait {
            ticket,
            unlock: Leaving::unlock,
            arg: ptr::from_ref(&leaving).addr(),
            reason: how.reason,
            deadline: how.deadline,
        };
        // Unlocked by the hook.
        mem::forget(self);
        let cause = gopark(gp, wait);
        let Err(e) = park::outcome(cause) else {
            return End::Woken { handed: waiter.sg.success.get() };
        };
        slot.lock.lock();
        let bucket = Self { slot, key };
        bucket.remove(&waiter);
        End::Left(e, bucket)
    }
}

/// What the hook of a wait needs. On the waiter's stack, which stays until
/// the waiter can lock the bucket again: it is read before that is unlocked.
#[derive(Clone, Copy)]
struct Leaving {
    slot: &'static Slot,
    then: Option<(fn(usize), usize)>,
}

impl Leaving {
    fn unlock(arg: usize) {
        // SAFETY: see the type.
        let Leaving { slot, then } = unsafe { *(arg as *const Leaving) };
        // SAFETY: locked by `of`; the hook unlocks for it.
        unsafe { slot.lock.unlock() };
        if let Some((f, arg)) = then {
            f(arg);
        }
    }
}

impl Bucket<'_> {
    /// Where the holder of this address's line is in the tree, or would be.
    fn find(&self) -> &Link {
        let mut link = &self.slot.holders;
        // SAFETY: null, or a waiter in its queue, so alive (invariant 2).
        while let Some(holder) = unsafe { link.get().as_ref() } {
            link = match self.key.cmp(&holder.key) {
                Ordering::Less => &holder.lower,
                Ordering::Equal => break,
                Ordering::Greater => &holder.higher,
            };
        }
        link
    }

    /// The holder of this address's line.
    fn holder(&self) -> Option<&Waiter> {
        // SAFETY: as in find.
        unsafe { self.find().get().as_ref() }
    }

    fn enqueue(&self, waiter: &Waiter) {
        let link = self.find();
        // SAFETY: as in find.
        match unsafe { link.get().as_ref() } {
            Some(holder) => {
                holder.line.enqueue(&waiter.sg, waiter.place.front);
            }
            None => {
                waiter.line.enqueue(&waiter.sg, false);
                link.set(waiter);
            }
        }
    }

    /// Takes `waiter` out if nobody has.
    fn remove(&self, waiter: &Waiter) {
        if let Some(holder) = self.holder()
            && holder.line.remove(&waiter.sg)
        {
            self.settle(holder);
        }
    }

    /// Some have left `holder`'s line: finds it a new place if its holder is
    /// among them.
    fn settle(&self, holder: &Waiter) {
        if holder.sg.queued() {
            return;
        }
        let link = self.find();
        let heir = holder.line.first().cast::<Waiter>();
        // SAFETY: null, or a waiter in its queue, so alive.
        let Some(heir) = (unsafe { heir.as_ref() }) else {
            unlink(link, holder);
            return;
        };
        heir.line.take(&holder.line);
        replace(link, holder, heir);
    }

    /// Whether nobody waits on this address.
    pub(crate) fn is_empty(&self) -> bool {
        self.holder().is_none()
    }

    /// Takes the first waiter out and ends its wait.
    pub(crate) fn pop(&self) -> Option<Woken> {
        self.pop_where(|_| true)
    }

    /// The same of those that want what `fit` picks.
    pub(crate) fn pop_where(&self, fit: impl Fn(u32) -> bool) -> Option<Woken> {
        let holder = self.holder()?;
        let wants = |sg: &Sudog| Waiter::of(sg).place.wants;
        let sg = holder.line.dequeue_where(|sg| fit(wants(sg)));
        self.settle(holder);
        sg.map(Woken)
    }

    /// Takes all out that want what `fit` picks, tells them that they got it,
    /// and gives back how many.
    pub(crate) fn hand_to_all(
        &self,
        list: &mut WakeList,
        fit: impl Fn(u32) -> bool,
    ) -> u32 {
        let Some(holder) = self.holder() else { return 0 };
        let mut n = 0;
        holder.line.dequeue_all(
            |sg| fit(Waiter::of(sg).place.wants),
            |sg| {
                sg.success.set(true);
                list.push(sg);
                n += 1;
            },
        );
        self.settle(holder);
        n
    }
}

/// Puts `heir`, which is in no tree, where `holder` is.
fn replace(link: &Link, holder: &Waiter, heir: &Waiter) {
    heir.lower.set(holder.lower.get());
    heir.higher.set(holder.higher.get());
    link.set(heir);
}

/// Takes `holder` out of the tree, where `link` leads to it.
fn unlink(link: &Link, holder: &Waiter) {
    if holder.lower.get().is_null() {
        link.set(holder.higher.get());
        return;
    }
    // The next higher one takes its place: the lowest of those.
    let mut lowest = &holder.higher;
    // SAFETY: null, or a holder, so alive.
    while let Some(next) = unsafe { lowest.get().as_ref() } {
        if next.lower.get().is_null() {
            lowest.set(next.higher.get());
            replace(link, holder, next);
            return;
        }
        lowest = &next.lower;
    }
    link.set(holder.lower.get());
}

/// The calling goroutine, for a wait, which has tried without.
///
/// Errors: `ETIMEDOUT`; `ECANCELED` where `how` lets cancels end it; as
/// [`current`].
pub(crate) fn waiter(how: &How) -> Result<&'static G> {
    let gp = host::current()?;
    if how.kind != WaitKind::Plain {
        cancel::check()?;
    }
    if how.deadline != FOREVER && how.deadline <= nanotime() {
        return Err(Errno(libc::ETIMEDOUT));
    }
    Ok(gp)
}
