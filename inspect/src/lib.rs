//! Looks into a process that runs gmprt: stacks, names, and what waits on what.
//!
//! The library looks into its own process with this crate, and the command
//! `gmprt` into another process or a core; so both say the same. All that the
//! crate knows of the library's data it reads from `gmp_debug_layout`.
//!
//! A module uses only modules below it in this table. "Handler" says whether
//! the module is for signal handlers too: then it neither allocates nor locks.
//!
//! | module | does | handler |
//! |---|---|---|
//! | [`symbols`] | functions, files, lines | no |
//! | `dwarf`, `mapped` | DWARF; mapped files | no |
//! | [`corefile`] | a core: memory, mappings, threads | no |
//! | [`cache`] | walks of many stacks | no |
//! | [`process`] | another process: memory, mappings | no |
//! | [`objects`] | its objects | no |
//! | [`names`] | function or object, and offset | yes |
//! | [`walk`] | the frames of a stack | yes |
//! | [`regs`] | the registers that a walk begins with | yes |
//! | [`modules`] | which loaded object has an address: the own process | yes |
//! | `cfi`, `expr`, `bytes` | the rules of `.eh_frame` | yes |
//! | `elf` | headers and symbols of objects | yes |
//! | [`touched`] | how deep a stack has been | own process: yes |
//! | [`memory`] | reads memory that may not be there | yes |

mod bytes;
pub mod cache;
mod cfi;
#[cfg(test)]
mod cfi_tests;
pub mod corefile;
mod dwarf;
mod elf;
mod expr;
mod mapped;
pub mod memory;
pub mod modules;
pub mod names;
pub mod objects;
pub mod process;
pub mod regs;
pub mod symbols;
pub mod touched;
pub mod walk;
