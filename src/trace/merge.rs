//! The events of all rings in the order of time.
//!
//! Each ring has a [`Reader`], with room for some events that were copied. A
//! heap has the next event of each ring that has one; the earliest comes out,
//! and the next of its ring goes in.
//!
//! A ring that has lost events is read from some way after its oldest on, or
//! its writer would overtake the reader again at once.
//!
//! Invariants:
//! 1. Times within a ring do not decrease: a counter that jumps back (another
//!    processor's is behind) counts as the time before.
//! 2. The heap holds each recorder at most once, under the time of its next
//!    event.

use super::{
    recorder::{self, Recorder},
    tracks::By,
};
use crate::base::ring::{MAX_TEXT, Words};

/// Events copied at a time.
const BATCH: usize = 256;
/// The most rings that are read: more than there are Ms.
const MOST: usize = 16_384;

/// Where the reading of a ring stands. All bytes zero: at its begin.
pub(super) struct Reader {
    /// The next event to copy.
    from: u64,
    /// Events that were lost since the last one that came out.
    lost: u64,
    /// The time of the last one.
    last: u64,
    copied: [Words; BATCH],
    at: usize,
    n: usize,
    /// What the events so far say of the thread.
    pub thread: Thread,
}

/// A thread, as its events show it.
#[derive(Clone, Copy)]
pub(super) struct Thread {
    /// The kernel's number; 0 while unknown.
    pub tid: i32,
    /// The P that it holds, plus 1; 0 for none.
    pub p: u32,
    /// The goroutine that it runs; 0 for none.
    pub goid: u64,
    /// The cause of the wake-ups that follow.
    pub by: By,
    /// The cause of the next one, before `by`.
    pub next_by: By,
    /// With [`By::End`]: the goroutine that has ended.
    pub ended: u64,
    /// Text for the next event.
    pub text: [u8; MAX_TEXT],
    pub text_len: usize,
}

impl Thread {
    pub(super) const NEW: Self = Self {
        tid: 0,
        p: 0,
        goid: 0,
        by: By::Nothing,
        next_by: By::Nothing,
        ended: 0,
        text: [0; MAX_TEXT],
        text_len: 0,
    };
}

impl Reader {
    /// Begins with event `from`, and knows nothing of the thread.
    pub(super) fn begin(&mut self, from: u64) {
        (self.from, self.at, self.n) = (from, 0, 0);
        (self.lost, self.last) = (0, 0);
        self.thread = Thread::NEW;
    }

    /// The number of events lost before the next one; once.
    pub(super) fn take_lost(&mut self) -> u64 {
        core::mem::take(&mut self.lost)
    }

    /// The time of the next event, if there is one at or before `until`.
    fn next_time(&mut self, recorder: &Recorder, until: u64) -> Option<u64> {
        if self.at == self.n {
            self.refill(recorder);
        }
        let event = self.copied[..self.n].get(self.at)?;
        let time = event[0].max(self.last);
        (time <= until).then_some(time)
    }

    fn refill(&mut self, recorder: &Recorder) {
        let ring = &recorder.ring;
        let written = ring.written();
        let mut from = self.from;
        if written - from.min(written) >= ring.capacity() {
            from = written - ring.capacity() / 8 * 7;
        }
        let copied = ring.copy(from, &mut self.copied);
        self.lost += copied.first - self.from;
        self.from = copied.first + copied.n as u64;
        (self.at, self.n) = (0, copied.n);
        if let Some(mp) = recorder.m() {
            // Relaxed: a number to show.
            let tid = mp.procid.load(core::sync::atomic::Ordering::Relaxed);
            if tid != 0 {
                self.thread.tid = tid;
            }
        }
    }

    /// How much of its ring is unread.
    pub(super) fn unread(&self, recorder: &Recorder) -> u64 {
        recorder.ring.written().saturating_sub(self.from)
    }
}

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
            if let Some(time) = reader.next_time(recorder, until) {
                self.push(Entry { time, recorder });
            }
        }
        while self.len > 0
            && let Some(Entry { time, recorder }) = self.heap[0]
        {
            // SAFETY: the caller holds the lock; it ends before the next.
            let reader = unsafe { recorder.reader() };
            let event = reader.copied[reader.at];
            reader.at += 1;
            reader.last = time;
            each(recorder, reader, time, event);
            match reader.next_time(recorder, until) {
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
