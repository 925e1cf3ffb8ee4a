//! Checks, when compiled, that the fields which assembly uses lie where it
//! looks.

use super::{G, M, offsets::*};
use core::mem::offset_of;

const _: () = assert!(offset_of!(G, stack_lo) == G_STACK_LO);
const _: () = assert!(offset_of!(G, stack_hi) == G_STACK_HI);
const _: () = assert!(offset_of!(G, stackguard0) == G_STACKGUARD0);
const _: () = assert!(offset_of!(G, stackguard1) == G_STACKGUARD1);
const _: () = assert!(offset_of!(G, sched_sp) == G_SCHED_SP);
const _: () = assert!(offset_of!(G, m) == G_M);
const _: () = assert!(offset_of!(M, g0) == M_G0);
const _: () = assert!(offset_of!(M, curg) == M_CURG);
const _: () = assert!(offset_of!(M, tls) == M_TLS);
// Each parked goroutine pays for it, and there may be a million.
const _: () = assert!(size_of::<G>() == 256);
