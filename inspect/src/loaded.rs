//! The unwind tables of an object that is sure to be there, read by loads.
//!
//! # Invariants
//! 1. A read is answered only from the segment of the tables, and before that
//!    from the first page of the object: the kernel maps whole pages of both,
//!    and neither goes while the object is loaded.

use crate::{elf::Elf, memory::Memory, modules::Module};
use core::{ops::Range, ptr};

const PAGE: u64 = 4096;
const LOAD: u32 = 1;

/// Memory of a loaded object.
pub(crate) struct Loaded(Range<u64>);

impl Loaded {
    /// The segment with the unwind tables of an object.
    ///
    /// # Safety
    /// The object stays loaded.
    pub(crate) unsafe fn tables(module: &Module) -> Option<Self> {
        let first = Self(module.start..module.start + PAGE);
        let at = match module.eh_frame_hdr {
            0 => module.eh_frame,
            at => at,
        };
        let segments = Elf::new(&first, module.start)?;
        let has_it = segments.segments().find(|s| {
            s.kind == LOAD
                && at.wrapping_sub(module.bias.wrapping_add(s.address))
                    < s.in_file
        })?;
        let begin = module.bias.wrapping_add(has_it.address);
        let end = begin.checked_add(has_it.in_file)?;
        Some(Self(begin..end.next_multiple_of(PAGE)))
    }
}

impl Memory for Loaded {
    #[inline]
    fn near(&self) -> bool {
        true
    }

    #[inline]
    fn read(&self, at: u64, to: &mut [u8]) -> bool {
        let inside = at >= self.0.start
            && at.checked_add(to.len() as u64).is_some_and(|e| e <= self.0.end);
        if inside {
            // SAFETY: mapped, and read only, by invariant 1.
            unsafe {
                ptr::copy_nonoverlapping(
                    at as *const u8,
                    to.as_mut_ptr(),
                    to.len(),
                );
            }
        }
        inside
    }
}
