//! The stacks of all goroutines that run, for the report of a fatal error.
//!
//! The report is made in a copy of the process, which has no other thread. So
//! the threads are asked before (`sample`), and the copy finds here what they
//! have answered. The code may run in a signal handler, under any lock: it
//! neither locks nor allocates.

use super::{
    dump::peek,
    sample::{Limits, Sampler},
};
use crate::{
    gmp::{G, GStatus, each_g},
    os::{
        mem::map_data,
        task::{self, Stands},
    },
};
use core::{mem::MaybeUninit, ptr, sync::atomic::Ordering::Relaxed};
use gmprt_inspect::goroutine::Seen;

/// The most goroutines.
const MANY: usize = 64;
/// The most bytes of a stack.
const STACK: usize = 32 << 10;
/// How long a thread may take, and all, in nanoseconds.
const LIMITS: Limits = Limits { one: 50_000_000, all: 500_000_000 };

/// What is known of one goroutine.
struct Sample {
    /// Its G.
    g: usize,
    seen: MaybeUninit<Seen>,
    len: usize,
    stack: [u8; STACK],
}

/// What is known of those that run.
pub(super) struct Samples {
    len: usize,
    all: [Sample; MANY],
}

/// Asks all threads that compute, but for the one that runs `failing`. None if
/// a dump does so, or there is no memory.
pub(super) fn take(failing: Option<&G>) -> Option<&'static Samples> {
    let sampler = Sampler::new(LIMITS)?;
    let room = map_data(size_of::<Samples>()).ok()?.cast::<Samples>();
    // SAFETY: new memory, whose zeros are valid; it stays, since the process
    // ends.
    let room = unsafe { room.as_mut() }?;
    for gp in each_g() {
        let is_failing = failing.is_some_and(|it| ptr::eq(it, gp));
        let runs = gp.readgstatus() == GStatus::Running && !gp.is_host();
        if is_failing || !runs {
            continue;
        }
        // SAFETY: null, or a type-stable M.
        let Some(mp) = (unsafe { peek(&gp.m).as_ref() }) else { continue };
        // Relaxed: a number for the kernel.
        let tid = mp.procid.load(Relaxed);
        if tid == 0 || task::stands(tid) != Stands::Runs {
            continue;
        }
        let Some(place) = room.all.get_mut(room.len) else { break };
        let g = ptr::from_ref(gp).addr();
        place.g = g;
        let seen = sampler.ask(tid, g, peek(&gp.goid), |bytes| {
            let bytes = &bytes[..bytes.len().min(STACK)];
            place.stack[..bytes.len()].copy_from_slice(bytes);
            place.len = bytes.len();
        });
        place.seen.write(seen);
        room.len += 1;
    }
    Some(room)
}

impl Samples {
    /// What is known of the goroutine at this address; its stack is copied.
    pub(super) fn find(&self, g: usize, to: &mut Vec<u8>) -> Option<Seen> {
        let mut all = self.all[..self.len].iter();
        let it = all.find(|it| it.g == g)?;
        to.clear();
        to.extend_from_slice(&it.stack[..it.len]);
        // SAFETY: `take` has written it.
        Some(unsafe { it.seen.assume_init() })
    }
}
