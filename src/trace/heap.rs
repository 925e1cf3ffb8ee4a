//! The collected heap in the file: a track with a slice for each part of a
//! collection, and counters of bytes. Both are described when the first such
//! event comes, as most programs have none.
//!
//! ```text
//!   GcStop              GcMark           GcEnd                  GcSwept
//!     |  stop the world   |  mark          |  sweep                |
//!     '-------------------'----------------'-----------------------'
//! ```
//! A collection that fails ends with GcSwept. The next one may begin while the
//! last one's garbage is swept, and sweeps the rest itself.

use super::{
    lanes::{Name, Value, Writer},
    tracks,
    words::{Category, Fixed, Note},
};
use crate::base::trace::Kind;

impl Writer<'_> {
    /// An event of the heap, with its two numbers.
    pub(super) fn heap(&mut self, kind: Kind, a: u64, b: u64) {
        let bytes = Value::Number(a);
        match kind {
            Kind::GcStop => {
                let number = [(Note::Count, Value::Number(b))];
                self.part(Fixed::GcStop, &number);
                self.heap_bytes(a, None);
            }
            Kind::GcMark => self.part(Fixed::GcMark, &[(Note::Bytes, bytes)]),
            Kind::GcEnd => {
                self.part(Fixed::GcSweep, &[(Note::Bytes, bytes)]);
                self.heap_bytes(a, Some(b));
            }
            Kind::GcSwept => self.end_part(),
            _ => self.heap_bytes(a, Some(b)),
        }
    }

    /// Begins a part of a collection, after the end of that before.
    fn part(&mut self, name: Fixed, notes: &[(Note, Value)]) {
        self.describe_heap();
        self.end_part();
        let what = (Category::Gc, Name::Fixed(name));
        self.begin_slice(tracks::GC, what, notes);
        self.w.collects = true;
    }

    pub(super) fn end_part(&mut self) {
        if core::mem::replace(&mut self.w.collects, false) {
            self.end_slice(tracks::GC);
        }
    }

    fn heap_bytes(&mut self, live: u64, goal: Option<u64>) {
        self.describe_heap();
        self.counter(tracks::HEAP, live);
        // Without a goal, collections are off.
        if let Some(goal) = goal.filter(|goal| i64::try_from(*goal).is_ok()) {
            self.counter(tracks::HEAP_GOAL, goal);
        }
    }

    fn describe_heap(&mut self) {
        if !core::mem::replace(&mut self.w.has_heap, true) {
            self.group(tracks::GC, "GC");
            self.group(tracks::HEAP, "heap bytes");
            self.group(tracks::HEAP_GOAL, "heap goal");
        }
    }
}
