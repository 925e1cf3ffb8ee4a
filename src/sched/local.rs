//! Goroutine-local storage: POSIX's `pthread_key_create` for goroutines.
//!
//! A key is a slot of one table and the number of its use. Each G that has
//! values keeps an array of them by slot, with that number, so what belongs
//! to a deleted key is not found by the next one in its slot.
//!
//! ```text
//!   handle (gmp_key *) = number << 16 | slot + 1
//! ```
//! Invariants:
//! 1. A slot's number is odd while it is a key, even while it is free. It
//!    changes under `MAKING`, and grows.
//! 2. Only the goroutine (or its host thread) touches its array.
//!
//! A handle is not an address, so a stale one is found out.

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

/// Keys at once.
const KEYS: usize = 4096;
/// Rounds over the destructors, as POSIX's `PTHREAD_DESTRUCTOR_ITERATIONS`.
const ROUNDS: u8 = 4;
const SLOT_BITS: u32 = 16;

struct Key {
    /// Invariant 1.
    number: AtomicU64,
    /// A [`GmpFn`] or null; written before `number` is odd.
    destructor: AtomicPtr<c_void>,
}

static TABLE: [Key; KEYS] = [const {
    Key {
        number: AtomicU64::new(0),
        destructor: AtomicPtr::new(ptr::null_mut()),
    }
}; KEYS];
/// Where the search for a free slot begins.
static MAKING: Lock<usize> = Lock::new(Rank::Keys, 0);

/// A key that was live when its handle was looked up.
#[derive(Clone, Copy)]
pub(crate) struct LiveKey {
    slot: usize,
    number: u64,
}

/// One value of one goroutine.
#[derive(Clone, Copy)]
struct Value {
    number: u64,
    value: *mut c_void,
}

/// A goroutine's array; its values follow.
struct Locals {
    len: usize,
    /// Where the present round of destructors is.
    at: Cell<usize>,
}

/// `gmp_key_create`: a handle, or null where all keys are taken.
pub(crate) fn create(destructor: Option<GmpFn>) -> *mut c_void {
    if child::in_child() {
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

/// `gmp_key_delete`: values stay with their owners, who see to them.
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

/// The array of `gp`.
fn locals(gp: &G) -> Option<&Locals> {
    // SAFETY: null, or from grow.
    unsafe { gp.locals.get().cast::<Locals>().as_ref() }
}

/// The values of `gp`.
fn values(gp: &G) -> &[Cell<Value>] {
    let Some(header) = locals(gp) else { return &[] };
    // SAFETY: the array follows the header (grow).
    let first = unsafe { gp.locals.get().cast::<Locals>().add(1) };
    // SAFETY: `len` initialised values lie there; they are Cells, so others
    // may write them (invariant 2: on this thread only).
    unsafe { core::slice::from_raw_parts(first.cast(), header.len) }
}

/// `gmp_getspecific`: null for none and for a stale key.
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
    // SAFETY: the array's place, just behind.
    let first = unsafe { place.add(1) }.cast::<Value>();
    for i in 0..len {
        let none = Value { number: 0, value: ptr::null_mut() };
        let value = old.get(i).map_or(none, Cell::get);
        // SAFETY: i < len, so within the allocation.
        let at = unsafe { first.add(i) };
        // SAFETY: as above.
        unsafe { at.write(value) };
    }
    // SAFETY: null, or from malloc; nobody has it any more (invariant 2).
    unsafe { libc::free(gp.locals.replace(place.cast())) };
    Ok(())
}

/// Calls the destructors of the values that are not null, in rounds, and
/// frees the array. On the goroutine's stack, or its host thread. A destructor
/// that ends the goroutine again comes here again, and goes on.
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
    // SAFETY: null, or from grow.
    unsafe { libc::free(gp.locals.replace(ptr::null_mut())) };
}

/// Takes the next value out that is not null, with its slot; None at the end
/// of the round. A destructor may move the array, so that is read each time.
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

/// The destructor of a key that is not deleted.
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
