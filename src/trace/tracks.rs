//! Goroutines that the trace knows, and the tracks of the file.
//!
//! A table holds the live goroutines that have appeared: open addressing, with
//! a bound, in memory that is mapped at once. A goroutine leaves it at its end.
//! One that finds no room has no state: its runs on Ps are seen, and neither
//! its waits nor flows to it.
//!
//! Few goroutines have a track of their own, since nobody looks at a million:
//! each that has a name or makes a mark, and the first [`UNNAMED`] of the rest.
//!
//! Invariants:
//! 1. An entry of the table is in use if its goid is not 0.
//! 2. Between the place where the search for a goroutine begins and its entry,
//!    all entries are in use.

/// Entries of the table.
const ENTRIES: usize = 1 << 17;
/// The most that are in use.
const MOST: usize = ENTRIES / 4 * 3;
/// The most goroutines without a name that have tracks.
const UNNAMED: u32 = 1_000;
/// The most with one.
const NAMED: u32 = 20_000;
/// The most that have tracks.
const TRACKED: usize = (UNNAMED + NAMED) as usize;

/// The process.
pub(super) const PROCESS: u64 = 1;
/// The group of the Ps.
pub(super) const PS: u64 = 2;
/// The group of the goroutines.
pub(super) const GOROUTINES: u64 = 3;
/// What belongs to none of the others.
pub(super) const SCHEDULER: u64 = 4;
/// The counters.
pub(super) const LIVE: u64 = 5;
pub(super) const RUNNABLE: u64 = 6;
/// Collections of the heap, and its counters.
pub(super) const GC: u64 = 7;
pub(super) const HEAP: u64 = 8;
pub(super) const HEAP_GOAL: u64 = 9;

/// The track of a P.
pub(super) fn of_p(p: u32) -> u64 {
    4096 + u64::from(p)
}

/// The track of a thread.
pub(super) fn of_thread(tid: i32) -> u64 {
    (1 << 33) + u64::from(tid as u32)
}

/// The track of a goroutine.
pub(super) fn of_goroutine(goid: u64) -> u64 {
    (1 << 40) + goid
}

/// What a goroutine does, as far as the trace knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    Unknown = 0,
    Running,
    Runnable,
    Waiting,
    Outside,
}

/// A goroutine. All bytes zero are an entry that is not in use.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub goid: u64,
    /// Its function; 0 if unknown.
    pub func: u64,
    /// The flow that its next run ends; 0 for none.
    pub flow: u64,
    /// The id of its label among the names of events; 0 for none.
    pub label: u64,
    pub state: State,
    /// It has a track.
    pub tracked: bool,
    /// It stands for a host thread.
    pub host: bool,
    /// A slice is open on its track.
    pub open: bool,
}

impl Known {
    const NONE: Self = Self {
        goid: 0,
        func: 0,
        flow: 0,
        label: 0,
        state: State::Unknown,
        tracked: false,
        host: false,
        open: false,
    };
}

/// The table. All bytes zero are an empty one.
pub(super) struct Table {
    used: usize,
    unnamed: u32,
    named: u32,
    /// Those that have had a track, to `unnamed + named`.
    tracked: [u64; TRACKED],
    entries: [Known; ENTRIES],
}

impl Table {
    fn home(goid: u64) -> usize {
        // Fibonacci's hashing: neighbours lie far apart.
        (goid.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 47) as usize % ENTRIES
    }

    fn place(&self, goid: u64) -> usize {
        let mut at = Self::home(goid);
        while ![0, goid].contains(&self.entries[at].goid) {
            at = (at + 1) % ENTRIES;
        }
        at
    }

    /// A goroutine that is in the table.
    pub(super) fn find(&mut self, goid: u64) -> Option<&mut Known> {
        let at = self.place(goid);
        let entry = &mut self.entries[at];
        (goid != 0 && entry.goid == goid).then_some(entry)
    }

    /// A goroutine, put into the table if need be; None if there is no room.
    pub(super) fn get(&mut self, goid: u64) -> Option<&mut Known> {
        if goid == 0 {
            return None;
        }
        let at = self.place(goid);
        if self.entries[at].goid == 0 {
            if self.used == MOST {
                return None;
            }
            self.used += 1;
            self.entries[at] = Known { goid, ..Known::NONE };
        }
        Some(&mut self.entries[at])
    }

    /// Takes a goroutine out.
    pub(super) fn remove(&mut self, goid: u64) {
        let mut hole = self.place(goid);
        if goid == 0 || self.entries[hole].goid != goid {
            return;
        }
        self.used -= 1;
        // Those behind move up, unless they would come before their home.
        let mut at = hole;
        loop {
            at = (at + 1) % ENTRIES;
            let entry = self.entries[at];
            if entry.goid == 0 {
                break;
            }
            let from_home = (at + ENTRIES - Self::home(entry.goid)) % ENTRIES;
            let from_hole = (at + ENTRIES - hole) % ENTRIES;
            if from_home >= from_hole {
                self.entries[hole] = entry;
                hole = at;
            }
        }
        self.entries[hole] = Known::NONE;
    }

    /// Whether one more goroutine, this one, may have a track.
    pub(super) fn may_track(&mut self, goid: u64, named: bool) -> bool {
        let at = (self.named + self.unnamed) as usize;
        let (count, most) = match named {
            true => (&mut self.named, NAMED),
            false => (&mut self.unnamed, UNNAMED),
        };
        let may = *count < most;
        if may {
            *count += 1;
            self.tracked[at] = goid;
        }
        may
    }

    /// The goroutines that have had a track, by their numbers from 0 on.
    pub(super) fn tracked(&self, n: usize) -> Option<u64> {
        let all = (self.named + self.unnamed) as usize;
        self.tracked[..all].get(n).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn table() -> Box<Table> {
        let table = Box::<Table>::new_zeroed();
        // SAFETY: all bytes zero are an empty table.
        unsafe { table.assume_init() }
    }

    #[test]
    fn the_table_has_what_was_put_in_and_not_taken_out() {
        let (mut table, mut want) = (table(), HashMap::new());
        let mut random = 1u64;
        for round in 0..200_000u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005) + 1;
            // Few homes, so that entries get into one another's way.
            let goid = (random >> 40) % 3000 * (1 << 17) + 1;
            if random >> 63 == 0 {
                table.get(goid).unwrap().flow = round;
                want.insert(goid, round);
            } else {
                table.remove(goid);
                want.remove(&goid);
            }
        }
        for goid in (0..3000).map(|n| n * (1 << 17) + 1) {
            let found = table.find(goid).map(|known| known.flow);
            assert_eq!(found, want.get(&goid).copied());
        }
        assert_eq!(table.used, want.len());
    }

    #[test]
    fn a_full_table_takes_no_more() {
        let mut table = table();
        for goid in 1..=MOST as u64 {
            assert!(table.get(goid).is_some());
        }
        assert!(table.get(MOST as u64 + 1).is_none());
        table.remove(7);
        assert!(table.get(MOST as u64 + 1).is_some());
        assert!(table.find(7).is_none());
        assert!(table.get(0).is_none());
    }
}
