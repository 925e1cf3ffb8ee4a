//! Guards: the bytes below a stack that fault when touched.
//!
//! Linux 6.13 has guards that cost no mapping. Older kernels lack them, and
//! some kernels refuse them for locked memory. There a guard is a mapping,
//! which splits the slab around it: two mappings a stack. A process may have
//! some 65,000 mappings, and the host needs its share. So an eighth is left to
//! the host, and stacks beyond the rest have no guard, with one warning.
//! Refusing to start a goroutine would be worse.

use super::slot::GUARD;
use crate::base::print::SigWriter;
use crate::base::sync::{AtomicBool, AtomicUsize, Ordering};
use crate::os::mem;
use core::fmt::Write as _;

/// The kernel's default limit, for kernels that do not tell theirs.
const USUAL_MAP_COUNT: usize = 65_530;

/// A budget that is not set yet.
const UNKNOWN: usize = usize::MAX;

/// How guards are made. All fields are atomic.
pub(super) struct Guards {
    /// Never use the kernel's own guards.
    force_mprotect: AtomicBool,
    /// How many more guards may be mappings.
    budget: AtomicUsize,
    /// How many stacks have no guard.
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
    pub(super) fn unguarded(&self) -> usize {
        self.unguarded.load(Ordering::Relaxed)
    }

    /// [`Self::install`] for several slots.
    ///
    /// # Safety
    /// Each of `bases` begins a slot of ours that nobody uses.
    pub(super) unsafe fn install_all(&self, bases: &[usize]) {
        if bases.len() > 1 && !self.force_mprotect.load(Ordering::Relaxed) {
            // SAFETY: each guard is the low end of an unused slot.
            if unsafe { mem::guard_install_all(bases, GUARD) } {
                return;
            }
        }
        for base in bases {
            // A slot that has its guard already keeps it.
            // SAFETY: an unused slot begins at `base`, the caller promises.
            unsafe { self.install(*base) };
        }
    }

    /// Puts a guard at the low end of the slot at `base`, if possible.
    ///
    /// # Safety
    /// `base` begins a slot of ours that nobody uses.
    pub(super) unsafe fn install(&self, base: usize) {
        let at = base as *mut u8;
        // Tried for each stack, since a refusal may be about one mapping only.
        if !self.force_mprotect.load(Ordering::Relaxed) {
            // SAFETY: the guard's range is the low end of an unused slot.
            if unsafe { mem::guard_install(at, GUARD) }.is_ok() {
                return;
            }
        }
        if self.take_mapping() {
            // SAFETY: the guard's range is the low end of an unused slot.
            if unsafe { mem::guard_mprotect(at, GUARD) }.is_ok() {
                return;
            }
        }
        if self.count_unguarded() {
            warn();
        }
    }

    /// Takes one guard out of the budget, if one is left.
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
        // Relaxed: a counter. Only from UNKNOWN: another thread may have set
        // the budget and taken from it.
        let _ = self.budget.compare_exchange(
            UNKNOWN,
            guards,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    /// Counts a stack without a guard; true for the first one.
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
