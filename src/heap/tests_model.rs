//! The heap against a model: a tree of the objects that it should have. Many
//! random calls, through several mcaches, with collections between them; the
//! model says exactly which objects a collection leaves.

use super::poison::POISON;
use super::sizeclass::{MAX_SMALL, PAGE};
use super::tests::*;
use super::*;
use core::ptr::NonNull;
use std::collections::{BTreeMap, HashSet};

/// An object that the heap should have.
struct Thing {
    base: usize,
    /// Bytes that the heap has for it.
    room: usize,
    /// Whether a pointer to its end may be one to the next object.
    full: bool,
    kind: Kind,
    /// Its first words.
    words: Vec<usize>,
}

struct Model {
    random: Random,
    heap: &'static MHeap,
    caches: Vec<MCache>,
    work: Work,
    things: Vec<Thing>,
    /// From bases to indices of `things`.
    at: BTreeMap<usize, usize>,
    roots: Vec<usize>,
    most: usize,
}

/// How many words of an object are known.
const WORDS: usize = 6;

impl Model {
    fn new(seed: u64, most: usize) -> Self {
        let heap = heap();
        heap.set_poison();
        Self {
            random: Random(seed),
            heap,
            caches: (0..3).map(|_| MCache::new(heap)).collect(),
            work: Work::new(),
            things: Vec::new(),
            at: BTreeMap::new(),
            roots: vec![0; 64],
            most,
        }
    }

    fn cache(&mut self) -> usize {
        self.random.below(self.caches.len())
    }

    fn any(&mut self) -> Option<usize> {
        let n = self.things.len();
        (n > 0).then(|| self.random.below(n))
    }

    fn size(&mut self) -> usize {
        match self.random.below(1000) {
            0 => MAX_SMALL + self.random.below(1 << 20),
            1..20 => self.random.below(MAX_SMALL + 1),
            20..200 => self.random.below(1024),
            _ => self.random.below(128),
        }
    }

    /// What the model knows of the object that `word` is in.
    fn find(&self, word: usize) -> Option<usize> {
        let (base, i) = self.at.range(..=word).next_back()?;
        (word < base + self.things[*i].room).then_some(*i)
    }

    fn add(&mut self, base: usize, size: usize, kind: Kind, words: Vec<usize>) {
        let object = self.heap.object(base).expect("allocated");
        assert_eq!(object.base, base);
        assert!(object.room() >= size && object.kind == kind);
        assert_eq!(base % 16, 0);
        let end = base + object.size;
        assert!(self.find(base).is_none(), "it overlaps");
        assert!(self.at.range(base..end).next().is_none(), "it overlaps");
        for (i, value) in words.iter().enumerate() {
            set(base, i, *value);
        }
        self.at.insert(base, self.things.len());
        let (room, full) = (object.size, object.is_full());
        self.things.push(Thing { base, room, full, kind, words });
    }

    fn remove(&mut self, i: usize) -> Thing {
        let thing = self.things.swap_remove(i);
        self.at.remove(&thing.base);
        if let Some(moved) = self.things.get(i) {
            self.at.insert(moved.base, i);
        }
        thing
    }

    fn check(&self, i: usize) {
        let thing = &self.things[i];
        for (n, value) in thing.words.iter().enumerate() {
            assert_eq!(get(thing.base, n), *value, "{:#x}", thing.base);
        }
    }

    /// A word for an object: a pointer to or into one, or no pointer.
    fn value(&mut self) -> usize {
        match (self.random.below(4), self.any()) {
            (0, _) | (_, None) => self.random.below(1 << 40),
            (1, Some(i)) => {
                let thing = &self.things[i];
                thing.base + self.random.below(thing.room)
            }
            (_, Some(i)) => self.things[i].base,
        }
    }

    fn alloc(&mut self) {
        let (c, size) = (self.cache(), self.size());
        let kind = match self.random.below(40) {
            0 => Kind::Root,
            1..20 => Kind::Noscan,
            _ => Kind::Scan,
        };
        let base = address(self.caches[c].alloc(size, kind));
        if kind.has_pointers() {
            let room = self.heap.object(base).unwrap().size;
            let ends = [0..room.min(256), room.saturating_sub(256)..room];
            for at in ends.into_iter().flatten().step_by(8) {
                assert_eq!(get(base + at, 0), 0, "zeroed");
            }
        }
        let n = (size / 8).min(WORDS);
        let words = (0..n).map(|_| self.value()).collect();
        self.add(base, size, kind, words);
    }

    fn free(&mut self) {
        let (c, Some(i)) = (self.cache(), self.any()) else { return };
        self.check(i);
        let base = self.things[i].base;
        assert!(!self.caches[c].free(base + 8), "not into the middle");
        assert!(self.caches[c].free(base));
        let again = self.cache();
        assert!(!self.caches[again].free(base), "twice");
        self.remove(i);
    }

    fn realloc(&mut self) {
        let (c, Some(i)) = (self.cache(), self.any()) else { return };
        self.check(i);
        // Of a word that is cut off, a part would still be a pointer.
        let size = self.size().next_multiple_of(8);
        let mut thing = self.remove(i);
        let old = NonNull::new(thing.base as *mut u8).unwrap();
        // SAFETY: the test's own object.
        let new = address(unsafe { self.caches[c].realloc(old, size) });
        if new != thing.base {
            thing.words.truncate(size / 8);
        }
        let kept = thing.words.iter().enumerate();
        assert!(kept.into_iter().all(|(n, w)| get(new, n) == *w));
        self.add(new, size, thing.kind, thing.words);
    }

    /// Asks about a word: in an object, at its end, near the heap, anywhere.
    fn ask(&mut self) {
        let (low, high) = self.heap.bounds();
        let word = match (self.random.below(4), self.any()) {
            (0, Some(i)) => self.things[i].base + self.things[i].room,
            (1, Some(i)) => {
                let room = self.things[i].room;
                self.things[i].base + self.random.below(room)
            }
            (2, _) => low.saturating_add(self.random.below(high - low + PAGE)),
            _ => self.random.next() as usize,
        };
        let found = self.heap.object(word).map(|o| (o.base, o.size, o.kind));
        let here = self.find(word).map(|i| &self.things[i]);
        assert_eq!(found, here.map(|t| (t.base, t.room, t.kind)), "{word:#x}");
    }

    /// Which objects a collection leaves.
    fn reached(&self) -> HashSet<usize> {
        let mut reached = HashSet::new();
        let mut todo = Vec::new();
        for root in &self.roots {
            todo.extend(self.find(*root));
            let before = root.checked_sub(1).and_then(|w| self.find(w));
            todo.extend(before.filter(|i| {
                let thing = &self.things[*i];
                thing.full && thing.base + thing.room == *root
            }));
        }
        let roots = self.things.iter().enumerate();
        let roots = roots.filter(|(_, thing)| thing.kind == Kind::Root);
        todo.extend(roots.map(|(i, _)| i));
        while let Some(i) = todo.pop() {
            let thing = &self.things[i];
            if reached.insert(thing.base) && thing.kind.has_pointers() {
                todo.extend(thing.words.iter().filter_map(|w| self.find(*w)));
            }
        }
        reached
    }

    fn collect(&mut self) {
        self.set_roots();
        let reached = self.reached();
        let bytes = self.things.iter().filter(|t| reached.contains(&t.base));
        let bytes: usize = bytes.map(|thing| thing.room).sum();
        let range = self.roots.as_ptr_range();
        let roots = [(range.start.addr(), range.end.addr())];
        let caches = self.caches.iter();
        // SAFETY: `roots` is a vector's, and these are all mcaches.
        let marked = unsafe { self.heap.collect(&self.work, caches, &roots) };
        assert_eq!(marked, Some(bytes), "just what can be reached");
        // Each owner comes when it comes.
        let all_at_once = self.random.chance(2);
        for cache in &self.caches {
            if all_at_once {
                self.heap.sweep_all();
            }
            cache.prepare_for_sweep();
            for _ in 0..self.random.below(20) {
                self.heap.sweepone();
            }
        }
        let dead: Vec<_> =
            self.things.iter().map(|thing| (thing.base, thing.room)).collect();
        for (base, room) in dead {
            if !reached.contains(&base) {
                self.remove(self.at[&base]);
                if all_at_once {
                    assert!(self.heap.object(base).is_none(), "swept");
                    let filled = usize::from_ne_bytes([POISON; 8]);
                    assert_eq!(get(base, 0), filled);
                    assert_eq!(get(base + room - 8, 0), filled);
                }
            }
        }
        if !all_at_once {
            // `ask` wants the truth.
            self.heap.sweep_all();
        }
        (0..self.things.len()).for_each(|i| self.check(i));
    }

    /// Some roots: pointers to objects, into them, and to their ends.
    fn set_roots(&mut self) {
        for n in 0..self.roots.len() {
            let Some(i) = self.any() else { break };
            let (base, room) = (self.things[i].base, self.things[i].room);
            self.roots[n] = match self.random.below(8) {
                0 => base + room,
                1 => base + self.random.below(room),
                2 => self.random.next() as usize,
                _ => base,
            };
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..40 if self.things.len() < self.most => self.alloc(),
            0..60 => self.free(),
            60..65 => self.realloc(),
            65..70 => {
                if let Some(i) = self.any() {
                    self.check(i);
                    let value = self.value();
                    if let Some(word) = self.things[i].words.first_mut() {
                        *word = value;
                        set(self.things[i].base, 0, value);
                    }
                }
            }
            70..72 => {
                self.heap.scavenge(self.random.below(1 << 20));
            }
            _ => self.ask(),
        }
    }
}

fn run(seed: u64, steps: usize, most: usize, collections: usize) {
    let mut model = Model::new(seed, most);
    for n in 1..=steps {
        model.step();
        if n % (steps / collections) == 0 {
            model.collect();
        }
    }
    model.roots.fill(0);
    let stats = model.heap.stats();
    assert!(stats.in_use > 0 && stats.in_use + stats.free <= stats.reserved);
}

#[test]
fn a_heap_does_as_its_model() {
    let steps = if cfg!(debug_assertions) { 20_000 } else { 2_000_000 };
    run(1, steps, 3000, steps / 1000);
    run(2, steps / 4, 50, steps / 100);
}

/// As above, for as long as the design asks.
#[test]
#[ignore = "for make stress"]
fn a_heap_does_as_its_model_in_ten_million_steps() {
    run(3, 10_000_000, 10_000, 2000);
}
