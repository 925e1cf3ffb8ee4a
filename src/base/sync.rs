//! The atomics of the whole crate: core's, loom's or shuttle's.
//!
//! Code imports atomics from here and never from `core`. So a build with
//! `--cfg loom` explores the very code that runs, and a build with
//! `--cfg shuttle` tries that code in many orders.

#[cfg(not(any(loom, shuttle)))]
pub use core::hint::spin_loop;
#[cfg(not(any(loom, shuttle)))]
pub use core::sync::atomic::{
    AtomicBool, AtomicI32, AtomicI64, AtomicPtr, AtomicU8, AtomicU32,
    AtomicU64, AtomicUsize, Ordering, compiler_fence, fence,
};

// For the heap alone.
#[cfg(not(any(loom, shuttle)))]
pub use core::sync::atomic::AtomicU16;

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

/// Does nothing: loom models no reordering by the compiler.
#[cfg(loom)]
pub fn compiler_fence(_order: Ordering) {}

/// Stands between a SeqCst read-modify-write and a SeqCst load that must come
/// later in the total order of SeqCst accesses. In the real build the two
/// accesses suffice. Loom keeps that order for fences only, and so gets one.
#[inline(always)]
pub fn seqcst_accesses() {
    #[cfg(loom)]
    fence(Ordering::SeqCst);
}

/// Stores with release into a word that other threads change only by
/// read-modify-writes. A change that found the old value came before this
/// store. Loom would let such a change come later unless the store is a swap.
#[inline(always)]
pub fn release_over_changes(word: &AtomicU64, value: u64) {
    #[cfg(not(loom))]
    word.store(value, Ordering::Release);
    #[cfg(loom)]
    word.swap(value, Ordering::AcqRel);
}

/// [`release_over_changes`] for 32 bits; under loom its swap does not acquire.
#[inline(always)]
pub fn release_over_changes32(word: &AtomicU32, value: u32) {
    #[cfg(not(loom))]
    word.store(value, Ordering::Release);
    #[cfg(loom)]
    word.swap(value, Ordering::Release);
}

/// Makes a function `const`, except under loom, whose atomics have no constant
/// constructor.
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

/// A static; under shuttle, each schedule that is tried has its own.
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
