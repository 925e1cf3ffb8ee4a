//! Threads: several markers, several owners of mcaches, frees of what another
//! thread has.

use super::arena::ARENA;
use super::tests::*;
use super::*;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Barrier, mpsc};
use std::thread;

/// A random graph; returns a root array and the bytes that it keeps.
fn graph(cache: &MCache, random: &mut Random) -> (Vec<usize>, usize) {
    let n = if cfg!(debug_assertions) { 20_000 } else { 400_000 };
    let size = |i: usize| [16, 32, 64, 256, 5000][i % 5];
    let all: Vec<_> =
        (0..n).map(|i| address(cache.alloc(size(i), Kind::Scan))).collect();
    for at in &all {
        set(*at, 0, all[random.below(n)]);
        set(*at, 1, all[random.below(n)] + 8);
    }
    let roots = vec![all[0], all[n / 2], all[n - 1]];
    let bytes = collect(&Work::new(), cache, &roots);
    (roots, bytes)
}

/// A collection by `n` markers.
fn collect_by(n: u32, cache: &MCache, work: &Work, roots: &[usize]) -> usize {
    let range = roots.as_ptr_range();
    let roots = [(range.start.addr(), range.end.addr())];
    let heap = cache.heap();
    let marking =
        Marking::new(heap, work, Roots::plain(&roots), n).expect("memory");
    heap.begin(core::iter::once(cache));
    heap.sweep_all();
    thread::scope(|scope| {
        for _ in 0..n {
            scope.spawn(|| marking.run::<false>());
        }
    });
    let marked = marking.finish();
    heap.end(marked);
    cache.prepare_for_sweep();
    heap.sweep_all();
    marked
}

#[test]
fn several_markers_mark_what_one_marks() {
    let (cache, work) = (MCache::new(heap()), Work::new());
    let (roots, bytes) = graph(&cache, &mut Random(7));
    assert!(bytes > 1 << 20);
    for n in [1, 2, 4, 7] {
        assert_eq!(collect_by(n, &cache, &work, &roots), bytes);
    }
    assert_eq!(collect_by(3, &cache, &work, &[]), 0);
}

#[test]
fn markers_without_memory_mark_all_the_same() {
    let (cache, work) = (MCache::new(heap()), Work::new());
    let (roots, bytes) = graph(&cache, &mut Random(8));
    // One chunk, so that the graph's stack does not fit.
    work.set_may_map(1);
    for n in [1, 2, 5] {
        assert_eq!(collect_by(n, &cache, &work, &roots), bytes);
    }
    work.set_may_map(0);
    let none = Work::new();
    none.set_may_map(0);
    assert!(Marking::new(cache.heap(), &none, Roots::plain(&[]), 1).is_none());
}

/// Objects made by one thread and freed by another, while all allocate.
#[test]
fn what_others_free_is_free_once() {
    let heap = heap();
    heap.set_poison();
    let rounds = if cfg!(debug_assertions) { 5_000 } else { 200_000 };
    let threads = 4;
    let start = Barrier::new(threads);
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..threads).map(|_| mpsc::channel::<usize>()).unzip();
    let caches: Vec<_> = thread::scope(|scope| {
        let mut all = Vec::new();
        for (t, inbox) in receivers.into_iter().enumerate() {
            let (senders, start) = (senders.clone(), &start);
            all.push(scope.spawn(move || {
                start.wait();
                one_of_many(heap, t, rounds, &senders, &inbox)
            }));
        }
        drop(senders);
        all.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let work = Work::new();
    // SAFETY: no roots, and these are all mcaches.
    let marked = unsafe { heap.collect(&work, caches.iter(), &[]) };
    assert_eq!(marked, Some(0));
    caches.iter().for_each(MCache::prepare_for_sweep);
    heap.sweep_all();
    assert_eq!(heap.stats().in_use, 0, "all spans went back");
}

fn one_of_many(
    heap: &'static MHeap,
    t: usize,
    rounds: usize,
    senders: &[mpsc::Sender<usize>],
    inbox: &mpsc::Receiver<usize>,
) -> MCache {
    let (cache, mut random) = (MCache::new(heap), Random(t as u64 + 1));
    let free = |at: usize| {
        assert_eq!(get(at, 0), at, "nobody else's");
        assert!(cache.free(at));
    };
    for _ in 0..rounds {
        let size = 16 + random.below(300);
        let at = address(cache.alloc(size, Kind::Noscan));
        set(at, 0, at);
        // A full inbox does not matter, a thread that has ended neither.
        let _ = senders[random.below(senders.len())].send(at);
        while let Ok(at) = inbox.try_recv() {
            free(at);
        }
    }
    cache
}

/// Two threads free the same objects at the same moment: one of them does.
#[test]
fn what_two_threads_free_at_once_is_freed_by_one() {
    const OBJECTS: usize = 60;
    let heap = heap();
    let rounds = if cfg!(debug_assertions) { 500 } else { 20_000 };
    let all = [const { AtomicUsize::new(0) }; OBJECTS];
    let (freed, step) = (AtomicUsize::new(0), Barrier::new(2));
    let free_all = |cache: &MCache| {
        step.wait();
        let mine = all.iter().filter(|at| cache.free(at.load(Relaxed)));
        freed.fetch_add(mine.count(), Relaxed);
        step.wait();
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            let other = MCache::new(heap);
            (0..rounds).for_each(|_| free_all(&other));
        });
        let one = MCache::new(heap);
        for round in 0..rounds {
            for at in &all {
                let object = one.alloc(16 << (round % 8), Kind::Noscan);
                at.store(address(object), Relaxed);
            }
            freed.store(0, Relaxed);
            free_all(&one);
            assert_eq!(freed.load(Relaxed), OBJECTS, "round {round}");
        }
    });
}

#[test]
fn what_another_cache_frees_in_a_cached_span_is_counted_once() {
    let heap = heap();
    let (one, other) = (MCache::new(heap), MCache::new(heap));
    // So that a count that falls is seen.
    address(one.alloc(4 << 20, Kind::Noscan));
    // The other one's list is full, so that it frees for good.
    let full: Vec<usize> =
        (0..200).map(|_| address(one.alloc(64, Kind::Scan))).collect();
    assert!(full.iter().all(|at| other.free(*at)));
    other.settle();
    let before = heap.stats().live;
    for _ in 0..20_000 {
        let at = address(one.alloc(64, Kind::Scan));
        assert!(other.free(at));
    }
    // It counts now what it has freed.
    other.settle();
    let live = heap.stats().live;
    assert!(live.abs_diff(before) < 1 << 16, "{before}, {live}");
}

#[test]
fn stacks_come_and_go_beside_objects() {
    let heap = heap();
    let steps = if cfg!(debug_assertions) { 500 } else { 5_000 };
    let base = |n: usize| 0x7000_0000_0000 + n * (ARENA / 4);
    thread::scope(|scope| {
        for n in 0..4 {
            scope.spawn(move || {
                let cache = MCache::new(heap);
                let mut random = Random(n as u64 + 1);
                for _ in 0..steps {
                    // Spans go from objects to stacks and back.
                    let at = address(cache.alloc(40_000, Kind::Noscan));
                    heap.set_manual(base(n), ARENA / 4).unwrap();
                    let own = base(n) + random.below(ARENA / 4);
                    assert_eq!(heap.state_of(own), SpanState::Manual);
                    let other = base(random.below(4));
                    assert_ne!(heap.state_of(other), SpanState::InUse);
                    assert_eq!(heap.state_of(at), SpanState::InUse);
                    assert!(cache.free(at));
                    heap.clear_manual(base(n), ARENA / 4);
                    assert_eq!(heap.state_of(own), SpanState::Dead);
                }
            });
        }
    });
    assert_eq!(heap.stats().stacks, 0);
}
