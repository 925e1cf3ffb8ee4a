//! Layer 5: goroutines that wait for file descriptors (Go's netpoller).
//!
//! One epoll instance, edge-triggered, serves all descriptors in both
//! directions. It tells which goroutines may go on: [`poll`] returns a list,
//! and its caller readies those in the list. The scheduler is unknown here.
//!
//! Its files, from the top to the bottom; each uses what stands below it:
//!
//! | file | has |
//! |---|---|
//! | `poll` | a poll, and the start anew where the host closes the poller |
//! | `desc` | a number's waiters and edges: the protocol, and its invariants |
//! | `speculation` | reads that wait without a try |
//! | `poller` | the epoll instance |

mod desc;
mod poll;
mod poller;
mod speculation;

pub(crate) use desc::{
    Caller, Desc, Quiet, Side, desc, known, reset as reset_descs, verify,
    waited_for, waiters,
};
pub(crate) use poll::{Polled, end_waits, forget_files, poll, polls, renew};
pub(crate) use poller::{
    GONE, break_poll, close, close_in_child, failure, free,
    reset as reset_poller, start, started,
};
pub(crate) use speculation::{
    Speculation, any_unverified, reset as reset_speculation,
};
