//! What is said of a thread that does not stop for a collection: which one it
//! is, and which goroutine it runs. That goroutine's function leads to the loop
//! or the call that is to blame.
//!
//! The words are found on the collector's stack, since the search for the name
//! of a function needs room, and are written once the world goes on: the reader
//! of what is written may be a goroutine. That is done for the first one only.

use super::stop::Failed;
use crate::{
    base::{
        lock::Rank,
        print::SigWriter,
        sanitize,
        sync::{AtomicBool, Ordering::*},
    },
    gmp::{G, M, each_m},
    os::{Lock, signame::Name, task},
    sched::{
        host::each_hostm,
        urgent::{self, User},
    },
};
use core::{
    cell::Cell,
    fmt::{self, Write},
};
use gmprt_inspect::{
    memory::{Memory, OwnMemory},
    modules::OwnModules,
    names,
};

/// Why threads could not be stopped.
#[derive(Clone, Copy)]
pub(super) struct Unstopped {
    why: Failed,
    /// Nothing was said yet.
    first: bool,
}

static SAID: AtomicBool = AtomicBool::new(false);
/// Words for the first thread.
static WORDS: Lock<Text> =
    Lock::new(Rank::Kept, Text { bytes: [0; 320], len: 0 });

/// Some words. What does not fit is left out.
#[derive(Clone)]
struct Text {
    bytes: [u8; 320],
    len: usize,
}

impl Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for c in s.chars() {
            let c = if c.is_control() { '?' } else { c };
            let end = self.len + c.len_utf8();
            let Some(room) = self.bytes.get_mut(self.len..end) else {
                return Err(fmt::Error);
            };
            c.encode_utf8(room);
            self.len = end;
        }
        Ok(())
    }
}

impl Text {
    /// A string of the host's.
    fn string(&mut self, bytes: &[u8]) -> fmt::Result {
        for chunk in bytes.utf8_chunks() {
            self.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                self.write_str("?")?;
            }
        }
        Ok(())
    }

    fn thread(&mut self, tid: i32) -> fmt::Result {
        let mut room = [0; 64];
        write!(self, "thread {tid} (")?;
        self.string(task::thread_name(tid, &mut room))?;
        self.write_str(")")?;
        match goroutine_of(tid) {
            Some(gp) => self.goroutine(gp),
            None => Ok(()),
        }
    }

    /// `, which runs goroutine 7 "name" (function),`
    fn goroutine(&mut self, gp: &G) -> fmt::Result {
        write!(self, ", which runs goroutine {}", peek(&gp.goid))?;
        let name = gp.name.load(Acquire);
        let mut room = [0; 80];
        if !name.is_null()
            && let Some(name) = OwnMemory.c_str(name.addr() as u64, &mut room)
        {
            self.write_str(" \"")?;
            self.string(name)?;
            self.write_str("\"")?;
        }
        if let Some(f) = peek(&gp.func) {
            let mut room = [0; 512];
            let at = f as usize as u64;
            let name = names::name(&OwnMemory, &OwnModules, at, &mut room);
            write!(self, " ({name}")?;
            // The place is where the function begins.
            if self.bytes[..self.len].ends_with(b"+0x0") {
                self.len -= 4;
            }
            self.write_str(")")?;
        }
        self.write_str(",")
    }

    fn get(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.len]).unwrap_or("?")
    }
}

/// The goroutine that the thread runs. It may end meanwhile, and the G stays.
fn goroutine_of(tid: i32) -> Option<&'static G> {
    let is_it = |mp: &&M| mp.procid.load(Relaxed) == tid;
    let mp = each_m().chain(each_hostm()).find(is_it)?;
    // SAFETY: null, or a type-stable G.
    unsafe { mp.curg.load(Acquire).as_ref() }
}

/// Reads a cell of another thread's.
fn peek<T: Copy>(cell: &Cell<T>) -> T {
    // SAFETY: aligned and initialised; the value may be old.
    unsafe { cell.as_ptr().read_volatile() }
}

impl Unstopped {
    /// On the collector's stack.
    pub(super) fn of(why: Failed) -> Self {
        let first = !SAID.swap(true, Relaxed);
        if let Failed::Thread(tid) = why
            && first
        {
            // An error: there is no room for more.
            let _ = WORDS.lock().thread(tid);
        }
        Self { why, first }
    }

    /// Says which thread keeps the collector from collecting, if it is the
    /// first one.
    pub(super) fn say(self) {
        if !self.first {
            return;
        }
        let mut w = SigWriter::stderr();
        let signal = urgent::of(User::Collection).map(Name);
        let words = WORDS.lock().clone();
        let thread = words.get();
        // A SigWriter reports no errors.
        let _ = match (self.why, signal) {
            (Failed::Signal, signal) => writeln!(
                w,
                "gmprt: no collection: another handler than the library's has \
                 come for {}",
                signal.unwrap_or(Name(urgent::SIGNAL)),
            ),
            (Failed::Thread(_), Some(_)) if sanitize::raceenabled() => {
                writeln!(
                    w,
                    "gmprt: no collection: {thread} came to no safe point, \
                     and ThreadSanitizer puts signals off"
                )
            }
            (Failed::Thread(_), Some(signal)) => writeln!(
                w,
                "gmprt: no collection: {thread} does not stop; does it block \
                 {signal}?"
            ),
            (Failed::Thread(_), None) => writeln!(
                w,
                "gmprt: no collection: {thread} came to no safe point; \
                 GMP_GC_SIGNAL is 0"
            ),
        };
        w.flush();
    }
}
