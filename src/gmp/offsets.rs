//! The numbers of `asm/offsets.h`, as `build.rs` copies them.

include!(concat!(env!("OUT_DIR"), "/offsets.rs"));
