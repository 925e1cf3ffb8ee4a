//! What is kept of a panic, from `gmp_panic` on, until the host reads it no
//! more. The panic itself is [`super::panics`].
//!
//! A panic lies outside of the stack: its frame of `gmp_panic` goes while it
//! unwinds, and `longjmp` may take it earlier. It is in the list of its G
//! ([`super::defers`]), as the first field of which it knows.

use super::defers::{self, Defer, Frame, Kind};
use crate::{
    arch,
    base::throw::RUNNING_PANIC_DEFERS,
    gmp::{G, exception::Exception},
};
use core::{
    cell::{Cell, UnsafeCell},
    ffi::{c_char, c_void},
    mem::{self, offset_of},
    ptr,
    sync::atomic::{AtomicBool, Ordering::*},
};

/// What `gmp_panic` and `gmp_panic_with` say.
pub(crate) struct Said {
    /// From `malloc`, or null.
    pub text: *mut c_char,
    /// What stands for a text for which there was no memory.
    pub otherwise: *const c_char,
    pub value: *mut c_void,
}

/// What a host learns of a panic: `gmp_panic_info`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct PanicInfo {
    pub struct_size: usize,
    pub text: *const c_char,
    pub value: *mut c_void,
    pub goid: u64,
}

/// A panic.
#[repr(C)]
pub(crate) struct Panic {
    pub(super) record: Defer,
    exception: UnsafeCell<Exception>,
    info: UnsafeCell<PanicInfo>,
    /// The text, if it is from `malloc`, or null.
    text: *mut c_char,
    /// The frame of `gmp_panic`.
    pub(super) frame: Frame,
    /// The CFA of the deferred function that runs.
    pub(super) argp: Cell<usize>,
    /// The place of the `gmp_call` that it ends at; 0: the goroutine ends.
    target: Cell<usize>,
    pub(super) recovered: Cell<bool>,
    /// It counts in `RUNNING_PANIC_DEFERS`.
    counted: Cell<bool>,
}

// SAFETY: it belongs to one G (invariant 1 of `defers`).
unsafe impl Sync for Panic {}

/// Panics for which `malloc` has no memory.
const RESERVED: usize = 4;

struct Reserve {
    taken: [AtomicBool; RESERVED],
    room: UnsafeCell<[mem::MaybeUninit<Panic>; RESERVED]>,
}

// SAFETY: each place belongs to the thread that has set its flag.
unsafe impl Sync for Reserve {}

static RESERVE: Reserve = Reserve {
    taken: [const { AtomicBool::new(false) }; RESERVED],
    room: UnsafeCell::new([const { mem::MaybeUninit::uninit() }; RESERVED]),
};

/// Memory for a panic, or null.
pub(super) fn room() -> *mut Panic {
    // SAFETY: malloc may be called with any size.
    let place = unsafe { libc::malloc(size_of::<Panic>()) }.cast::<Panic>();
    if !place.is_null() {
        return place;
    }
    // Acquire: pairs with free.
    let free = RESERVE.taken.iter().position(|it| !it.swap(true, Acquire));
    let first = RESERVE.room.get().cast::<Panic>();
    free.map_or(ptr::null_mut(), |at| first.wrapping_add(at))
}

/// Frees a panic, which is out of the list.
pub(super) fn free(record: &Defer) {
    let place = ptr::from_ref(record).cast_mut().cast::<Panic>();
    // SAFETY: the first field of a panic.
    let panic = unsafe { &*place };
    panic.has_run();
    // SAFETY: from malloc, or null; `text` is read no more.
    unsafe { libc::free(panic.text.cast()) };
    let first = RESERVE.room.get().cast::<Panic>();
    let reserved = (0..RESERVED).find(|&at| first.wrapping_add(at) == place);
    match reserved {
        // Release: pairs with room.
        Some(at) => RESERVE.taken[at].store(false, Release),
        // SAFETY: from malloc in room, and out of the list.
        None => unsafe { libc::free(place.cast()) },
    }
}

impl Panic {
    /// A panic of the goroutine with this number, in the frame of `gmp_panic`.
    /// It counts from now on.
    pub(super) fn new(said: &Said, goid: u64, frame: Frame) -> Self {
        let text = if said.text.is_null() { said.otherwise } else { said.text };
        let struct_size = size_of::<PanicInfo>();
        let info = PanicInfo { struct_size, text, value: said.value, goid };
        // Relaxed: a word to look at.
        RUNNING_PANIC_DEFERS.fetch_add(1, Relaxed);
        Self {
            record: Defer::panic(),
            exception: UnsafeCell::new(Exception::new(arch::swallowed)),
            info: UnsafeCell::new(info),
            text: said.text,
            frame,
            argp: Cell::new(0),
            target: Cell::new(0),
            recovered: Cell::new(false),
            counted: Cell::new(true),
        }
    }

    /// Its deferred functions run, as far as is known.
    pub(super) fn runs(&self) -> bool {
        self.counted.get()
    }

    /// Its deferred functions run no more.
    pub(super) fn has_run(&self) {
        if self.counted.replace(false) {
            let less = |n: usize| n.checked_sub(1);
            // The child of a fork has begun at 0 again.
            let _ = RUNNING_PANIC_DEFERS.fetch_update(Relaxed, Relaxed, less);
        }
    }

    /// The exception that unwinds for it.
    pub(crate) fn exception(&self) -> *mut Exception {
        self.exception.get()
    }

    /// The panic of this exception.
    ///
    /// # Safety
    /// It is that of a panic, which is not freed.
    pub(crate) unsafe fn of<'a>(exception: *const Exception) -> &'a Self {
        let place = exception.wrapping_byte_sub(offset_of!(Panic, exception));
        // SAFETY: the caller promises.
        unsafe { &*place.cast::<Self>() }
    }

    /// The place of the `gmp_call` that it ends at; 0: it ends the goroutine.
    pub(crate) fn target(&self) -> usize {
        self.target.get()
    }

    pub(super) fn set_target(&self, place: usize) {
        self.target.set(place);
    }

    pub(super) fn info(&self) -> PanicInfo {
        // SAFETY: written when it was made, and by nobody since.
        unsafe { *self.info.get() }
    }

    /// Where that is, for the host.
    pub(super) fn info_at(&self) -> *const PanicInfo {
        self.info.get()
    }

    pub(super) fn of_record(record: &Defer) -> &Self {
        // SAFETY: the first field of a panic, which is in a list.
        unsafe { &*ptr::from_ref(record).cast::<Self>() }
    }
}

/// Calls `found` with the words of the host in the list of `gp`, which stands
/// still: from, to.
pub(crate) fn words(gp: &G, found: &mut dyn FnMut(usize, usize)) {
    for record in defers::records(gp) {
        let at = match record.kind() {
            Kind::Panic | Kind::Kept => {
                // SAFETY: `info` lies in a panic of the list.
                unsafe {
                    &raw const (*Panic::of_record(record).info_at()).value
                }
                .addr()
            }
            _ => record.arg_at().addr(),
        };
        found(at, at + size_of::<usize>());
    }
}
