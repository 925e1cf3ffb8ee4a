//! The events of all rings in the order of time.
//!
//! Each ring has a [`Reader`], with room for some events that were copied. A
//! heap has the next event of each ring that has one; the earliest comes out,
//! and the next of its ring goes in.
//!
//! Invariant 1: the heap holds each recorder at most once, under the time of
//! its next event.

use super::{
    reader::Reader,
    recorder::{self, Recorder},
};
use crate::base::{ring::Words, sync::Ordering::*};

/// The most rings that are read: more than there are Ms.
const MOST: usize = 16_384;

/// The next event of a ring.
#[derive(Clone, Copy)]
struct Entry {
    time: u64,
    recorder: &'static Recorder,
}

/// A heap of the next events, the earliest first. All bytes zero are an empty
/// one.
pub(super) struct Merge {
    len: usize,
    heap: [Option<Entry>; MOST],
}

impl Merge {
    /// Hands each event up to the time `until` to `each`, in the order of time.
    ///
    /// # Safety
    /// The caller holds the session's lock, and no reference to a reader.
    pub(super) unsafe fn run(
        &mut self,
        until: u64,
        mut each: impl FnMut(&'static Recorder, &mut Reader, u64, Words),
    ) {
        self.len = 0;
        for recorder in recorder::each() {
            // SAFETY: the caller holds the lock; it ends before the next.
            let reader = unsafe { recorder.reader() };
            if let Some(time) = reader.next_time(&recorder.ring, until) {
                name_thread(recorder, reader);
                self.push(Entry { time, recorder });
            }
        }
        while self.len > 0
            && let Some(Entry { time, recorder }) = self.heap[0]
        {
            // SAFETY: the caller holds the lock; it ends before the next.
            let reader = unsafe { recorder.reader() };
            let event = reader.take(time);
            if reader.thread.tid == 0 {
                name_thread(recorder, reader);
            }
            each(recorder, reader, time, event);
            match reader.next_time(&recorder.ring, until) {
                Some(time) => self.replace(Entry { time, recorder }),
                None => self.pop(),
            }
        }
    }

    fn time(&self, at: usize) -> u64 {
        self.heap[at].map_or(u64::MAX, |entry| entry.time)
    }

    fn push(&mut self, entry: Entry) {
        let mut at = self.len;
        if at == MOST {
            return;
        }
        self.len += 1;
        while at > 0 && self.time((at - 1) / 2) > entry.time {
            self.heap[at] = self.heap[(at - 1) / 2];
            at = (at - 1) / 2;
        }
        self.heap[at] = Some(entry);
    }

    /// Takes the first out.
    fn pop(&mut self) {
        self.len -= 1;
        if self.len > 0
            && let Some(last) = self.heap[self.len]
        {
            self.replace(last);
        }
    }

    /// Puts `entry` in the place of the first.
    fn replace(&mut self, entry: Entry) {
        let mut at = 0;
        loop {
            let mut child = 2 * at + 1;
            if child >= self.len {
                break;
            }
            if child + 1 < self.len && self.time(child + 1) < self.time(child) {
                child += 1;
            }
            if self.time(child) >= entry.time {
                break;
            }
            self.heap[at] = self.heap[child];
            at = child;
        }
        self.heap[at] = Some(entry);
    }
}

/// Notes which thread writes into a ring. Not with each event: the number lies
/// beside what its thread writes all the time.
fn name_thread(recorder: &Recorder, reader: &mut Reader) {
    if let Some(mp) = recorder.m() {
        // Relaxed: a number to show, and 0 once the thread has ended.
        match mp.procid.load(Relaxed) {
            0 => {}
            tid => reader.thread.tid = tid,
        }
    }
}
