//! The timeline: what the scheduler does, as a file to look at.

use super::{call, call_to_undo};
use crate::{boot, os::Errno, trace};
use core::ffi::{CStr, c_char, c_int};

/// Begins a trace of all goroutines: who runs where and when, waits for what,
/// wakes whom.
///
/// With a `path` the events are written there until gmp_trace_stop or the end
/// of the process, in Perfetto's format: ui.perfetto.dev opens it, and the page
/// docs/trace.md describes it. With NULL they stay in memory, the newest of
/// each thread, until gmp_trace_save writes them: a flight recorder. An event
/// costs some 15 ns, and a thread up to 4 MiB (GMPDEBUG=tracebuf=KIB).
///
/// Returns 0; -EBUSY if a trace is on; -ENOMEM; -EAGAIN if no thread could be
/// made that writes; -EINVAL for an empty path; an error of open(2). Blocks the
/// thread while the file is opened.
///
/// # Safety
/// `path`: promise 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_trace_start(path: *const c_char) -> c_int {
    call(move || {
        if path.is_null() {
            return trace::start(None, false);
        }
        // SAFETY: promise 3.
        let path = unsafe { CStr::from_ptr(path) };
        if path.is_empty() {
            return Err(Errno::EINVAL);
        }
        trace::start(Some(path), false)
    })
}

/// Ends the trace, and writes what is left of its file.
///
/// Returns 0; -EINVAL if no trace is on; the first error of write(2), after
/// which nothing was written. Blocks the thread while it writes.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_trace_stop() -> c_int {
    call_to_undo(trace::stop)
}

/// Writes what the flight recorder has at this moment to the descriptor `fd`,
/// in the same format. The recorder goes on, and so do all goroutines.
///
/// Returns 0; -EINVAL if no flight recorder is on; -ENOMEM; an error of
/// write(2). Blocks the thread while it writes.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_trace_save(fd: c_int) -> c_int {
    call(move || trace::save(fd))
}

/// Makes a mark with this text on the track of the calling goroutine, or of the
/// host thread; nothing without a trace. The text is copied, at most 128 bytes
/// of it. Never blocks.
///
/// # Safety
/// `text`: promise 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_trace_mark(text: *const c_char) {
    if text.is_null() || boot::gate_to_undo().is_err() {
        return;
    }
    // SAFETY: promise 3.
    trace::mark(unsafe { CStr::from_ptr(text) });
}
