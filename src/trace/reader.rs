//! Where the reading of a ring stands, and what its events so far say of the
//! thread.
//!
//! A ring that has lost events is read from some way after its oldest on, or
//! its writer would overtake the reader again at once.
//!
//! Invariant 1: times within a ring do not decrease. A counter that jumps back
//! (another processor's is behind) counts as the time before.

use crate::base::ring::{MAX_TEXT, Ring, Words};

/// Bytes of text in a slot.
pub(super) const TEXT_PART: usize = 16;
/// The first slot of a text has this beside the number of bytes.
pub(super) const TEXT_BEGINS: u64 = 1 << 8;
/// Events copied at a time.
const BATCH: usize = 256;
/// Why a goroutine has become runnable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum By {
    Nothing = 0,
    Create,
    Ready,
    Timer,
    Netpoll,
    End,
    Yield,
    Scheduler,
}

impl By {
    /// The id of its name, one of `words::CAUSES`.
    pub(super) fn iid(self) -> u64 {
        match self {
            Self::Nothing => Self::Scheduler as u64,
            by => by as u64,
        }
    }
}

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
    pub(super) fn next_time(&mut self, ring: &Ring, until: u64) -> Option<u64> {
        if self.at == self.n {
            self.refill(ring);
        }
        let event = self.copied[..self.n].get(self.at)?;
        let time = event[0].max(self.last);
        (time <= until).then_some(time)
    }

    fn refill(&mut self, ring: &Ring) {
        let written = ring.written();
        let mut from = self.from;
        if written - from.min(written) >= ring.capacity() {
            from = written - ring.capacity() / 8 * 7;
        }
        let copied = ring.copy(from, &mut self.copied);
        self.lost += copied.first - self.from;
        self.from = copied.first + copied.n as u64;
        (self.at, self.n) = (0, copied.n);
    }

    /// Takes the next event, whose time is this.
    pub(super) fn take(&mut self, time: u64) -> Words {
        let event = self.copied[self.at];
        self.at += 1;
        self.last = time;
        event
    }

    /// How much of its ring is unread.
    pub(super) fn unread(&self, ring: &Ring) -> u64 {
        ring.written().saturating_sub(self.from)
    }
}

impl Thread {
    /// The text that came before this event.
    pub(super) fn text(&self) -> &[u8] {
        &self.text[..self.text_len]
    }

    /// Adds a slot of text, with the number of its bytes.
    pub(super) fn add_text(&mut self, id: u64, a: u64, b: u64) {
        if id & TEXT_BEGINS != 0 {
            self.text_len = 0;
        }
        let part = u128::from(a) | u128::from(b) << 64;
        let len = ((id & 0xff) as usize).min(TEXT_PART);
        let at = self.text_len;
        if let Some(room) = self.text.get_mut(at..at + len) {
            room.copy_from_slice(&part.to_le_bytes()[..len]);
            self.text_len += len;
        }
    }
}
