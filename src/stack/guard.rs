//! Guards: the bytes below a stack that fault when touched.
//!
//! Linux 6.13 has guards that cost no mapping. Older kernels do not, and some
//! refuse them for locked memory; there a guard is a mapping of its own, which
//! splits the slab around it, two mappings a stack. A process may have some
//! 65,000 of them, and the host needs mappings too: so an eighth is left to
//! it, and stacks beyond that go without a guard, with one warning. Failing to
//! start a goroutine would be worse.

use super::slot::GUARD;
use crate::base::print::SigWriter;
use crate::base::sync::{AtomicBool, AtomicUsize, Ordering};
use crate::os::mem;
use core::fmt::Write as _;

/// The limit where the kernel does not tell: its default.
const USUAL_MAP_COUNT: usize = 65_530;

/// A budget that has not been asked for yet.
const UNKNOWN: usize = usize::MAX;

/// How guards are made. All fields are atomic.
pub(super) struct Guards {
    /// Never use the kernel's own guards.
    force_mprotect: AtomicBool,
    /// How many guards may still be mappings.
    budget: AtomicUsize,
    /// How many stacks have none.
    unguarded: AtomicUsize,
}

impl Guards {
    pub(super) const fn new() -> Self {
        Self {
            force_mprotect: AtomicBool::new(false),
            budget: AtomicUsize::new(UNKNOWN),
            unguarded: AtomicUsize::new(0),
        }
    }

    pub(super) fn force_mprotect(&self, force: bool) {
        self.force_mprotect.store(force, Ordering::Relaxed);
    }

    /// How many stacks have been left without a guard.
    #[cfg(test)]
    pub(super) fn unguarded(&self) -> usize {
        self.unguarded.load(Ordering::Relaxed)
    }

    /// The same as [`Self::install`] for several slots.
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn install_all(&self, bases: &[usize]) {
        if bases.len() > 1 && !self.force_mprotect.load(Ordering::Relaxed) {
            // SAFETY: as in install.
            if unsafe { mem::guard_install_all(bases, GUARD) } {
                return;
            }
        }
        for base in bases {
            // SAFETY: as the caller promises. A second guard in the place of
            // one that is there changes nothing.
            unsafe { self.install(*base) };
        }
    }

    /// Puts a guard at the low end of the slot at `base`, if it can be done.
    ///
    /// # Safety
    /// `base` begins a slot of ours that nobody uses.
    pub(super) unsafe fn install(&self, base: usize) {
        let at = base as *mut u8;
        // Asked for each stack anew: a refusal may be about this mapping only.
        if !self.force_mprotect.load(Ordering::Relaxed) {
            // SAFETY: the guard's range is the low end of an unused slot.
            if unsafe { mem::guard_install(at, GUARD) }.is_ok() {
                return;
            }
        }
        if self.take_mapping() {
            // SAFETY: as above.
            if unsafe { mem::guard_mprotect(at, GUARD) }.is_ok() {
                return;
            }
        }
        if self.count_unguarded() {
            warn();
        }
    }

    /// Takes one guard out of the budget, if there is one left.
    fn take_mapping(&self) -> bool {
        if self.budget.load(Ordering::Relaxed) == UNKNOWN {
            let max = mem::max_map_count().unwrap_or(USUAL_MAP_COUNT);
            self.set_budget((max - max / 8) / 2);
        }
        // Relaxed: a counter that guards no data.
        self.budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                n.checked_sub(1)
            })
            .is_ok()
    }

    /// Sets a budget that is unknown.
    pub(super) fn set_budget(&self, guards: usize) {
        // Relaxed, and only once: others may have taken from it already.
        let _ = self.budget.compare_exchange(
            UNKNOWN,
            guards,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    /// True the first time.
    fn count_unguarded(&self) -> bool {
        self.unguarded.fetch_add(1, Ordering::Relaxed) == 0
    }
}

fn warn() {
    let mut w = SigWriter::stderr();
    // A SigWriter reports no errors.
    let _ = writeln!(
        w,
        "gmprt: warning: too many memory mappings (vm.max_map_count); \
         further goroutine stacks have no guard"
    );
}
