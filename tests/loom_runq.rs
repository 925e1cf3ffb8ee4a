//! Models of a P's ring of runnable goroutines: loom runs every interleaving
//! of its owner with thieves.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom_runq`
//!
//! What is checked: each item is taken once and none is lost; each taker gets
//! items in the order in which the owner put them; who takes an item sees what
//! was written before it was put (its payload is a cell whose accesses loom
//! checks); and a look from outside never finds the P empty while its owner
//! only moves an item from `runnext` to the ring.
//!
//! loom lets a load return an older value than the newest, and never a value
//! that is stored later. So it cannot see whether a thief is done with a slot
//! before the owner reuses it, when nothing but the order of a load before a
//! later store says so; invariant 3 of `runq` speaks for that.
#![cfg(loom)]

use gmprt::gmp::runq::{RunNext, RunQueue};
use loom::cell::UnsafeCell;
use loom::thread::{self, JoinHandle};
use std::ptr;
use std::sync::Arc;

/// Slots in the ring: as few as make it wrap, fill and spill.
const N: usize = 4;

/// A goroutine that counts how often it ran.
struct Item {
    id: usize,
    ran: UnsafeCell<u32>,
}

/// A P as its queue needs it.
struct P {
    runq: RunQueue<Item, N>,
    runnext: RunNext<Item>,
    items: Vec<Item>,
}

// SAFETY: an item's cell is touched by its maker before the put, and by its
// taker; loom checks that.
unsafe impl Sync for P {}
// SAFETY: as above.
unsafe impl Send for P {}

/// What one taker got, in order.
type Taken = Vec<usize>;

impl P {
    fn new(items: usize) -> Arc<Self> {
        let item = |id| Item { id, ran: UnsafeCell::new(0) };
        Arc::new(Self {
            runq: RunQueue::new(),
            runnext: RunNext::new(),
            items: (0..items).map(item).collect(),
        })
    }

    /// A new item, first written by the owner.
    fn item(&self, id: usize) -> *mut Item {
        let item = &self.items[id];
        // SAFETY: nobody else has it yet.
        item.ran.with_mut(|n| unsafe { *n = 1 });
        ptr::from_ref(item).cast_mut()
    }

    /// Puts, by the owner: all fit.
    fn push(&self, ids: impl IntoIterator<Item = usize>) {
        for id in ids {
            // SAFETY: the caller is the one owner in this model.
            assert!(unsafe { self.runq.push(self.item(id)) }, "full");
        }
    }

    /// Puts by halves, as `sched::park` does. Returns what went elsewhere.
    fn push_or_spill(&self, id: usize) -> Taken {
        let mut spilled = Vec::new();
        let item = self.item(id);
        // SAFETY: the caller is the one owner in this model.
        while !unsafe { self.runq.push(item) } {
            // SAFETY: as above.
            if unsafe { self.runq.spill(|item| run(item, &mut spilled)) } {
                run(item, &mut spilled);
                break;
            }
        }
        spilled
    }

    /// Takes one, by the owner.
    fn pop(&self, taken: &mut Taken) {
        // SAFETY: the caller is the one owner in this model.
        if let Some(item) = unsafe { self.runq.pop() } {
            run(item, taken);
        }
    }

    /// Takes all that is left, by the owner.
    fn drain(&self) -> Taken {
        let mut taken = Vec::new();
        // SAFETY: the caller is the one owner in this model.
        while let Some(item) = unsafe { self.runq.pop() } {
            run(item, &mut taken);
        }
        taken
    }

    /// A thief steals once, into a queue of its own, which it then empties.
    fn thief(self: &Arc<Self>) -> JoinHandle<Taken> {
        let victim = Arc::clone(self);
        thread::spawn(move || {
            let mine = RunQueue::new();
            let mut taken = Vec::new();
            // SAFETY: this thread owns `mine`.
            let n = unsafe { victim.runq.steal_into(&mine) };
            assert_eq!(mine.len(), n);
            // SAFETY: as above.
            while let Some(item) = unsafe { mine.pop() } {
                run(item, &mut taken);
            }
            assert_eq!(taken.len() as u32, n);
            taken
        })
    }
}

/// Takes `item`, for good.
fn run(item: *mut Item, taken: &mut Taken) {
    assert!(!item.is_null(), "a slot that nobody has written");
    // SAFETY: not null, and the items live as long as the model.
    let item = unsafe { &*item };
    // SAFETY: taken from the queue, so ours; loom checks that.
    let ran = item.ran.with_mut(|n| unsafe { ptr::replace(n, 2) });
    assert_eq!(ran, 1, "taken twice, or not as it was put");
    taken.push(item.id);
}

/// Each of the first `n` items was taken once; nobody got two the wrong way
/// round.
fn check_takers(n: usize, takers: &[Taken]) {
    for taken in takers {
        assert!(taken.is_sorted(), "out of order: {taken:?}");
    }
    let mut all = takers.concat();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..n), "lost: {takers:?}");
}

fn check(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(f);
}

#[test]
fn owner_and_a_thief_share_the_items() {
    check(5, || {
        let p = P::new(3);
        let thief = p.thief();
        let mut mine = Vec::new();
        p.push(0..2);
        p.pop(&mut mine);
        p.push(2..3);
        mine.append(&mut p.drain());
        check_takers(3, &[mine, thief.join().unwrap()]);
    });
}

#[test]
fn two_thieves_and_the_owner_share_the_items() {
    check(3, || {
        let p = P::new(4);
        p.push(0..3);
        let thieves = [p.thief(), p.thief()];
        let mut mine = Vec::new();
        p.push(3..4);
        p.pop(&mut mine);
        let [a, b] = thieves.map(|thief| thief.join().unwrap());
        mine.append(&mut p.drain());
        check_takers(4, &[mine, a, b]);
    });
}

/// The slots that a thief reads are reused under its hands.
#[test]
fn the_ring_wraps_beside_a_thief() {
    check(4, || {
        let p = P::new(6);
        p.push(0..4);
        let thief = p.thief();
        let mut mine = Vec::new();
        for id in 4..6 {
            p.pop(&mut mine);
            p.push(id..id + 1);
        }
        let stolen = thief.join().unwrap();
        mine.append(&mut p.drain());
        check_takers(6, &[mine, stolen]);
    });
}

/// The spilled ones are a taker too: the older half, then the new one.
#[test]
fn a_full_ring_spills_beside_a_thief() {
    check(4, || {
        let p = P::new(5);
        p.push(0..4);
        let thief = p.thief();
        let spilled = p.push_or_spill(4);
        let stolen = thief.join().unwrap();
        assert!(spilled.is_empty() || spilled.len() == N / 2 + 1);
        check_takers(5, &[spilled, stolen, p.drain()]);
    });
}

#[test]
fn a_full_ring_spills_beside_two_thieves() {
    check(3, || {
        let p = P::new(5);
        p.push(0..4);
        let thieves = [p.thief(), p.thief()];
        let spilled = p.push_or_spill(4);
        let [a, b] = thieves.map(|thief| thief.join().unwrap());
        check_takers(5, &[spilled, a, b, p.drain()]);
    });
}

/// A thief is robbed in turn, in the middle of its own theft.
#[test]
fn a_thief_is_a_victim_too() {
    check(3, || {
        let (p, middle) = (P::new(4), P::new(0));
        p.push(0..4);
        let last = middle.thief();
        let thief = Arc::clone(&p);
        let thief = thread::spawn(move || {
            // SAFETY: this thread owns `middle`.
            let _n = unsafe { thief.runq.steal_into(&middle.runq) };
            middle.drain()
        });
        let mine = p.drain();
        check_takers(4, &[mine, thief.join().unwrap(), last.join().unwrap()]);
    });
}

/// An observer's length is one that the ring had.
#[test]
fn length_is_between_none_and_all() {
    check(5, || {
        let p = P::new(3);
        p.push(0..2);
        let observer = Arc::clone(&p);
        let observer = thread::spawn(move || observer.runq.len());
        let mut mine = Vec::new();
        p.pop(&mut mine);
        p.push(2..3);
        let len = observer.join().unwrap();
        assert!((1..=2).contains(&len), "{len}");
        mine.append(&mut p.drain());
        check_takers(3, &[mine]);
    });
}

/// `runnext`, beside other Ps.
impl P {
    /// Puts an item before the ring, and what was there behind it.
    fn put_next(&self, id: usize) {
        // SAFETY: the caller is the one owner in this model.
        let old = unsafe { self.runnext.put(self.item(id), false) };
        if !old.is_null() {
            // SAFETY: the caller is the one owner in this model.
            assert!(unsafe { self.runq.push(old) }, "full");
        }
    }

    /// Takes what is there, by the owner.
    fn take_next(&self, taken: &mut Taken) {
        let seen = self.runnext.seen();
        if seen.is_null() {
            return;
        }
        // SAFETY: the caller is the one owner in this model.
        let item = unsafe { self.runnext.take(seen, false) };
        if !item.is_null() {
            run(item, taken);
        }
    }

    /// Takes what a thief saw there, if that is still there.
    fn steal_next(&self) -> Taken {
        let seen = self.runnext.seen();
        let mut taken = Vec::new();
        if !seen.is_null() && self.runnext.steal(seen) {
            run(seen, &mut taken);
        }
        taken
    }

    /// One look at both.
    fn looks_empty(&self) -> bool {
        self.runq.len() == 0 && self.runnext.is_empty()
    }

    /// As `gmp::P::runqempty` looks.
    fn is_empty(&self) -> bool {
        self.runq.is_empty_while(|| self.runnext.is_empty())
    }
}

#[test]
fn runnext_is_taken_once() {
    check(4, || {
        let p = P::new(3);
        let thieves = [Arc::clone(&p), Arc::clone(&p)];
        let [a, b] = thieves.map(|p| thread::spawn(move || p.steal_next()));
        let mut mine = Vec::new();
        p.put_next(0);
        p.put_next(1);
        p.take_next(&mut mine);
        p.put_next(2);
        let stolen = [a, b].map(|thief| thief.join().unwrap()).concat();
        p.take_next(&mut mine);
        mine.append(&mut p.drain());
        let mut all = [mine, stolen].concat();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
    });
}

/// The owner moves item 0 from `runnext` to the ring, runs the one that came
/// for it, puts another, and only then runs item 0: the P is never empty, and
/// the ring is as long at the end as at the start.
fn observe_moves(look: fn(&P) -> bool) {
    check(5, move || {
        let p = P::new(3);
        p.put_next(0);
        let observer = Arc::clone(&p);
        let observer = thread::spawn(move || look(&observer));
        let mut mine = Vec::new();
        p.put_next(1);
        p.take_next(&mut mine);
        p.put_next(2);
        p.pop(&mut mine);
        assert!(!observer.join().unwrap(), "not empty");
    });
}

#[test]
fn a_p_whose_owner_moves_an_item_is_not_empty() {
    observe_moves(P::is_empty);
}

#[test]
#[should_panic(expected = "not empty")]
fn one_look_at_ring_and_runnext_is_too_few() {
    observe_moves(P::looks_empty);
}
