//! The atomics that all of the crate uses: core's, or loom's in a model.
//!
//! Code imports atomics from here and never from `core`, so that one build
//! with `--cfg loom` explores the very code that runs.

#[cfg(not(loom))]
pub use core::hint::spin_loop;
#[cfg(not(loom))]
pub use core::sync::atomic::{
    AtomicBool, AtomicI32, AtomicI64, AtomicPtr, AtomicU8, AtomicU32,
    AtomicU64, AtomicUsize, Ordering, compiler_fence, fence,
};

#[cfg(loom)]
pub use loom::hint::spin_loop;
#[cfg(loom)]
pub use loom::sync::atomic::{
    AtomicBool, AtomicI32, AtomicI64, AtomicPtr, AtomicU8, AtomicU32,
    AtomicU64, AtomicUsize, Ordering, fence,
};

/// Does nothing: loom does not reorder what the compiler would.
#[cfg(loom)]
pub fn compiler_fence(_order: Ordering) {}

/// Stands between a SeqCst read-modify-write and a SeqCst load that has to
/// come after it in the one order of such accesses. The two see to that by
/// themselves; loom, which has that order for fences only, is told here.
#[inline(always)]
pub fn seqcst_accesses() {
    #[cfg(loom)]
    fence(Ordering::SeqCst);
}

/// Makes the function in it `const`, but under loom, whose atomics have no
/// constant constructor.
macro_rules! const_unless_loom {
    ($(#[$attr:meta])* $vis:vis fn $($rest:tt)*) => {
        #[cfg(not(loom))]
        $(#[$attr])*
        $vis const fn $($rest)*

        #[cfg(loom)]
        $(#[$attr])*
        $vis fn $($rest)*
    };
}
pub(crate) use const_unless_loom;
