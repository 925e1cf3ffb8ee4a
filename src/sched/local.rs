//! Goroutine-local storage: POSIX's `pthread_key_create` for goroutines.
//!
//! A key is a slot of one table, and the number of this use of the slot. Each G
//! that has values keeps an array of them by slot, each with its key's number:
//! a value of a deleted key does not become one of the slot's next key.
//!
//! ```text
//!   handle (gmp_key *) = number << 16 | slot + 1
//! ```
//! A handle is not an address, so a stale one is noticed and never followed.
//!
//! Invariants:
//! 1. A slot's number is odd while the slot is a key, and even while the slot
//!    is free. A number changes under `MAKING`, and only grows.
//! 2. Only the goroutine, or its host thread, touches its array.

use super::{child, lock::Lock};
use crate::{
    arch,
    base::{
        lock::Rank,
        sync::{AtomicPtr, AtomicU64, Ordering::*},
    },
    gmp::{G, GmpFn},
    os::{Errno, Result},
};
use core::{cell::Cell, ffi::c_void, ptr};

/// The most keys at a time.
const KEYS: usize = 4096;
/// Rounds over the destructors, as POSIX's `PTHREAD_DESTRUCTOR_ITERATIONS`.
const ROUNDS: u8 = 4;
const SLOT_BITS: u32 = 16;

struct Key {
    /// atomic: invariant 1
    number: AtomicU64,
    /// atomic: a [`GmpFn`] or null; written before `number` becomes odd
    destructor: AtomicPtr<c_void>,
}

static TABLE: [Key; KEYS] = [const {
    Key {
        number: AtomicU64::new(0),
        destructor: AtomicPtr::new(ptr::null_mut()),
    }
}; KEYS];
/// The slot at which the search for a free one begins.
static MAKING: Lock<usize> = Lock::new(Rank::Keys, 0);

/// A key that was live when its handle was looked up.
#[derive(Clone, Copy)]
pub(crate) struct LiveKey {
    slot: usize,
    number: u64,
}

#[derive(Clone, Copy)]
struct Value {
    number: u64,
    value: *mut c_void,
}

/// The header of a goroutine's array; the values follow it.
struct Locals {
    len: usize,
    /// The next slot of the present round of destructors.
    at: Cell<usize>,
}

/// `gmp_key_create`: a handle, or null where all keys are taken.
pub(crate) fn create(destructor: Option<GmpFn>) -> *mut c_void {
    if child::is_dead_end() {
        return ptr::null_mut();
    }
    let mut first = MAKING.lock();
    let Some(slot) = (0..KEYS)
        .map(|i| (*first + i) % KEYS)
        .find(|&i| TABLE[i].number.load(Relaxed) & 1 == 0)
    else {
        return ptr::null_mut();
    };
    *first = (slot + 1) % KEYS;
    let f = destructor.map_or(ptr::null_mut(), |f| f as *mut c_void);
    TABLE[slot].destructor.store(f, Relaxed);
    let number = TABLE[slot].number.load(Relaxed) + 1;
    // Release: publishes the destructor.
    TABLE[slot].number.store(number, Release);
    (number << SLOT_BITS | (slot as u64 + 1)) as *mut c_void
}

/// `gmp_key_delete`. Values stay, without a destructor: the host frees them.
///
/// Errors: `EINVAL`.
pub(crate) fn delete(handle: *mut c_void) -> Result<()> {
    let _first = MAKING.lock();
    let LiveKey { slot, number } = find(handle)?;
    TABLE[slot].number.store(number + 1, Release);
    Ok(())
}

/// The key of a handle.
///
/// Errors: `EINVAL` for null, a stale or an invented one.
pub(crate) fn find(handle: *mut c_void) -> Result<LiveKey> {
    let bits = handle as u64;
    let slot = (bits & ((1 << SLOT_BITS) - 1)).wrapping_sub(1) as usize;
    let number = bits >> SLOT_BITS;
    let key = TABLE.get(slot).ok_or(Errno::EINVAL)?;
    // Acquire: pairs with create.
    let live = number & 1 == 1 && key.number.load(Acquire) == number;
    live.then_some(LiveKey { slot, number }).ok_or(Errno::EINVAL)
}

fn locals(gp: &G) -> Option<&Locals> {
    // SAFETY: null, or from grow, and freed by this thread only (invariant 2).
    unsafe { gp.locals.get().cast::<Locals>().as_ref() }
}

fn values(gp: &G) -> &[Cell<Value>] {
    let Some(header) = locals(gp) else { return &[] };
    // SAFETY: the array follows the header (grow).
    let first = unsafe { gp.locals.get().cast::<Locals>().add(1) };
    // SAFETY: `len` initialised values lie there, as Cells, so this thread may
    // write them meanwhile (invariant 2: no other does).
    unsafe { core::slice::from_raw_parts(first.cast(), header.len) }
}

/// `gmp_getspecific`: null where there is no value, and for a stale key.
pub(crate) fn get(handle: *mut c_void) -> *mut c_void {
    let Some(gp) = arch::getg() else { return ptr::null_mut() };
    let Ok(LiveKey { slot, number }) = find(handle) else {
        return ptr::null_mut();
    };
    match values(gp).get(slot).map(Cell::get) {
        Some(v) if v.number == number => v.value,
        _ => ptr::null_mut(),
    }
}

/// `gmp_setspecific` of `gp`, the caller.
///
/// Errors: `ENOMEM`.
pub(crate) fn set(gp: &G, key: LiveKey, value: *mut c_void) -> Result<()> {
    let LiveKey { slot, number } = key;
    if values(gp).len() <= slot {
        if value.is_null() {
            return Ok(());
        }
        grow(gp, slot + 1)?;
    }
    values(gp)[slot].set(Value { number, value });
    Ok(())
}

/// Makes room for `len` values and some more.
#[cold]
fn grow(gp: &G, len: usize) -> Result<()> {
    let old = values(gp);
    let at = locals(gp).map_or(0, |l| l.at.get());
    let len = len.next_power_of_two().max(8);
    let size = size_of::<Locals>() + len * size_of::<Value>();
    // SAFETY: malloc may be called with any size.
    let place = unsafe { libc::malloc(size) }.cast::<Locals>();
    if place.is_null() {
        return Err(Errno::ENOMEM);
    }
    // SAFETY: fresh memory, large enough.
    unsafe { place.write(Locals { len, at: Cell::new(at) }) };
    // SAFETY: `size` counts the header, so the values begin just behind it.
    let first = unsafe { place.add(1) }.cast::<Value>();
    for i in 0..len {
        let none = Value { number: 0, value: ptr::null_mut() };
        let value = old.get(i).map_or(none, Cell::get);
        // SAFETY: i < len, so within the allocation.
        let at = unsafe { first.add(i) };
        // SAFETY: room for a value, which nobody reads yet.
        unsafe { at.write(value) };
    }
    // SAFETY: null, or from malloc in an earlier grow; only this thread had it
    // (invariant 2), and `old` is not used any more.
    unsafe { libc::free(gp.locals.replace(place.cast())) };
    Ok(())
}

/// Calls the destructors of the values that are not null, in rounds, and
/// frees the array. On the goroutine's stack, or its host thread. A destructor
/// may end the goroutine again; the next call then goes on where this one was.
pub(super) fn destroy(gp: &G) {
    let set = |v: &Cell<Value>| !v.get().value.is_null();
    while gp.rounds.get() < ROUNDS && values(gp).iter().any(set) {
        while let Some((Value { number, value }, slot)) = next(gp) {
            if let Some(f) = destructor(slot, number) {
                // SAFETY: the host's function for the host's value.
                unsafe { arch::call_last(f, value) };
            }
        }
        gp.rounds.set(gp.rounds.get() + 1);
    }
    // SAFETY: null, or from grow; only this thread has it (invariant 2).
    unsafe { libc::free(gp.locals.replace(ptr::null_mut())) };
}

/// Calls `found` with the words of the values of `gp`, which stands still:
/// from, to.
#[cfg(not(shuttle))]
pub(crate) fn words(gp: &G, found: &mut dyn FnMut(usize, usize)) {
    let values = values(gp).as_ptr_range();
    found(values.start.addr(), values.end.addr());
}

/// Frees the array of a host thread that has ended without [`destroy`].
pub(super) fn forget(gp: &G) {
    // SAFETY: null, or from grow; the thread has ended (invariant 2).
    unsafe { libc::free(gp.locals.replace(ptr::null_mut())) };
}

/// Takes the next value that is not null out, with its slot; None at the end
/// of the round. A destructor may move the array, so it is read each time.
fn next(gp: &G) -> Option<(Value, usize)> {
    let at = &locals(gp)?.at;
    while let Some(cell) = values(gp).get(at.get()) {
        let slot = at.replace(at.get() + 1);
        let found = cell.get();
        if !found.value.is_null() {
            cell.set(Value { value: ptr::null_mut(), ..found });
            return Some((found, slot));
        }
    }
    at.set(0);
    None
}

/// The destructor of a key, unless the key is deleted.
fn destructor(slot: usize, number: u64) -> Option<GmpFn> {
    let key = &TABLE[slot];
    // Acquire: pairs with create.
    if key.number.load(Acquire) != number {
        return None;
    }
    let f = key.destructor.load(Relaxed);
    if f.is_null() {
        return None;
    }
    // SAFETY: stored by create from a function of this type.
    Some(unsafe { core::mem::transmute::<*mut c_void, GmpFn>(f) })
}
