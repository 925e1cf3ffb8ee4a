//! The stacks of a host thread that stands somewhere.
//!
//! The C libraries put a thread's control block above its stack, but for the
//! first thread; that one's stack begins where the kernel has put its random
//! bytes. So the stack is all from the stack pointer to there.
//!
//! A thread may have switched stacks by itself: for a coroutine, or a segment
//! of a deep recursion. Then nobody knows where it has left its own stack, so
//! that is a root from its lowest page on. What runs on the other stack is a
//! root too, as far as that may be: up to the control block, where it lies
//! below, else for [`LOOK`] bytes. Other stacks of the host's, on which nothing
//! runs now, are not known.
//!
//! In the child of a fork the first thread is the one that has forked, whose
//! stack may be that of another thread of the parent's, or a goroutine's. Where
//! it stands below its control block, it may be on its own stack or on another:
//! both count, up to the block, and the stack of the parent's first thread,
//! which is there yet.
//!
//! All this is to be read as memory that may not be there.

use crate::{
    gmp::M,
    os::{auxv, proc},
    sched::child::is_a_child,
};
use core::sync::atomic::Ordering::Relaxed;
use gmprt_inspect::memory::{Memory, OwnMemory};

/// More bytes than nearly any stack of a thread has in use.
const MOST: usize = 1 << 30;
/// Bytes that are looked at of a stack whose end is not known.
const LOOK: usize = 1 << 20;
/// Bytes of a page, or fewer.
const PAGE: usize = 4 << 10;

/// Calls `found` with the parts of the stacks of the thread of `mp` that are in
/// use where it stands at `sp`: from, to. The thread stands.
pub(super) fn each(mp: &M, sp: usize, found: &mut dyn FnMut(usize, usize)) {
    // Relaxed: the thread has set them.
    let block = mp.tp.load(Relaxed);
    let is_first = mp.procid.load(Relaxed) == proc::owner();
    let own = if is_first { auxv::above_stack() } else { block };
    let is_other = is_first && is_a_child() && is_below(sp, block);
    if is_below(sp, own) && !is_other {
        found(sp, own);
        return;
    }
    let end = if is_below(sp, block) { block } else { end_from(sp) };
    found(sp, end);
    // Down to where it stands, if that is its own stack after all.
    let lowest = sp.min(own.saturating_sub(MOST));
    found(begin_to(own, lowest), own);
}

fn is_below(sp: usize, end: usize) -> bool {
    sp < end && end - sp < MOST
}

/// Where the memory ends that goes on from `at`.
fn end_from(at: usize) -> usize {
    let first = at & !(PAGE - 1);
    let pages = (first..first.saturating_add(LOOK)).step_by(PAGE);
    let last = pages.take_while(|page| is_there(*page)).last();
    last.map_or(at, |page| page + PAGE)
}

/// Where the memory begins that leads up to `at`, from `lowest` on.
fn begin_to(at: usize, lowest: usize) -> usize {
    let last = at & !(PAGE - 1);
    let pages = (lowest..=last).rev().step_by(PAGE);
    let first = pages.take_while(|page| is_there(*page)).last();
    first.unwrap_or(at)
}

fn is_there(page: usize) -> bool {
    OwnMemory.read(page as u64, &mut [0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::mem;

    #[test]
    fn memory_is_followed_to_where_it_ends() {
        let at = mem::map_data(8 * PAGE).unwrap().addr();
        let hole = |n: usize| {
            let page = (at + n * PAGE) as *mut libc::c_void;
            // SAFETY: of the mapping, and used no more.
            let done = unsafe { libc::mprotect(page, PAGE, libc::PROT_NONE) };
            assert_eq!(done, 0);
        };
        hole(1);
        hole(6);
        let low = at - 8 * PAGE;
        assert_eq!(begin_to(at + 4 * PAGE + 8, low), at + 2 * PAGE);
        assert_eq!(begin_to(at + 4 * PAGE + 8, at + 3 * PAGE), at + 3 * PAGE);
        assert_eq!(end_from(at + 4 * PAGE + 8), at + 6 * PAGE);
        assert_eq!(end_from(at + PAGE + 8), at + PAGE + 8);
        assert_eq!(begin_to(at + PAGE + 8, low), at + PAGE + 8);
        assert_eq!(begin_to(0, 0), 0);
    }
}
