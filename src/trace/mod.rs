//! The timeline: what the scheduler did, for a user to look at; and the flight
//! recorder. docs/trace.md has the user's side and the format.
//!
//! ```text
//!   base::trace::event --> recorder: a ring for each thread
//!                                          |
//!                          merge: the rings' events in the order of time
//!                                          |
//!                          encode: who ran, waited, woke whom
//!                            |             |
//!                          tracks       packet --> a file
//! ```
//! | state | events | written |
//! |---|---|---|
//! | Off | none | |
//! | File | into the rings | by the tracer, our thread; the rest at the end |
//! | Flight | into the rings, which go round | by each save; at a fatal error |
//! | Failed | none | the file refused; the stop reports it |
//!
//! A file ends at the stop, at the exit, or at a fatal error. A save is on its
//! caller's thread. A start makes Off File or Flight, a stop Off again; a write
//! that fails makes File Failed. All of that, and all reading of rings, is
//! under the lock of `session`.
//!
//! Nothing here allocates from the heap but the start and the stop: the rest
//! works in memory that the start has mapped, because a fatal error writes the
//! trace too, on a failing thread.
//!
//! Its files, from the top to the bottom; each uses what stands below it:
//!
//! | file | what |
//! |---|---|
//! | `setting` | what the environment asks for |
//! | `session` | start, stop, save; the tracer |
//! | `encode` | events in, states and packets out |
//! | `heap` | collections, and bytes of the heap |
//! | `lanes` | slices, instants and counters on tracks |
//! | `tracks` | goroutines that the trace knows, and their tracks |
//! | `words` | the names that each file has |
//! | `packet` | Perfetto's packets, byte by byte |
//! | `merge` | the events of all rings in the order of time |
//! | `recorder` | this thread's ring |
//! | `reader` | where the reading of a ring stands |
//! | `mapped` | a large value in a mapping of its own |
//! | `stamp` | time stamps, and the clock that they belong to |
//!
//! # Rejected
//! - A protobuf crate: five messages with some thirty fields, written only.
//! - Conversion at the end, from raw events in the file: a process that is
//!   killed would leave a file that nothing reads.
//! - Rings that are unmapped at the stop: a writer may still be in its last
//!   event. Their pages are given back, and a late event gets a fresh one.

mod encode;
mod heap;
mod lanes;
mod mapped;
mod merge;
mod packet;
mod reader;
mod recorder;
mod session;
pub(crate) mod setting;
mod stamp;
mod tracks;
mod words;

pub(crate) use recorder::{reset as reset_recorders, set_ring_size};
pub(crate) use session::{
    at_exit, at_fatal, end_tracer, mark, reset as reset_session, save, start,
    stop, tracer_ended,
};
