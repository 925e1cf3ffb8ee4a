//! Reports about a failing process. Nothing here parks, locks or allocates: the
//! code runs on a failing thread, also in signal handlers.
//!
//! Its files, from the top to the bottom; each uses what stands below it:
//!
//! | file | what |
//! |---|---|
//! | `fault` | names an overflown stack; other faults are the host's |
//! | `exception` | names an exception that no frame catches |
//! | `stackadvice` | how much stack the goroutines of each function use |
//! | `dump` | the goroutines, listed after a fatal error |

pub(crate) mod dump;
mod exception;
pub(crate) mod fault;
pub(crate) mod stackadvice;
