//! The search for deadlocks: goroutines and host threads that wait for each
//! other in a circle, through mutexes, rwmutexes, onces, joins and groups.
//!
//! The search runs while all others go on, and stops nobody. So what it reads
//! is past when it has read it, and a circle of edges from different moments
//! may never have existed. It reports a circle only if all of it existed at one
//! moment, and it looks at nothing else than words that can be read safely.
//!
//! # Graph
//! A *waiter* is a G that has committed its wait, with neither a deadline nor a
//! permit that could end the wait, for an object whose holder is known. Its
//! edge leads to that holder: the G in the object's holder words, the G that it
//! joins, or each member of the group that it waits for. All members have to
//! end, and each reader of an rwmutex has to unlock. So one edge that leads
//! into a circle is enough.
//!
//! ```text
//!   waiter --wait--> object --holder--> waiter --wait--> ... --> the first
//! ```
//! # Proof
//! The search reads in three passes, for a circle of waiters w1 ... wn:
//!
//! | pass | reads | when |
//! |---|---|---|
//! | tickets | the wait of each waiter | on the way along the circle |
//! | holders | the holder of each object | after all of the first pass |
//! | again | the wait of each waiter | after all of the second pass |
//!
//! 1. A ticket names one wait for good (`parkword`, invariant 2). A waiter that
//!    has the same ticket in the first and the last pass, committed and not
//!    won by any waker, was parked without a break in between. In particular it
//!    was parked during the whole second pass, and with the same `Wait`.
//! 2. A holder stores itself in the holder words and takes itself out on its
//!    own (`block::holder`, invariant 1). All that it has stored before it
//!    parked is seen by a reader that has seen its ticket. So a holder that is
//!    parked and in the words during the second pass has the object then; and,
//!    by 1, has had it since its ticket was read.
//! 3. An object that some other actor than its holder has ever unlocked is none
//!    to build on (`around`), nor is one whose holder is not known. A reader in
//!    doubt counts only where it waits for the same rwmutex again: then its
//!    share was given up by another only if the host hands shares on, which
//!    nobody has seen.
//! 4. By 1 and 2 all edges exist at the end of the first pass: each waiter of
//!    the circle is parked then, and each object is held by the next waiter.
//!    None of them runs before another one has. Only an actor outside the
//!    circle could end that: a cancel, or the first unlock ever of that object
//!    by another actor than its holder.
//! 5. A way has at most [`LONGEST`] waiters, and a search follows at most
//!    [`BUDGET`] edges. So it ends, whatever it reads.
//!
//! Where an edge has changed the search gives up. A deadlock is still there at
//! the next one.
//!
//! Rejected: to stop the world, which would cost each goroutine of a healthy
//! process some latency; to keep a graph of waits, which would cost each lock.

/// Waiters on one way.
pub(super) const LONGEST: usize = 64;
/// Edges that one search follows.
const BUDGET: usize = 512;

/// A wait without a deadline, for something whose holder is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// The park word: the ticket of the wait.
    pub ticket: u64,
    /// `Wait::held`.
    pub held: usize,
    /// The address of the object.
    pub object: usize,
    /// `Wait::reason`.
    pub reason: usize,
    /// `G::waitsince`
    pub since: u32,
}

/// A waiter and its wait.
#[derive(Clone, Copy)]
pub(super) struct Waiter<G> {
    pub gp: G,
    pub wait: Waiting,
}

/// One of those that a waiter waits for.
#[derive(Clone, Copy)]
pub(super) struct Next<G> {
    pub gp: G,
    /// The record of a member of a group, to go on from; else 0.
    pub record: usize,
}

/// What the search looks at.
pub(super) trait View {
    /// A G that exists.
    type G: Copy + PartialEq;

    /// The wait of a G, if it is a waiter now (module).
    fn wait(&self, gp: Self::G) -> Option<Waiting>;

    /// The G that `held` leads to; of a group the member after `record`, or
    /// its first after 0.
    fn next(&self, held: usize, record: usize) -> Option<Next<Self::G>>;

    /// Whether `held` still leads to `next`.
    fn leads(&self, held: usize, next: Next<Self::G>) -> bool;
}

/// A waiter on the way, and the holder that the way goes on to.
#[derive(Clone, Copy)]
struct Step<G> {
    waiter: Waiter<G>,
    next: Option<Next<G>>,
}

/// Waiters in a circle: each waits for the next, and the last for the first.
#[derive(Clone, Copy)]
pub(super) struct Circle<G> {
    steps: [Step<G>; LONGEST],
    first: usize,
    len: usize,
}

impl<G: Copy> Circle<G> {
    /// The waiters.
    pub(super) fn waiters(
        &self,
    ) -> impl ExactSizeIterator<Item = &Waiter<G>> + Clone {
        self.steps[self.first..self.len].iter().map(|step| &step.waiter)
    }

    /// A number that this circle has and no other will have, from a number of
    /// each G.
    pub(super) fn number(&self, of: impl Fn(G) -> u64) -> u64 {
        let mix = |n: u64| (n ^ n >> 29).wrapping_mul(MIX);
        let one = |w: &Waiter<G>| mix(mix(of(w.gp)) ^ w.wait.ticket);
        self.waiters().map(one).fold(0, u64::wrapping_add)
    }
}

const MIX: u64 = 0x9E37_79B9_7F4A_7C15;

/// Searches for a circle on the ways that begin at `start`.
pub(super) fn find<V: View>(view: &V, start: V::G) -> Option<Circle<V::G>> {
    let wait = view.wait(start)?;
    let mut way = Way::begin(Waiter { gp: start, wait });
    for _ in 0..BUDGET {
        if way.circle.len == 0 {
            return None;
        }
        let Some(next) = way.follow(view) else {
            way.circle.len -= 1;
            continue;
        };
        if let Some(first) = way.position(next.gp) {
            way.circle.first = first;
            return certain(view, &way.circle).then_some(way.circle);
        }
        if way.seen(next.gp) {
            continue;
        }
        if let Some(wait) = view.wait(next.gp)
            && !way.push(Waiter { gp: next.gp, wait })
        {
            return None;
        }
    }
    None
}

/// The second and the third pass.
fn certain<V: View>(view: &V, circle: &Circle<V::G>) -> bool {
    let steps = &circle.steps[circle.first..circle.len];
    let held = |s: &Step<V::G>| {
        s.next.is_some_and(|next| view.leads(s.waiter.wait.held, next))
    };
    let waits = |s: &Step<V::G>| view.wait(s.waiter.gp) == Some(s.waiter.wait);
    steps.iter().all(held) && steps.iter().all(waits)
}

/// The way that is being followed, and what has been seen on all of them.
struct Way<G> {
    circle: Circle<G>,
    seen: [G; BUDGET + 1],
    looks: usize,
}

impl<G: Copy + PartialEq> Way<G> {
    fn begin(start: Waiter<G>) -> Self {
        let first = Step { waiter: start, next: None };
        let circle = Circle { steps: [first; LONGEST], first: 0, len: 1 };
        Self { circle, seen: [start.gp; BUDGET + 1], looks: 1 }
    }

    /// The next holder that the last waiter on the way waits for, or none that
    /// is left.
    fn follow<V: View<G = G>>(&mut self, view: &V) -> Option<Next<G>> {
        let last = &mut self.circle.steps[self.circle.len - 1];
        let record = match last.next {
            None => 0,
            Some(Next { record: 0, .. }) => return None,
            Some(member) => member.record,
        };
        let next = view.next(last.waiter.wait.held, record)?;
        last.next = Some(next);
        Some(next)
    }

    fn position(&self, gp: G) -> Option<usize> {
        let way = &self.circle.steps[..self.circle.len];
        way.iter().position(|step| step.waiter.gp == gp)
    }

    /// Whether `gp` was looked at before; notes it down.
    fn seen(&mut self, gp: G) -> bool {
        if self.seen[..self.looks].contains(&gp) {
            return true;
        }
        self.seen[self.looks] = gp;
        self.looks += 1;
        false
    }

    /// The way goes on with `waiter`; false: it is too long.
    fn push(&mut self, waiter: Waiter<G>) -> bool {
        let Some(place) = self.circle.steps.get_mut(self.circle.len) else {
            return false;
        };
        *place = Step { waiter, next: None };
        self.circle.len += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::{Cell, RefCell};

    /// A process of numbers. `held` is `who << 2 | kind`: kind 0 leads to
    /// `who`, 1 to the members of group `who`.
    #[derive(Default)]
    struct Fake {
        waits: RefCell<Vec<Option<Waiting>>>,
        groups: Vec<Vec<usize>>,
        /// What happens before the n-th look at a holder or a wait.
        events: RefCell<Vec<(usize, Event)>>,
        looks: Cell<usize>,
    }

    #[derive(Clone, Copy, Debug)]
    enum Event {
        /// It wakes, and waits for the same again.
        WaitsAnew(usize),
        Wakes(usize),
        WaitsFor(usize, usize),
    }

    fn on(who: usize) -> usize {
        who << 2
    }

    fn group(who: usize) -> usize {
        who << 2 | 1
    }

    fn waiting(ticket: u64, held: usize) -> Option<Waiting> {
        Some(Waiting { ticket, held, object: held, reason: 0, since: 0 })
    }

    impl Fake {
        fn new(waits: &[Option<usize>]) -> Self {
            let waits = waits.iter().map(|w| waiting(1, (*w)?)).collect();
            Self { waits: RefCell::new(waits), ..Self::default() }
        }

        fn look(&self) {
            let n = self.looks.replace(self.looks.get() + 1);
            let mut waits = self.waits.borrow_mut();
            for &(_, event) in self.events.borrow().iter().filter(|e| e.0 == n)
            {
                match event {
                    Event::WaitsAnew(gp) => {
                        waits[gp].as_mut().expect("it waits").ticket += 1;
                    }
                    Event::Wakes(gp) => waits[gp] = None,
                    Event::WaitsFor(gp, held) => waits[gp] = waiting(9, held),
                }
            }
        }

        /// The waiters of the circle that is found, in order.
        fn found(&self, start: usize) -> Option<Vec<usize>> {
            let circle = find(self, start)?;
            Some(circle.waiters().map(|w| w.gp).collect())
        }
    }

    impl View for Fake {
        type G = usize;

        fn wait(&self, gp: usize) -> Option<Waiting> {
            self.look();
            self.waits.borrow()[gp]
        }

        fn next(&self, held: usize, record: usize) -> Option<Next<usize>> {
            self.look();
            if held & 3 == 0 {
                return Some(Next { gp: held >> 2, record: 0 });
            }
            let gp = *self.groups[held >> 2].get(record)?;
            Some(Next { gp, record: record + 1 })
        }

        fn leads(&self, held: usize, next: Next<usize>) -> bool {
            self.look();
            match held & 3 {
                0 => held >> 2 == next.gp,
                _ => self.groups[held >> 2].contains(&next.gp),
            }
        }
    }

    #[test]
    fn circles_are_found_from_inside_and_from_behind() {
        let fake = Fake::new(&[
            Some(on(1)),
            Some(on(2)),
            Some(on(1)),
            Some(on(3)),
            Some(on(5)),
            None,
        ]);
        assert_eq!(fake.found(1), Some(vec![1, 2]));
        assert_eq!(fake.found(2), Some(vec![2, 1]));
        assert_eq!(fake.found(0), Some(vec![1, 2]), "it waits behind them");
        assert_eq!(fake.found(3), Some(vec![3]), "it waits for itself");
        assert_eq!(fake.found(4), None, "the last runs");
        assert_eq!(fake.found(5), None, "it waits for nobody");
    }

    #[test]
    fn a_circle_has_one_number_wherever_it_begins() {
        let fake = Fake::new(&[Some(on(1)), Some(on(2)), Some(on(0))]);
        let number = |start| {
            let circle = find(&fake, start).expect("a circle");
            circle.number(|gp| gp as u64)
        };
        let first = number(0);
        assert_eq!((number(1), number(2)), (first, first));
        fake.waits.borrow_mut()[1].as_mut().expect("it waits").ticket += 1;
        assert_ne!(number(0), first, "another deadlock of the same three");
    }

    #[test]
    fn one_member_that_cannot_end_is_enough() {
        let mut fake = Fake::new(&[
            Some(group(0)),
            None,
            Some(on(1)),
            Some(on(0)),
            Some(group(1)),
        ]);
        fake.groups = vec![vec![1, 2, 3], vec![1, 2]];
        assert_eq!(fake.found(0), Some(vec![0, 3]));
        assert_eq!(fake.found(3), Some(vec![3, 0]));
        assert_eq!(fake.found(4), None, "its members can end");
    }

    /// Whatever changes while the search looks, and whenever: a circle that is
    /// reported was there at one moment.
    #[test]
    fn no_circle_of_different_moments_is_reported() {
        let events = [
            Event::WaitsAnew(0),
            Event::WaitsAnew(1),
            Event::Wakes(0),
            Event::Wakes(1),
            Event::WaitsFor(0, on(3)),
            Event::WaitsFor(1, on(3)),
        ];
        let looks = {
            let fake = Fake::new(&[Some(on(1)), Some(on(0)), None, None]);
            assert!(fake.found(0).is_some());
            fake.looks.get()
        };
        for event in events {
            // Nothing comes between the last look and the report.
            for n in 1..looks {
                let fake = Fake::new(&[Some(on(1)), Some(on(0)), None, None]);
                fake.events.borrow_mut().push((n, event));
                let found = fake.found(0);
                // True at the end of the first pass, the third look.
                let there = match event {
                    Event::WaitsAnew(1) => n <= 2,
                    // 0 is looked at for the last time before 1 is.
                    Event::WaitsAnew(0)
                    | Event::Wakes(0)
                    | Event::WaitsFor(0, _) => n == looks - 1,
                    _ => false,
                };
                assert_eq!(found.is_some(), there, "{event:?} at look {n}");
            }
        }
    }

    /// 0 waits for 1 and goes on; then 1 waits for 0. Each edge was there, and
    /// never both.
    #[test]
    fn edges_that_follow_each_other_are_no_circle() {
        for n in 0..8 {
            let fake = Fake::new(&[Some(on(1)), None]);
            fake.events
                .borrow_mut()
                .extend([(n, Event::Wakes(0)), (n, Event::WaitsFor(1, on(0)))]);
            assert_eq!(fake.found(0), None, "at look {n}");
        }
    }

    #[test]
    fn a_search_ends_on_any_graph() {
        let long: Vec<_> = (1..=1000).map(|n| Some(on(n % 1000))).collect();
        assert_eq!(Fake::new(&long).found(0), None, "too long to follow");
        let mut fake = Fake::new(&[Some(group(0)), None]);
        fake.groups = vec![vec![1; 100_000]];
        assert_eq!(fake.found(0), None);
        assert!(fake.looks.get() < 2000);
    }
}
