//! Holders: which goroutine or host thread has a mutex, an rwmutex or a once.
//!
//! The object does not need to know. Reports do (`diag`): a dump says who
//! holds what a goroutine waits for, and the search for deadlocks follows the
//! holders. The holder stands in spare words of the object, and is kept by
//! plain stores of the holder itself.
//!
//! | word | meaning |
//! |---|---|
//! | 0 | nobody, or nobody knows: the new holder has not stored itself yet |
//! | the address of a G | that goroutine; or a host thread, by its stand-in |
//! | a thread pointer \| 1 | a host thread that had no G when it locked |
//! | either \| 2 | a reader in doubt: another may have given up its share |
//!
//! A G lives again as another goroutine, and a thread pointer as that of
//! another thread. So a number stands beside the word: half of the goid, or the
//! tid. A system call for the tid would cost each such lock more than the lock
//! itself; glibc keeps the tid in the thread's control block. Where the tid is
//! not found there at boot, and before boot, a thread without a G stays
//! unknown, and so do the deadlocks through what it has locked then.
//! A reader outside finds both, and `around`, at fixed places (`repr(C)`).
//!
//! Hosts may lock on one goroutine and unlock on another. The unlocker is then
//! not in the word, and marks the object for good: of such an object the word
//! says nothing about who will unlock it.
//!
//! Of several readers the word has one. Another actor that unlocks gives up a
//! share of its own, as a rule, or that of the reader in the word; nobody can
//! tell which. So it puts the word in doubt, until that reader goes or a reader
//! finds no other. Only where there is one share does such an unlocker know
//! that the share is not its own, and marks the object.
//! A reader in doubt is believed only if it waits for the same rwmutex itself:
//! to lock again behind a writer is a reader's usual deadlock, after many other
//! readers have come and gone. So a deadlock through something else is not
//! found if other readers have gone since that reader came.
//!
//! Invariants:
//! 1. A new holder stores itself after the step that gave it the object, and
//!    takes itself out before the step that gives the object up. So the word of
//!    an object that is only unlocked by its holders names a holder or none.
//! 2. `around` is set before the step that gives up an object for another
//!    holder, and stays. The word is in doubt before the step that gives up a
//!    share of which nobody knows whose it is.
//! 3. Nothing here is touched after the step that gives the object up: the next
//!    owner may free it.
//!
//! Orderings: all is relaxed. A reader that has seen the holder parked has seen
//! all that the holder stored before (`parkword`, (a)). The steps of the object
//! order the stores of one holder after those of the one before.
//!
//! Core's atomics in models too: no decision hangs on these words, so they add
//! no step to a schedule.

use crate::{arch, gmp::G};
use core::{
    ptr,
    sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::*},
};
#[cfg(not(shuttle))]
use {core::mem, gmprt_inspect::memory::Memory};

/// The tag of a thread pointer in the word.
const THREAD: usize = 1;
/// The tag of a reader in doubt.
const DOUBT: usize = 2;

/// Whether [`arch::tid_word`] is the tid here.
static KNOWS_TIDS: AtomicBool = AtomicBool::new(false);

/// The caller's thread has this tid. Part of `libpreinit`.
#[cfg(not(shuttle))]
pub(crate) fn init(tid: i32) {
    // Relaxed: a hint, which is constant.
    KNOWS_TIDS.store(arch::tid_word() == tid as u32, Relaxed);
}

/// The holder of an object.
#[derive(Default)]
#[repr(C)]
pub(crate) struct Holder {
    /// The holder (module).
    word: AtomicUsize,
    /// The low half of the goid of the G in `word`, or the tid of the thread.
    goid: AtomicU32,
    /// Not 0: some unlocker was not the holder (invariant 2).
    around: AtomicU32,
}

impl Holder {
    /// The caller has got the object.
    #[inline(always)]
    pub(super) fn set(&self) {
        match arch::getg() {
            Some(gp) => self.set_g(gp),
            None => self.set_thread(),
        }
    }

    /// The caller has got the object, perhaps as one of several holders. Of
    /// those the words have one: the first, until it goes. A later one of many
    /// that come and go does not take its place.
    #[inline(always)]
    pub(super) fn set_if_free(&self) {
        if self.word.load(Relaxed) == 0 {
            self.set();
        }
    }

    #[inline(always)]
    fn set_g(&self, gp: &G) {
        self.goid.store(gp.goid.get() as u32, Relaxed);
        self.word.store(ptr::from_ref(gp).addr(), Relaxed);
    }

    #[cold]
    fn set_thread(&self) {
        if KNOWS_TIDS.load(Relaxed) {
            self.goid.store(arch::tid_word(), Relaxed);
            self.word.store(arch::thread_pointer() | THREAD, Relaxed);
        } else {
            self.clear();
        }
    }

    /// Whether the caller is in the word by its G.
    #[inline(always)]
    pub(super) fn is_my_g(&self) -> bool {
        let Some(gp) = arch::getg() else { return false };
        self.word.load(Relaxed) == ptr::from_ref(gp).addr()
    }

    /// Whether the caller is in the word.
    fn is_me(&self) -> bool {
        let word = self.word.load(Relaxed) & !DOUBT;
        arch::getg().is_some_and(|gp| word == ptr::from_ref(gp).addr())
            || word == arch::thread_pointer() | THREAD
                && self.goid.load(Relaxed) == arch::tid_word()
    }

    /// The caller, which is in the word, is about to give the object up.
    #[inline(always)]
    pub(super) fn clear(&self) {
        self.word.store(0, Relaxed);
    }

    /// The caller is about to give up an object that has one holder.
    #[inline(always)]
    pub(super) fn leave(&self) {
        if !self.is_my_g() {
            self.leave_slow();
        }
        self.clear();
    }

    #[cold]
    fn leave_slow(&self) {
        if !self.is_me() {
            self.mark();
        }
    }

    /// One of perhaps several holders is about to give its part up; `alone`
    /// looks whether there is only one.
    #[inline(always)]
    pub(super) fn leave_shared(&self, alone: impl Fn() -> bool) {
        if self.is_my_g() {
            self.clear();
        } else if self.word.load(Relaxed) != 0 {
            self.leave_shared_slow(alone);
        }
    }

    #[cold]
    fn leave_shared_slow(&self, alone: impl Fn() -> bool) {
        if self.is_me() {
            return self.clear();
        }
        let other = self.word.load(Acquire);
        // The other may have come or gone while the caller looked.
        if other != 0 && alone() && self.word.load(Acquire) == other {
            self.mark();
        }
        if other != 0 && other & DOUBT == 0 {
            // In vain if the other goes meanwhile.
            let doubt = other | DOUBT;
            let _old =
                self.word.compare_exchange(other, doubt, Relaxed, Relaxed);
        }
    }

    fn mark(&self) {
        self.around.store(1, Relaxed);
    }
}

/// What a report finds in holder words.
#[cfg(not(shuttle))]
#[derive(Clone, Copy)]
pub(crate) struct Found {
    pub who: Who,
    /// They say nothing about who will unlock the object.
    pub around: bool,
    /// Whether this reader still has its share is in doubt.
    pub doubt: bool,
}

/// A holder.
#[cfg(not(shuttle))]
#[derive(Clone, Copy)]
pub(crate) enum Who {
    /// The address of a G, and the low half of its goid at that time.
    G(usize, u32),
    /// The thread with this thread pointer and tid.
    Thread(usize, u32),
}

/// For reports: the holder in the words at an address that may be none any
/// more; None where there is none, or nobody knows.
#[cfg(not(shuttle))]
pub(crate) fn read(memory: &dyn Memory, at: usize) -> Option<Found> {
    let word = memory.u64(at as u64)? as usize;
    let field = |at_field: usize| memory.u32((at + at_field) as u64);
    let goid = field(mem::offset_of!(Holder, goid))?;
    let around = field(mem::offset_of!(Holder, around))? != 0;
    let doubt = word & DOUBT != 0;
    let who = match word & !DOUBT {
        0 => return None,
        _ if word & THREAD != 0 => Who::Thread(word & !(THREAD | DOUBT), goid),
        word => Who::G(word, goid),
    };
    Some(Found { who, around, doubt })
}
