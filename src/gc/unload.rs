//! The heap's end, when the library is unloaded: no object is valid any more,
//! as the code that knows them is gone.
//!
//! A runtime that has ended leaves all objects as they are, and the next start
//! goes on with them. At the exit of the process they stay for ever: another
//! thread may read one to the last.

use super::{cleanups, roots};
use crate::{heap::MHEAP, os::ours};

/// Unmaps the heap.
///
/// # Safety
/// The runtime has ended or never began. The library is unloaded, and no thread
/// is in a call or uses an object.
pub(crate) unsafe fn free() {
    // SAFETY: the caller promises.
    unsafe { cleanups::free() };
    // SAFETY: the same.
    unsafe { MHEAP.unmap() };
    roots::free();
    // SAFETY: all of it is the heap's, which nobody uses.
    unsafe { ours::unmap_all() };
}
