//! Random numbers of the caller's thread, without a lock: each M has its own
//! sequence, and host threads without a G share one.

use crate::{
    arch,
    base::random::{RANDSEED, STEP, mix},
};
use core::sync::atomic::{AtomicU64, Ordering::*};

/// A number for choices that have to be fair and no more (Go's cheaprand).
pub(crate) fn cheaprand() -> u32 {
    static SEED: AtomicU64 = AtomicU64::new(0);
    mix(match arch::getg() {
        Some(gp) => {
            let rng = &gp.mp().rng;
            rng.set(rng.get().wrapping_add(STEP));
            rng.get()
        }
        // Relaxed: any number will do, and the seed is written at the start.
        None => SEED.fetch_add(STEP, Relaxed) ^ RANDSEED.load(Relaxed),
    })
}
