//! Memory that is refused.

use super::tests::*;
use super::*;
use crate::base::child;

/// Refuses more address space than there is now and `more` bytes.
fn limit(more: u64) {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split(' ').next().unwrap().parse().unwrap();
    let now = pages * 4096 + more;
    let limit = libc::rlimit { rlim_cur: now, rlim_max: now };
    // SAFETY: reads the structure.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
}

#[test]
fn a_heap_without_memory_says_so_and_lives_on() {
    child::returns(|| {
        let (cache, work) = (MCache::new(heap()), Work::new());
        // Two arenas, and what belongs to them.
        limit(140 << 20);
        let mut kept = vec![0; 1000];
        let mut n = 0;
        while let Some(at) = cache.alloc(10_000, Kind::Scan) {
            kept[n % 1000] = at.as_ptr().addr();
            n += 1;
        }
        assert!(n > 6000, "an arena at least: {n}");
        assert!(cache.alloc(100_000, Kind::Noscan).is_none());
        collect(&work, &cache, &kept);
        for _ in 0..3000 {
            address(cache.alloc(10_000, Kind::Scan));
        }
        assert!(cache.heap().scavenge(usize::MAX) > 0);
    });
}

#[test]
fn a_heap_that_cannot_begin_says_so() {
    child::returns(|| {
        let heap = Box::leak(Box::new(MHeap::new()));
        let cache = MCache::new(heap);
        assert!(cache.alloc(16, Kind::Scan).is_none(), "before init");
        assert!(!cache.free(16));
        limit(8 << 20);
        assert!(heap.init().is_none());
        assert!(cache.alloc(16, Kind::Scan).is_none());
        assert!(heap.object(4096).is_none());
    });
}

#[test]
fn stacks_for_which_there_is_no_span_are_not_known() {
    child::returns(|| {
        let heap = heap();
        let (at, len) = (0x7000_0000_0000, 3 * arena::ARENA);
        limit(0);
        assert!(heap.set_manual(at, len).is_none());
        heap.clear_manual(at, len);
        assert_eq!(heap.state_of(at), SpanState::Dead);
        assert_eq!(heap.stats().stacks, 0);
    });
}
