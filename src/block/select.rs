//! Select: Go's `selectgo`. Of several operations on channels it does one that
//! can be done, and waits until one can.
//!
//! 1. One of the cases that seem ready is picked at random, and tried under its
//!    channel's lock. A select that finds a case ready pays for one lock and,
//!    if there are several, for one random number.
//! 2. Else two orders of the cases are made. *Poll order* is random: the first
//!    ready case in it runs, so the choice is uniform. *Lock order* is that of
//!    the channels' addresses: all selects take all locks in it, so that they
//!    cannot block one another for ever. With all channels locked, each case is
//!    tried. If none is ready, a record of the goroutine goes into each
//!    channel's queue, all with one ticket.
//! 3. The waker that fires the ticket has run the case of its record. The
//!    goroutine then locks one channel after the other, and takes the other
//!    records out.
//!
//! Invariants:
//! 1. The orders and the records lie on the goroutine's stack, or are allocated
//!    by it. They stay until it has locked each channel again, except the one
//!    where a waker ran its case, if no other case names that. So the hook,
//!    which unlocks in lock order, may read the order until its last unlock:
//!    that channel has been locked since by the goroutine or by the waker.
//! 2. A channel that several cases name is locked once: they are neighbours
//!    in lock order.
//! 3. All cases of one select share a ticket, so one of them runs.

use super::{
    chan::{Block, GmpChan, Now, Op},
    patience::{may_park, wait_for_ever},
};
use crate::{
    gmp::{
        G,
        parkword::Wakers,
        wait::{At, Sudog, Turn, Unlock, Wait},
    },
    os::{Errno, Result},
    sched::{cancel, host, park::park, random::cheaprand, ready::goready},
    timers::Deadline,
};
use core::{
    ffi::CStr,
    mem::{MaybeUninit, offset_of},
    ptr, slice,
};

#[cfg(shuttle)]
use crate::os::memory as libc;

/// One case, as `gmp_case`.
#[repr(C)]
pub struct Case {
    ch: *mut GmpChan,
    elem: *mut u8,
    op: i32,
    result: i32,
}

/// The reason of its wait, whose object is the [`All`].
const SELECT: &CStr = c"select";

/// The values of `op`.
pub(crate) const SEND: i32 = 1;
pub(crate) const RECV: i32 = 2;

/// Cases at most.
pub(crate) const MAX_CASES: usize = 65_536;
/// Up to so many cases the orders and records lie on the stack.
const FEW: usize = 8;

impl Case {
    /// Offsets of two fields, for `ffi` to compare with those of `gmp_case`.
    pub(crate) const OP: usize = offset_of!(Case, op);
    pub(crate) const RESULT: usize = offset_of!(Case, result);

    /// The channel and the element.
    #[cfg(not(shuttle))]
    pub(crate) fn object(&self) -> (*const GmpChan, *const u8) {
        (self.ch, self.elem)
    }

    #[cfg(not(shuttle))]
    pub(crate) fn sends(&self) -> bool {
        self.op == SEND
    }

    fn chan(&self) -> Option<&GmpChan> {
        // SAFETY: null, or a channel that the caller holds a reference to.
        unsafe { self.ch.as_ref() }
    }

    /// The channel of a case that is in an order.
    fn ch(&self) -> &GmpChan {
        // SAFETY: not null: cases without a channel are in no order.
        unsafe { &*self.ch }
    }

    fn op(&self) -> Op {
        if self.op == SEND { Op::Send } else { Op::Recv }
    }

    /// Whether the case seems ready.
    ///
    /// Errors: `EINVAL` for a bad case.
    #[inline]
    fn look(&self) -> Result<bool> {
        let Some(ch) = self.chan() else {
            return match self.op {
                SEND | RECV => Ok(false),
                _ => Err(Errno::EINVAL),
            };
        };
        match self.op {
            RECV => Ok(!ch.seems_blocked(Op::Recv)),
            SEND if !self.elem.is_null() || ch.elem_size() == 0 => {
                Ok(!ch.seems_blocked(Op::Send))
            }
            _ => Err(Errno::EINVAL),
        }
    }
}

/// The memory of one select, with room for all cases.
struct Room<'a> {
    poll: &'a mut [u16],
    lock: &'a mut [*const Case],
    records: &'a mut [MaybeUninit<Sudog>],
}

/// Runs one of `cases` and returns its index.
///
/// Errors: `EINVAL` for a bad case, or too many; `EAGAIN`, `ETIMEDOUT`,
/// `ECANCELED`, `EDEADLK` as of every wait; `ENOMEM`.
pub(crate) fn select(cases: &mut [Case], block: Block) -> Result<usize> {
    if cases.len() > MAX_CASES {
        return Err(Errno::EINVAL);
    }
    let ready = count_ready(cases)?;
    if let Block::Until(_) = block {
        cancel::check()?;
    }
    if let Some(i) = pick(cases, ready) {
        let case = &mut cases[i];
        case.ch().lock();
        let now = case.ch().try_now(case.op(), case.elem);
        case.ch().unlock();
        if done(case, now) {
            return Ok(i);
        }
    }
    select_slow(cases, block)
}

/// How many of `cases` seem ready.
///
/// Errors: `EINVAL` for a bad case.
fn count_ready(cases: &[Case]) -> Result<usize> {
    let add = |n, case: &Case| Ok(n + usize::from(case.look()?));
    cases.iter().try_fold(0, add)
}

/// One of the cases that seem ready; there were `ready` of them.
fn pick(cases: &[Case], ready: usize) -> Option<usize> {
    let nth = match ready {
        0 => return None,
        1 => 0,
        _ => below(ready),
    };
    let seems_ready = |case: &Case| case.look().unwrap_or(false);
    let mut ready = (0..cases.len()).filter(|&i| seems_ready(&cases[i]));
    ready.nth(nth)
}

/// A random number below `n`, which is small.
fn below(n: usize) -> usize {
    ((u64::from(cheaprand()) * n as u64) >> 32) as usize
}

/// The rest of [`select`]: no case seems ready, or another was faster there.
#[inline(never)]
fn select_slow(cases: &mut [Case], block: Block) -> Result<usize> {
    let n = cases.len();
    if n <= FEW {
        let mut poll = [0; FEW];
        let mut lock = [ptr::null(); FEW];
        let mut records = [const { MaybeUninit::uninit() }; FEW];
        let room = Room {
            poll: &mut poll[..n],
            lock: &mut lock[..n],
            records: &mut records[..n],
        };
        return select_in(cases, block, room);
    }
    let memory = Memory::new(n)?;
    select_in(cases, block, memory.room())
}

fn select_in(cases: &mut [Case], block: Block, room: Room) -> Result<usize> {
    let Room { poll, lock, records } = room;
    let k = poll_order(cases, poll);
    let poll = &poll[..k];
    let lock = &mut lock[..k];
    if k == 0 {
        wait_for_ever(block, c"select (no cases)")?;
    }
    if k == 1 && matches!(block, Block::Not) {
        return Err(Errno::EAGAIN);
    }
    if let Block::Until(_) = block {
        // Gives a host thread its G, which is not made under a lock.
        host::current()?;
    }
    lock_order(cases, poll, lock);
    let all = All { order: lock };
    all.lock();
    for &i in poll {
        let case = &cases[usize::from(i)];
        let now = case.ch().try_now(case.op(), case.elem);
        if !matches!(now, Now::Wait) {
            all.unlock();
            done(&mut cases[usize::from(i)], now);
            return Ok(i.into());
        }
    }
    let chosen = match may_park(block) {
        Ok((gp, until)) => park_on(gp, until, &all, &mut records[..k])?,
        Err(e) => {
            all.unlock();
            return Err(e);
        }
    };
    let first = cases.as_ptr().addr();
    let index = (chosen.case.addr() - first) / size_of::<Case>();
    cases[index].result = chosen.result;
    Ok(index)
}

/// Fills `poll` with the cases that have a channel, in random order, and
/// returns how many there are.
fn poll_order(cases: &[Case], poll: &mut [u16]) -> usize {
    let mut k = 0;
    for (i, case) in cases.iter().enumerate() {
        if case.chan().is_some() {
            let j = if k == 0 { 0 } else { below(k + 1) };
            poll[k] = poll[j];
            poll[j] = i as u16;
            k += 1;
        }
    }
    k
}

/// Fills `lock` with the cases of `poll` in the order of their channels'
/// addresses.
fn lock_order(cases: &[Case], poll: &[u16], lock: &mut [*const Case]) {
    let of = |&i: &u16| &cases[usize::from(i)];
    // SAFETY: one of `cases`.
    let addr = |case: *const Case| unsafe { (*case).ch }.addr();
    if poll.len() > FEW {
        for (place, i) in lock.iter_mut().zip(poll) {
            *place = of(i);
        }
        lock.sort_unstable_by_key(|&case| addr(case));
        return;
    }
    for (n, i) in poll.iter().enumerate() {
        let case = of(i);
        let mut at = n;
        while at > 0 && addr(lock[at - 1]) > case.ch.addr() {
            lock[at] = lock[at - 1];
            at -= 1;
        }
        lock[at] = case;
    }
}

/// Ends a case that ran, its channel unlocked; false if the case has to wait.
fn done(case: &mut Case, now: Now) -> bool {
    match now {
        Now::Wait => return false,
        Now::Closed => case.result = -libc::EPIPE,
        Now::Done(waiter) => {
            case.result = 0;
            if let Some(gp) = waiter {
                goready(gp, Turn::Next);
            }
        }
    }
    true
}

/// The cases in lock order. The hook reads them while the goroutine may run
/// already (invariant 1).
#[derive(Clone, Copy)]
struct All<'a> {
    order: &'a [*const Case],
}

impl All<'_> {
    fn case(&self, at: usize) -> &Case {
        // SAFETY: one of the select's cases.
        unsafe { &*self.order[at] }
    }

    /// Calls `f` once for each channel (invariant 2). Reads nothing after the
    /// last call.
    fn each_channel(&self, f: impl Fn(&GmpChan)) {
        let mut rest = self.order;
        while let Some((&case, after)) = rest.split_first() {
            // SAFETY: one of the select's cases.
            let case = unsafe { &*case };
            // SAFETY: one of the select's cases.
            let ch = |&next: &*const Case| unsafe { (*next).ch };
            if after.first().map(ch) != Some(case.ch) {
                f(case.ch());
            }
            rest = after;
        }
    }

    fn lock(&self) {
        self.each_channel(GmpChan::lock);
    }

    fn unlock(&self) {
        self.each_channel(GmpChan::unlock);
    }
}

// SAFETY: the order stays until the last unlock (invariant 1).
unsafe impl Unlock for All<'_> {
    fn unlock(self) {
        All::unlock(&self);
    }
}

/// Calls `found` with the address of each channel of a select that waits, for
/// this object; false if `reason` is not a select's.
///
/// # Safety
/// The object is that of a wait with this reason, whose goroutine stands still.
#[cfg(not(shuttle))]
pub(crate) unsafe fn each_waited(
    reason: &CStr,
    object: usize,
    found: &mut dyn FnMut(usize),
) -> bool {
    if reason != SELECT {
        return false;
    }
    // SAFETY: on the stack of the waiter, which stands still.
    let all = unsafe { &*(object as *const All<'_>) };
    for &case in all.order {
        // SAFETY: one of the select's cases, which stay while it waits.
        found(unsafe { (*case).ch }.addr());
    }
    true
}

/// Where the records of such a select and its lock order are: from, to.
///
/// # Safety
/// As for [`each_waited`].
#[cfg(not(shuttle))]
pub(crate) unsafe fn records(
    reason: &CStr,
    object: usize,
) -> Option<(usize, usize)> {
    if reason != SELECT {
        return None;
    }
    // SAFETY: on the stack of the waiter, which stands still.
    let all = unsafe { &*(object as *const All<'_>) };
    // In the order of `Memory`. With cases that have no channel there are
    // more records, which are not in use.
    let order = all.order.as_ptr_range();
    let records = size_of::<Sudog>() * all.order.len();
    Some((order.start.addr() - records, order.end.addr()))
}

/// The case that ran.
struct Chosen {
    case: *const Case,
    result: i32,
}

/// Waits in the queues of all channels, which are locked; unlocks them.
fn park_on(
    gp: &'static G,
    deadline: Deadline,
    all: &All<'_>,
    records: &mut [MaybeUninit<Sudog>],
) -> Result<Chosen> {
    let wakers = match records {
        [_] => Wakers::OneLock,
        _ => Wakers::Locked,
    };
    let wait = Wait::until(deadline, SELECT).on(all);
    let ticket = wait.begin_locked(gp, wakers);
    for (record, &case) in records.iter_mut().zip(all.order) {
        // SAFETY: one of the select's cases.
        let case = unsafe { &*case };
        let sg = record.write(Sudog::new(gp, ticket, case.elem));
        case.ch().queue(case.op()).enqueue(sg, At::Back);
    }
    let outcome = park(gp, &wait, ticket, *all).outcome();
    // SAFETY: all written above; MaybeUninit<T> lies in memory as T does.
    let records = unsafe { &*(ptr::from_ref(records) as *const [Sudog]) };
    let Some(at) = withdraw(all, records) else {
        outcome?;
        crate::base::throw::throw("select: woken by nobody");
    };
    let case = all.case(at);
    let result = match records[at].success.get() {
        true => 0,
        false => case.ch().found_closed(case.op(), case.elem).neg(),
    };
    Ok(Chosen { case, result })
}

/// Takes the records that are left out of the queues; returns the place of the
/// one that a waker took.
fn withdraw(all: &All<'_>, records: &[Sudog]) -> Option<usize> {
    // Without a lock: only the waker writes that, before it readies us.
    let mut woken = records.iter().position(|sg| sg.success.get());
    let mut at = 0;
    while at < records.len() {
        let ch = all.case(at).ch();
        let same = |&i: &usize| ptr::eq(all.case(i).ch(), ch);
        let end = (at..records.len()).take_while(same).count() + at;
        if woken != Some(at) || end > at + 1 {
            ch.lock();
            for (i, sg) in (at..end).zip(&records[at..end]) {
                ch.queue(all.case(i).op()).remove(sg);
                woken = woken.or(sg.woken.get().then_some(i));
            }
            ch.unlock();
        }
        at = end;
    }
    woken
}

/// The room of a select with many cases, from `malloc`.
struct Memory {
    place: *mut MaybeUninit<Sudog>,
    n: usize,
}

impl Memory {
    fn new(n: usize) -> Result<Self> {
        let each = size_of::<Sudog>() + size_of::<*const Case>() + 2;
        let bytes = n * each;
        // SAFETY: malloc may be called with any size.
        let place = unsafe { libc::malloc(bytes) };
        if place.is_null() {
            return Err(Errno::ENOMEM);
        }
        Ok(Self { place: place.cast(), n })
    }

    fn room(&self) -> Room<'_> {
        let n = self.n;
        // SAFETY: within the allocation: the orders follow the records.
        let lock = unsafe { self.place.add(n) }.cast::<*const Case>();
        // SAFETY: within the allocation: poll order follows lock order.
        let poll = unsafe { lock.add(n) }.cast::<u16>();
        // A slice needs values, though all are written before they are read.
        // SAFETY: the n places of lock order.
        unsafe { ptr::write_bytes(lock, 0, n) };
        // SAFETY: the n places of poll order.
        unsafe { ptr::write_bytes(poll, 0, n) };
        Room {
            // SAFETY: n initialised places, no one else's.
            poll: unsafe { slice::from_raw_parts_mut(poll, n) },
            // SAFETY: the n places after those.
            lock: unsafe { slice::from_raw_parts_mut(lock, n) },
            // SAFETY: n places that need not be initialised.
            records: unsafe { slice::from_raw_parts_mut(self.place, n) },
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: from malloc in new; the select is over.
        unsafe { libc::free(self.place.cast()) };
    }
}
