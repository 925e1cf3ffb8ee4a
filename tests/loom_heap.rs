//! Models of the collected heap: loom runs every interleaving of the code that
//! threads share without a lock, or that a lock hands from one to the other.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom_heap`
//!
//! What is checked: a span's free objects are handed out once, and what is
//! freed is free once, whoever sweeps, caches or flushes the span; one of
//! several markers scans an object; and markers end when all is scanned, not
//! before.
//!
//! # That they can fail
//! A model in which a thread sweeps a span that it did not take from its
//! central must panic.
#![cfg(loom)]

use gmprt::base::Futex;
use gmprt::base::sync::{AtomicU32, AtomicUsize, Ordering::*, fence};
use gmprt::heap::bits::{Marked, Pair};
use gmprt::heap::gcwork::{ENTRIES, Gate, GcWork, Work, WorkBuf};
use gmprt::heap::mcentral::{Brought, Freed, MCentral};
use gmprt::heap::mspan::MSpan;
use gmprt::heap::sizeclass::{Kind, class_of};
use loom::cell::UnsafeCell;
use loom::sync::{Condvar, Mutex};
use loom::thread;
use std::sync::Arc;

loom::lazy_static! {
    /// The kernel's side of a lock, as in `loom_base`.
    static ref KERNEL: (Mutex<()>, Condvar) =
        (Mutex::new(()), Condvar::new());
}

struct ModelFutex;

impl Futex for ModelFutex {
    fn wait(word: &AtomicU32, expected: u32, _deadline: i64) -> bool {
        let guard = KERNEL.0.lock().unwrap();
        if word.load(Relaxed) == expected {
            drop(KERNEL.1.wait(guard).unwrap());
        }
        true
    }

    fn wake(_: *const AtomicU32, _: u32) {
        let _guard = KERNEL.0.lock().unwrap();
        KERNEL.1.notify_all();
    }

    fn barrier() {
        fence(SeqCst);
    }
}

/// A model of this many preemptions, so that it ends.
fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(f);
}

/// The generation before the collection, and after it.
const H: u32 = 2;
const NEXT: u32 = 4;

/// A span of a class with two objects; its memory is never touched.
fn span() -> &'static MSpan {
    let s: &'static MSpan = Box::leak(Box::new(MSpan::empty()));
    let bits: Vec<Pair> = (0..8).map(|_| Pair::default()).collect();
    let class = class_of(4096) as u8;
    s.init(1 << 20, 1, class, Kind::Noscan, Vec::leak(bits));
    s.sweepgen.reset(H);
    s
}

/// Takes one object, if need be from a word to come.
fn next(s: &MSpan) -> Option<usize> {
    if s.next_free_fast().is_some() {
        return Some(1);
    }
    s.refill_alloc_cache().then_some(0)
}

/// All that the span has to give, as its holder.
fn take_all(s: &MSpan) -> usize {
    let mut taken = 0;
    while let Some(more) = next(s) {
        taken += more;
    }
    taken
}

type Central = MCentral<ModelFutex>;

/// Sweeps as `MHeap::sweep_span` does. What is empty goes nowhere.
fn sweep(central: &Central, s: &'static MSpan) {
    s.sweep(false);
    match central.put(NEXT, s) {
        Brought::Kept(_) | Brought::Empty(_) => {}
        Brought::Stale(_) => panic!("it was swept"),
    }
}

/// A background sweep, a refill and a flush, after h has moved: of each span's
/// objects the marked ones stay, and the others are handed out once.
#[test]
fn a_span_is_swept_once_before_it_is_used() {
    model(|| {
        let central = Arc::new(Central::new());
        let n = 2;
        // One span is full and in a list, with one mark; one is cached.
        let (listed, cached) = (span(), span());
        for s in [listed, cached] {
            central.cache(H, s);
            assert_eq!(take_all(s), n);
            let (pair, bit) = s.bit(0);
            assert_eq!(pair.try_mark::<true>(bit), Marked::Now);
        }
        let brought = central.uncache(H, listed);
        assert!(matches!(brought, Brought::Kept(0)));
        // h moves.
        let background = {
            let central = central.clone();
            thread::spawn(move || {
                if let Some(s) = central.take_unswept(NEXT) {
                    sweep(&central, s);
                }
            })
        };
        let flush = {
            let central = central.clone();
            thread::spawn(move || match central.uncache(NEXT, cached) {
                Brought::Stale(s) => sweep(&central, s),
                _ => panic!("it is from before"),
            })
        };
        let mut taken = 0;
        let mut refill = |s: &'static MSpan| {
            taken += take_all(s);
            let _ = central.uncache(NEXT, s);
        };
        if let Some(s) = central.cache_swept(NEXT) {
            refill(s);
        }
        if let Some(s) = central.take_unswept(NEXT) {
            s.sweep(false);
            central.cache(NEXT, s);
            refill(s);
        }
        background.join().unwrap();
        flush.join().unwrap();
        while let Some(s) = central.cache_swept(NEXT) {
            taken += take_all(s);
            let _ = central.uncache(NEXT, s);
        }
        assert_eq!(taken, 2 * (n - 1), "all but those marked");
        assert_eq!(central.count(NEXT), (2, 0));
    });
}

/// What is swept without being taken is swept beside another sweeper.
#[test]
#[should_panic(expected = "a change from another state")]
fn a_span_that_was_not_taken_is_noticed() {
    model(|| {
        let central = Arc::new(Central::new());
        let s = span();
        central.cache(H, s);
        take_all(s);
        let (pair, bit) = s.bit(0);
        assert_eq!(pair.try_mark::<true>(bit), Marked::Now);
        let _ = central.uncache(H, s);
        let sweeper = {
            let central = central.clone();
            thread::spawn(move || {
                let s = central.take_unswept(NEXT).expect("one");
                sweep(&central, s);
            })
        };
        // As if it were cached.
        s.sweepgen.acquire(NEXT);
        sweeper.join().unwrap();
    });
}

/// Two threads free an object of a span that a third caches, lets go of, and
/// takes again: one of them frees it, and it is handed out once more.
#[test]
fn an_object_is_freed_once() {
    model(|| {
        let central = Arc::new(Central::new());
        let s = span();
        central.cache(H, s);
        let n = take_all(s);
        let freed = Arc::new(AtomicUsize::new(0));
        let free = |central: &Central, freed: &AtomicUsize| match central
            .free(H, s, 0, false)
        {
            Freed::Done | Freed::Later => {
                freed.fetch_add(1, Relaxed);
            }
            Freed::NoObject => {}
            Freed::Empty(_) => panic!("others are there"),
            Freed::Busy => panic!("nobody sweeps"),
        };
        let other = {
            let (central, freed) = (central.clone(), freed.clone());
            thread::spawn(move || free(&central, &freed))
        };
        let owner = {
            let central = central.clone();
            thread::spawn(move || {
                let again = central.settle(s);
                let _ = central.uncache(H, s);
                again
            })
        };
        free(&central, &freed);
        other.join().unwrap();
        owner.join().unwrap();
        assert_eq!(freed.load(Relaxed), 1);
        assert_eq!(s.alloc_count.get() as usize, n - 1);
        let s = central.cache_swept(H).expect("it has room");
        assert_eq!(take_all(s), 1);
    });
}

/// A free beside the sweep of its span: the object, which was marked, is freed
/// once, by the sweep or after it.
#[test]
fn a_free_beside_a_sweep_is_not_lost() {
    model(|| {
        let central = Arc::new(Central::new());
        let s = span();
        central.cache(H, s);
        let n = take_all(s);
        s.each_object(|_, pair, bit| {
            assert_eq!(pair.try_mark::<true>(bit), Marked::Now);
        });
        let _ = central.uncache(H, s);
        let sweeper = {
            let central = central.clone();
            thread::spawn(move || {
                let s = central.take_unswept(NEXT).expect("one");
                sweep(&central, s);
            })
        };
        loop {
            match central.free(NEXT, s, 0, false) {
                Freed::Done => break,
                Freed::Later => panic!("nobody caches it"),
                Freed::Busy => thread::yield_now(),
                Freed::NoObject => panic!("it was there"),
                Freed::Empty(_) => panic!("others are there"),
            }
        }
        sweeper.join().unwrap();
        let s = central.cache_swept(NEXT).expect("it has room");
        assert_eq!(take_all(s), 1);
        assert_eq!(s.nelems(), n);
    });
}

#[test]
fn one_of_two_markers_scans_an_object() {
    loom::model(|| {
        let pair: &'static Pair = Box::leak(Box::new(Pair::default()));
        pair.set_alloc(0b11);
        let mark = move || pair.try_mark::<false>(0b10) == Marked::Now;
        let other = thread::spawn(mark);
        let other_bit = pair.try_mark::<false>(0b01);
        let here = mark();
        assert!(here != other.join().unwrap());
        assert_eq!(other_bit, Marked::Now);
        assert_eq!(pair.mark(), 0b11);
    });
}

fn work(markers: u32, blocks: usize) -> Arc<Work> {
    let work = Work::new();
    for _ in 0..blocks {
        work.add(Box::leak(Box::new(WorkBuf::new())));
    }
    work.begin(markers).expect("blocks");
    Arc::new(work)
}

/// A marker that has so many entries at first, each of which leads to more.
fn marker(work: &Work, first: usize, scanned: &AtomicUsize) {
    let Some(mut own) = GcWork::new(work) else { return };
    (0..first).for_each(|_| own.push(2));
    loop {
        while let Some(entry) = own.pop() {
            scanned.fetch_add(1, Relaxed);
            assert!(entry == 1 || entry == 2, "as it was pushed");
            if entry == 2 {
                own.push(1);
            }
            own.balance();
        }
        if !own.wait() {
            return;
        }
    }
}

/// Nobody ends before all is scanned, everybody ends, and all is scanned once.
#[test]
fn markers_share_their_work_and_end() {
    model(|| {
        let work = work(2, 6);
        let scanned = Arc::new(AtomicUsize::new(0));
        let other = {
            let (work, scanned) = (work.clone(), scanned.clone());
            thread::spawn(move || marker(&work, 0, &scanned))
        };
        marker(&work, ENTRIES + 1, &scanned);
        other.join().unwrap();
        assert_eq!(scanned.load(Relaxed), 2 * (ENTRIES + 1));
    });
}

/// Without memory for a second block of each, a marker has none, or drops
/// entries and says so. All end.
#[test]
fn markers_without_memory_end() {
    model(|| {
        let work = work(2, 2);
        let scanned = Arc::new(AtomicUsize::new(0));
        let other = {
            let (work, scanned) = (work.clone(), scanned.clone());
            thread::spawn(move || marker(&work, 0, &scanned))
        };
        marker(&work, ENTRIES + 1, &scanned);
        other.join().unwrap();
        let all = scanned.load(Relaxed) == 2 * (ENTRIES + 1);
        // Dropped is what this marker had, where it came too late for a block.
        assert!(all || work.take_overflow() || scanned.load(Relaxed) == 0);
    });
}

/// What markers share: jobs, and memory that goes when marking is over.
struct Shared {
    gate: Gate,
    work: Arc<Work>,
    jobs: AtomicUsize,
    scanned: AtomicUsize,
    /// The marking's memory.
    gone: UnsafeCell<bool>,
}

// SAFETY: loom finds it if the memory goes while somebody looks.
unsafe impl Sync for Shared {}
// SAFETY: the same.
unsafe impl Send for Shared {}

impl Shared {
    /// Two jobs, each of which leads to an entry, which leads to another.
    fn run(&self) {
        // SAFETY: loom checks that it is there.
        self.gone.with(|gone| assert!(!unsafe { *gone }));
        let mut own = GcWork::new(&self.work).expect("there are blocks");
        while self.jobs.fetch_add(1, AcqRel) < 2 {
            own.push(2);
            self.scan(&mut own);
        }
        while own.wait() {
            self.scan(&mut own);
        }
    }

    fn scan(&self, own: &mut GcWork<'_>) {
        while let Some(entry) = own.pop() {
            self.scanned.fetch_add(1, Relaxed);
            if entry == 2 {
                own.push(1);
            }
            own.balance();
        }
    }
}

/// A marker that comes late helps or does not; all is scanned once, and the
/// collector ends after it.
#[test]
fn a_marker_that_comes_late_is_waited_for() {
    model(|| {
        let shared = Arc::new(Shared {
            gate: Gate::new(),
            work: work(1, 6),
            jobs: AtomicUsize::new(0),
            scanned: AtomicUsize::new(0),
            gone: UnsafeCell::new(false),
        });
        let other = {
            let shared = shared.clone();
            thread::spawn(move || {
                if shared.gate.enter() {
                    shared.work.join();
                    shared.run();
                    shared.gate.leave();
                }
            })
        };
        shared.gate.open();
        shared.run();
        shared.gate.shut();
        assert_eq!(shared.scanned.load(Relaxed), 4);
        // SAFETY: loom checks that nobody looks.
        shared.gone.with_mut(|gone| unsafe { *gone = true });
        other.join().unwrap();
    });
}
