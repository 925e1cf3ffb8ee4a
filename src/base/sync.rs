//! The atomics that all of the crate uses: core's, or a model's.
//!
//! Code imports atomics from here and never from `core`, so that a build with
//! `--cfg loom` explores the very code that runs, and one with `--cfg shuttle`
//! tries it in many orders.

#[cfg(not(any(loom, shuttle)))]
pub use core::hint::spin_loop;
#[cfg(not(any(loom, shuttle)))]
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

#[cfg(shuttle)]
pub use shuttle::hint::spin_loop;
#[cfg(shuttle)]
pub use shuttle::sync::atomic::{
    AtomicBool, AtomicI32, AtomicI64, AtomicPtr, AtomicU8, AtomicU32,
    AtomicU64, AtomicUsize, Ordering, compiler_fence, fence,
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

/// Stores with release into a word that others only change by
/// read-modify-writes. Such a change found the old value, and then came before
/// this store; loom would let it come after, unless the store is a swap.
#[inline(always)]
pub fn release_over_changes(word: &AtomicU64, value: u64) {
    #[cfg(not(loom))]
    word.store(value, Ordering::Release);
    #[cfg(loom)]
    word.swap(value, Ordering::AcqRel);
}

/// The same for a word of half the size; to loom it acquires nothing.
#[inline(always)]
pub fn release_over_changes32(word: &AtomicU32, value: u32) {
    #[cfg(not(loom))]
    word.store(value, Ordering::Release);
    #[cfg(loom)]
    word.swap(value, Ordering::Release);
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

/// A static; under shuttle, one for each schedule that is tried.
#[cfg(not(loom))]
macro_rules! static_of_a_run {
    ($(#[$attr:meta])* static $name:ident: $type:ty = $value:expr;) => {
        #[cfg(not(shuttle))]
        $(#[$attr])*
        static $name: $type = $value;

        #[cfg(shuttle)]
        shuttle::lazy_static! {
            $(#[$attr])*
            static ref $name: $type = $value;
        }
    };
}
#[cfg(not(loom))]
pub(crate) use static_of_a_run;
