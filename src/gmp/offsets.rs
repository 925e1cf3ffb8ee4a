//! The offsets of `asm/offsets.h`, copied by `build.rs`.

include!(concat!(env!("OUT_DIR"), "/offsets.rs"));
