//! Models of what else sleeps and is counted: loom runs every interleaving of
//! `gmp::watchman` (sysmon), `gmp::stopcount` (the world stopped) and
//! `gmp::hostwait` (threads of the host's), and of what `sched::idle` does with
//! the real note, on a model of a futex.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom_sleepers`
//!
//! What is checked: what sysmon is asked for is served before it sleeps; a P
//! that is taken ends its deep sleep; the stopper goes on when all have
//! stopped, and not before; sleepers are counted exactly; an idle M that ends
//! has no waker. A lost wake-up is a deadlock, which loom reports; a note that
//! is woken twice throws.
//!
//! # That it can fail
//! Each protocol has a model in which an actor takes its steps in a wrong order
//! or leaves one out, and that must panic.
#![cfg(loom)]

use gmprt::base::Futex;
use gmprt::base::note::Note;
use gmprt::base::sync::{AtomicBool, AtomicU32, Ordering::*};
use gmprt::gmp::hostwait::{HostWait, HostWaits};
use gmprt::gmp::stopcount::StopCount;
use gmprt::gmp::watchman::{Depth, Watchman};
use loom::sync::{Condvar, Mutex};
use loom::thread;
use std::sync::Arc;

const FOREVER: i64 = i64::MAX;
/// A deadline that has passed when the sleep begins.
const PAST: i64 = 5;

loom::lazy_static! {
    static ref KERNEL: (Mutex<()>, Condvar) =
        (Mutex::new(()), Condvar::new());
}

struct ModelFutex;

impl Futex for ModelFutex {
    fn wait(word: &AtomicU32, expected: u32, deadline: i64) -> bool {
        let guard = KERNEL.0.lock().unwrap();
        if word.load(Relaxed) != expected {
            return true;
        }
        if deadline != FOREVER {
            return false;
        }
        drop(KERNEL.1.wait(guard).unwrap());
        true
    }

    fn wake(_: *const AtomicU32, _: u32) {
        let _guard = KERNEL.0.lock().unwrap();
        KERNEL.1.notify_all();
    }

    fn barrier() {}
}

fn explore(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(body);
}

// --- sysmon -----------------------------------------------------------------

struct Night {
    sysmon: Watchman<ModelFutex>,
    /// `sched.lock`, and whether all Ps are idle.
    idle: Mutex<bool>,
}

impl Night {
    fn new() -> Arc<Self> {
        let sysmon = Watchman::new();
        Arc::new(Self { sysmon, idle: Mutex::new(true) })
    }

    /// A look's distance, or until something runs.
    fn sleep(&self, deep: bool, until: i64) {
        let idle = self.idle.lock().unwrap();
        let depth = if deep && *idle { Depth::Deep } else { Depth::Nap };
        self.sysmon.fall_asleep(depth);
        drop(idle);
        let until = if depth == Depth::Deep { FOREVER } else { until };
        let _woken = self.sysmon.sleep_until(until);
    }
}

/// sysmon naps until all has been asked for that is.
fn asked(night: &Night, all: u32, until: i64) {
    let mut served = 0;
    while served != all {
        night.sleep(false, until);
        served |= night.sysmon.take_asked();
    }
}

#[test]
fn what_is_asked_for_is_served() {
    explore(3, || {
        let night = Night::new();
        let askers: Vec<_> = [1, 2]
            .map(|what| {
                let night = Arc::clone(&night);
                thread::spawn(move || night.sysmon.ask(what))
            })
            .into();
        asked(&night, 3, FOREVER);
        for asker in askers {
            asker.join().unwrap();
        }
    });
}

/// Its time is over as it is woken: the next sleep hears the next wake-up.
#[test]
fn a_nap_that_ends_by_itself_takes_no_wake_up_along() {
    explore(3, || {
        let night = Night::new();
        let asker = {
            let night = Arc::clone(&night);
            thread::spawn(move || {
                night.sysmon.ask(1);
                night.sysmon.ask(2);
            })
        };
        night.sleep(false, PAST);
        let served = night.sysmon.take_asked();
        asked(&night, 3 & !served, FOREVER);
        asker.join().unwrap();
    });
}

#[test]
fn a_p_that_is_taken_ends_the_deep_sleep() {
    explore(3, || {
        let night = Night::new();
        let others: Vec<_> = [false, true]
            .map(|asks| {
                let night = Arc::clone(&night);
                thread::spawn(move || {
                    if asks {
                        return night.sysmon.ask(1);
                    }
                    let mut idle = night.idle.lock().unwrap();
                    *idle = false;
                    night.sysmon.wake_deep();
                })
            })
            .into();
        // Two sleeps at most, as two things end one.
        for _ in 0..2 {
            night.sleep(true, PAST);
            let _asked = night.sysmon.take_asked();
        }
        for other in others {
            other.join().unwrap();
        }
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_p_that_is_taken_without_the_lock_leaves_it_asleep() {
    explore(3, || {
        let night = Night::new();
        let other = {
            let night = Arc::clone(&night);
            thread::spawn(move || {
                night.sysmon.wake_deep();
                *night.idle.lock().unwrap() = false;
            })
        };
        night.sleep(true, PAST);
        other.join().unwrap();
    });
}

// --- the world stopped ------------------------------------------------------

#[derive(Clone, Copy, PartialEq, Eq)]
enum P {
    Held,
    /// Its goroutine runs foreign code.
    Outside,
    Stopped,
}

struct World {
    stop: StopCount<ModelFutex>,
    /// `sched.lock`.
    ps: Mutex<[P; 2]>,
}

impl World {
    fn new() -> Arc<Self> {
        let ps = Mutex::new([P::Held; 2]);
        Arc::new(Self { stop: StopCount::new(), ps })
    }

    /// An M comes to the scheduler, and stops there if that is wanted; else
    /// its goroutine goes outside.
    fn schedule(&self, p: usize) {
        let mut ps = self.ps.lock().unwrap();
        if ps[p] != P::Held {
            return;
        }
        if self.stop.is_wanted() {
            ps[p] = P::Stopped;
            self.stop.arrive();
        } else {
            ps[p] = P::Outside;
        }
    }

    fn stop(&self) {
        let ps = self.ps.lock().unwrap();
        self.stop.want();
        let running = ps.iter().filter(|p| **p != P::Stopped).count();
        let wait = self.stop.expect(running as i32);
        drop(ps);
        if wait {
            self.stop.wait(|| PAST, || self.take());
        }
        assert!(self.ps.lock().unwrap().iter().all(|p| *p == P::Stopped));
    }

    /// Stops what is outside.
    fn take(&self) -> bool {
        thread::yield_now();
        let mut ps = self.ps.lock().unwrap();
        let outside = ps.iter_mut().filter(|p| **p == P::Outside);
        outside.fold(false, |_, p| {
            *p = P::Stopped;
            self.stop.arrive_taken()
        })
    }

    fn start(&self, as_what: P) {
        let mut ps = self.ps.lock().unwrap();
        self.stop.end();
        *ps = [as_what; 2];
    }
}

#[test]
fn the_stopper_goes_on_when_all_have_stopped() {
    explore(3, || {
        let world = World::new();
        let ms: Vec<_> = [0, 1]
            .map(|p| {
                let world = Arc::clone(&world);
                thread::spawn(move || world.schedule(p))
            })
            .into();
        world.stop();
        for m in ms {
            m.join().unwrap();
        }
    });
}

/// No wake-up of the first stop is left for the second one.
#[test]
fn a_stop_leaves_nothing_behind() {
    explore(2, || {
        let world = World::new();
        let m = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                world.schedule(0);
                world.schedule(1);
            })
        };
        world.stop();
        world.start(P::Outside);
        world.stop();
        m.join().unwrap();
    });
}

#[test]
#[should_panic]
fn an_m_that_looks_without_the_lock_stops_in_a_world_that_goes_on() {
    explore(3, || {
        let world = World::new();
        *world.ps.lock().unwrap() = [P::Outside; 2];
        let m = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let wanted = world.stop.is_wanted();
                let mut ps = world.ps.lock().unwrap();
                if wanted && ps[0] == P::Held {
                    ps[0] = P::Stopped;
                    world.stop.arrive();
                }
            })
        };
        world.stop();
        world.start(P::Held);
        m.join().unwrap();
    });
}

// --- host threads -----------------------------------------------------------

struct Host {
    counted: HostWaits,
    mine: HostWait,
    over: AtomicBool,
}

/// `late`: the mistake that the waker counts before it ends the wait.
fn host_thread(late: bool) {
    explore(3, move || {
        let host = Arc::new(Host {
            counted: HostWaits::new(),
            mine: HostWait::new(),
            over: AtomicBool::new(false),
        });
        let waker = {
            let host = Arc::clone(&host);
            thread::spawn(move || {
                if !late {
                    host.over.store(true, Release);
                }
                host.counted.wake(&host.mine);
                if late {
                    host.over.store(true, Release);
                }
            })
        };
        let waiting = || !host.over.load(Acquire);
        host.counted.fall_asleep(&host.mine, waiting);
        assert!(host.counted.count() <= 1);
        waker.join().unwrap();
        assert_eq!(host.counted.count(), 0, "it was woken");
        // And the next sleep counts.
        host.counted.fall_asleep(&host.mine, || true);
        assert_eq!(host.counted.count(), 1);
    });
}

#[test]
fn a_thread_that_was_woken_does_not_count() {
    host_thread(false);
}

#[test]
#[should_panic(expected = "it was woken")]
fn a_waker_that_counts_before_the_wait_is_over_leaves_it_counted() {
    host_thread(true);
}

/// A thread that the runtime does not know wakes the host thread and ends,
/// beside the search for a deadlock. `late`: the mistake that the search does
/// not look at the wake-ups once more.
fn search(late: bool) {
    explore(3, move || {
        let host = Arc::new((HostWaits::new(), HostWait::new()));
        // The host thread and its waker.
        let threads = Arc::new(AtomicU32::new(2));
        host.0.fall_asleep(&host.1, || true);
        let waker = {
            let (host, threads) = (Arc::clone(&host), Arc::clone(&threads));
            thread::spawn(move || {
                host.0.wake(&host.1);
                threads.fetch_sub(1, Release);
            })
        };
        let woken = host.0.woken();
        let asleep = host.0.count();
        let all = threads.load(Acquire) as i32;
        let dead = all <= asleep && (late || host.0.woken() == woken);
        assert!(!dead, "it goes on");
        waker.join().unwrap();
    });
}

#[test]
fn a_waker_that_ends_beside_the_search_is_no_deadlock() {
    search(false);
}

#[test]
#[should_panic(expected = "it goes on")]
fn a_search_that_looks_once_misses_a_waker_that_ends() {
    search(true);
}

// --- Ms that end when they were idle for long --------------------------------

/// An M that may be idle, and one place on the list.
struct Idle {
    note: Note<ModelFutex>,
    /// `sched.lock`, and whether the M is on the list.
    listed: Mutex<bool>,
    /// What a waker brings.
    work: AtomicU32,
}

impl Idle {
    fn new() -> Arc<Self> {
        let (note, work) = (Note::new(), AtomicU32::new(0));
        Arc::new(Self { note, listed: Mutex::new(true), work })
    }

    /// `idle::wake_idle`: false if no M is idle.
    fn wake(&self) -> bool {
        if !core::mem::take(&mut *self.listed.lock().unwrap()) {
            return false;
        }
        self.work.store(1, Relaxed);
        self.note.wakeup();
        true
    }

    /// `idle::withdraw`, or one that does not look whether a waker has come.
    fn withdraw(&self, looks: bool) -> bool {
        let was = core::mem::take(&mut *self.listed.lock().unwrap());
        was || !looks
    }

    /// `idle::stopm`, whose deadline has come: whether the M was woken.
    fn stop(&self, looks: bool) -> bool {
        if !self.note.sleep_listed(PAST, || self.withdraw(looks)) {
            return false;
        }
        assert_eq!(self.work.load(Relaxed), 1, "the waker brings work");
        true
    }
}

fn end_beside_wakers(looks: bool) {
    explore(3, move || {
        let idle = Idle::new();
        let wakers: Vec<_> = [0, 1]
            .map(|_| {
                let idle = Arc::clone(&idle);
                thread::spawn(move || idle.wake())
            })
            .into();
        let woken = idle.stop(looks);
        let wakers = wakers.into_iter().map(|waker| waker.join().unwrap());
        let wakes = wakers.filter(|&woke| woke).count();
        assert_eq!(wakes, woken.into(), "each wake-up reaches an M");
        if woken {
            // It works, and is idle again.
            idle.note.clear();
            idle.work.store(0, Relaxed);
            *idle.listed.lock().unwrap() = true;
            assert!(!idle.stop(looks));
        }
        assert!(!idle.wake(), "an M that has ended is on no list");
    });
}

#[test]
fn an_m_that_ends_takes_no_wake_up_along() {
    end_beside_wakers(true);
}

#[test]
#[should_panic(expected = "each wake-up reaches an M")]
fn an_m_that_ends_without_a_look_takes_a_wake_up_along() {
    end_beside_wakers(false);
}
