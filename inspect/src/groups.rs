//! Like goroutines, counted: what a dump shows instead of a thousand equal
//! entries.
//!
//! Goroutines are alike if they are in the same state, with the same reason,
//! name, creator and stack. Of those that do not wait, neither the creators nor
//! the places in the code are compared, but the functions: where a goroutine
//! that runs was interrupted says little, and may be anywhere in them. Like goroutines that wait for up to
//! [`APART`] different objects are told for each object; from then on they are
//! one group, "on 1000 objects".
//!
//! The room is that of the groups, not of the goroutines. Past [`MAX`] groups,
//! goroutines of further ones are only counted.

use crate::{
    goroutine::{Goroutine, Holder, Status},
    hash::State,
    places::Key,
};
use std::collections::{HashMap, HashSet};

/// Objects of like goroutines that are told apart.
const APART: usize = 3;
/// Ids that are shown of a group.
const IDS: usize = 8;
/// Groups at most.
const MAX: usize = 20_000;
/// Goroutines of a group whose stacks are measured.
const MEASURED: u64 = 100;
/// Objects of a group that are counted.
const OBJECTS: usize = 1 << 16;

/// What like goroutines have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Alike {
    status: Status,
    host: bool,
    system: bool,
    moved: bool,
    leaked: bool,
    unseen: &'static str,
    reason: Vec<u8>,
    name: Vec<u8>,
    gopc: u64,
    func: u64,
    frames: Vec<u64>,
}

/// Like goroutines, or one.
#[derive(Clone, Debug)]
pub struct Entry {
    /// One of them: what they have in common, and its frames.
    pub like: Goroutine,
    /// How many they are.
    pub count: u64,
    /// The numbers of the first.
    pub ids: Vec<u64>,
    /// The shortest wait and the longest, in nanoseconds.
    pub waits: Option<(u64, u64)>,
    /// How many objects they wait for.
    pub objects: Objects,
    /// The name of the one object, if it has one and the writer has asked.
    pub object_name: Vec<u8>,
    /// The holder, if it is the same for all.
    pub holder: Holder,
    /// Whether one goroutine has started them all, or one thread.
    pub one_parent: bool,
    /// The id of that thread, if it lives and the writer has asked.
    pub creator: Option<u32>,
    /// Whether one call has started them all, or several ones of one place.
    pub one_creator: bool,
    /// Whether they are in different places of the same functions.
    pub places: bool,
    /// [`Key::spot`] of the first.
    spot: u64,
    /// The most bytes of stack that one of them has ever used.
    pub stack_used: Option<u64>,
}

/// The objects that a group waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objects {
    /// None is known.
    None,
    /// One, at this address.
    One(u64),
    /// So many.
    Many(u64),
    /// More than so many.
    More(u64),
}

impl Entry {
    /// An entry for one goroutine.
    #[must_use]
    pub fn of(it: &Goroutine) -> Self {
        Self {
            like: it.clone(),
            count: 1,
            ids: vec![it.id],
            waits: it.waits.map(|ns| (ns, ns)),
            objects: match it.object {
                0 => Objects::None,
                object => Objects::One(object),
            },
            object_name: Vec::new(),
            holder: it.holder,
            one_parent: true,
            creator: None,
            one_creator: true,
            places: false,
            spot: 0,
            stack_used: it.stack_used,
        }
    }

    fn at(it: &Goroutine, spot: u64) -> Self {
        Self { spot, ..Self::of(it) }
    }

    fn add(&mut self, it: &Goroutine, spot: u64) {
        self.places |= spot != self.spot;
        self.count += 1;
        if self.ids.len() < IDS {
            self.ids.push(it.id);
        }
        if let Some(ns) = it.waits {
            let (least, most) = self.waits.unwrap_or((ns, ns));
            self.waits = Some((least.min(ns), most.max(ns)));
        }
        if it.holder != self.holder {
            self.holder = Holder::Unknown;
        }
        self.one_parent &= it.parent == self.like.parent;
        self.one_creator &= it.gopc == self.like.gopc;
        self.stack_used = self.stack_used.max(it.stack_used);
    }

    fn join(&mut self, other: Self) {
        self.count += other.count;
        let room = IDS - self.ids.len().min(IDS);
        self.ids.extend(other.ids.into_iter().take(room));
        if let Some((least, most)) = other.waits {
            let (l, m) = self.waits.unwrap_or((least, most));
            self.waits = Some((l.min(least), m.max(most)));
        }
        if other.holder != self.holder {
            self.holder = Holder::Unknown;
        }
        self.one_parent &=
            other.one_parent && other.like.parent == self.like.parent;
        self.one_creator &=
            other.one_creator && other.like.gopc == self.like.gopc;
        self.places |= other.places || other.spot != self.spot;
        self.stack_used = self.stack_used.max(other.stack_used);
    }
}

/// Like goroutines, by object or all in one.
enum Group {
    Apart(Vec<Entry>),
    Merged(Box<Entry>, HashSet<u64, State>, bool),
}

impl Group {
    fn count(&self) -> u64 {
        match self {
            Self::Apart(entries) => entries.iter().map(|e| e.count).sum(),
            Self::Merged(entry, ..) => entry.count,
        }
    }

    fn add(&mut self, it: &Goroutine, spot: u64) {
        match self {
            Self::Apart(entries) => {
                let same = |e: &&mut Entry| e.like.object == it.object;
                if let Some(entry) = entries.iter_mut().find(same) {
                    entry.add(it, spot);
                } else if entries.len() < APART {
                    entries.push(Entry::at(it, spot));
                } else {
                    entries.push(Entry::at(it, spot));
                    *self = Self::merged(core::mem::take(entries));
                }
            }
            Self::Merged(entry, objects, more) => {
                entry.add(it, spot);
                if objects.len() < OBJECTS {
                    objects.insert(it.object);
                } else if !objects.contains(&it.object) {
                    *more = true;
                }
            }
        }
    }

    fn merged(entries: Vec<Entry>) -> Self {
        let objects = entries.iter().map(|e| e.like.object).collect();
        let mut entries = entries.into_iter();
        let Some(mut all) = entries.next() else {
            return Self::Apart(Vec::new());
        };
        entries.for_each(|entry| all.join(entry));
        Self::Merged(Box::new(all), objects, false)
    }

    fn entries(self) -> Vec<Entry> {
        match self {
            Self::Apart(entries) => entries,
            Self::Merged(mut entry, objects, more) => {
                let count = objects.len() as u64;
                entry.objects = match more {
                    true => Objects::More(count),
                    false => Objects::Many(count),
                };
                vec![*entry]
            }
        }
    }
}

/// The groups of a snapshot.
#[derive(Default)]
pub struct Groups {
    groups: HashMap<Alike, Group, State>,
    /// Goroutines of groups for which there was no room.
    left_out: u64,
}

impl Groups {
    /// Counts a goroutine in, whose stack is compared by `stack`. `used` says
    /// how much of its stack was ever in use; it is asked for the first ones of
    /// a group only.
    pub fn add(
        &mut self,
        it: &mut Goroutine,
        stack: Key,
        used: impl FnOnce(&Goroutine) -> Option<u64>,
    ) {
        let waits = it.status == Status::Waiting;
        let key = Alike {
            status: match it.status {
                // Neither has a frame, or else it is another group.
                Status::New => Status::Runnable,
                other => other,
            },
            host: it.host,
            system: it.system,
            moved: it.moved,
            leaked: it.leaked,
            unseen: it.unseen,
            reason: it.reason.clone(),
            name: it.name.clone(),
            gopc: if waits { it.gopc } else { 0 },
            func: it.func,
            frames: stack.frames,
        };
        let group = self.groups.get_mut(&key);
        if group.as_ref().is_none_or(|group| group.count() < MEASURED) {
            it.stack_used = used(it);
        }
        if let Some(group) = group {
            group.add(it, stack.spot);
        } else if self.groups.len() < MAX {
            let entries = vec![Entry::at(it, stack.spot)];
            self.groups.insert(key, Group::Apart(entries));
        } else {
            self.left_out += 1;
        }
    }

    /// The groups, the largest first, and how many goroutines are in none.
    #[must_use]
    pub fn finish(self) -> (Vec<Entry>, u64) {
        let groups = self.groups.into_values();
        let mut all: Vec<Entry> = groups.flat_map(Group::entries).collect();
        all.sort_by_key(|e| (core::cmp::Reverse(e.count), e.like.id));
        (all, self.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(id: u64, object: u64) -> Goroutine {
        Goroutine {
            id,
            object,
            reason: b"chan receive".to_vec(),
            waits: Some(id * 1000),
            parent: 1,
            ..Goroutine::default()
        }
    }

    fn grouped(all: impl Iterator<Item = Goroutine>) -> Vec<Entry> {
        let mut groups = Groups::default();
        all.for_each(|mut it| {
            let frames = it.frames.iter().map(|frame| frame.pc).collect();
            let stack = Key { frames, spot: it.parent };
            groups.add(&mut it, stack, |_| None);
        });
        let (entries, left_out) = groups.finish();
        assert_eq!(left_out, 0);
        entries
    }

    #[test]
    fn few_objects_are_told_apart() {
        let entries = grouped((1..=9).map(|id| waiter(id, 0x1000 + id % 3)));
        assert_eq!(entries.len(), 3);
        for entry in entries {
            assert_eq!(entry.count, 3);
            assert_eq!(entry.objects, Objects::One(entry.like.object));
        }
    }

    #[test]
    fn many_objects_are_one_group() {
        let entries = grouped((1..=1000).map(|id| waiter(id, 0x1000 + id)));
        let [entry] = &entries[..] else { panic!("{entries:?}") };
        assert_eq!(entry.count, 1000);
        assert_eq!(entry.objects, Objects::Many(1000));
        assert_eq!(entry.waits, Some((1000, 1_000_000)));
        assert_eq!(entry.ids, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(entry.one_parent && !entry.places);
    }

    #[test]
    fn other_places_of_the_same_functions_are_noted() {
        for objects in [1, 100] {
            let other =
                |id| Goroutine { parent: id, ..waiter(id, id % objects) };
            let entries = grouped((1..=100).map(other));
            let [entry] = &entries[..] else { panic!("{entries:?}") };
            assert!(entry.places && entry.count == 100);
        }
    }

    #[test]
    fn leaked_goroutines_are_a_group_of_their_own() {
        let leaks = |id| Goroutine { leaked: id > 7, ..waiter(id, 7) };
        let entries = grouped((1..=9).map(leaks));
        let counts: Vec<(u64, bool)> =
            entries.iter().map(|e| (e.count, e.like.leaked)).collect();
        assert_eq!(counts, [(7, false), (2, true)]);
    }

    #[test]
    fn a_name_or_another_frame_makes_another_group() {
        let mut named = waiter(1, 7);
        named.name = b"reader".to_vec();
        let mut elsewhere = waiter(2, 7);
        elsewhere.frames = vec![Default::default()];
        let all = [named, elsewhere, waiter(3, 7), waiter(4, 7)];
        let counts: Vec<u64> =
            grouped(all.into_iter()).iter().map(|e| e.count).collect();
        assert_eq!(counts, [2, 1, 1]);
    }
}
