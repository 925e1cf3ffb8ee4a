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
//! | [`dump`] | a dump of the goroutines, as text or JSON | no |
//! | [`json`], [`text`] | its two forms | no |
//! | [`groups`] | like goroutines, counted | no |
//! | [`places`] | frames and their names for people | no |
//! | [`snapshot`] | the goroutines of a process that goes on | no |
//! | `holders` | who has to go on before a wait can end | no |
//! | [`goroutine`] | what a snapshot says of a goroutine | no |
//! | `offsets` | the numbers of the table that a snapshot needs | no |
//! | `ahead` | what a snapshot reads at a time | no |
//! | [`layout`] | what the crate knows of the library's data | no |
//! | [`hash`] | a hash without thread-local storage | no |
//! | [`symbols`] | functions, files, lines | no |
//! | `dwarf` | functions and lines by DWARF | no |
//! | [`corefile`] | a core: memory, mappings, threads | no |
//! | [`process`] | another process: memory, mappings | no |
//! | [`objects`] | the objects of another process or core | no |
//! | [`cache`] | walks of many stacks | no |
//! | [`names`] | function or object, and offset | yes |
//! | [`demangle`], `demangle_types` | names of C++ and Rust | yes |
//! | [`caller`] | where the frame of a caller begins | yes |
//! | `known` | rules of frames, remembered by the own process | yes |
//! | [`walk`] | the frames of a stack | yes |
//! | `cfi`, `expr`, `bytes` | the rules of `.eh_frame` | yes |
//! | `loaded` | unwind tables, read by loads | yes |
//! | [`regs`] | the registers that a walk begins with | yes |
//! | [`modules`] | which loaded object has an address: the own process | yes |
//! | `elf` | headers and symbols of objects | yes |
//! | [`touched`] | how deep a stack has been | own process: yes |
//! | `mapped` | files that are mapped | no |
//! | [`memory`] | reads memory that may not be there | yes |

mod ahead;
mod bytes;
pub mod cache;
pub mod caller;
mod cfi;
#[cfg(test)]
mod cfi_tests;
pub mod corefile;
pub mod demangle;
#[cfg(test)]
mod demangle_tests;
mod demangle_types;
pub mod dump;
mod dwarf;
mod elf;
mod expr;
pub mod goroutine;
pub mod groups;
pub mod hash;
mod holders;
pub mod json;
mod known;
pub mod layout;
mod loaded;
mod mapped;
pub mod memory;
pub mod modules;
pub mod names;
pub mod objects;
mod offsets;
pub mod places;
pub mod process;
pub mod regs;
pub mod snapshot;
pub mod symbols;
pub mod text;
pub mod touched;
pub mod walk;
