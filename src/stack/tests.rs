//! Each test has stacks of its own, apart from those of the process.

use super::pool::Stacks;
use super::slot::{MAX_SLOT, MIN_SLOT, Shape, slot_len};
use super::*;
use crate::base::child;
use crate::os::clock::nanotime;
use crate::os::{Errno, mem};
use std::os::fd::AsRawFd as _;

/// The class of the default size.
const CLASS: u8 = (256usize << 10).ilog2() as u8 - MIN_SLOT.ilog2() as u8;
const SECOND: i64 = 1_000_000_000;

fn stacks() -> &'static Stacks {
    Box::leak(Box::new(Stacks::new()))
}

/// Whether the kernel can read the byte there.
fn readable(at: usize) -> bool {
    let (_rx, tx) = std::io::pipe().unwrap();
    let at = at as *const libc::c_void;
    // SAFETY: the kernel checks the address and reports EFAULT.
    let n = unsafe { libc::write(tx.as_raw_fd(), at, 1) };
    assert!(n == 1 || Errno::last() == Errno(libc::EFAULT));
    n == 1
}

/// Writes the top word, as a goroutine's first frame does.
fn touch(s: Stack) {
    let top = (s.hi - 8) as *mut usize;
    // SAFETY: the top of a stack in use.
    unsafe { *top = s.hi };
}

fn top_word(s: Stack) -> usize {
    // SAFETY: the top of a stack of ours.
    unsafe { *((s.hi - 8) as *const usize) }
}

#[test]
fn sizes_are_usable_bytes_rounded_up_to_slots() {
    assert_eq!(Shape::of(DEFAULT_SIZE), Ok(Shape::Slot(CLASS)));
    assert_eq!(slot_len(CLASS), 256 << 10);
    assert_eq!(Shape::of(DEFAULT_SIZE + 1), Ok(Shape::Slot(CLASS + 1)));
    // The start may have raised it for this processor's signal frames.
    let least = MIN_SIZE.load(Ordering::Relaxed);
    let smallest = (least + GUARD).next_power_of_two();
    assert_eq!(Shape::of(1).unwrap().len(), smallest);
    assert_eq!(Shape::of(smallest - GUARD).unwrap().len(), smallest);
    let last = Shape::of(MAX_SLOT - GUARD).unwrap();
    assert_eq!(last, Shape::Slot(CLASSES as u8 - 1));
    assert_eq!(last.len(), MAX_SLOT);
    let own = Shape::of(MAX_SLOT - GUARD + 1).unwrap();
    assert_eq!(own, Shape::Own(MAX_SLOT + 4096));
    assert_eq!(Shape::of(MAX_SIZE), Ok(Shape::Own(MAX_SIZE + GUARD)));
    assert_eq!(Shape::of(MAX_SIZE + 1), Err(Errno::EINVAL));
    assert_eq!(Shape::of(usize::MAX), Err(Errno::EINVAL));
}

#[test]
fn the_process_hands_out_stacks_of_every_size() {
    stackinit(0, false, false).unwrap();
    assert_eq!(default_size(), DEFAULT_SIZE);
    assert_eq!(set_default_size(MAX_SIZE + 1), Err(Errno::EINVAL));
    let cache = StackCache::new();
    for size in [0, 1, 100 << 10, 1 << 20, 8 << 20, 64 << 20, MAX_SIZE] {
        let s = stackalloc(Some(&cache), size).unwrap();
        assert!(s.hi - s.lo >= size.max(MIN_SLOT - GUARD));
        assert_eq!(s.hi % 4096, 0);
        touch(s);
        assert!(readable(s.lo));
        assert!(!readable(s.lo - 1));
        assert!(!readable(s.base()));
        stackfree(Some(&cache), s);
    }
    let own = stackalloc(None, MAX_SIZE).unwrap();
    stackfree(None, own);
    assert!(!readable(own.hi - 1), "unmapped when free");
    assert!(stats().in_use >= 1, "one in the cache");
    flush(&cache);
    assert!(scavenge_wanted());
    assert!(scavenge(nanotime()).next.is_some());
}

#[test]
fn the_guard_is_below_the_stack() {
    let lo = 1 << 20;
    assert!(guard_hit(lo, lo - 1));
    assert!(guard_hit(lo, lo - GUARD));
    assert!(!guard_hit(lo, lo));
    assert!(!guard_hit(lo, lo - GUARD - 1));
    assert!(!guard_hit(lo, 0));
}

#[test]
fn the_latest_stack_is_reused_first() {
    let pool = stacks();
    let cache = StackCache::new();
    let a = cache.take(pool, CLASS).unwrap();
    let b = cache.take(pool, CLASS).unwrap();
    assert!(a.hi <= b.base() || b.hi <= a.base());
    touch(a);
    assert!(cache.put(pool, b));
    assert!(cache.put(pool, a));
    assert_eq!(cache.take(pool, CLASS), Ok(a));
    assert_eq!(top_word(a), a.hi, "nothing is written to a free stack");
    assert_eq!(cache.take(pool, CLASS), Ok(b));

    pool.put(CLASS, &[a.base(), b.base()]);
    assert_eq!(pool.take_one(CLASS), Ok(b));
    assert_eq!(pool.take_one(CLASS), Ok(a));
}

#[test]
fn a_cache_moves_its_older_half_to_the_pool() {
    let pool = stacks();
    let cache = StackCache::new();
    let mut all: Vec<_> =
        (0..40).map(|_| cache.take(pool, CLASS).unwrap()).collect();
    cache.flush(pool);
    let idle = pool.stats().idle;
    all.iter().for_each(|s| assert!(cache.put(pool, *s)));
    assert_eq!(pool.stats().idle, idle + 16);
    // The cache gives back the latest first, then the pool does.
    let again: Vec<_> =
        (0..40).map(|_| cache.take(pool, CLASS).unwrap()).collect();
    all.reverse();
    assert_eq!(again, all);
    assert_eq!(pool.stats().in_use + pool.stats().idle, 48);
}

#[test]
fn a_cache_serves_one_class() {
    let pool = stacks();
    let cache = StackCache::new();
    let small = cache.take(pool, 0).unwrap();
    let large = cache.take(pool, CLASS).unwrap();
    assert_eq!(large.hi - large.lo, DEFAULT_SIZE);
    assert!(!cache.put(pool, small));
    assert!(cache.put(pool, large));
    // The cache gave its small stacks to their pool.
    assert_eq!(pool.stats().idle, 15);
}

#[test]
fn stacks_never_overlap() {
    let pool = stacks();
    let mut all: Vec<_> =
        (0..3000u16).map(|i| pool.take_one(i as u8 % 5).unwrap()).collect();
    all.sort_unstable_by_key(|s| s.lo);
    for pair in all.windows(2) {
        assert!(pair[0].hi <= pair[1].base());
    }
    assert_eq!(pool.stats().in_use, 3000);
    assert_eq!(pool.stats().unguarded, 0);
}

#[test]
fn idle_stacks_lose_their_pages_after_a_whole_period() {
    let pool = stacks();
    let all: Vec<_> = (0..10).map(|_| pool.take_one(CLASS).unwrap()).collect();
    all.iter().for_each(|s| touch(*s));
    assert_eq!(pool.scavenge(0).next, None);
    all.iter().for_each(|s| pool.put(CLASS, &[s.base()]));
    assert!(pool.scavenge_wanted());

    // The first look begins a period, in which 4 are needed for a while.
    let first = pool.scavenge(SECOND);
    assert_eq!((first.released, first.next), (0, Some(2 * SECOND)));
    let needed: Vec<_> =
        (0..4).map(|_| pool.take_one(CLASS).unwrap()).collect();
    needed.iter().rev().for_each(|s| pool.put(CLASS, &[s.base()]));
    assert_eq!(pool.scavenge(2 * SECOND - 1).released, 0);

    let second = pool.scavenge(2 * SECOND);
    assert_eq!((second.released, second.next), (6, Some(3 * SECOND)));
    assert_eq!(pool.stats().cold, 6);
    for (i, s) in all.iter().enumerate() {
        assert_eq!(top_word(*s), if i < 6 { 0 } else { s.hi });
        assert!(!readable(s.lo - 1), "the guard stays");
    }

    let third = pool.scavenge(3 * SECOND);
    assert_eq!((third.released, third.next), (4, None));
    assert!(!pool.scavenge_wanted());
    // Cold ones serve again before a slab is touched.
    let again: Vec<_> =
        (0..10).map(|_| pool.take_one(CLASS).unwrap()).collect();
    assert!(again.iter().all(|s| all.contains(s)));
}

#[test]
fn scavenging_goes_in_bounded_steps_and_spares_what_is_used_meanwhile() {
    let pool = stacks();
    let all: Vec<_> = (0..600).map(|_| pool.take_one(0).unwrap()).collect();
    all.iter().for_each(|s| pool.put(0, &[s.base()]));
    pool.scavenge(SECOND);
    let step = pool.scavenge(2 * SECOND);
    assert_eq!(step.released, 256);
    let soon = step.next.unwrap();
    assert!(soon < 2 * SECOND + SECOND / 10);
    // 300 of the 344 that are left are in use for a moment.
    let used: Vec<_> = (0..300).map(|_| pool.take_one(0).unwrap()).collect();
    used.iter().for_each(|s| pool.put(0, &[s.base()]));
    assert_eq!(pool.scavenge(soon).released, 44);
    assert_eq!(pool.stats().cold, 300);
    // Not needed in the period that follows, they go too.
    let mut now = 3 * SECOND;
    let mut released = 0;
    loop {
        let step = pool.scavenge(now);
        released += step.released;
        match step.next {
            Some(next) => now = next,
            None => break,
        }
    }
    assert_eq!(released, 300);
    assert!(now <= 5 * SECOND);
}

#[test]
fn guards_by_mprotect_end_with_the_budget_and_stacks_do_not() {
    let pool = stacks();
    pool.guards.force_mprotect(true);
    pool.guards.set_budget(3);
    let all: Vec<_> = (0..5).map(|_| pool.take_one(0).unwrap()).collect();
    let guarded = |s: &&Stack| !readable(s.lo - 1) && !readable(s.base());
    assert_eq!(all.iter().filter(guarded).count(), 3);
    all.iter().for_each(|s| touch(*s));
    assert_eq!(pool.stats().unguarded, 2);
    // Scavenging takes neither guards nor stacks away.
    all.iter().for_each(|s| pool.put(0, &[s.base()]));
    pool.scavenge(SECOND);
    assert_eq!(pool.scavenge(2 * SECOND).released, 5);
    assert_eq!(all.iter().filter(guarded).count(), 3);
    assert!(all.iter().all(|s| top_word(*s) == 0));
}

#[test]
fn locked_memory_is_guarded_all_the_same() {
    let pool = stacks();
    let first = pool.take_one(0).unwrap();
    // SAFETY: the slot that is carved next.
    let r = unsafe { libc::mlock(first.hi as *const _, GUARD) };
    assert_eq!(r, 0);
    let next = pool.take_one(0).unwrap();
    assert_eq!(next.base(), first.hi);
    assert!(!readable(next.lo - 1) && !readable(next.base()));
    assert_eq!(pool.stats().unguarded, 0);
}

#[test]
fn slabs_shrink_with_the_address_space_and_then_there_is_an_error() {
    child::returns(|| {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
        let most = pages * 4096 + (20 << 20);
        let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
        // SAFETY: limit is a local variable.
        let r = unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) };
        assert_eq!(r, 0);
        let pool = Stacks::new();
        let mut n = 0;
        let error = loop {
            match pool.take_one(CLASS) {
                Ok(s) => touch(s),
                Err(e) => break e,
            }
            n += 1;
        };
        assert_eq!(error, Errno::ENOMEM);
        // 80, less two lists of 2 MiB and some pages.
        assert!((60..64).contains(&n), "{n}");
        assert_eq!(pool.stats().mapped, n << 18);
        assert_eq!(pool.map_own(64 << 20), Err(Errno::ENOMEM));
    });
}

#[test]
fn threads_share_a_pool() {
    let pool = stacks();
    let work = move |seed: usize| {
        let cache = StackCache::new();
        let mut held = Vec::new();
        for i in 0..20_000usize {
            if (i ^ (i >> 3) ^ seed).is_multiple_of(3) && !held.is_empty() {
                let s: Stack = held.swap_remove(i % held.len());
                assert_eq!(top_word(s), s.hi ^ seed, "nobody else has it");
                assert!(cache.put(pool, s));
            } else if held.len() < 100 {
                let s = cache.take(pool, 0).unwrap();
                // SAFETY: the top of a stack in use.
                unsafe { *((s.hi - 8) as *mut usize) = s.hi ^ seed };
                held.push(s);
            }
        }
        held.iter().for_each(|s| assert!(cache.put(pool, *s)));
        cache.flush(pool);
    };
    let all: Vec<_> =
        (1..4).map(|seed| std::thread::spawn(move || work(seed))).collect();
    let mut now = 0;
    while !all.iter().all(|t| t.is_finished()) {
        now += SECOND / 2;
        pool.scavenge(now);
        std::thread::yield_now();
    }
    all.into_iter().for_each(|t| t.join().unwrap());
    assert_eq!(pool.stats().in_use, 0);
}

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

/// A number of `/proc/self/status`, in KiB.
fn status(key: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
#[ignore = "takes 5 GiB of memory; alone in its process"]
fn a_million_stacks_take_few_mappings_and_little_memory() {
    const N: usize = 1_000_000;
    let pool = stacks();
    let cache = StackCache::new();
    let before = status("VmRSS:") + status("VmPTE:");
    let mut all = Vec::with_capacity(N);
    let start = nanotime();
    for _ in 0..N {
        let s = cache.take(pool, CLASS).unwrap();
        touch(s);
        all.push(s);
    }
    let made = nanotime() - start;
    let each = (status("VmRSS:") + status("VmPTE:") - before) * 1024 / N;
    println!("{} ns, {each} bytes each", made / N as i64);
    println!("{} mappings", mappings());
    assert!(mappings() < 100);
    assert!(each < 4700, "{each}");
    assert!(all.iter().step_by(10_007).all(|s| !readable(s.lo - 1)));

    let start = nanotime();
    all.iter().for_each(|s| assert!(cache.put(pool, *s)));
    cache.flush(pool);
    println!("freed in {} ns each", (nanotime() - start) / N as i64);
    let start = nanotime();
    let (mut now, mut steps) = (0, 0);
    while let Some(next) = pool.scavenge(now).next {
        now = next;
        steps += 1;
    }
    let step = (nanotime() - start) / steps;
    println!("scavenged in {steps} steps of {step} ns");
    assert_eq!(pool.stats().cold, pool.stats().idle);
    assert!(status("VmRSS:") < before + (100 << 10));
    assert!(mappings() < 100);
}

#[test]
#[ignore = "uses up most of the mappings of its process"]
fn mprotect_guards_leave_mappings_to_the_host() {
    let pool = stacks();
    pool.guards.force_mprotect(true);
    let max = mem::max_map_count().unwrap();
    for _ in 0..max / 2 + 1000 {
        touch(pool.take_one(CLASS).unwrap());
    }
    assert!(pool.stats().unguarded >= 1000);
    let used = mappings();
    println!("{used} of {max} mappings");
    assert!(used < max - max / 10);
}

/// Stacks that were told of: from, bytes. Used in children only.
static KNOWN: std::sync::Mutex<Vec<(usize, usize)>> =
    std::sync::Mutex::new(Vec::new());

static SPANS: Spans = Spans {
    add: |base, len| {
        KNOWN.lock().unwrap().push((base, len));
        Some(())
    },
    remove: |base, len| {
        let within = |at: usize| at.wrapping_sub(base) < len;
        KNOWN.lock().unwrap().retain(|(at, _)| !within(*at));
    },
};

fn is_known(s: Stack) -> bool {
    let known = KNOWN.lock().unwrap();
    let has = |(base, len): &(usize, usize)| {
        (*base..base + len).contains(&s.base()) && s.hi <= base + len
    };
    known.iter().filter(|it| has(it)).count() == 1
}

#[test]
fn all_stacks_are_told_from_the_first_and_until_they_are_unmapped() {
    // Lists that are freed change how malloc works.
    child::returns(|| {
        let pool = stacks();
        let before = pool.take_one(CLASS).unwrap();
        let own_before = pool.map_own(MAX_SLOT * 2).unwrap();
        assert!(!is_known(before) && !is_known(own_before));
        pool.tell(&SPANS).unwrap();
        let after = pool.take_one(CLASS + 1).unwrap();
        let own_after = pool.map_own(MAX_SLOT * 3).unwrap();
        for s in [before, own_before, after, own_after] {
            assert!(is_known(s));
        }
        assert_eq!(pool.stats().in_use, 4);
        for own in [own_before, own_after] {
            pool.unmap_own(own);
            assert!(!is_known(own));
        }
        // SAFETY: nobody uses a stack.
        unsafe { pool.unmap_all() };
        assert!(!is_known(before) && !is_known(after));
        assert_eq!(pool.stats().mapped, 0);
        let again = pool.take_one(CLASS).unwrap();
        assert!(is_known(again), "also of what comes after an end");
    });
}

#[test]
fn no_stack_is_handed_out_of_which_nobody_could_be_told() {
    static NONE: Spans = Spans { add: |_, _| None, remove: |_, _| {} };
    child::returns(|| {
        let pool = stacks();
        pool.tell(&NONE).unwrap();
        assert_eq!(pool.take_one(CLASS), Err(Errno::ENOMEM));
        assert_eq!(pool.map_own(MAX_SLOT * 2), Err(Errno::ENOMEM));
        assert_eq!(pool.stats(), StackStats::default());
        pool.tell(&SPANS).unwrap();
        pool.try_again();
        let s = pool.take_one(CLASS).unwrap();
        assert!(is_known(s));
        assert_eq!(pool.tell(&NONE), Err(Errno::ENOMEM));
    });
}

#[test]
fn an_end_leaves_no_list_of_stacks_in_the_hosts_malloc() {
    const N: usize = 2000;
    // SAFETY: no conditions.
    let in_use = || unsafe { libc::mallinfo2() }.uordblks;
    child::returns(move || {
        let pool = stacks();
        let before = in_use();
        let own = Vec::from_iter((0..N).map(|_| pool.map_own(MAX_SLOT * 2)));
        own.into_iter().for_each(|s| pool.unmap_own(s.unwrap()));
        pool.take_one(CLASS).unwrap();
        // SAFETY: nobody uses a stack.
        unsafe { pool.unmap_all() };
        // The list had 16 bytes for each; a few that are free count as in use.
        let more = in_use().saturating_sub(before);
        assert!(more < N * 4, "{more} bytes");
    });
}
