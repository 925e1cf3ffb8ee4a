//! Models of the ring of events: loom runs every interleaving of its writer
//! with a reader that copies meanwhile.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom_trace`
//!
//! What is checked: an event that the reader keeps is whole and has its number;
//! numbers grow without gaps within a copy; an event that could not have been
//! overwritten is not dropped; and a reader that comes again misses nothing but
//! what it is told of.
//!
//! # That it can fail
//! A writer without its fence, or one that publishes before it writes, is
//! modelled by a ring of the test's own, and must panic.
#![cfg(loom)]

use gmprt::base::ring::{Ring, Words};
use gmprt::base::sync::{AtomicU64, Ordering::*, fence};
use loom::thread;
use std::sync::Arc;

/// Slots: as few as make the writer overwrite.
const N: usize = 2;

/// Event number `n`, in words that tell whether they belong together.
fn event(n: u64) -> Words {
    [n, n + 100, n + 200, n + 300]
}

/// Whether these are whole events with numbers from `first` on.
fn check(first: u64, got: &[Words]) {
    for (i, words) in got.iter().enumerate() {
        assert_eq!(*words, event(first + i as u64), "torn, or another one");
    }
}

fn explore(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(body);
}

fn write(ring: &Ring, numbers: core::ops::Range<u64>) {
    for n in numbers {
        // SAFETY: the model has one writer at a time.
        unsafe { ring.put(event(n)) };
    }
}

#[test]
fn a_copy_beside_the_writer_is_whole() {
    explore(3, || {
        let ring = Arc::new(Ring::new(N));
        write(&ring, 0..2);
        let writer = Arc::clone(&ring);
        let writer = thread::spawn(move || write(&writer, 2..4));
        let mut to = [[0; 4]; N];
        let copied = ring.copy(0, &mut to);
        check(copied.first, &to[..copied.n]);
        writer.join().unwrap();
        assert_eq!(ring.written(), 4);
        // The last event alone: the slot of the one before may be written to.
        let copied = ring.copy(0, &mut to);
        assert_eq!((copied.first, copied.n), (3, 1));
        check(3, &to[..1]);
    });
}

#[test]
fn a_reader_that_comes_again_misses_only_what_it_is_told() {
    explore(3, || {
        let ring = Arc::new(Ring::new(N));
        let writer = Arc::clone(&ring);
        let writer = thread::spawn(move || write(&writer, 0..3));
        let (mut next, mut seen, mut lost) = (0, 0, 0);
        for _ in 0..2 {
            let mut to = [[0; 4]; N];
            let copied = ring.copy(next, &mut to);
            assert!(copied.first >= next);
            check(copied.first, &to[..copied.n]);
            lost += copied.first - next;
            seen += copied.n as u64;
            next = copied.first + copied.n as u64;
        }
        writer.join().unwrap();
        assert_eq!(seen + lost, next);
        assert!(next <= 3);
    });
}

/// The ring goes to another thread, as an M does.
#[test]
fn a_second_writer_goes_on_where_the_first_has_stopped() {
    explore(3, || {
        let ring = Arc::new(Ring::new(4));
        let writer = Arc::clone(&ring);
        let writer = thread::spawn(move || {
            write(&writer, 0..1);
            let next = Arc::clone(&writer);
            thread::spawn(move || write(&next, 1..2)).join().unwrap();
        });
        let mut to = [[0; 4]; 4];
        let copied = ring.copy(0, &mut to);
        assert_eq!(copied.first, 0, "nothing is overwritten");
        check(0, &to[..copied.n]);
        writer.join().unwrap();
        assert_eq!(ring.copy(0, &mut to).n, 2);
    });
}

/// A ring of one slot and one word, with a writer that can be wrong.
struct Wrong {
    pos: AtomicU64,
    words: [AtomicU64; 2],
}

impl Wrong {
    fn new() -> Arc<Self> {
        let word = || AtomicU64::new(0);
        Arc::new(Self { pos: word(), words: [word(), word()] })
    }

    /// Writes event 1 over event 0, as the ring does but for the fence.
    fn put_without_fence(&self) {
        self.words.iter().for_each(|word| word.store(1, Relaxed));
        self.pos.store(2, Release);
    }

    /// Publishes event 1 and then writes it.
    fn publish_first(&self) {
        self.pos.store(2, Release);
        fence(Release);
        self.words.iter().for_each(|word| word.store(1, Relaxed));
    }

    /// The reader's steps (e) to (h), for one slot: what is kept is whole.
    fn read(&self) {
        let end = self.pos.load(Acquire);
        let [a, b] = [0, 1].map(|i| self.words[i].load(Relaxed));
        fence(Acquire);
        let now = self.pos.load(Relaxed);
        if end == now && end > 0 {
            assert_eq!((a, b), (end - 1, end - 1), "torn");
        }
    }
}

fn wrong(put: fn(&Wrong)) {
    explore(3, move || {
        let ring = Wrong::new();
        ring.pos.store(1, Relaxed);
        let writer = Arc::clone(&ring);
        let writer = thread::spawn(move || put(&writer));
        ring.read();
        writer.join().unwrap();
    });
}

#[test]
#[should_panic(expected = "torn")]
fn a_writer_without_its_fence_is_seen() {
    wrong(Wrong::put_without_fence);
}

#[test]
#[should_panic(expected = "torn")]
fn a_writer_that_publishes_too_early_is_seen() {
    wrong(Wrong::publish_first);
}
