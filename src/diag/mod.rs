//! What looks inside when something goes wrong. Nothing here parks, locks or
//! allocates: it runs on a failing thread, in signal handlers too.
//!
//! | file | what |
//! |---|---|
//! | `fault` | names an overflown stack; other faults are the host's |
//! | `dump` | the goroutines, listed after a fatal error |
//! | `exception` | names an exception that no frame catches |

pub(crate) mod dump;
mod exception;
pub(crate) mod fault;
