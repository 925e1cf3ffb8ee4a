//! Models of waking: loom runs every interleaving of `gmp::spinning::Spinning`
//! between who makes work, an M that was woken without a P, a host thread that
//! takes the P meanwhile, and an M that goes idle; and where threads are
//! refused, with the timekeeper (`sched::nothread`).
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom_spinning`
//!
//! What is checked: once nobody moves any more, no work waits beside an idle
//! P. An M that is woken runs where it was woken, to its next sleep; one that
//! was woken before is a thread of its own.
//!
//! # That it can fail
//! Each look that comes too early, or not at all, has a model here that must
//! panic.
#![cfg(loom)]

use gmprt::base::sync::{AtomicI32, AtomicU32, Ordering::*, fence};
use gmprt::gmp::spinning::Spinning;
use loom::sync::Mutex;
use loom::thread::{self, JoinHandle};
use std::sync::Arc;

/// What somebody does wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mistake {
    Nothing,
    /// The maker looks who spins before it queues.
    MakesLate,
    /// The maker looks without a fence.
    MakesUnfenced,
    /// An M looks for work once more before it stops spinning.
    StopsLate,
    /// Who puts a P down does not look for work.
    PutsDownBlindly,
    /// Who puts a P down has looked before.
    PutsDownLate,
    /// An M that did not spin sleeps without a look.
    SleepsBlindly,
    /// An M that found work does not look whether there is more.
    RunsBlindly,
    /// Who gets no thread only stops spinning.
    RefusedBlindly,
    /// Who gets no thread looks at the keeper before it says so.
    RefusedLate,
    /// The keeper sleeps without a look.
    KeepsBlindly,
    /// The keeper looks before it publishes that it sleeps.
    KeepsLate,
}
use Mistake::*;

/// What the sides share.
struct Model {
    mistake: Mistake,
    spinning: Spinning,
    /// Goroutines queued.
    work: AtomicU32,
    /// They run for ever.
    long: bool,
    /// Idle Ps, and their number as it is looked at without the lock.
    idle: Mutex<i32>,
    npidle: AtomicI32,
    /// No thread is to be had, nor an idle M.
    threadless: bool,
    /// Some thread was refused.
    starved: AtomicU32,
    /// The keeper sleeps (`polluntil`).
    keeps: AtomicU32,
}

impl Model {
    /// `idle` Ps are, and an M that spins without one is on its way up.
    fn new(mistake: Mistake, idle: i32) -> Arc<Self> {
        Arc::new(Self::with(mistake, idle))
    }

    /// The same, with a goroutine queued, and all of them run for ever.
    fn with_long_work(mistake: Mistake, idle: i32) -> Arc<Self> {
        let work = AtomicU32::new(1);
        Arc::new(Self { work, long: true, ..Self::with(mistake, idle) })
    }

    fn with(mistake: Mistake, idle: i32) -> Self {
        let spinning = Spinning::new();
        spinning.start();
        Self {
            mistake,
            spinning,
            work: AtomicU32::new(0),
            long: false,
            idle: Mutex::new(idle),
            npidle: AtomicI32::new(idle),
            threadless: false,
            starved: AtomicU32::new(0),
            keeps: AtomicU32::new(0),
        }
    }

    /// An idle P, a refused thread, and nobody but the keeper.
    fn without_threads(mistake: Mistake) -> Arc<Self> {
        Arc::new(Self { threadless: true, ..Self::with(mistake, 1) })
    }

    fn pidleget(&self) -> bool {
        let mut idle = self.idle.lock().unwrap();
        if *idle == 0 {
            return false;
        }
        *idle -= 1;
        self.npidle.fetch_sub(1, SeqCst);
        true
    }

    fn pidleput(&self) {
        *self.idle.lock().unwrap() += 1;
        self.npidle.fetch_add(1, SeqCst);
    }

    fn work_queued(&self) -> bool {
        self.work.load(Acquire) != 0
    }

    fn take_work(&self) -> bool {
        let one_less = |n: u32| n.checked_sub(1);
        self.work.fetch_update(AcqRel, Acquire, one_less).is_ok()
    }

    /// As `sched::handoff::wakep`.
    fn wakep(&self) {
        if self.wanted() && self.spinning.start_if_none() {
            match self.threadless {
                true => self.refused(),
                false => self.stop_spinning(true),
            }
        }
    }

    fn work_beside_idle(&self) -> bool {
        self.npidle.load(SeqCst) != 0 && self.work_queued()
    }

    /// As `sched::nothread::refused`, of one that spins; without sysmon, which
    /// comes in the end.
    fn refused(&self) {
        self.spinning.stop();
        if self.mistake == RefusedBlindly {
            return;
        }
        if self.mistake != RefusedLate {
            self.starved.store(1, SeqCst);
        }
        if self.work_beside_idle() {
            if !self.spinning.start_if_none() {
                return;
            }
            // There is no idle M.
            self.spinning.stop();
        }
        if self.work_beside_idle() {
            self.poll_break();
        }
        self.starved.store(1, SeqCst);
    }

    /// As `sched::keeper::poll_break`.
    fn poll_break(&self) {
        fence(SeqCst);
        if self.keeps.compare_exchange(1, 0, SeqCst, SeqCst).is_ok() {
            self.keeper_runs();
        }
    }

    /// The keeper's sleep has ended.
    fn keeper_runs(&self) {
        if self.pidleget() {
            while self.take_work() {}
            self.pidleput();
        }
        self.stop_spinning(false);
    }

    /// As the end of `sched::find::stop_spinning`, with
    /// `sched::timing::sleep_as_timekeeper`.
    fn keep(&self) {
        self.stop_spinning(false);
        let needed =
            || self.starved.load(SeqCst) != 0 && self.work_beside_idle();
        let early = needed();
        self.keeps.store(1, SeqCst);
        fence(SeqCst);
        let needed = match self.mistake {
            KeepsBlindly => false,
            KeepsLate => early,
            _ => needed(),
        };
        // Else somebody breaks the sleep just now, and goes on as the keeper.
        if needed && self.keeps.compare_exchange(1, 0, SeqCst, SeqCst).is_ok() {
            self.keeper_runs();
        }
    }

    fn wanted(&self) -> bool {
        let idle = || self.npidle.load(Relaxed);
        match self.mistake {
            MakesUnfenced => idle() != 0 && self.spinning.count() == 0,
            _ => self.spinning.wanted(idle),
        }
    }

    /// As `sched::newproc` of a thread without a P.
    fn make(&self) {
        if self.mistake == MakesLate {
            let wanted = self.wanted();
            self.work.fetch_add(1, Release);
            if wanted && self.spinning.start_if_none() {
                self.stop_spinning(true);
            }
            return;
        }
        self.work.fetch_add(1, Release);
        self.wakep();
    }

    /// As `sched::find::stop_spinning`, on an M without a P; returns when the
    /// M sleeps. What it finds meanwhile it runs.
    fn stop_spinning(&self, mut spinning: bool) {
        while !self.may_sleep(spinning) {
            spinning = !self.take_work();
            if !spinning {
                self.resetspinning();
                if self.long {
                    return;
                }
            }
            self.pidleput();
        }
    }

    /// As `sched::find::resetspinning`.
    fn resetspinning(&self) {
        self.spinning.stop();
        if self.mistake != RunsBlindly && self.work_queued() {
            self.wakep();
        }
    }

    fn may_sleep(&self, spinning: bool) -> bool {
        let take = || self.work_queued() && self.pidleget();
        match self.mistake {
            SleepsBlindly if !spinning => true,
            StopsLate if spinning => {
                let found = take();
                if !found {
                    self.spinning.stop();
                }
                !found
            }
            _ => self.spinning.may_sleep(spinning, take),
        }
    }

    /// As `sched::handoff::handoffp` of a P without work.
    fn put_down(&self) {
        let early = self.work_queued();
        self.pidleput();
        let look = match self.mistake {
            PutsDownBlindly => false,
            PutsDownLate => early,
            _ => self.spinning.put_down() && self.work_queued(),
        };
        if look {
            self.wakep();
        }
    }

    /// The M that was woken comes up.
    fn comes_up(self: &Arc<Self>) -> JoinHandle<()> {
        let model = Arc::clone(self);
        thread::spawn(move || model.stop_spinning(true))
    }

    /// Nobody moves any more.
    fn check(&self, ps: i32) {
        assert!(!self.work_queued(), "work waits beside an idle P");
        assert_eq!(self.spinning.count(), 0);
        assert_eq!(*self.idle.lock().unwrap(), ps);
    }
}

/// Every interleaving with up to three switches away from a thread that could
/// go on.
fn check(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

/// A host thread takes the P that was idle when the M was woken, and puts it
/// down; another thread makes work.
fn host_takes_the_p(mistake: Mistake) {
    check(move || {
        let model = Model::new(mistake, 1);
        let m = model.comes_up();
        let host = {
            let model = Arc::clone(&model);
            thread::spawn(move || {
                if model.pidleget() {
                    model.put_down();
                }
            })
        };
        model.make();
        host.join().unwrap();
        m.join().unwrap();
        model.check(1);
    });
}

/// An M that did not spin, because another one did, goes idle; that one has no
/// P. A goroutine with a P that stays busy makes work.
fn m_goes_idle(mistake: Mistake) {
    check(move || {
        let model = Model::new(mistake, 0);
        let m = model.comes_up();
        let other = {
            let model = Arc::clone(&model);
            thread::spawn(move || {
                model.pidleput();
                model.stop_spinning(false);
            })
        };
        model.make();
        other.join().unwrap();
        m.join().unwrap();
        model.check(1);
    });
}

/// The M that comes up finds work, which keeps it, while another thread makes
/// more: that is for another M.
fn two_run(mistake: Mistake) {
    check(move || {
        let model = Model::with_long_work(mistake, 2);
        let m = model.comes_up();
        model.make();
        m.join().unwrap();
        model.check(0);
    });
}

/// A thread for one that spins is refused while another thread makes work and
/// the timekeeper goes to sleep.
fn only_the_keeper(mistake: Mistake) {
    check(move || {
        let model = Model::without_threads(mistake);
        let refused = {
            let model = Arc::clone(&model);
            thread::spawn(move || model.refused())
        };
        let keeper = {
            let model = Arc::clone(&model);
            thread::spawn(move || model.keep())
        };
        model.make();
        refused.join().unwrap();
        keeper.join().unwrap();
        model.check(1);
    });
}

#[test]
fn work_runs_though_no_thread_comes() {
    only_the_keeper(Nothing);
}

#[test]
#[should_panic(expected = "work waits")]
fn a_refusal_without_a_look_breaks() {
    only_the_keeper(RefusedBlindly);
}

#[test]
#[should_panic(expected = "work waits")]
fn a_refusal_that_is_told_late_breaks() {
    only_the_keeper(RefusedLate);
}

#[test]
#[should_panic(expected = "work waits")]
fn a_keeper_that_sleeps_without_a_look_breaks() {
    only_the_keeper(KeepsBlindly);
}

#[test]
#[should_panic(expected = "work waits")]
fn a_keeper_that_looks_early_breaks() {
    only_the_keeper(KeepsLate);
}

#[test]
fn work_runs_though_the_spinner_is_busy_by_then() {
    two_run(Nothing);
}

#[test]
fn work_runs_though_a_host_took_the_p() {
    host_takes_the_p(Nothing);
}

#[test]
fn work_runs_though_the_spinner_found_no_p() {
    m_goes_idle(Nothing);
}

#[test]
#[should_panic(expected = "work waits")]
fn a_maker_that_looks_first_breaks() {
    host_takes_the_p(MakesLate);
}

#[test]
#[should_panic(expected = "work waits")]
fn a_maker_without_a_fence_breaks() {
    host_takes_the_p(MakesUnfenced);
}

#[test]
#[should_panic(expected = "work waits")]
fn a_spinner_that_looks_before_it_stops_breaks() {
    host_takes_the_p(StopsLate);
}

#[test]
#[should_panic(expected = "work waits")]
fn a_p_put_down_without_a_look_breaks() {
    host_takes_the_p(PutsDownBlindly);
}

#[test]
#[should_panic(expected = "work waits")]
fn a_p_put_down_after_the_look_breaks() {
    host_takes_the_p(PutsDownLate);
}

#[test]
#[should_panic(expected = "work waits")]
fn an_m_that_sleeps_without_a_look_breaks() {
    m_goes_idle(SleepsBlindly);
}

#[test]
#[should_panic(expected = "work waits")]
fn a_spinner_that_runs_without_a_look_breaks() {
    two_run(RunsBlindly);
}
