//! All mcaches: one for each P on which a goroutine has allocated, and one for
//! each M that has without a P. They stay: a P or M that is used again has its
//! own already.
//!
//! Go's allocmcache makes one with each P. Here a process may never allocate.

use crate::{
    base::sync::{AtomicPtr, Ordering::*},
    gmp::{M, OwnedP},
    heap::{MCache, MHEAP},
    os::ours::map_ours,
};
use core::{cell::Cell, ptr};

/// An mcache in the list.
struct Listed {
    cache: MCache,
    /// Written before it is in the list.
    next: *const Listed,
}

static ALL: AtomicPtr<Listed> = AtomicPtr::new(ptr::null_mut());

/// The mcache of this thread, which is busy: that of its P, or its M's. None
/// without memory.
#[inline(always)]
pub(super) fn own(mp: &M, pp: Option<OwnedP>) -> Option<&'static MCache> {
    let place = match &pp {
        Some(pp) => &pp.get().mcache,
        None => &mp.mcache,
    };
    place.get().or_else(|| {
        let cache = allocmcache(place);
        mp.note_mcache();
        cache
    })
}

/// Makes an mcache, without malloc: the thread is busy, and another one that
/// has stopped may hold a lock of malloc's. The heap is initialised.
#[cold]
fn allocmcache(
    place: &Cell<Option<&'static MCache>>,
) -> Option<&'static MCache> {
    let listed = Listed { cache: MCache::new(&MHEAP), next: ptr::null() };
    let at = map_ours(size_of::<Listed>()).ok()?.cast::<Listed>();
    // SAFETY: a fresh mapping of this size, which stays.
    unsafe { at.write(listed) };
    let mut head = ALL.load(Relaxed);
    loop {
        // SAFETY: not published yet.
        unsafe { (*at).next = head };
        // Release: pairs with the acquire of all.
        match ALL.compare_exchange(head, at, Release, Relaxed) {
            Ok(_) => break,
            Err(now) => head = now,
        }
    }
    // SAFETY: it stays.
    let cache = unsafe { &(*at).cache };
    place.set(Some(cache));
    Some(cache)
}

/// All of them. The world is stopped.
pub(super) fn all() -> impl Iterator<Item = &'static MCache> + Clone {
    // SAFETY: null, or in the list, where it stays.
    let next = |at: *const Listed| unsafe { at.as_ref() };
    // Acquire: pairs with allocmcache.
    let first = next(ALL.load(Acquire));
    core::iter::successors(first, move |it| next(it.next)).map(|it| &it.cache)
}
