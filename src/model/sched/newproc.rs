//! Goroutines made and ended in a model.

use super::{ending, timing, world::WORLD};
use crate::{
    arch,
    gmp::{G, GStatus, GmpFn, casgstatus, gdestroy, gfget, handle_of},
    os::{Errno, Result},
};
use core::{ffi::c_void, ptr};
use shuttle::thread::{self, JoinHandle};

/// The function of a new goroutine and its argument.
pub(crate) struct NewG {
    pub func: GmpFn,
    pub arg: *mut c_void,
    pub gopc: usize,
}

// SAFETY: the argument goes with its function to one other thread.
unsafe impl Send for NewG {}

impl NewG {
    pub(crate) fn new(func: GmpFn, arg: *mut c_void) -> Self {
        Self { func, arg, gopc: 0 }
    }
}

/// Starts a goroutine.
///
/// Errors: `ENOMEM` if the test has asked for it.
pub(crate) fn newproc1(spec: &NewG) -> Result<*mut c_void> {
    if let Some(left) = WORLD.0.refused.get().checked_sub(1) {
        WORLD.0.refused.set(left);
        return Err(Errno::ENOMEM);
    }
    let spec = NewG { ..*spec };
    let (handle, _ends) = spawn(move || {
        let NewG { func, arg, .. } = { spec };
        // SAFETY: the starter promised that `func(arg)` may be called.
        unsafe { func(arg) }
    });
    Ok(handle)
}

/// Starts a closure as a goroutine, and returns a way to wait for its end.
pub(crate) fn spawn(
    f: impl FnOnce() + Send + 'static,
) -> (*mut c_void, JoinHandle<()>) {
    let gp = gfget();
    casgstatus(gp, GStatus::Dead, GStatus::Runnable);
    let handle = handle_of(gp);
    WORLD.0.live.set(WORLD.0.live.get() + 1);
    let place = ptr::from_ref(gp).addr();
    let ends = thread::spawn(move || {
        let gp = place as *const G;
        // SAFETY: Gs stay until the end of the run.
        start(unsafe { &*gp });
        f();
        goexit();
    });
    (handle, ends)
}

fn start(gp: &'static G) {
    *gp.thread.borrow_mut() = Some(thread::current());
    arch::setg(Some(gp));
    casgstatus(gp, GStatus::Runnable, GStatus::Running);
}

/// As `goexit1` and its hook.
fn goexit() {
    let gp = arch::getg().expect("no goroutine");
    if !gp.defers.get().is_null() {
        ending::run(gp);
    }
    casgstatus(gp, GStatus::Running, GStatus::Dead);
    arch::setg(None);
    let at_end = gp.at_end.replace(ptr::null());
    // SAFETY: null, or the code that set it keeps it until now.
    if let Some(at_end) = unsafe { at_end.as_ref() } {
        (at_end.run)(at_end);
    }
    gdestroy(gp);
    WORLD.0.live.set(WORLD.0.live.get() - 1);
    timing::look_again();
}
