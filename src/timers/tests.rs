//! Timer heaps against a model, and a hundred thousand timers.

use super::*;
use std::sync::{Arc, Mutex};

/// The calls of one test's timers, in order.
type Log = Mutex<Vec<u64>>;

fn log_seq(arg: usize, seq: u64) {
    // SAFETY: arg is the address of a log that outlives its timers.
    let log = unsafe { &*(arg as *const Log) };
    log.lock().unwrap().push(seq);
}

fn timer(log: &Log, seq: u64) -> Timer {
    Timer::new(log_seq, ptr::from_ref(log) as usize, seq)
}

fn taken(log: &Log) -> Vec<u64> {
    std::mem::take(&mut *log.lock().unwrap())
}

fn timers() -> &'static Timers {
    Box::leak(Box::new(Timers::new()))
}

/// Heaps to try: one with memory, one without, and one that runs out of it.
fn heaps() -> impl Iterator<Item = (&'static Timers, usize)> {
    [usize::MAX, 0, 40].into_iter().map(|room| (timers(), room))
}

/// Limits the heap to `room` timers from now on.
fn limit(heap: &'static Timers, room: usize) {
    let mut heap = heap.heap.lock();
    let full = heap.len() >= room;
    heap.set_full(full);
}

/// Adds a timer that the test keeps in place.
fn add(heap: &'static Timers, t: &Timer, when: i64) -> bool {
    // SAFETY: the tests keep their timers in place until they are removed or
    // have run.
    unsafe { heap.add(t, Deadline::at(when)) }
}

/// A small generator, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

#[test]
fn timers_run_in_order_and_equal_ones_as_added() {
    heaps().for_each(|(heap, room)| in_order(heap, room));
}

fn in_order(heap: &'static Timers, room: usize) {
    let log = Log::default();
    let all: Vec<_> = (0..50).map(|i| timer(&log, i)).collect();
    for (i, t) in all.iter().enumerate() {
        limit(heap, room);
        add(heap, t, 10 * (i as i64 % 5));
    }
    assert_eq!(heap.len(), 50);
    assert_eq!(heap.run(-1), 0);
    assert_eq!(heap.run(20), 30);
    let by_time = |k: u64| (0..10).map(move |i| 5 * i + k);
    let want: Vec<_> = (0..3).flat_map(by_time).collect();
    assert_eq!(taken(&log), want);
    assert_eq!(heap.next_when().ns(), 30);
    assert_eq!(heap.run(i64::MAX), 20);
    assert_eq!(heap.next_when().ns(), i64::MAX);
}

#[test]
fn equal_timers_keep_their_order_when_its_numbers_are_used_up() {
    let (heap, log) = (timers(), Log::default());
    heap.heap.lock().set_added(u32::MAX - 25);
    let all: Vec<_> = (0..50).map(|i| timer(&log, i)).collect();
    for t in &all {
        add(heap, t, 7);
        assert!(heap.heap.lock().is_sound());
    }
    assert!(Timers::remove(&all[30]));
    assert_eq!(heap.run(7), 49);
    let want: Vec<_> = (0..50).filter(|i| *i != 30).collect();
    assert_eq!(taken(&log), want);
}

#[test]
fn add_tells_whether_it_is_the_first() {
    let (heap, log) = (timers(), Log::default());
    let all: Vec<_> = (0..4).map(|i| timer(&log, i)).collect();
    assert!(add(heap, &all[0], 100));
    assert!(!add(heap, &all[1], 100));
    assert!(!add(heap, &all[2], 200));
    assert!(add(heap, &all[3], 99));
    assert_eq!(heap.next_when().ns(), 99);
    assert!(Timers::remove(&all[3]));
    assert_eq!(heap.next_when().ns(), 100);
    assert_eq!(all.iter().filter(|t| Timers::remove(t)).count(), 3);
    assert_eq!((heap.len(), heap.next_when().ns()), (0, i64::MAX));
}

#[test]
fn a_removed_timer_does_not_run_and_can_be_added_again() {
    let (heap, log) = (timers(), Log::default());
    let t = timer(&log, 7);
    assert!(!Timers::remove(&t));
    add(heap, &t, 5);
    assert!(Timers::remove(&t));
    assert!(!Timers::remove(&t));
    assert_eq!(heap.run(10), 0);
    add(heap, &t, 20);
    assert_eq!(heap.run(20), 1);
    assert!(!Timers::remove(&t), "it has run");
    assert_eq!(taken(&log), [7]);
}

#[test]
fn a_moved_timer_is_removed_where_it_is() {
    moved_and_removed(usize::MAX, usize::MAX);
    moved_and_removed(usize::MAX, 0);
    moved_and_removed(0, usize::MAX);
}

fn moved_and_removed(room_a: usize, room_b: usize) {
    let (a, b, log) = (timers(), timers(), Log::default());
    limit(a, room_a);
    limit(b, room_b);
    let all: Vec<_> = (0..6).map(|i| timer(&log, i)).collect();
    add(b, &all[0], 3);
    assert_eq!(all[1..].iter().filter(|t| add(a, t, 3)).count(), 1);
    a.move_to(b);
    a.move_to(b);
    b.move_to(b);
    assert_eq!((a.len(), a.next_when().ns()), (0, i64::MAX));
    assert_eq!((b.len(), b.next_when().ns()), (6, 3));
    assert!(Timers::remove(&all[2]));
    assert_eq!(b.run(3), 5);
    assert_eq!(taken(&log), [0, 1, 3, 4, 5]);
}

#[test]
fn a_function_may_add_and_remove_and_free_its_timer() {
    struct Chain {
        heap: &'static Timers,
        timer: Mutex<Option<Box<Timer>>>,
        log: Log,
    }
    fn step(arg: usize, seq: u64) {
        // SAFETY: arg is the address of a chain that outlives the run.
        let chain = unsafe { &*(arg as *const Chain) };
        chain.log.lock().unwrap().push(seq);
        let mut slot = chain.timer.lock().unwrap();
        let t = Box::new(Timer::new(step, arg, seq + 1));
        assert!(!Timers::remove(slot.as_ref().unwrap()));
        add(chain.heap, &t, 10 * (seq as i64 + 1));
        *slot = Some(t);
    }
    let chain =
        Chain { heap: timers(), timer: Mutex::new(None), log: Log::default() };
    let arg = (&raw const chain) as usize;
    let first = Box::new(Timer::new(step, arg, 0));
    add(chain.heap, &first, 0);
    *chain.timer.lock().unwrap() = Some(first);
    for now in 0..30 {
        chain.heap.run(now);
    }
    assert_eq!(taken(&chain.log), [0, 1, 2]);
    assert!(Timers::remove(chain.timer.lock().unwrap().as_ref().unwrap()));
}

/// Adds and removes at random, and compares with a sorted list.
#[test]
fn a_hundred_thousand_timers_behave_as_a_sorted_list() {
    heaps().for_each(|(heap, room)| as_a_sorted_list(heap, room));
}

fn as_a_sorted_list(heap: &'static Timers, room: usize) {
    const N: usize = 100_000;
    let log = Log::default();
    let all: Vec<_> = (0..N as u64).map(|i| timer(&log, i)).collect();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut when = vec![None; N];
    // Far fewer times than timers, so that many are equal.
    for (i, t) in all.iter().enumerate() {
        let at = random.below(5_000) as i64;
        limit(heap, room);
        add(heap, t, at);
        when[i] = Some(at);
        let victim = random.below(3 * N);
        if victim < N {
            let pending = when[victim].take().is_some();
            assert_eq!(Timers::remove(&all[victim]), pending);
        }
        if i.is_multiple_of(10_000) {
            assert!(heap.heap.lock().is_sound());
        }
    }
    let mut model: Vec<_> =
        (0..N as u64).filter_map(|i| Some((when[i as usize]?, i))).collect();
    model.sort_unstable();
    assert_eq!(heap.len(), model.len());
    assert!(model.len() > N / 2 && model.len() < N);
    let mut rest = &model[..];
    for now in (0..5_000).step_by(617).chain([5_000]) {
        let due = rest.partition_point(|(at, _)| *at <= now);
        assert_eq!(heap.run(now), due);
        let want: Vec<_> = rest[..due].iter().map(|(_, i)| *i).collect();
        assert_eq!(taken(&log), want);
        rest = &rest[due..];
        assert!(heap.heap.lock().is_sound());
        let next = rest.first().map_or(i64::MAX, |(at, _)| *at);
        assert_eq!(heap.next_when().ns(), next);
    }
    assert!(rest.is_empty());
}

/// One timer of the model below: what it is armed for, and how many heaps and
/// late calls still have it.
#[derive(Clone, Copy, Default)]
struct Armed {
    when: Option<i64>,
    seq: u64,
    held: u32,
}

impl Armed {
    /// Its function was called, at `now`.
    fn called(&mut self, seq: u64, now: i64) {
        self.held -= 1;
        if self.seq == seq
            && let Some(when) = self.when.take()
        {
            assert!(when <= now, "called at {now}, due at {when}");
        }
    }
}

#[test]
fn timers_that_are_set_and_stopped_run_as_last_set() {
    heaps().for_each(|(heap, room)| as_last_set(heap, room));
}

fn as_last_set(heap: &'static Timers, room: usize) {
    const N: usize = 200;
    let log = Log::default();
    let all: Vec<_> = (0..N).map(|_| timer(&log, 0)).collect();
    let mut model = [Armed::default(); N];
    let mut random = Random(11);
    let mut now = 0;
    for step in 1..50_000u64 {
        let i = random.below(N);
        let seq = step << 8 | i as u64;
        limit(heap, room);
        match random.below(8) {
            0..4 => {
                let when = now + random.below(1000) as i64;
                if Timers::set(&all[i], Deadline::at(when), seq).is_none() {
                    all[i].set_seq(seq);
                    add(heap, &all[i], when);
                    model[i].held += 1;
                }
                model[i] = Armed { when: Some(when), seq, ..model[i] };
            }
            4..6 => {
                model[i].when = None;
                Timers::stop(&all[i]).call();
            }
            6 => {
                model[i].held -= u32::from(Timers::remove(&all[i]));
                model[i].when = None;
            }
            _ => {
                now += random.below(100) as i64;
                heap.run(now);
            }
        }
        for seq in taken(&log) {
            model[seq as usize & 255].called(seq, now);
        }
        assert!(heap.heap.lock().is_sound());
        let earliest = model.iter().filter_map(|a| a.when).min();
        assert!(earliest.is_none_or(|when| heap.next_when().ns() <= when));
    }
    // A timer that is due last takes the stopped ones along.
    let last = timer(&log, 0);
    add(heap, &last, STOPPED - 2);
    heap.run(STOPPED - 3);
    assert!(Timers::remove(&last));
    for seq in taken(&log) {
        model[seq as usize & 255].called(seq, i64::MAX);
    }
    assert!(model.iter().all(|a| a.when.is_none() && a.held == 0));
    assert_eq!((heap.len(), heap.next_when().ns()), (0, i64::MAX));
}

#[test]
fn stopped_timers_do_not_pile_up() {
    let (heap, log) = (timers(), Log::default());
    let all: Vec<_> = (0..10_000).map(|i| timer(&log, i)).collect();
    for (i, t) in all.iter().enumerate() {
        add(heap, t, 1_000 + i as i64);
        if i > 0 {
            Timers::stop(t).call();
        }
        assert!(heap.len() < 50);
    }
    Timers::stop(&all[0]).call();
    assert_eq!(heap.next_when().ns(), i64::MAX, "nobody wakes up for the rest");
    // A timer that runs takes along those that would come up before it.
    let last = timer(&log, 0);
    add(heap, &last, 20_000);
    assert_eq!(heap.next_when().ns(), 1_000);
    heap.run(1_000);
    assert_eq!((heap.len(), heap.next_when().ns()), (1, 20_000));
    assert_eq!(taken(&log).len(), all.len(), "each was called");
    assert!(Timers::remove(&last));
}

#[test]
fn threads_add_remove_run_and_move_at_once() {
    at_once([timers(), timers()]);
    let full = timers();
    limit(full, 0);
    at_once([timers(), full]);
}

fn at_once(heaps: [&'static Timers; 2]) {
    const EACH: usize = 20_000;
    let log: &'static Log = Box::leak(Box::default());
    let stop = Arc::new(crate::base::sync::AtomicBool::new(false));
    let mover = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            let mut now = 0;
            while !stop.load(Ordering::Relaxed) {
                heaps[0].move_to(heaps[1]);
                heaps[1].move_to(heaps[0]);
                heaps[now as usize % 2].run(now);
                now = (now + 1) % 100;
            }
        })
    };
    let users: Vec<_> = (0..2usize)
        .map(|user| {
            std::thread::spawn(move || {
                let mut random = Random(user as u64 + 1);
                let mut removed = 0;
                for i in 0..EACH {
                    // On the stack, as a sleeping goroutine has it: remove
                    // ends all use of it.
                    let t = timer(log, (user * EACH + i) as u64);
                    add(heaps[i % 2], &t, random.below(100) as i64);
                    if i.is_multiple_of(64) {
                        std::thread::yield_now();
                    }
                    removed += usize::from(Timers::remove(&t));
                }
                removed
            })
        })
        .collect();
    let removed: usize = users.into_iter().map(|t| t.join().unwrap()).sum();
    stop.store(true, Ordering::Relaxed);
    mover.join().unwrap();
    // Each timer was removed or has run, and none did both or ran twice.
    let mut ran = taken(log);
    ran.sort_unstable();
    ran.dedup();
    assert_eq!(removed + ran.len(), 2 * EACH);
    assert_eq!(heaps[0].len() + heaps[1].len(), 0);
}
