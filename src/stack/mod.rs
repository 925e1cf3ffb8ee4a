//! Goroutine stacks: address space with a guard below, committed page by page.
//!
//! ```text
//!   base            lo                                            hi
//!    |--- guard ----|------------- usable ---------------------> |
//!     GUARD bytes     frames grow down from hi
//! ```
//!
//! A stack and the guard below it fill one *slot*. The size of a slot is a
//! power of two from 128 KiB to 8 MiB, and each size is a class. Slots are
//! carved from slabs and pooled when free. A larger stack has its own mapping,
//! which is unmapped when the stack is freed. The default slot has 256 KiB, of
//! which 192 are usable.
//!
//! Not here: the goroutine's descriptor, which lies apart from its stack, and
//! the first frame on a stack.
//!
//! Its files, from the top to the bottom; each uses what stands below it:
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the one instance that the runtime uses |
//! | `cache.rs` | the few free stacks of each P |
//! | `pool.rs` | slabs, free slots, the scavenger |
//! | `guard.rs` | guards, also on kernels without cheap ones |
//! | `spans.rs` | who is told where stacks are |
//! | `slot.rs` | a stack, and the sizes of slots |
//!
//! Invariants:
//! 1. A stack is in one place: in use, in one cache, or in its class's pool.
//! 2. Nothing is written to a free stack. A *warm* free stack may have pages,
//!    a *cold* one has none and costs its bookkeeping only.
//! 3. A slot keeps its guard from the first carving on.
//!
//! The best free stack is the one that was in use last: its pages are
//! committed and in the processor's caches, while a first touch costs
//! microseconds. So free stacks are reused last in, first out, and [`scavenge`]
//! gives back the pages of those that lie at the bottom for a whole period.

mod cache;
mod guard;
mod pool;
mod slot;
mod spans;
#[cfg(test)]
mod tests;

pub(crate) use cache::StackCache;
pub(crate) use pool::{ScavengeResult, StackStats};
pub(crate) use slot::{GUARD, MAX_SIZE, POOLED_MOST, Stack};
pub(crate) use spans::Spans;

use crate::base::sanitize;
use crate::base::sync::{AtomicU8, AtomicUsize, Ordering};
use crate::os::{Result, auxv, mem};
use pool::Stacks;
use slot::{CLASSES, CLEAN, MIN_SIZE, MIN_SLOT, NONE, OWN, Shape};

/// Usable bytes of a stack by default: those of a slot of 256 KiB.
const DEFAULT_SIZE: usize = (256 << 10) - GUARD;

/// How many kinds of stacks [`kind`] tells apart.
pub(crate) const KINDS: usize = CLASSES + 1;

/// Bytes for a signal handler of the host, besides the kernel's frame: without
/// `SA_ONSTACK` the handler runs on the goroutine's stack.
const HANDLER_SPACE: usize = 8 << 10;

/// The stacks of this process.
static STACKS: Stacks = Stacks::new();
/// Usable bytes of a stack of the default size: a fixed point of [`Shape::of`].
/// atomic
static DEFAULT: AtomicUsize = AtomicUsize::new(DEFAULT_SIZE);
/// The class of such stacks, all of which have that size; else [`NONE`]. atomic
static DEFAULT_CLASS: AtomicU8 = AtomicU8::new(NONE);

/// Prepares the stacks of this process; part of `schedinit`.
///
/// `default_size` is as for [`set_default_size`]. `force_mprotect` makes
/// guards as on an old kernel. With `clean` no goroutine gets a stack with
/// pages of another one, but for the top one.
///
/// `EINVAL` for a default above 1 GiB, after preparing the rest.
pub(crate) fn stackinit(
    default_size: usize,
    force_mprotect: bool,
    clean: bool,
) -> Result<()> {
    let min = spare().max(MIN_SLOT - GUARD);
    MIN_SIZE.store(min, Ordering::Relaxed);
    STACKS.guards.force_mprotect(force_mprotect);
    STACKS.set_clean(clean);
    set_default_size(default_size)
}

/// Bytes for what every stack has room for: a signal handler.
fn spare() -> usize {
    auxv::minsigstksz() + HANDLER_SPACE
}

/// The least `stack_size` that has room for `used` bytes and a signal handler,
/// as the usable bytes of the stack that it gives; 0 if there is none.
pub(crate) fn size_for(used: usize) -> usize {
    Shape::of(used + spare()).map_or(0, |shape| shape.len() - GUARD)
}

/// The class of stacks of the default size, where these and no others have it;
/// else one that no stack has.
#[inline(always)]
pub(crate) fn default_class() -> u8 {
    DEFAULT_CLASS.load(Ordering::Relaxed)
}

/// Usable bytes of a stack of the default size.
pub(crate) fn default_size() -> usize {
    DEFAULT.load(Ordering::Relaxed)
}

/// Makes `bytes`, rounded up to a slot's usable size, the default of stacks
/// that are allocated from now on; 0 stands for the built-in default.
///
/// `EINVAL` above 1 GiB.
pub(crate) fn set_default_size(bytes: usize) -> Result<()> {
    let shape = Shape::of(if bytes == 0 { DEFAULT_SIZE } else { bytes })?;
    DEFAULT.store(shape.len() - GUARD, Ordering::Relaxed);
    let class = match shape {
        Shape::Slot(class) => class,
        Shape::Own(_) => NONE,
    };
    DEFAULT_CLASS.store(class, Ordering::Relaxed);
    Ok(())
}

/// A stack with at least `size` usable bytes; 0 stands for the default size.
/// Its contents are undefined. Any thread may call this. It may map memory but
/// never waits.
///
/// `cache` belongs to the P of the calling M, None if the M has no P. It serves
/// stacks of the default size.
///
/// `EINVAL` for more than 1 GiB, `ENOMEM`.
#[inline(always)]
pub(crate) fn stackalloc(
    cache: Option<&StackCache>,
    size: usize,
) -> Result<Stack> {
    let kept = match cache {
        Some(cache) if size == 0 => cache.take_kept(default_size()),
        _ => None,
    };
    kept.map_or_else(|| stackalloc_slow(cache, size), Ok)
}

#[cold]
fn stackalloc_slow(cache: Option<&StackCache>, size: usize) -> Result<Stack> {
    let default = default_size();
    let size = if size == 0 { default } else { size };
    let stack = match (Shape::of(size)?, cache) {
        (Shape::Slot(class), _)
            if STACKS.is_clean() || sanitize::memcheck() =>
        {
            let stack = STACKS.take_one(class)?;
            Stack { class: class | CLEAN, ..stack }
        }
        (Shape::Slot(class), Some(cache)) if size == default => {
            cache.take(&STACKS, class)?
        }
        (Shape::Slot(class), _) => STACKS.take_one(class)?,
        (Shape::Own(len), _) => STACKS.map_own(len)?,
    };
    if sanitize::memcheck() {
        sanitize::stack_begins(stack.lo, stack.hi - stack.lo);
    }
    Ok(stack)
}

/// The kind of stack that [`stackalloc`] gives for `size`: its class, or one
/// number for all stacks without a class.
pub(crate) fn kind(size: usize) -> usize {
    match Shape::of(if size == 0 { default_size() } else { size }) {
        Ok(Shape::Slot(class)) => usize::from(class),
        _ => CLASSES,
    }
}

/// After `ENOMEM`, [`stackalloc`] refuses the same class at once until a stack
/// is freed. This lets it ask the kernel for memory again.
pub(crate) fn try_again() {
    STACKS.try_again();
}

/// Takes a stack back. Nothing runs on it or points into it any more. `cache`
/// is as for [`stackalloc`].
#[inline(always)]
pub(crate) fn stackfree(cache: Option<&StackCache>, s: Stack) {
    if !stackfree_kept(cache, s) {
        stackfree_slow(s);
    }
}

/// [`stackfree`] into the cache; false if the cache does not take the stack,
/// which is not free then.
#[inline(always)]
pub(crate) fn stackfree_kept(cache: Option<&StackCache>, s: Stack) -> bool {
    cache.is_some_and(|cache| s.class != OWN && cache.put(&STACKS, s))
}

/// [`stackfree`] past the caches.
#[cold]
pub(crate) fn stackfree_slow(s: Stack) {
    match s.class {
        OWN => STACKS.unmap_own(s),
        class if class & CLEAN != 0 => {
            STACKS.put_clean(class & !CLEAN, s.base());
        }
        class => STACKS.put(class, &[s.base()]),
    }
}

/// Has the stack `[lo, hi)`, which nobody uses, begin anew, as if nobody had
/// touched it.
///
/// # Safety
/// The stack is one of ours, in use, and nobody needs its contents.
pub(crate) unsafe fn renew(lo: usize, hi: usize) {
    // SAFETY: by contract.
    unsafe { mem::renew(lo as *mut u8, hi - lo) };
}

/// Moves all stacks of a cache to the pool. The caller owns the cache
/// (invariant 1 of `cache`).
pub(crate) fn flush(cache: &StackCache) {
    cache.flush(&STACKS);
}

/// Whether `addr` lies in the guard of the stack whose `lo` is `s_lo`.
/// Async-signal-safe.
pub(crate) fn guard_hit(s_lo: usize, addr: usize) -> bool {
    addr < s_lo && s_lo - addr <= GUARD
}

/// Gives back the pages of stacks that the pool did not need during the last
/// period, a bounded number at a time. `now` is the monotonic time in
/// nanoseconds. The result says when the next call is due.
///
/// The stacks stay mapped and guarded, and are reused when no warm one is
/// left. One thread at a time calls this.
pub(crate) fn scavenge(now: i64) -> ScavengeResult {
    STACKS.scavenge(now)
}

/// Whether there may be something to [`scavenge`]: true from the moment when
/// the pool gets an idle stack until `scavenge` finds none. Costs one load.
pub(crate) fn scavenge_wanted() -> bool {
    STACKS.scavenge_wanted()
}

/// Whether each goroutine's stack has no pages but the top one and those that
/// the goroutine has touched itself.
pub(crate) fn is_clean() -> bool {
    STACKS.is_clean()
}

/// Unmaps all stacks, as the runtime has ended.
///
/// # Safety
/// No stack is in use, or in the cache of a P.
pub(crate) unsafe fn unmap_all() {
    // SAFETY: no stack is in use, the caller promises.
    unsafe { STACKS.unmap_all() };
}

/// Calls `found` with each slab of stacks, in use or free: from, to. Stacks
/// with their own mapping are in none.
pub(crate) fn each_slab(found: &mut dyn FnMut(usize, usize)) {
    STACKS.each_slab(found);
}

/// Tells `to` of the addresses of all stacks, those that are there and those to
/// come.
///
/// `ENOMEM`: not of all that are there. The caller tries again.
pub(crate) fn tell(to: &'static Spans) -> Result<()> {
    STACKS.tell(to)
}

/// How many stacks there are, and where; those in caches of Ps count as in use.
pub(crate) fn stats() -> StackStats {
    STACKS.stats()
}
