//! The collected heap beside glibc's malloc and bdwgc: allocation with all that
//! belongs to it, the rate of marking, and binary-trees. One thread, CPU time,
//! the least of some runs.
//!
//!     cd bench/heap && cargo run --release [-- ROW...]
//!
//! bdwgc is loaded where Debian's libgc1 is installed. The goals are ratios to
//! the others in the same run.

mod heaps;

use heaps::{Bdwgc, Glibc, Heap, Ours};
use std::hint::black_box;

/// CPU time of this thread, in nanoseconds.
fn now() -> f64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let clock = libc::CLOCK_THREAD_CPUTIME_ID;
    // SAFETY: writes the structure.
    unsafe { libc::clock_gettime(clock, &raw mut t) };
    t.tv_sec as f64 * 1e9 + t.tv_nsec as f64
}

/// The least time of some runs.
fn least(runs: usize, mut run: impl FnMut()) -> f64 {
    let times = (0..runs).map(|_| {
        let start = now();
        run();
        now() - start
    });
    times.fold(f64::INFINITY, f64::min)
}

/// What a row has measured, by heap.
type Row = [Option<f64>; 3];

/// Nanoseconds for each object: so many live at a time, and are dropped in the
/// order in which they came. With `free` by hand, else by the collector.
fn allocate<H: Heap>(h: &H, size: usize, scan: bool, free: bool) -> f64 {
    const LIVE: usize = 256;
    const COUNT: usize = 4_000_000;
    let mut ring = [std::ptr::null_mut::<usize>(); LIVE];
    let ns = least(4, || {
        for i in 0..COUNT {
            let p = if scan { h.alloc(size) } else { h.alloc_noscan(size) };
            // SAFETY: an object of at least 16 bytes.
            unsafe { *p = i };
            let slot = &mut ring[i % LIVE];
            if free || H::BY_HAND {
                h.free(*slot);
            }
            *slot = p;
        }
    });
    black_box(&ring);
    ring.iter().for_each(|p| h.free(*p));
    ns / COUNT as f64
}

/// A binary tree of 2^(depth + 1) - 1 nodes of 16 bytes.
fn tree<H: Heap>(h: &H, depth: u32) -> *mut usize {
    let node = h.alloc(16);
    let (mut left, mut right) = (0, 0);
    if depth > 0 {
        left = tree(h, depth - 1).addr();
        right = tree(h, depth - 1).addr();
    }
    // SAFETY: an object of two words.
    unsafe { *node = left };
    // SAFETY: an object of two words.
    unsafe { *node.add(1) = right };
    node
}

/// How many nodes the tree has; frees them, if by hand.
fn count<H: Heap>(h: &H, node: *mut usize, drop: bool) -> usize {
    // SAFETY: a node.
    let (left, right) = unsafe { (*node, *node.add(1)) };
    let mut nodes = 1;
    if left != 0 {
        nodes += count(h, left as *mut usize, drop);
        nodes += count(h, right as *mut usize, drop);
    }
    if drop && H::BY_HAND {
        h.free(node);
    }
    nodes
}

/// The benchmark of that name: milliseconds.
fn binary_trees<H: Heap>(h: &H, n: u32) -> f64 {
    let ns = least(2, || {
        let stretch = tree(h, n + 1);
        black_box(count(h, stretch, true));
        let long = tree(h, n);
        for depth in (4..=n).step_by(2) {
            for _ in 0..1 << (n - depth + 4) {
                black_box(count(h, tree(h, depth), true));
            }
        }
        assert_eq!(count(h, black_box(long), true), (2 << n) - 1);
    });
    ns / 1e6
}

/// Milliseconds to mark what `make` has made, and to find nothing dead.
fn mark<H: Heap>(h: &H, make: impl Fn(&H) -> *mut usize) -> f64 {
    h.pause_collection(true);
    let root = make(h);
    h.pause_collection(false);
    let ns = least(4, || h.collect());
    black_box(root);
    ns / 1e6
}

/// 8.4 million nodes of 16 bytes.
fn nodes<H: Heap>(h: &H) -> *mut usize {
    tree(h, 22)
}

/// 3.7 million objects of 64 bytes with five random edges each.
fn random<H: Heap>(h: &H) -> *mut usize {
    graph(h, 3_700_000, 64, 5)
}

/// A million records of 256 bytes with two pointers each.
fn records<H: Heap>(h: &H) -> *mut usize {
    graph(h, 1_000_000, 256, 2)
}

/// An array of `n` objects, which have random edges.
fn graph<H: Heap>(h: &H, n: usize, size: usize, edges: usize) -> *mut usize {
    let all = h.alloc(n * 8);
    let mut seed = 1u64;
    for i in 0..n {
        // SAFETY: an array of n words.
        unsafe { *all.add(i) = h.alloc(size).addr() };
    }
    for i in 0..n {
        // SAFETY: an array of n words.
        let object = unsafe { *all.add(i) } as *mut usize;
        for edge in 0..edges {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
            let to = (seed >> 33) as usize % n;
            // SAFETY: an array of n words.
            let to = unsafe { *all.add(to) };
            // SAFETY: the object has room for its edges.
            unsafe { *object.add(edge) = to };
        }
    }
    all
}

/// 256 MB of buffers of 4 KB without pointers.
fn buffers<H: Heap>(h: &H) -> *mut usize {
    let n = 65_536;
    let all = h.alloc(n * 8);
    for i in 0..n {
        // SAFETY: an array of n words.
        unsafe { *all.add(i) = h.alloc_noscan(4096).addr() };
    }
    all
}

/// A row: its name, its unit, what is measured, the goals beside glibc and
/// bdwgc.
struct Case {
    name: &'static str,
    unit: &'static str,
    goals: [Option<f64>; 2],
    run: fn(&All) -> Row,
}

struct All {
    ours: Ours,
    glibc: Glibc,
    bdwgc: Option<Bdwgc>,
}

macro_rules! on_all {
    ($f:expr) => {
        |all| {
            let bdwgc = all.bdwgc.as_ref().map(|h| $f(h));
            [Some($f(&all.ours)), Some($f(&all.glibc)), bdwgc]
        }
    };
}

macro_rules! on_collectors {
    ($f:expr) => {
        |all| {
            let bdwgc = all.bdwgc.as_ref().map(|h| mark(h, $f));
            [Some(mark(&all.ours, $f)), None, bdwgc]
        }
    };
}

const CASES: [Case; 12] = [
    Case {
        name: "alloc 16",
        unit: "ns",
        goals: [None, Some(0.5)],
        run: on_all!(|h| allocate(h, 16, true, false)),
    },
    Case {
        name: "alloc 64",
        unit: "ns",
        goals: [None, Some(0.5)],
        run: on_all!(|h| allocate(h, 64, true, false)),
    },
    Case {
        name: "alloc 1024",
        unit: "ns",
        goals: [None, None],
        run: on_all!(|h| allocate(h, 1024, true, false)),
    },
    Case {
        name: "noscan 16",
        unit: "ns",
        goals: [Some(0.7), Some(0.5)],
        run: on_all!(|h| allocate(h, 16, false, false)),
    },
    Case {
        name: "noscan 64",
        unit: "ns",
        goals: [Some(0.7), Some(0.5)],
        run: on_all!(|h| allocate(h, 64, false, false)),
    },
    Case {
        name: "noscan 1024",
        unit: "ns",
        goals: [Some(6.0), None],
        run: on_all!(|h| allocate(h, 1024, false, false)),
    },
    Case {
        name: "noscan 1024 freed",
        unit: "ns",
        goals: [Some(1.5), None],
        run: on_all!(|h| allocate(h, 1024, false, true)),
    },
    Case {
        name: "mark nodes",
        unit: "ms",
        goals: [None, Some(0.7)],
        run: on_collectors!(nodes),
    },
    Case {
        name: "mark random",
        unit: "ms",
        goals: [None, Some(0.7)],
        run: on_collectors!(random),
    },
    Case {
        name: "mark records",
        unit: "ms",
        goals: [None, Some(0.7)],
        run: on_collectors!(records),
    },
    Case {
        name: "mark buffers",
        unit: "ms",
        goals: [None, Some(0.7)],
        run: on_collectors!(buffers),
    },
    Case {
        name: "binary-trees 18",
        unit: "ms",
        goals: [Some(1.0), Some(0.6)],
        run: on_all!(|h| binary_trees(h, 18)),
    },
];

fn main() {
    let wanted: Vec<_> = std::env::args().skip(1).collect();
    println!(
        "{:20} {:>9} {:>9} {:>9}   {:>13} {:>13}",
        "", "gmprt", "glibc", "bdwgc", "/glibc (goal)", "/bdwgc (goal)"
    );
    for case in &CASES {
        let named = |w: &String| case.name.contains(w.as_str());
        if wanted.is_empty() || wanted.iter().any(named) {
            run(case);
        }
    }
}

/// Each row has a process of its own, since what one leaves slows the next.
fn run(case: &Case) {
    // SAFETY: this process has one thread.
    let child = unsafe { libc::fork() };
    if child != 0 {
        let mut status = 0;
        // SAFETY: our child.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(status, 0, "{}", case.name);
        return;
    }
    let all = All { ours: Ours::new(), glibc: Glibc, bdwgc: Bdwgc::load() };
    let row = (case.run)(&all);
    let cell = |v: Option<f64>| v.map_or("-".into(), |v| format!("{v:.1}"));
    let ratio = |other: usize| {
        let ratio = Some(row[0]? / row[other]?);
        let goal = case.goals[other - 1];
        let goal = goal.map_or(String::new(), |g| format!(" ({g:.1})"));
        ratio.map(|ratio| format!("{ratio:.2}{goal}"))
    };
    let ratio = |other| ratio(other).unwrap_or_else(|| "-".into());
    println!(
        "{:20} {:>9} {:>9} {:>9}   {:>13} {:>13}",
        format!("{}, {}", case.name, case.unit),
        cell(row[0]),
        cell(row[1]),
        cell(row[2]),
        ratio(1),
        ratio(2)
    );
    std::process::exit(0);
}
