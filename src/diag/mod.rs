//! What looks inside when something goes wrong. Nothing here parks, locks or
//! allocates: it runs on a failing thread, in signal handlers too.
//!
//! Its files, from the top to the bottom; each uses what stands below it:
//!
//! | file | what |
//! |---|---|
//! | `fault` | names an overflown stack; other faults are the host's |
//! | `exception` | names an exception that no frame catches |
//! | `dump` | the goroutines, listed after a fatal error |

pub(crate) mod dump;
mod exception;
pub(crate) mod fault;
