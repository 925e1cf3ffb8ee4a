//! Goroutines of steps, as tests see them: each step calls a closure.

use super::{Chan, Goroutine, Hosted, Result, number};
use crate::{
    arch,
    block::steps::{self, Record, Room},
    gmp::gflag,
    sched::newproc,
    timers::Deadline,
};
use core::{
    cell::{Cell, UnsafeCell},
    ffi::{c_int, c_void},
    mem::MaybeUninit,
    ptr,
};

/// What the steps work on, in the host's memory.
#[repr(C)]
struct Work {
    record: MaybeUninit<Record>,
    room: UnsafeCell<MaybeUninit<Room>>,
    elem: Cell<u64>,
    step: UnsafeCell<Box<dyn FnMut(&Steps) -> Does>>,
}

/// The work of the calling goroutine.
#[derive(Clone, Copy)]
pub struct Steps(*const Work);

impl core::fmt::Debug for Steps {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Steps")
    }
}

/// What a step does at its end.
#[derive(Debug)]
pub enum Does {
    /// The goroutine ends.
    End,
    /// It waits for what the step has named, or goes on with this result.
    Named(Result<bool>),
}

/// Starts a goroutine that calls `step` again and again.
pub fn go_steps(
    step: impl FnMut(&Steps) -> Does + Send + 'static,
) -> Goroutine {
    let step = UnsafeCell::new(Box::new(step) as Box<_>);
    let work = Work {
        record: MaybeUninit::uninit(),
        room: UnsafeCell::new(MaybeUninit::uninit()),
        elem: Cell::new(0),
        step,
    };
    let place = ptr::from_ref(&*Hosted::new(work)).addr();
    let (handle, ends) = newproc::spawn(move || {
        let work = place as *mut Work;
        // SAFETY: the record comes first, and stays until `free` below.
        unsafe { Record::begin(work.cast(), run_step) };
        let gp = arch::getg().expect("a goroutine");
        gp.set_flag(gflag::STEPS);
        gp.arg.set(work.cast());
        // SAFETY: the first function of a goroutine of steps.
        unsafe { steps::gmprt_run_steps(work.cast()) };
        gp.arg.set(ptr::null_mut());
        // SAFETY: from go_steps, and the goroutine has ended.
        drop(unsafe { (*work).step.get().read() });
        // SAFETY: the same.
        unsafe { crate::os::memory::free(work.cast()) };
    });
    Goroutine { handle, ends }
}

unsafe extern "C" fn run_step(record: *mut c_void) -> c_int {
    let work = Steps(record.cast_const().cast());
    // SAFETY: the goroutine's own, which is in no other step.
    let step = unsafe { &mut *(*work.0).step.get() };
    loop {
        match step(&work) {
            Does::End => return steps::END,
            Does::Named(Ok(true)) => return steps::WAIT,
            Does::Named(_) => {}
        }
    }
}

impl Steps {
    fn work(&self) -> &Work {
        // SAFETY: alive until the goroutine ends.
        unsafe { &*self.0 }
    }

    fn named(&self, result: crate::os::Result<c_int>) -> Does {
        Does::Named(number(result).map(|rc| rc == steps::WAIT))
    }

    fn room(&self) -> *mut Room {
        self.work().room.get().cast()
    }

    fn own(&self) -> &'static Record {
        steps::own().expect("a step")
    }

    /// The result of the last wait, or of the last operation.
    pub fn result(&self) -> Result<()> {
        match self.own().result() {
            0 => Ok(()),
            e => Err(-e),
        }
    }

    /// The element of the last operation.
    pub fn elem(&self) -> u64 {
        self.work().elem.get()
    }

    /// Sends, unless the deadline comes first.
    pub fn send(&self, ch: &Chan, elem: u64, deadline: i64) -> Does {
        self.work().elem.set(elem);
        let elem = self.work().elem.as_ptr().cast_const().cast();
        let until = Deadline::at(deadline);
        self.named(self.own().send(Some(ch.ch()), elem, until, self.room()))
    }

    /// Receives, unless the deadline comes first.
    pub fn recv(&self, ch: &Chan, deadline: i64) -> Does {
        let elem = self.work().elem.as_ptr().cast();
        let until = Deadline::at(deadline);
        self.named(self.own().recv(Some(ch.ch()), elem, until, self.room()))
    }

    /// Sleeps.
    pub fn sleep(&self, deadline: i64) -> Does {
        let until = Deadline::at(deadline);
        self.named(self.own().sleep(until, self.room()))
    }
}
