//! Groups of goroutines: structured concurrency, Go's `errgroup` with an end.
//!
//! ```text
//!   group --children--> group made by one of its members --> ...
//!     '--members--> goroutines that run
//! ```
//! A group is cancelled by its first error, by `gmp_group_cancel`, by its end
//! (`gmp_group_free`), and with the group that it is nested in. With a group
//! its members are cancelled, and the groups below it. A group does not end
//! while a member runs.
//!
//! Invariants:
//! 1. Parents, children and siblings are read and written under `TREE`;
//!    `members` under the group's lock, which comes after `TREE`.
//! 2. `cancelled` is set under the group's lock, for good. A member reads it
//!    under that lock when it joins `members`. So it is cancelled there, or by
//!    the canceller that sets `cancelled` later.
//! 3. `pending` counts the members that were started. A member counts itself
//!    out with its last touch of the group.
//! 4. In the child of a fork the group has the one member that is there, if it
//!    is one; who locks `members` first there sees to that.
//! 5. A group that is freed leaves the tree first. Groups nested in it that
//!    still exist have no parent then.

use super::waitgroup::{self, WaitGroup};
use crate::{
    arch,
    base::{
        lock::Rank,
        sync::{AtomicI32, Ordering::*, static_of_a_run},
    },
    gmp::{AtEnd, G, gflag, handle_of, wait::Wait},
    heap::kept::{self, Kept},
    os::{Errno, Result},
    sched::{
        cancel, child,
        current::on_goroutine,
        lock::{Lock, LockGuard},
        newproc::{NewG, newproc1},
    },
    timers::Deadline,
};
use core::{
    cell::Cell,
    ffi::{c_int, c_void},
    iter, mem, ptr,
};
#[cfg(not(shuttle))]
use gmprt_inspect::memory::Memory;

#[cfg(shuttle)]
use crate::os::memory as libc;

/// The result of a member that panics and recovers.
const PANICKED: c_int = -libc::EOWNERDEAD;

/// A member's function.
pub(crate) type MemberFn = unsafe extern "C" fn(*mut c_void) -> c_int;

/// A group.
pub struct Group {
    pending: WaitGroup,
    /// The first result that was not 0; atomic.
    error: AtomicI32,
    members: Lock<Members>,
    /// `TREE`
    parent: Cell<*const Group>,
    /// `TREE`: the first of those nested in it.
    child: Cell<*const Group>,
    /// `TREE`
    next: Cell<*const Group>,
    /// `TREE`
    prev: Cell<*const Group>,
}

struct Members {
    cancelled: bool,
    first: *const Member,
}

// SAFETY: the records stay while they are in the list, and are used under
// the lock.
unsafe impl Send for Members {}
// SAFETY: the Cells are guarded by TREE.
unsafe impl Sync for Group {}

static_of_a_run! {
    static TREE: Lock<()> = Lock::new(Rank::Groups, ());
}

impl Group {
    /// Locks the members. The first to do so in the child of a fork forgets
    /// those that are in the parent: all but the one that has forked.
    fn lock(&self) -> LockGuard<'_, Members> {
        self.members.lock_or_renew(|members| {
            let mut at = mem::replace(&mut members.first, ptr::null());
            // SAFETY: null, or in the list, so there.
            while let Some(member) = unsafe { at.as_ref() } {
                at = member.next.get();
                if child::is_here(member.handle.get()) {
                    member.next.set(ptr::null());
                    member.prev.set(ptr::null());
                    members.first = member;
                }
            }
            let here = !members.first.is_null();
            self.pending.set_in_child(u32::from(here));
        })
    }

    /// Forgets the parent's members, where that has not been done.
    fn look_for_fork(&self) {
        if child::is_a_child() {
            drop(self.lock());
        }
    }
}

/// A member, from `malloc`, freed at its goroutine's end. The part that the end
/// knows comes first.
#[repr(C)]
struct Member {
    at_end: AtEnd,
    group: *const Group,
    f: MemberFn,
    arg: *mut c_void,
    /// Set once its goroutine runs.
    handle: Cell<*mut c_void>,
    /// The group's lock.
    next: Cell<*const Member>,
    /// The group's lock.
    prev: Cell<*const Member>,
    /// in its list if the argument may be a pointer to an object of the heap
    kept: Kept,
}

impl Member {
    fn group(&self) -> &'static Group {
        // SAFETY: a group does not end while a member is counted (invariant 3).
        unsafe { &*self.group }
    }
}

/// The group that a goroutine is a member of, or null.
fn group_of(gp: &G) -> *const Group {
    // SAFETY: null, or the record of a member that runs: this goroutine.
    let member = unsafe { gp.at_end.get().cast::<Member>().as_ref() };
    member.map_or(ptr::null(), |m| m.group)
}

/// A member of a group, as a report finds it.
#[cfg(not(shuttle))]
#[derive(Clone, Copy)]
pub(crate) struct FoundMember {
    /// Its record; `G::at_end` of its goroutine while it is a member.
    pub record: usize,
    pub group: usize,
    pub handle: u64,
}

/// For reports: the member of a group after the one whose record is `after`,
/// or the first after 0. Without a lock, and neither group nor record need be
/// there: the caller has to find out whether it is true.
#[cfg(not(shuttle))]
pub(crate) fn member_after(
    memory: &dyn Memory,
    group: usize,
    after: usize,
) -> Option<FoundMember> {
    let at = match after {
        0 => {
            let members = group + mem::offset_of!(Group, members);
            members
                + Lock::<Members>::VALUE_AT
                + mem::offset_of!(Members, first)
        }
        _ => after + mem::offset_of!(Member, next),
    };
    let record = memory.u64(at as u64).filter(|&record| record != 0)?;
    found_member(memory, record as usize)
}

/// For reports: the member with this record; as [`member_after`].
#[cfg(not(shuttle))]
pub(crate) fn found_member(
    memory: &dyn Memory,
    record: usize,
) -> Option<FoundMember> {
    const { assert!(mem::offset_of!(Member, at_end) == 0) };
    let word = |at: usize| memory.u64((record + at) as u64);
    let group = word(mem::offset_of!(Member, group))? as usize;
    let handle = word(mem::offset_of!(Member, handle))?;
    Some(FoundMember { record, group, handle })
}

/// Whether the caller is a member of `gr`, and so cannot wait for it.
fn is_mine(gr: &Group) -> bool {
    on_goroutine().is_some_and(|gp| ptr::eq(group_of(gp), gr))
}

/// `gmp_group_make`: a group, nested in the one that the caller is a member
/// of; null where memory is out.
pub(crate) fn make() -> *mut Group {
    // SAFETY: malloc may be called with any size.
    let place = unsafe { libc::malloc(size_of::<Group>()) }.cast::<Group>();
    if place.is_null() {
        return place;
    }
    // A group made behind a shield, or at the goroutine's end, is for clean-up:
    // cancels do not reach it.
    let exposed = on_goroutine().filter(|gp| !gp.shielded());
    let parent = exposed.map_or(ptr::null(), group_of);
    let members = Members { cancelled: false, first: ptr::null() };
    let value = Group {
        pending: WaitGroup::new(),
        error: AtomicI32::new(0),
        members: Lock::new(Rank::Group, members),
        parent: Cell::new(parent),
        child: Cell::new(ptr::null()),
        next: Cell::new(ptr::null()),
        prev: Cell::new(ptr::null()),
    };
    // SAFETY: fresh memory of this size; malloc aligns it.
    unsafe { place.write(value) };
    // SAFETY: null, or the group of a member that runs, so alive.
    if let Some(parent) = unsafe { parent.as_ref() } {
        // SAFETY: just written.
        nest(unsafe { &*place }, parent);
    }
    place
}

/// Puts a new group below `parent`; if that is cancelled, the new one is too.
fn nest(gr: &Group, parent: &Group) {
    let _tree = TREE.lock();
    let first = parent.child.replace(gr);
    gr.next.set(first);
    // SAFETY: null, or in the tree, so alive (invariant 5).
    if let Some(first) = unsafe { first.as_ref() } {
        first.prev.set(gr);
    }
    let cancelled = parent.lock().cancelled;
    gr.lock().cancelled = cancelled;
}

/// Takes a group that ends out of the tree.
fn leave_tree(gr: &Group) {
    let _tree = TREE.lock();
    let (prev, next) = (gr.prev.get(), gr.next.get());
    // SAFETY: null, or in the tree, so alive (invariant 5).
    if let Some(before) = unsafe { prev.as_ref() } {
        before.next.set(next);
    // SAFETY: null, or in the tree, so alive (invariant 5).
    } else if let Some(parent) = unsafe { gr.parent.get().as_ref() } {
        parent.child.set(next);
    }
    // SAFETY: null, or in the tree, so alive (invariant 5).
    if let Some(after) = unsafe { next.as_ref() } {
        after.prev.set(prev);
    }
    let mut at = gr.child.get();
    // SAFETY: null, or in the tree, so alive (invariant 5).
    while let Some(child) = unsafe { at.as_ref() } {
        at = child.next.replace(ptr::null());
        child.prev.set(ptr::null());
        child.parent.set(ptr::null());
    }
}

/// `gmp_group_go`: starts a member; in a cancelled group it starts cancelled.
///
/// Errors: `ENOMEM`.
pub(crate) fn go(
    gr: &Group,
    f: MemberFn,
    arg: *mut c_void,
    gopc: usize,
) -> Result<()> {
    // SAFETY: malloc may be called with any size.
    let place = unsafe { libc::malloc(size_of::<Member>()) }.cast::<Member>();
    if place.is_null() {
        return Err(Errno::ENOMEM);
    }
    let member = Member {
        at_end: AtEnd { run: ended },
        group: gr,
        f,
        arg,
        handle: Cell::new(ptr::null_mut()),
        next: Cell::new(ptr::null()),
        prev: Cell::new(ptr::null()),
        kept: Kept::new(),
    };
    // SAFETY: fresh memory of this size; malloc aligns it.
    unsafe { place.write(member) };
    if kept::wanted() {
        // SAFETY: just written.
        let kept = unsafe { &(*place).kept };
        // SAFETY: removed before the member is freed.
        unsafe { kept.add(argument) };
    }
    gr.look_for_fork();
    let started = waitgroup::add(&gr.pending, 1).and_then(|()| {
        let member = NewG { gopc, ..NewG::new(run, place.cast()) };
        newproc1(&member).map(drop).inspect_err(|_| {
            // Never fails: it was counted in just now.
            let _counted_out = waitgroup::add(&gr.pending, -1);
        })
    });
    if started.is_err() {
        // SAFETY: nobody has got it.
        unsafe { &*place }.kept.remove();
        // SAFETY: nobody has got it.
        unsafe { libc::free(place.cast()) };
    }
    started
}

/// The words of a member's argument, for a collection.
fn argument(kept: &Kept, found: &mut dyn FnMut(usize, usize)) {
    let at = ptr::from_ref(kept).addr() - mem::offset_of!(Member, kept)
        + mem::offset_of!(Member, arg);
    found(at, at + size_of::<usize>());
}

/// A member's goroutine.
unsafe extern "C" fn run(place: *mut c_void) {
    // SAFETY: go's; it is freed after this goroutine's end.
    let member = unsafe { &*place.cast::<Member>() };
    let Some(gp) = on_goroutine() else {
        crate::base::throw::throw("group: a member is no goroutine");
    };
    gp.stands_for(member.f as *const ());
    gp.set_flag(gflag::HANDLE);
    member.handle.set(handle_of(gp));
    gp.at_end.set(&raw const member.at_end);
    join_members(member);
    let args = [member.arg.addr(), 0, 0];
    // SAFETY: the host's function with its argument.
    let result = match unsafe { arch::call_base(member.f as *const (), args) } {
        Some(result) => result as c_int,
        None if gp.has(gflag::EXITED) => 0,
        // A deferred function of the member's has recovered.
        None => PANICKED,
    };
    if result != 0 && !child::is_dead_end() {
        fail(member.group(), result);
    }
}

/// Puts a member into the list (invariant 2).
fn join_members(member: &Member) {
    let mut members = member.group().lock();
    let first = members.first;
    member.next.set(first);
    // SAFETY: null, or in the list, so alive.
    if let Some(first) = unsafe { first.as_ref() } {
        first.prev.set(member);
    }
    members.first = member;
    if members.cancelled {
        // Never fails: the member's goroutine is this one.
        let _cancelled = cancel::cancel(member.handle.get());
    }
}

/// A member's goroutine has ended in any way: its defers have run, and nobody
/// uses its stack any more.
fn ended(at_end: &AtEnd) {
    let place = ptr::from_ref(at_end).cast::<Member>();
    // SAFETY: run's: the first field of a member.
    let member = unsafe { &*place };
    let group = member.group();
    // The goroutine has left its mark at the record (`fiber::left`).
    #[cfg(not(shuttle))]
    crate::base::sanitize::race_pass(place.addr(), ptr::from_ref(group).addr());
    let mut members = group.lock();
    let (prev, next) = (member.prev.get(), member.next.get());
    // SAFETY: null, or in the list, so alive.
    match unsafe { prev.as_ref() } {
        Some(before) => before.next.set(next),
        None => members.first = next,
    }
    // SAFETY: null, or in the list, so alive.
    if let Some(after) = unsafe { next.as_ref() } {
        after.prev.set(prev);
    }
    drop(members);
    member.kept.remove();
    // SAFETY: from malloc in go, and out of the list.
    unsafe { libc::free(place.cast_mut().cast()) };
    // Never fails: it was counted in when it was started. The last touch.
    let _counted_out = waitgroup::add(&group.pending, -1);
}

/// A member's result was not 0.
fn fail(gr: &Group, result: c_int) {
    let first = gr.error.compare_exchange(0, result, AcqRel, Relaxed);
    if first.is_ok() {
        cancel_all(gr);
    }
}

/// `gmp_group_cancel`: cancels all members, and the groups nested in it.
pub(crate) fn cancel_all(gr: &Group) {
    let _tree = TREE.lock();
    let mut at = gr;
    loop {
        cancel_members(at);
        // Depth first: down, or on, or up and on.
        // SAFETY: null, or in the tree, so alive (invariant 5).
        if let Some(child) = unsafe { at.child.get().as_ref() } {
            at = child;
            continue;
        }
        loop {
            if ptr::eq(at, gr) {
                return;
            }
            // SAFETY: null, or in the tree, so alive (invariant 5).
            if let Some(next) = unsafe { at.next.get().as_ref() } {
                at = next;
                break;
            }
            // SAFETY: below gr, so it has a parent in the tree.
            at = unsafe { &*at.parent.get() };
        }
    }
}

fn cancel_members(gr: &Group) {
    let mut members = gr.lock();
    members.cancelled = true;
    // SAFETY: null, or in the list, so alive.
    let member = |at: *const Member| unsafe { at.as_ref() };
    let first = member(members.first);
    let all = iter::successors(first, |m| member(m.next.get()));
    // A member that is about to end ignores it.
    cancel::cancel_each(all.map(|m| m.handle.get()));
}

/// `gmp_group_wait`: waits until no member is left; returns the first error.
///
/// Errors: `EDEADLK` from a member, `ETIMEDOUT`, `ECANCELED`.
pub(crate) fn wait(gr: &Group, deadline: Deadline) -> Result<c_int> {
    if is_mine(gr) {
        return Err(Errno(libc::EDEADLK));
    }
    gr.look_for_fork();
    let how = Wait::until(deadline, c"group").on(gr).for_all_of(gr);
    waitgroup::wait_as(&gr.pending, &how)?;
    // Relaxed: a member's error comes before its end.
    Ok(gr.error.load(Relaxed))
}

/// Lets others go on for a moment.
fn pause() {
    #[cfg(not(shuttle))]
    crate::os::clock::usleep(50);
    #[cfg(shuttle)]
    shuttle::thread::yield_now();
}

/// `gmp_group_free`: cancels, waits, frees.
///
/// # Safety
/// `this` is from [`make`], and nobody uses it any more but its members.
pub(crate) unsafe fn free(this: *mut Group) {
    if child::is_dead_end() {
        return;
    }
    // SAFETY: the caller's.
    let gr = unsafe { &*this };
    if is_mine(gr) {
        crate::base::throw::fatal("gmp_group_free: called by a member");
    }
    cancel_all(gr);
    let how = Wait::uninterrupted(c"group free").on(gr).for_all_of(gr);
    while let Err(why) = waitgroup::wait_as(&gr.pending, &how) {
        if why != Errno(libc::ESHUTDOWN) {
            crate::base::throw::fatal(
                "gmp_group_free: called where it cannot wait",
            );
        }
        // The runtime ends, so this thread gets no G any more. The members have
        // ended, or are about to be taken back.
        pause();
    }
    leave_tree(gr);
    // What members have done comes before the return. ThreadSanitizer forgets
    // what it knows of the address when the memory is freed.
    #[cfg(not(shuttle))]
    crate::base::sanitize::race_acquire(this.addr());
    // SAFETY: from malloc in make, and nobody has it any more.
    unsafe { libc::free(this.cast()) };
}
