//! Start, stop and save; and the tracer, the thread that writes the file.
//!
//! Everything here is under the lock of [`SESSION`], which is held while a file
//! is written: a save on one thread waits for that on another, and a stop for
//! the tracer. A fatal error waits for that lock a second at most.
//!
//! The tracer is an M that runs no goroutines. The first trace with a file
//! makes its thread, which stays and sleeps between traces: an M that ends is
//! reused for goroutines.
//!
//! Invariants:
//! 1. The hook is set exactly in the states File and Flight.
//! 2. No trace begins, and no thread is made for one, from the stage Closed on
//!    until the next start: the end of the runtime stops the trace that is on,
//!    and then the tracer.
//! 3. While `encoder` is there, it is this session's, and each recorder's
//!    reader has begun with this session.

use super::{
    encode::Encoder, mapped::Mapped, packet::Sink, recorder, stamp::Stamp,
};
use crate::{
    base::{
        Futex,
        alloc::Text,
        lock::Rank,
        print::SigWriter,
        sync::{AtomicBool, AtomicU32, Ordering::*},
        trace::{Event, Kind, event, set_hook},
    },
    gmp::{CLOSING, MKind, closing::Stage},
    os::{
        Errno, LongLock, LongLockGuard, OsFutex, Result,
        clock::{nanotime, usleep},
        own::Own,
    },
    sched::{child, threads::newm},
};
use core::{ffi::CStr, fmt::Write as _};

/// Nanoseconds for which events stay in the rings before they are written, so
/// that those of all threads are there.
const LAG: i64 = 10_000_000;
/// Nanoseconds between two looks of the tracer: while events come, and at most.
const NAP: i64 = 10_000_000;
const LONG_NAP: i64 = 100_000_000;
/// A ring that is so full, in percent, is looked at again at once.
const FULL: u64 = 20;
/// How many milliseconds a dying process waits for the lock.
const PATIENCE: u32 = 1_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Off,
    File,
    Flight,
    Failed,
}

struct Session {
    state: State,
    /// The encoder of the file, or for a flight recorder that of a fatal error.
    encoder: Option<Mapped<Encoder>>,
    file: Option<Sink>,
    /// Why the file failed.
    why: Option<Errno>,
    since: Stamp,
    /// Where a fatal error puts what a flight recorder has.
    fatal: Option<Text>,
    /// Nobody asks for the result: errors are printed, with this name.
    path: Option<Text>,
}

// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Session {}

static SESSION: LongLock<Session> = LongLock::new(Rank::Trace, NO_SESSION);

const NO_SESSION: Session = Session {
    state: State::Off,
    encoder: None,
    file: None,
    why: None,
    since: Stamp { ticks: 0, ns: 0 },
    fatal: None,
    path: None,
};

/// The tracer's thread exists, or has been asked for.
static TRACER: AtomicBool = AtomicBool::new(false);
/// Changes when a trace begins or ends; the tracer sleeps on it.
static TURN: AtomicU32 = AtomicU32::new(0);

/// Begins a trace: into the file at `path`, or into memory. `own`: a setting
/// has asked for it, so errors of the file are printed.
///
/// Errors: `EBUSY` if a trace is on; `ENOMEM`; those of open(2); `EAGAIN` if no
/// thread could be made; `ESHUTDOWN` if the runtime has ended meanwhile.
pub(crate) fn start(path: Option<&CStr>, own: bool) -> Result<()> {
    let mut session = SESSION.lock();
    // Under the lock, which the stop of invariant 2 takes.
    if CLOSING.has_come(Stage::Closed) {
        return Err(Errno(libc::ESHUTDOWN));
    }
    if session.state != State::Off {
        return Err(Errno(libc::EBUSY));
    }
    recorder::prepare()?;
    if let Some(path) = path {
        session.open(path, own)?;
    }
    session.since = Stamp::now();
    for recorder in recorder::each() {
        // SAFETY: the lock is held.
        unsafe { recorder.begin() };
    }
    session.state = match path {
        Some(_) => State::File,
        None => State::Flight,
    };
    set_hook(Some(recorder::note));
    let since = session.since;
    let Session { encoder: Some(encoder), file: Some(file), .. } =
        &mut *session
    else {
        return Ok(());
    };
    encoder.begin(file, since, true);
    // Under the lock too: invariant 2.
    wake_tracer().inspect_err(|_| {
        let _nothing_written = session.end();
    })
}

/// Ends the trace.
///
/// Errors: `EINVAL` if there is none; the first error of the file.
pub(crate) fn stop() -> Result<()> {
    let mut session = SESSION.lock();
    if session.state == State::Off {
        return Err(Errno::EINVAL);
    }
    let result = session.end();
    drop(session);
    TURN.fetch_add(1, Release);
    OsFutex::wake(&TURN, 1);
    result
}

/// Writes what the flight recorder has to `fd`.
///
/// Errors: `EINVAL` if no flight recorder is on; `ENOMEM`; those of write(2).
pub(crate) fn save(fd: i32) -> Result<()> {
    let session = SESSION.lock();
    if session.state != State::Flight {
        return Err(Errno::EINVAL);
    }
    session.save(&mut *Encoder::map()?, &Sink::Fd(fd))
}

/// Makes a mark on the caller's track.
pub(crate) fn mark(text: &CStr) {
    event(move || Event { text: text.to_bytes(), ..Event::of(Kind::Mark, 0) });
}

/// Has a fatal error write what a flight recorder has to the file at `path`.
///
/// Errors: as [`start`].
pub(crate) fn keep_for_fatal(path: &CStr) -> Result<()> {
    let path = Text::copy(path.to_bytes()).ok_or(Errno::ENOMEM)?;
    let encoder = Encoder::map()?;
    let started = start(None, true);
    let mut session = SESSION.lock();
    started?;
    session.encoder = Some(encoder);
    session.fatal = Some(path);
    Ok(())
}

/// Ends the file of a trace, as the process exits.
pub(crate) fn at_exit() {
    if child::in_child() {
        return;
    }
    if let Some(mut session) = last_lock()
        && session.state == State::File
    {
        let _printed = session.end();
    }
}

/// Writes what there is, as the process dies: on any stack, under any lock,
/// without memory.
pub(crate) fn at_fatal() {
    if child::in_child() {
        return;
    }
    let Some(mut session) = last_lock() else { return };
    set_hook(None);
    if let Some(encoder) = &mut session.encoder {
        encoder.hurry();
    }
    match session.state {
        State::File => {
            let _printed = session.finish();
            // An exit that comes now leaves the file as it is.
            session.state = State::Failed;
        }
        State::Flight => session.save_for_fatal(),
        State::Off | State::Failed => {}
    }
}

/// The lock, for a process that ends: another thread may hold it for ever.
fn last_lock() -> Option<LongLockGuard<'static, Session>> {
    for _ in 0..PATIENCE {
        if let Some(session) = SESSION.try_lock() {
            return Some(session);
        }
        usleep(1_000);
    }
    None
}

impl Session {
    /// Opens the file and maps its encoder.
    fn open(&mut self, path: &CStr, own: bool) -> Result<()> {
        let name = Text::copy(path.to_bytes()).ok_or(Errno::ENOMEM)?;
        let encoder = Encoder::map()?;
        self.file = Some(Sink::File(Own::create(path)?));
        self.encoder = Some(encoder);
        self.path = own.then_some(name);
        Ok(())
    }

    /// Writes the rest, and gives everything back.
    fn end(&mut self) -> Result<()> {
        set_hook(None);
        let result = match self.state {
            State::File => self.finish(),
            _ => self.why.map_or(Ok(()), Err),
        };
        self.state = State::Off;
        self.why = None;
        self.file = None;
        self.path = None;
        self.fatal = None;
        self.encoder = None;
        recorder::each().for_each(recorder::Recorder::discard);
        result
    }

    /// Writes the rest of the file.
    fn finish(&mut self) -> Result<()> {
        let Self { encoder: Some(encoder), file: Some(file), .. } = self else {
            return Ok(());
        };
        // SAFETY: the lock is held.
        unsafe { encoder.drain(file, 0) };
        let result = encoder.finish(file);
        result.inspect_err(|&why| self.tell(why))
    }

    /// The tracer's look. Returns how full the fullest ring was.
    fn look(&mut self) -> u64 {
        let Self { encoder: Some(encoder), file: Some(file), .. } = self else {
            return 0;
        };
        // SAFETY: the lock is held.
        let full = unsafe { encoder.drain(file, LAG) };
        if let Err(why) = encoder.flush(file) {
            set_hook(None);
            self.state = State::Failed;
            self.why = Some(why);
            self.tell(why);
        }
        full
    }

    /// Prints an error of the file, if nobody else is told.
    fn tell(&self, why: Errno) {
        let Some(path) = &self.path else { return };
        let mut w = SigWriter::stderr();
        // A SigWriter reports no errors.
        let _ = w.write_str("gmprt: trace: cannot write ");
        w.bytes(path.as_c_str().to_bytes());
        let _ = writeln!(w, ": {}", why.text());
    }

    /// Writes what the rings hold.
    fn save(&self, encoder: &mut Encoder, sink: &Sink) -> Result<()> {
        for recorder in recorder::each() {
            // SAFETY: the lock is held.
            unsafe { recorder.begin_again() };
        }
        encoder.begin(sink, self.since, false);
        // SAFETY: the lock is held.
        unsafe { encoder.drain(sink, 0) };
        encoder.finish(sink)
    }

    fn save_for_fatal(&mut self) {
        let Some(path) = &self.fatal else { return };
        let file = match Own::create(path.as_c_str()) {
            Ok(file) => Sink::File(file),
            Err(why) => return self.tell(why),
        };
        let Some(mut encoder) = self.encoder.take() else { return };
        let _nobody_left = self.save(&mut encoder, &file);
    }
}

/// Makes the tracer look, or makes its thread.
fn wake_tracer() -> Result<()> {
    if !TRACER.swap(true, AcqRel) {
        return newm(MKind::Tracer, Some(tracer), None)
            .inspect_err(|_| TRACER.store(false, Release));
    }
    TURN.fetch_add(1, Release);
    OsFutex::wake(&TURN, 1);
    Ok(())
}

/// In the stage Leaving: lets the tracer end. Repeated until it has.
pub(crate) fn end_tracer() {
    TURN.fetch_add(1, Release);
    OsFutex::wake(&TURN, 1);
}

/// The runtime has ended, and the tracer.
pub(crate) fn tracer_ended() {
    TRACER.store(false, Release);
}

/// The tracer's thread. Returns when the runtime ends.
fn tracer() {
    let mut nap = NAP;
    while !CLOSING.has_come(Stage::Leaving) {
        let turn = TURN.load(Acquire);
        let mut session = SESSION.lock();
        let on = session.state == State::File;
        let full = if on { session.look() } else { 0 };
        drop(session);
        nap = match full {
            0 => (nap * 2).min(LONG_NAP),
            1..FULL => NAP,
            _ => 0,
        };
        let until = if on { nanotime() + nap } else { i64::MAX };
        if nap > 0 || !on {
            OsFutex::wait(&TURN, turn, until);
        }
    }
}

/// Puts the statics of this file back to what they were before the start
/// (`boot::reset`).
///
/// # Safety
/// No other thread runs code of the library.
pub(crate) unsafe fn reset() {
    set_hook(None);
    // What was there is not dropped: the file is another process's, or ended.
    // SAFETY: nobody uses it, the caller promises.
    unsafe { SESSION.renew(NO_SESSION) };
    TRACER.store(false, Relaxed);
    TURN.store(0, Relaxed);
}
