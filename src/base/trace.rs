//! Events of the scheduler, for the timeline: where they come from.
//!
//! Each step of the scheduler that a user may want to see tells of itself by
//! [`event`], in the one place where it happens. While no trace is on, that is
//! a load of [`HOOK`] and a branch, and nothing of the event is computed. While
//! one is on, the hook (`trace::recorder`) notes the event in a ring of the
//! thread's ([`super::ring`]).
//!
//! The hook runs on any stack of any thread, under any lock and in any state
//! that the scheduler passes through. So it neither parks nor allocates from
//! the heap, and takes no lock but its own innermost one.
//!
//! Invariant 1: `HOOK` is null or a [`Hook`]. A thread that has read the hook
//! may still run it after [`set_hook`] has taken it away.

use core::ptr;
#[cfg(not(any(loom, shuttle)))]
use core::{
    arch::asm,
    mem,
    sync::atomic::{AtomicPtr, Ordering::*},
};

/// What has happened. The comments say what `id`, `a` and `b` of the event are;
/// a goroutine is its goid, a thread its kernel's id, a P its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A piece of text, for the next event of this ring; never an [`Event`].
    Text,
    /// A goroutine is made. a: its creator, b: its function. Text: its name.
    Create,
    /// A host thread gets its stand-in. a: the thread.
    Attach,
    /// A goroutine runs on this thread's P. b: 1 if this follows at once on the
    /// event before of this thread's, whose time it has.
    Resume,
    /// A goroutine, or a host thread, waits. a: the reason, a C string that
    /// stays; or null, and the reason is text. b: the object.
    Park,
    /// A goroutine lets others run.
    Yield,
    /// A goroutine, or a stand-in, ends.
    End,
    /// A goroutine becomes runnable, or a host thread is woken. a: the waker.
    Ready,
    /// A host thread goes on after its wait.
    Awake,
    /// The next Ready of this thread is due to the end of a goroutine, or, if
    /// that is 0, to the scheduler.
    EndedBy,
    /// A timer is due.
    Timer,
    /// A descriptor has become ready. a: its number, b: epoll's bits.
    Net,
    /// Goroutines are taken from another P. a: the P, b: how many.
    Steal,
    /// This thread takes P a, for this goroutine if the goroutine needs it.
    TakeP,
    /// This thread lets go of P a.
    DropP,
    /// P a is taken from a goroutine that is outside. b: 1 if it computes.
    Retake,
    /// The goroutine is back in the library and finds its P taken.
    LostP,
    /// P a, in hand, goes to another thread.
    Handoff,
    /// A thread begins. a: the thread, b: the number of the M.
    Thread,
    /// The next events of the shared ring are of thread a.
    Sender,
    /// a: goroutines that exist, b: goroutines that wait in queues.
    Counters,
    /// A goroutine gets a name: the text.
    Name,
    /// A mark of the host's: the text.
    Mark,
    /// A collection begins to stop the world. a: bytes of objects, b: its
    /// number.
    GcStop,
    /// The world is stopped, and marking begins. a: bytes of objects.
    GcMark,
    /// The world goes on, and sweeping begins. a: bytes that live, b: at how
    /// many the next collection begins.
    GcEnd,
    /// All is swept; or the collection has failed.
    GcSwept,
    /// a: bytes of objects, b: at how many the next collection begins.
    Heap,
    /// The process ends by a fatal error.
    Fatal,
}

impl Kind {
    /// Whether it tells of the heap.
    pub fn is_of_heap(self) -> bool {
        use Kind::{GcEnd, GcMark, GcStop, GcSwept, Heap};
        matches!(self, GcStop | GcMark | GcEnd | GcSwept | Heap)
    }

    /// The kind with this number.
    pub fn from_number(n: u8) -> Option<Self> {
        const ALL: [Kind; 29] = [
            Kind::Text,
            Kind::Create,
            Kind::Attach,
            Kind::Resume,
            Kind::Park,
            Kind::Yield,
            Kind::End,
            Kind::Ready,
            Kind::Awake,
            Kind::EndedBy,
            Kind::Timer,
            Kind::Net,
            Kind::Steal,
            Kind::TakeP,
            Kind::DropP,
            Kind::Retake,
            Kind::LostP,
            Kind::Handoff,
            Kind::Thread,
            Kind::Sender,
            Kind::Counters,
            Kind::Name,
            Kind::Mark,
            Kind::GcStop,
            Kind::GcMark,
            Kind::GcEnd,
            Kind::GcSwept,
            Kind::Heap,
            Kind::Fatal,
        ];
        ALL.get(usize::from(n)).copied()
    }
}

/// What the hook gets to note.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub kind: Kind,
    /// The goroutine that it is about; 0 for none.
    pub id: u64,
    pub a: u64,
    pub b: u64,
    /// Read before the hook returns; the hook notes the first
    /// [`super::ring::MAX_TEXT`] bytes.
    pub text: *const [u8],
}

/// The text of an event without one.
const NO_TEXT: *const [u8] = ptr::slice_from_raw_parts(ptr::null(), 0);

impl Event {
    /// An event about goroutine `id`.
    pub fn of(kind: Kind, id: u64) -> Self {
        Self { kind, id, a: 0, b: 0, text: NO_TEXT }
    }

    /// The event with these numbers.
    pub fn with(self, a: u64, b: u64) -> Self {
        Self { a, b, ..self }
    }
}

/// Notes an event: its `kind`, `id`, `a`, `b` and `text`, which is readable.
///
/// One by one, so that registers hold them: an [`Event`] would pass through
/// memory, by narrow stores and then wide loads, which wait for each other.
#[cfg(not(any(loom, shuttle)))]
pub type Hook = fn(Kind, u64, u64, u64, *const [u8]);

/// Invariant 1.
#[cfg(not(any(loom, shuttle)))]
static HOOK: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Has events noted by `hook`, or no more.
#[cfg(not(any(loom, shuttle)))]
pub fn set_hook(hook: Option<Hook>) {
    let hook = hook.map_or(ptr::null_mut(), |hook| hook as *mut ());
    // Release: pairs with emit; the hook finds what it needs.
    HOOK.store(hook, Release);
}

/// Tells of an event, which `make` describes; it is called while a trace is on.
///
/// In assembly, because the compiler makes three instructions of an atomic load
/// that is tested. `make` captures by value, or the captures would be stored
/// for it each time.
#[inline(always)]
pub fn event(make: impl FnOnce() -> Event) {
    // SAFETY: reads a word, as a relaxed load does; emit looks again.
    #[cfg(not(any(loom, shuttle)))]
    unsafe {
        asm!(
            "cmp qword ptr [rip + {hook}], 0",
            "jne {on}",
            hook = sym HOOK,
            on = label { emit(make) },
            options(nostack, readonly),
        );
    }
    #[cfg(any(loom, shuttle))]
    let _ = make;
}

#[cold]
#[inline(never)]
#[cfg(not(any(loom, shuttle)))]
fn emit(make: impl FnOnce() -> Event) {
    // Acquire: pairs with set_hook.
    let hook = HOOK.load(Acquire);
    if !hook.is_null() {
        // SAFETY: invariant 1.
        let hook = unsafe { mem::transmute::<*mut (), Hook>(hook) };
        let Event { kind, id, a, b, text } = make();
        hook(kind, id, a, b, text);
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_found_by_its_number() {
        let mut n = 0;
        while let Some(kind) = Kind::from_number(n) {
            assert_eq!(kind as u8, n);
            n += 1;
        }
        assert_eq!(n, Kind::Fatal as u8 + 1);
    }
}
