//! Steps: goroutines that have a stack only while they run.

use super::{
    call_to_start,
    chan::{chan, gmp_chan},
    fits,
    goroutine::{apply, gmp_attr, gmp_g},
    numbered,
    watch::Watch,
    with_caller,
};
use crate::{
    block::steps::{self, Record, Room, Step},
    gmp::{GmpFn, gflag},
    os::Errno,
    sched::newproc::{self, NewG},
    timers::Deadline,
};
use core::{
    ffi::{c_int, c_void},
    mem, ptr,
};

/// The memory that a goroutine of steps waits in. It is the goroutine's from
/// gmp_go_step to the goroutine's end, and must not move: make it the first
/// member of what the steps work on.
#[repr(C)]
pub struct gmp_wait {
    pub _opaque: [u64; 8],
}

/// Room for the deadline of a wait, from the call that gets it until the next
/// step.
#[repr(C)]
pub struct gmp_wait_timer {
    pub _opaque: [u64; 13],
}

const _: () = fits::<gmp_wait, Record>();
const _: () = fits::<gmp_wait_timer, Room>();

/// A step of a goroutine. It returns 0 at the goroutine's end. Or a call from
/// gmp_step_send to gmp_step_yield has returned GMP_STEP_WAIT, and so does the
/// step: then it is called again when that wait is over, maybe on another
/// thread.
#[expect(non_camel_case_types, reason = "the C name")]
pub type gmp_step = Option<unsafe extern "C" fn(wait: *mut gmp_wait) -> c_int>;

/// The result of a call in a step that has to wait: the step returns it, too.
pub const GMP_STEP_WAIT: c_int = 1;

const _: () = assert!(GMP_STEP_WAIT == steps::WAIT);

/// Starts a goroutine that calls `step(wait)` again and again. It has a stack
/// only during a step: between two steps it costs its descriptor and what
/// `wait` lies in. In all else it is a goroutine; a call in a step that blocks
/// parks it, and it keeps its stack until the step returns. But errno and the
/// signal mask do not last from one step to the next.
///
/// `attr` and `out` are as for gmp_go_with. Dumps show the function `shown` in
/// place of `step`, unless that is NULL.
///
/// Returns 0; -EINVAL as gmp_go_with; -ENOMEM. Never blocks.
///
/// # Safety
/// `attr`: promise 1; its name: promise 3. `step`: promise 4, with `wait`,
/// until the goroutine's end. `wait`: promise 2, until then. `out`: promise 2.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_go_step(
    attr: *const gmp_attr,
    step: gmp_step,
    wait: *mut gmp_wait,
    shown: Option<unsafe extern "C" fn()>,
    out: *mut *mut gmp_g,
) -> c_int {
    with_caller!("r9", go_step)
}

/// # Safety
/// As `gmp_go_step`.
unsafe extern "C" fn go_step(
    attr: *const gmp_attr,
    step: gmp_step,
    wait: *mut gmp_wait,
    shown: Option<unsafe extern "C" fn()>,
    out: *mut *mut gmp_g,
    gopc: usize,
) -> c_int {
    call_to_start(move || {
        let step = step.ok_or(Errno::EINVAL)?;
        if wait.is_null() {
            return Err(Errno::EINVAL);
        }
        let shown = shown.map_or(step as *const (), |f| f as *const ());
        // SAFETY: a function's address; a goroutine of steps does not call it.
        let func = unsafe { mem::transmute::<*const (), GmpFn>(shown) };
        let mut spec = NewG::new(func, wait.cast());
        // SAFETY: promises 1 and 3, of `attr`.
        unsafe { apply(attr, &mut spec) }?;
        spec.flags |= gflag::STEPS;
        spec.joinable = !out.is_null();
        spec.gopc = gopc;
        // SAFETY: the same function, whose argument the library does not use.
        let step =
            unsafe { mem::transmute::<*const (), Step>(step as *const ()) };
        // SAFETY: promise 2: `wait` may be written, and is not null here.
        unsafe { Record::begin(wait.cast(), step) };
        let handle = newproc::newproc1(&spec)?;
        if !out.is_null() {
            // SAFETY: promise 2: `out` may be written, and is not null here.
            unsafe { out.write(handle.cast()) };
        }
        Ok(())
    })
}

/// Returns what the calling goroutine of steps waits in; NULL outside of a
/// step. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_step_wait() -> *mut gmp_wait {
    let own = steps::own().map_or(ptr::null(), ptr::from_ref);
    own.cast_mut().cast()
}

/// Sends a copy of `*elem` on `ch` if that need not wait. Else the step is to
/// wait for that until `deadline`: `elem`, `ch` and `timer` stay as they are
/// until the next step, which gets the result by gmp_step_result. `timer` may
/// be NULL for GMP_FOREVER.
///
/// Returns 0 or GMP_STEP_WAIT, and after the wait 0 or -ETIMEDOUT; -EPIPE if
/// the channel is closed; -EPERM outside of a step. Never blocks.
///
/// # Safety
/// `ch`: promise 1. `elem`: promise 2, for an element. `timer`: promise 2. All
/// of them until the next step.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_step_send(
    ch: *mut gmp_chan,
    elem: *const c_void,
    deadline: i64,
    timer: *mut gmp_wait_timer,
) -> c_int {
    let deadline = Deadline::from_c(deadline);
    let send = move || {
        // SAFETY: promise 1, of `ch`.
        let ch = unsafe { chan(ch) };
        if elem.is_null() && ch.is_some_and(|ch| ch.elem_size() > 0) {
            return Err(Errno::EINVAL);
        }
        steps::own()?.send(ch, elem.cast(), deadline, timer.cast())
    };
    numbered(move || Watch::Sends(ch.cast(), elem), send)
}

/// Receives an element from `ch` into `*elem` if that need not wait. Else the
/// step is to wait for one, as in gmp_step_send. `elem` may be NULL.
///
/// Returns 0 or GMP_STEP_WAIT, and after the wait 0 or -ETIMEDOUT; -EPIPE if
/// the channel is closed and empty, and then `*elem` is zeroed; -EPERM outside
/// of a step. Never blocks.
///
/// # Safety
/// As `gmp_step_send`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_step_recv(
    ch: *mut gmp_chan,
    elem: *mut c_void,
    deadline: i64,
    timer: *mut gmp_wait_timer,
) -> c_int {
    let deadline = Deadline::from_c(deadline);
    let receive = move || {
        // SAFETY: promise 1, of `ch`.
        let ch = unsafe { chan(ch) };
        steps::own()?.recv(ch, elem.cast(), deadline, timer.cast())
    };
    numbered(move || Watch::Receives(ch.cast(), elem), receive)
}

/// The step is to wait until `deadline`; `timer` is as in gmp_step_send. With
/// GMP_FOREVER a cancel ends the wait.
///
/// Returns GMP_STEP_WAIT, and after the wait 0; -EPERM outside of a step. Never
/// blocks.
///
/// # Safety
/// `timer`: promise 2, until the next step.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_step_sleep(
    deadline: i64,
    timer: *mut gmp_wait_timer,
) -> c_int {
    let deadline = Deadline::from_c(deadline);
    let sleep = move || steps::own()?.sleep(deadline, timer.cast());
    numbered(|| Watch::Nothing, sleep)
}

/// The step is to wait until the goroutine `g` has ended, and releases its
/// handle; `timer` is as in gmp_step_send.
///
/// Returns GMP_STEP_WAIT, and after the wait what gmp_join_until returns;
/// -EPERM outside of a step. Never blocks.
///
/// # Safety
/// `timer`: promise 2, until the next step.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_step_join(
    g: *mut gmp_g,
    deadline: i64,
    timer: *mut gmp_wait_timer,
) -> c_int {
    let deadline = Deadline::from_c(deadline);
    let join = move || steps::own()?.join(g.cast(), deadline, timer.cast());
    numbered(|| Watch::Nothing, join)
}

/// The step is to let other goroutines run first.
///
/// Returns GMP_STEP_WAIT, and after that 0; -EPERM outside of a step. Never
/// blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_step_yield() -> c_int {
    numbered(|| Watch::Nothing, || Ok(steps::own()?.yields()))
}

/// Returns the result of the wait before this step, or of the last call since
/// then that could have named one: 0, GMP_STEP_WAIT or a negative errno. In the
/// first step 0; outside of a step -EPERM. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_step_result() -> c_int {
    steps::own().map_or_else(Errno::neg, Record::result)
}
