//! Deadlines in a model: the real heap, and a timekeeper.
//!
//! The timekeeper is a thread that lets time pass until the first deadline and
//! runs the timers that are due. It may do so at any moment. It hesitates for a
//! random while, so that either side of a race can win.

use super::world::WORLD;
use crate::{
    os::{
        Shared,
        clock::{nanotime, pass_until},
        random,
    },
    timers::{Deadline, Timer, Timers},
};
use core::cell::RefCell;
use shuttle::thread::{self, JoinHandle, Thread};

shuttle::lazy_static! {
    static ref HEAP: Timers = Timers::new();
    static ref KEEPER: Shared<RefCell<Option<Thread>>> =
        Shared(RefCell::new(None));
}

/// How often the keeper lets others go first, at most.
const HESITATIONS: [u64; 4] = [1, 4, 16, 64];

fn heap() -> &'static Timers {
    &HEAP
}

/// Starts the keeper of this run.
pub(super) fn start() -> JoinHandle<()> {
    let keeper = thread::spawn(keep);
    *KEEPER.0.borrow_mut() = Some(keeper.thread().clone());
    keeper
}

/// Wakes the keeper: there is a timer, or it may be over.
pub(super) fn look_again() {
    let keeper = KEEPER.0.borrow().clone();
    keeper.expect("made by start").unpark();
}

/// Calls the functions of stopped timers that are still in the heap; returns
/// how many timers are left.
pub(super) fn sweep() -> usize {
    heap().run(i64::MAX);
    heap().len()
}

fn keep() {
    loop {
        let when = heap().next_when();
        if !when.is_never() {
            hesitate();
            pass_until(when.ns());
            heap().run(nanotime());
        } else if WORLD.0.over.get() && WORLD.0.live.get() == 0 {
            return;
        } else {
            thread::park();
        }
    }
}

fn hesitate() {
    let most = HESITATIONS[random(HESITATIONS.len() as u64) as usize];
    for _ in 0..random(most) {
        thread::yield_now();
    }
}

/// # Safety
/// As for [`Timers::add`].
pub(crate) unsafe fn add_timer(timer: &Timer, when: Deadline) {
    // SAFETY: the caller promises what `add` needs.
    let first = unsafe { heap().add(timer, when) };
    if first {
        look_again();
    }
}

/// As the real one.
pub(crate) fn set_timer(timer: &Timer, when: Deadline, seq: u64) -> bool {
    let set = Timers::set(timer, when, seq);
    if set == Some(true) {
        look_again();
    }
    set.is_some()
}
