//! Single promises of the heap.

use super::arena::{ARENA, CHUNK};
use super::sizeclass::{CLASS, MAX_SMALL, PAGE};
use super::tests::*;
use super::*;

#[test]
fn a_word_is_found_as_a_linear_search_finds_it() {
    let cache = MCache::new(heap());
    let mut random = Random(5);
    let mut objects = Vec::new();
    for class in &CLASS[1..] {
        for _ in 0..1 + 20_000 / class.size {
            let kind = Kind::ALL[random.below(3)];
            let base = address(cache.alloc(class.size, kind));
            objects.push((base, class.size));
        }
    }
    for pages in [5, 6, 100, 9000] {
        let base = address(cache.alloc(pages * PAGE, Kind::Scan));
        objects.push((base, pages * PAGE));
    }
    objects.retain(|(base, _)| random.chance(3) || !cache.free(*base));
    let (low, high) = cache.heap().bounds();
    let steps = if cfg!(debug_assertions) { 10_000 } else { 200_000 };
    for n in 0..steps {
        let (base, size) = objects[random.below(objects.len())];
        let word = match n % 4 {
            0 => base + random.below(size),
            1 => base + size,
            2 => base.wrapping_sub(1),
            _ => low - PAGE + random.below(high - low + 2 * PAGE),
        };
        let linear = objects.iter().find(|(b, s)| (*b..b + s).contains(&word));
        let found = cache.heap().object(word).map(|o| (o.base, o.size));
        assert_eq!(found, linear.copied(), "{word:#x}");
    }
}

#[test]
fn any_word_may_be_asked_about() {
    let cache = MCache::new(heap());
    address(cache.alloc(1, Kind::Scan));
    for word in [0, 1, 8, 4096, 1 << 47, (1 << 47) - 1, usize::MAX, 1 << 63] {
        assert!(cache.heap().object(word).is_none());
        assert!(!cache.free(word));
    }
    let mut random = Random(6);
    for _ in 0..100_000 {
        let word = random.next() as usize | random.below(2) << 47;
        let _ = cache.heap().object(word);
    }
    let local = 7usize;
    assert!(!cache.free((&raw const local).addr()));
}

#[test]
fn objects_longer_than_an_arena_are_objects() {
    let (cache, work) = (MCache::new(heap()), Work::new());
    let size = 2 * ARENA + 3 * PAGE;
    let big = address(cache.alloc(size, Kind::Scan));
    let leaf = address(cache.alloc(64, Kind::Scan));
    let lost = address(cache.alloc(64, Kind::Scan));
    for at in [0, ARENA - 8, ARENA, size - 16, size - 1] {
        let found = cache.heap().object(big + at).expect("an object");
        assert_eq!((found.base, found.size), (big, size));
    }
    // In its last words, far from the base.
    set(big + size - 8, 0, leaf + 40);
    assert_eq!(collect(&work, &cache, &[big + ARENA + 5]), size + 64);
    assert!(cache.heap().object(leaf).is_some());
    assert!(cache.heap().object(lost).is_none());
    let reserved = cache.heap().stats().reserved;
    assert_eq!(collect(&work, &cache, &[]), 0);
    let again = address(cache.alloc(size, Kind::Scan));
    assert_eq!(get(again + size - 8, 0), 0, "zeroed again");
    assert_eq!(cache.heap().stats().reserved, reserved, "the same arenas");
    assert!(cache.alloc(usize::MAX, Kind::Scan).is_none());
    assert!(cache.alloc(usize::MAX - 2 * PAGE, Kind::Noscan).is_none());
    assert!(cache.alloc(1 << 50, Kind::Noscan).is_none());
}

#[test]
fn no_short_object_begins_where_an_arena_does() {
    for size in [PAGE, CHUNK, ARENA / 8 - PAGE] {
        let cache = MCache::new(heap());
        for _ in 0..2 * ARENA / size + 1 {
            let at = address(cache.alloc(size, Kind::Noscan));
            assert_ne!(at % ARENA, 0, "{size:#x}");
        }
        let arenas = cache.heap().stats().reserved / ARENA;
        assert!(arenas <= 3, "{size:#x}: {arenas}");
    }
}

#[test]
fn long_objects_of_powers_of_two_fill_their_arenas() {
    const ALL: usize = 16 * ARENA;
    for size in (0..=6).map(|n| (ARENA / 8) << n) {
        let cache = MCache::new(heap());
        let fill = || (0..ALL / size).map(|_| cache.alloc(size, Kind::Noscan));
        let objects = fill().map(address).collect::<Vec<_>>();
        assert_eq!(cache.heap().stats().reserved, ALL, "{size:#x}");
        for base in objects {
            assert!(cache.free(base));
        }
        assert!(fill().all(|it| it.is_some()));
        assert_eq!(cache.heap().stats().reserved, ALL, "{size:#x} again");
    }
}

#[test]
fn short_objects_that_stay_take_no_place_of_long_ones() {
    for early in [false, true] {
        for size in [5, 7, 8, 9, 13, 16, 17, 25].map(|n| n * ARENA / 8) {
            let cache = MCache::new(heap());
            let short = || address(cache.alloc(40_000, Kind::Noscan));
            for _ in 0..200 {
                let long = address(cache.alloc(size, Kind::Noscan));
                if early {
                    short();
                }
                assert!(cache.free(long));
                if !early {
                    short();
                }
            }
            let arenas = cache.heap().stats().reserved / ARENA;
            let most = 2 * size.div_ceil(ARENA) + 1;
            assert!(arenas <= most, "{size:#x}, {early}: {arenas}");
        }
    }
}

#[test]
fn short_objects_take_what_long_ones_leave_before_another_arena() {
    let cache = MCache::new(heap());
    let long = address(cache.alloc(ARENA + ARENA / 2, Kind::Noscan));
    for _ in 0..ARENA / 2 / CHUNK - 1 {
        address(cache.alloc(CHUNK, Kind::Noscan));
    }
    assert_eq!(cache.heap().stats().reserved, 2 * ARENA);
    assert!(cache.free(long));
    for _ in 0..(ARENA + ARENA / 2) / CHUNK - 1 {
        address(cache.alloc(CHUNK, Kind::Noscan));
    }
    assert_eq!(cache.heap().stats().reserved, 2 * ARENA);
}

#[test]
fn an_end_pointer_in_a_root_keeps_the_object_and_not_in_an_object() {
    let (cache, work) = (MCache::new(heap()), Work::new());
    // The last object of its span too, and a large one.
    let per_span = PAGE / 1024;
    let many: Vec<_> = (0..per_span * 3)
        .map(|_| address(cache.alloc(1024, Kind::Scan)))
        .collect();
    let large = address(cache.alloc(PAGE * 9, Kind::Noscan));
    let ends: Vec<_> = many.iter().step_by(4).map(|at| at + 1024).collect();
    let roots = [&ends[..], &[large + PAGE * 9]].concat();
    collect(&work, &cache, &roots);
    for at in many.iter().step_by(4) {
        assert!(cache.heap().object(*at).is_some());
    }
    assert!(cache.heap().object(large).is_some());
    let holder = address(cache.alloc(64, Kind::Scan));
    set(holder, 0, large + PAGE * 9);
    // Not to its first byte, which may be where the large one ends.
    collect(&work, &cache, &[holder + 8]);
    assert!(cache.heap().object(holder).is_some());
    assert!(cache.heap().object(large).is_none());
}

#[test]
fn a_pointer_to_an_object_keeps_the_one_before_only_if_that_is_full() {
    let (cache, work) = (MCache::new(heap()), Work::new());
    for (size, kept) in [(16, true), (24, false), (100, false), (128, true)] {
        let pair = [(); 2].map(|()| address(cache.alloc(size, Kind::Scan)));
        let [before, object] = pair;
        assert_eq!(object - before, size.next_multiple_of(16));
        collect(&work, &cache, &[object]);
        assert!(cache.heap().object(object).is_some());
        assert_eq!(cache.heap().object(before).is_some(), kept, "{size}");
        let last = address(cache.alloc(size, Kind::Scan));
        collect(&work, &cache, &[last + size]);
        assert!(cache.heap().object(last).is_some(), "{size}");
    }
}

#[test]
fn objects_without_pointers_are_not_looked_into() {
    let (cache, work) = (MCache::new(heap()), Work::new());
    let plain = address(cache.alloc(64, Kind::Noscan));
    let hidden = address(cache.alloc(64, Kind::Scan));
    set(plain, 0, hidden);
    assert_eq!(collect(&work, &cache, &[plain]), 64);
    assert!(cache.heap().object(hidden).is_none());
}

#[test]
fn root_objects_stay_until_freed_and_keep_others() {
    let (cache, work) = (MCache::new(heap()), Work::new());
    let root = address(cache.alloc(100, Kind::Root));
    let large = address(cache.alloc(MAX_SMALL + 1, Kind::Root));
    let kept = address(cache.alloc(32, Kind::Scan));
    set(root, 3, kept);
    for _ in 0..3 {
        collect(&work, &cache, &[]);
        assert!(cache.heap().object(large).is_some());
        assert_eq!(get(root, 3), kept);
        assert!(cache.heap().object(kept).is_some());
    }
    assert!(cache.free(root) && cache.free(large));
    assert_eq!(collect(&work, &cache, &[]), 0);
    assert!(cache.heap().object(kept).is_none());
}

#[test]
fn a_long_chain_and_a_wide_fan_are_marked() {
    let (cache, work) = (MCache::new(heap()), Work::new());
    let mut head = 0;
    for _ in 0..100_000 {
        let node = address(cache.alloc(16, Kind::Scan));
        set(node, 1, head);
        head = node;
    }
    let fan = address(cache.alloc(8 * 100_000, Kind::Scan));
    for i in 0..100_000 {
        set(fan, i, address(cache.alloc(32, Kind::Noscan)));
    }
    let fan_size = cache.heap().object(fan).unwrap().size;
    let all = 100_000 * 16 + fan_size + 100_000 * 32;
    for _ in 0..2 {
        assert_eq!(collect(&work, &cache, &[head, fan]), all);
    }
}

#[test]
fn free_pages_go_back_and_come_as_zeros() {
    let (cache, work) = (MCache::new(heap()), Work::new());
    let objects: Vec<_> =
        (0..4000).map(|_| address(cache.alloc(4096, Kind::Noscan))).collect();
    for at in &objects {
        set(*at, 5, usize::MAX);
    }
    collect(&work, &cache, &[]);
    let before = cache.heap().stats();
    assert!(before.free - before.clean >= 15 << 20);
    assert_eq!(cache.heap().scavenge(5 << 20), 5 << 20);
    assert!(cache.heap().scavenge(usize::MAX) >= 10 << 20);
    assert_eq!(cache.heap().scavenge(1), 0);
    let after = cache.heap().stats();
    assert_eq!(after.free, after.clean);
    assert_eq!(get(objects[100], 5), 0, "no page behind it");
}

/// A hundred rounds of the same work need no more memory than a few.
#[test]
fn the_same_work_needs_the_same_memory() {
    let (cache, work) = (MCache::new(heap()), Work::new());
    let mut random = Random(9);
    let mut after_ten = 0;
    for round in 0..100 {
        let mut kept = vec![0; 500];
        for _ in 0..20_000 {
            let size = random.below(2000);
            let at = address(cache.alloc(size, Kind::Scan));
            let n = random.below(5000);
            if let Some(kept) = kept.get_mut(n) {
                *kept = at;
            }
        }
        collect(&work, &cache, &kept);
        let stats = cache.heap().stats();
        let memory = stats.in_use + stats.free - stats.clean;
        if round == 10 {
            after_ten = memory;
        } else if round > 10 {
            assert!(memory <= after_ten + after_ten / 20, "round {round}");
        }
    }
}

#[test]
fn what_is_freed_by_hand_is_used_again() {
    let cache = MCache::new(heap());
    for (size, kind) in [(16, Kind::Scan), (1024, Kind::Noscan)] {
        for _ in 0..1000 {
            let all: Vec<_> =
                (0..100).map(|_| address(cache.alloc(size, kind))).collect();
            assert!(all.iter().all(|at| cache.free(*at)));
        }
    }
    assert!(cache.heap().stats().in_use < 1 << 20);
}

#[test]
fn a_heap_tells_when_it_is_time() {
    let (cache, work) = (MCache::new(heap()), Work::new());
    let mut n = 0;
    while !cache.heap().is_due() {
        address(cache.alloc(1000, Kind::Noscan));
        n += 1;
    }
    assert!((3800..4400).contains(&n), "{n} of 1024 bytes are 4 MiB");
    collect(&work, &cache, &[]);
    assert!(!cache.heap().is_due());
    assert_eq!(cache.heap().live(), 0);
}

#[test]
fn what_is_freed_by_hand_is_handed_out_again_and_free_meanwhile() {
    let cache = MCache::new(heap());
    for kind in Kind::ALL {
        for size in [16, 64, 1024, 32 << 10] {
            // So many that the first is in no span of the cache's.
            let all: Vec<usize> = (0..1 + (1 << 16) / size)
                .map(|_| address(cache.alloc(size, kind)))
                .collect();
            let first = all[0];
            assert!(cache.heap().object(first).is_some());
            assert!(cache.free(first));
            assert!(!cache.free(first), "{size}: freed twice");
            assert!(cache.heap().object(first).is_none());
            assert!(!cache.heap().free_without(first));
            // The rest of the span at hand comes before.
            let again = (0..1 << 13).find_map(|_| {
                let at = address(cache.alloc(size, kind));
                (at == first).then_some(at)
            });
            let at = again.expect("it is handed out again");
            // SAFETY: an object of at least 16 bytes.
            let words = unsafe { *(at as *const [usize; 2]) };
            assert!(!kind.has_pointers() || words == [0, 0]);
            assert!(cache.free(at), "{size}: it is an object again");
        }
    }
}

#[test]
fn an_address_of_a_stack_is_in_a_manual_span() {
    let heap = heap();
    let cache = MCache::new(heap);
    let object = address(cache.alloc(100, Kind::Scan));
    assert_eq!(heap.state_of(object), SpanState::InUse);
    // Not at a page of the heap's, across two arenas, and right behind.
    let (first, second) = (0x7000_0000_1000, 0x7000_0000_1000 + ARENA);
    heap.set_manual(first, ARENA).unwrap();
    heap.set_manual(second, 3 << 12).unwrap();
    for (at, is_stack) in [
        (first - 1, false),
        (first, true),
        (second - 1, true),
        (second, true),
        (second + (3 << 12) - 1, true),
        (second + (3 << 12), false),
        (object, false),
        (0, false),
        (usize::MAX, false),
        (1 << 47, false),
    ] {
        let state = heap.state_of(at);
        assert_eq!(state == SpanState::Manual, is_stack, "{at:#x}");
        assert!(at == object || heap.object(at).is_none());
        assert!(at == object || !cache.free(at));
    }
    assert_eq!(heap.stats().stacks, ARENA + (3 << 12));
    // One of two, and told once more as one range.
    heap.clear_manual(second, 3 << 12);
    assert_eq!(heap.state_of(second), SpanState::Dead);
    assert_eq!(heap.state_of(second - 1), SpanState::Manual);
    for _ in 0..2 {
        heap.set_manual(first, ARENA + (3 << 12)).unwrap();
        assert_eq!(heap.state_of(second), SpanState::Manual);
        assert_eq!(heap.stats().stacks, ARENA + (3 << 12));
    }
    for _ in 0..2 {
        heap.clear_manual(first, ARENA + (3 << 12));
        assert_eq!(heap.stats().stacks, 0);
    }
    assert_eq!(heap.state_of(first), SpanState::Dead);
    // Beyond what a process has.
    assert!(heap.set_manual((1 << 47) - 4096, 8192).is_none());
    assert_eq!(heap.stats().stacks, 0);
}

#[test]
fn a_span_of_objects_never_becomes_one_of_stacks() {
    let heap = heap();
    let cache = MCache::new(heap);
    let arenas = heap.arenas().unwrap();
    let stacks = |n: usize| 0x7000_0000_1000 + n * ARENA;
    // Large objects: their spans are spare when they are freed.
    let all: Vec<_> = (0..8)
        .map(|_| address(cache.alloc(100_000, Kind::Scan)))
        .map(|at| (at, arenas.span(at).unwrap()))
        .collect();
    for (at, s) in &all {
        assert!(cache.free(*at));
        assert_eq!(s.state.get(), SpanState::Dead);
    }
    for n in 0..16 {
        heap.set_manual(stacks(n), 1 << 20).unwrap();
    }
    for (at, s) in &all {
        assert_eq!(s.state.get(), SpanState::Dead);
        // A late second free that has found the span before.
        assert!(s.has_bit(0));
        assert_eq!(s.bit(0).0.alloc(), 0);
        assert!(!cache.free(*at));
    }
    for n in 0..16 {
        heap.clear_manual(stacks(n), 1 << 20);
    }
    // The other way.
    for _ in 0..32 {
        let at = address(cache.alloc(100_000, Kind::Scan));
        let s = arenas.span(at).unwrap();
        assert_eq!((s.base.get(), s.state.get()), (at, SpanState::InUse));
    }
    let taken = heap.pages.lock().spare_manual.count();
    assert_eq!(taken, 16);
}
