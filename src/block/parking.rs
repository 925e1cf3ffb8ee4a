//! Waiting on addresses: Go's `semaRoot`, with the interface of a parking lot.
//!
//! Objects that hosts embed (mutex, condition, ...) are a few words without a
//! destructor, too small for a queue. A waiter queues here, by the object's
//! address, in one of [`BUCKETS`] buckets:
//!
//! ```text
//!   bucket -> waiter of A        one for each address, the *holder*,
//!              /        \         in a search tree
//!       waiter of B   waiter of C
//!            | its line
//!          first .. last         all waiters of B
//! ```
//! The line of an address lies in the record of one of its waiters, the holder,
//! and passes to an heir when the holder leaves. The tree is ordered by the
//! scrambled address, and so balanced by chance: many addresses with few
//! waiters each are found as fast as few addresses with many. (Go balances by
//! chance too, with a random number for each node.)
//!
//! Invariants:
//! 1. Bucket, tree and lines are touched under the bucket's lock.
//! 2. An address has a line while it has a waiter, and the holder of the line
//!    is in the line.
//! 3. An object's word says that there are waiters while there are any. A
//!    thread that reads so, and takes waiters out, changes the word under the
//!    bucket's lock, in one step, which is that thread's last touch of the
//!    object: the next owner may free the memory.
//! 4. In the child of a fork the lines are empty, while the words still say
//!    that there are waiters. So a thread that finds nobody in a line believes
//!    the line.
//! 5. A waiter that gives up gets the bucket locked ([`Waited::GaveUp`]), and
//!    takes back what its waiting has changed in the object.

use crate::{
    base::{lock::Rank, sync::static_of_a_run},
    gmp::{
        G,
        parkword::{WaitKind, Wakers},
        wait::{At, Sudog, Turn, Unlock, Wait, WaitQ, WakeList},
    },
    os::{Errno, Result},
    sched::{cancel, host, lock::RawLock, park::park, ready::goready},
};
use core::{
    cell::Cell, cmp::Ordering, mem, ptr, sync::atomic::Ordering::Relaxed,
};

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

/// A waiter's place in a line, and what the object notes down with it.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// The end of the line at which it queues.
    pub at: At,
    /// Since when it waits, for [`Woken::since`].
    pub since: i64,
    /// What it wants, for [`Bucket::pop_where`].
    pub wants: u32,
}

impl Place {
    /// At the end of the line.
    pub(crate) const LAST: Self = Self { at: At::Back, since: 0, wants: 0 };
}

/// One goroutine that waits on one address, of which this has the key. `sg`
/// comes first, so that a record in a line is found as a waiter.
#[repr(C)]
struct Waiter {
    sg: Sudog,
    key: usize,
    place: Place,
    /// In a holder: the line of this address.
    line: WaitQ,
    /// In a holder: its children in the tree, by their keys.
    lower: Link,
    higher: Link,
}

/// An edge of the tree: a holder or null.
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
#[must_use]
pub(crate) enum Waited<'a> {
    /// By a waker, which has `handed` over what the waiter waits for, or not.
    Woken { handed: bool },
    /// By a deadline or a cancel; with the bucket locked (invariant 5).
    /// `queued`: the waiter was still in the line. A waker may have taken it
    /// out in vain.
    GaveUp { why: Errno, bucket: Bucket<'a>, queued: bool },
}

/// A waiter taken out of its line, whose wait has ended. It goes on once the
/// waker calls [`Woken::wake`].
#[must_use]
pub(crate) struct Woken(&'static Sudog);

impl Woken {
    /// [`Place::since`].
    pub(crate) fn since(&self) -> i64 {
        Waiter::of(self.0).place.since
    }

    /// Tells the waiter that it has got what it waits for.
    pub(crate) fn hand_over(&self) {
        self.0.success.set(true);
    }

    /// Lets the waiter go on.
    pub(crate) fn wake(self) {
        goready(self.0.gp, Turn::Next);
    }

    /// Lets the waiter go on later, with all of `list`.
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

/// Where the table is: from, to.
#[cfg(not(shuttle))]
pub(crate) fn table() -> (usize, usize) {
    let from = ptr::from_ref(&TABLE).addr();
    (from, from + size_of_val(&TABLE))
}

impl Bucket<'static> {
    /// Locks the bucket of an object.
    pub(crate) fn of<T>(object: &T) -> Self {
        Self::at(ptr::from_ref(object).addr())
    }

    /// Locks the bucket of an object that may not exist any more.
    pub(crate) fn at(addr: usize) -> Self {
        // Fibonacci hashing takes neighbours far apart. The factor is odd, so
        // different addresses have different keys.
        #[cfg(shuttle)]
        let addr = crate::os::memory::number(addr);
        let key = addr.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let slot = &TABLE[key >> (usize::BITS - BUCKET_BITS)];
        if slot.lock.lock_fresh() {
            slot.holders.set(ptr::null());
        }
        Self { slot, key }
    }

    /// Waits in the line of this address until woken. `then` is unlocked after
    /// the bucket, once the goroutine is off its stack.
    pub(crate) fn wait(
        self,
        gp: &'static G,
        wait: &Wait,
        place: Place,
        then: impl Unlock,
    ) -> Waited<'static> {
        let ticket = wait.begin_locked(gp, Wakers::OneLock);
        let waiter = Waiter {
            sg: Sudog::new(gp, ticket, ptr::null_mut()),
            key: self.key,
            place,
            line: WaitQ::new(),
            lower: Cell::new(ptr::null()),
            higher: Cell::new(ptr::null()),
        };
        self.enqueue(&waiter);
        let Self { slot, key } = self;
        // Unlocked by the hook.
        mem::forget(self);
        gp.held.store(wait.held != 0, Relaxed);
        let cause = park(gp, wait, ticket, (slot, then));
        gp.held.store(false, Relaxed);
        let Err(why) = cause.outcome() else {
            return Waited::Woken { handed: waiter.sg.success.get() };
        };
        slot.lock.lock();
        let bucket = Self { slot, key };
        if waiter.sg.success.get() {
            // By release_all, which has taken it out too.
            return Waited::Woken { handed: true };
        }
        let queued = bucket.remove(&waiter);
        Waited::GaveUp { why, bucket, queued }
    }
}

// SAFETY: a slot of the table, which stays.
unsafe impl Unlock for &'static Slot {
    fn unlock(self) {
        // SAFETY: locked by `of`; the hook unlocks for the waiter.
        unsafe { self.lock.unlock() };
    }
}

impl Bucket<'_> {
    /// Where the holder of this address's line is in the tree, or would be.
    fn find(&self) -> &Link {
        let mut link = &self.slot.holders;
        // SAFETY: null, or a waiter in its line, so alive (invariant 2).
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
        // SAFETY: null, or a waiter in its line, so alive (invariant 2).
        unsafe { self.find().get().as_ref() }
    }

    fn enqueue(&self, waiter: &Waiter) {
        let link = self.find();
        // SAFETY: null, or a waiter in its line, so alive (invariant 2).
        match unsafe { link.get().as_ref() } {
            Some(holder) => {
                holder.line.enqueue(&waiter.sg, waiter.place.at);
            }
            None => {
                waiter.line.enqueue(&waiter.sg, At::Back);
                link.set(waiter);
            }
        }
    }

    /// Takes `waiter` out of its line; false if a waker has.
    fn remove(&self, waiter: &Waiter) -> bool {
        let Some(holder) = self.holder() else { return false };
        let queued = holder.line.remove(&waiter.sg);
        if queued {
            self.pass_on(holder);
        }
        queued
    }

    /// After some waiters have left `holder`'s line: if the holder is one of
    /// them, the line passes to the first that is left.
    fn pass_on(&self, holder: &Waiter) {
        if holder.sg.queued() {
            return;
        }
        let link = self.find();
        let heir = holder.line.first().cast::<Waiter>();
        // SAFETY: null, or a waiter in its line, so alive (invariant 2).
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

    /// Takes the first waiter out of its line and ends its wait.
    pub(crate) fn pop(&self) -> Option<Woken> {
        self.pop_where(|_| true)
    }

    /// Takes out the first waiter whose [`Place::wants`] `fit` accepts, and
    /// ends its wait. Waiters whose wait is over already go too, until then:
    /// all that `fit` has accepted are out of the line.
    pub(crate) fn pop_where(
        &self,
        mut fit: impl FnMut(u32) -> bool,
    ) -> Option<Woken> {
        let holder = self.holder()?;
        let wants = |sg: &Sudog| Waiter::of(sg).place.wants;
        let sg = holder.line.dequeue_where(|sg| fit(wants(sg)));
        self.pass_on(holder);
        sg.map(Woken)
    }

    /// Takes out all waiters whose [`Place::wants`] `fit` accepts, tells them
    /// that they have got it, and returns how many they are.
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
        self.pass_on(holder);
        n
    }

    /// Takes all waiters out, and tells each that it has got what it waits for:
    /// also those whose wait a deadline or a cancel has ended, and which have
    /// yet to lock the bucket. [`Bucket::wait`] returns `Woken` to them too.
    pub(crate) fn release_all(&self, list: &mut WakeList) {
        let Some(holder) = self.holder() else { return };
        holder.line.dequeue_all(
            |sg| {
                sg.success.set(true);
                true
            },
            |sg| list.push(sg),
        );
        self.pass_on(holder);
    }
}

/// Puts `heir`, which has no place in the tree, into that of `holder`.
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
    // Its place goes to the holder with the next higher key.
    let mut lowest = &holder.higher;
    // SAFETY: null, or a holder, so alive (invariant 2).
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

/// The caller, which is about to wait, having tried without.
///
/// Errors: `ETIMEDOUT`; `ECANCELED` where cancels end the wait; as
/// [`host::current`].
pub(crate) fn waiter(wait: &Wait) -> Result<&'static G> {
    let gp = host::current()?;
    if wait.kind != WaitKind::Plain {
        cancel::check()?;
    }
    wait.deadline.check()?;
    Ok(gp)
}
