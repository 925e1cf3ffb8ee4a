//! What looks inside when something goes wrong. Nothing here parks, locks or
//! allocates: it runs on a failing thread, in signal handlers too.
//!
//! | file | what |
//! |---|---|
//! | `fault` | a fault on a stack's guard is a stack overflow; others are the host's |
//! | `dump` | the goroutines, listed after a fatal error |
//! | `exception` | an exception that no frame of a goroutine catches |

pub(crate) mod dump;
mod exception;
pub(crate) mod fault;
