//! Looks into a process that runs gmprt: stacks, names, and what waits on what.
//!
//! The library looks into its own process with this crate, and the command
//! `gmprt` into another process or a core; so both say the same. All that the
//! crate knows of the library's data it reads from `gmp_debug_layout`.
