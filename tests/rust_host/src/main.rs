//! A Rust program that loads gmprt before its `main`, and whose goroutines
//! share locks of `parking_lot` with its threads.
//!
//!     rust_host LIBRARY
//!
//! A `#[ctor]` loads the library and runs the first goroutine, before `main`.
//! Then goroutines and threads produce items for each other and consume them:
//! the queue is behind one mutex, and both kinds wait on the same condvars.
//!
//! `parking_lot` queues by thread: what it knows of a waiter is in the thread's
//! local storage. A goroutine that waits there blocks its thread, as in any
//! call that blocks, so it is on one thread from its first look at the lock to
//! the end of its wait; the scheduler hands the processor to another thread
//! meanwhile. No goroutine here holds a guard over a call of the library that
//! may park: it would go on holding it while it waits for its turn, and who
//! wants the lock would block one thread after the other.

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::ffi::{CStr, CString, c_int, c_void};
use std::mem::transmute;
use std::process::exit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::{fs, ptr, thread};

/// So many producers there are of each kind, and so many consumers.
const PARTIES: u64 = 8;
/// So many items each producer makes.
const ITEMS: u64 = 1_000;
/// A queue that is longer makes its producers wait.
const ROOM: usize = 16;

/// Says what is wrong, and ends the program.
fn fail(what: &str) -> ! {
    eprintln!("rust_host: {what}");
    exit(1)
}

// --- The library ----------------------------------------------------------

type Entry = unsafe extern "C" fn(*mut c_void);
type Join = unsafe extern "C" fn(*mut c_void) -> c_int;
type Yield = unsafe extern "C" fn();
type GoWith = unsafe extern "C" fn(
    *const c_void,
    Option<Entry>,
    *mut c_void,
    *mut *mut c_void,
) -> c_int;

/// What this program calls.
struct Library {
    go_with: GoWith,
    join: Join,
    yield_now: Yield,
}

static LIBRARY: OnceLock<Library> = OnceLock::new();

fn library() -> &'static Library {
    LIBRARY.get().unwrap_or_else(|| fail("the constructor has not run"))
}

fn symbol(handle: *mut c_void, name: &CStr) -> *mut c_void {
    // SAFETY: dlopen's handle, which stays open, and a string.
    let found = unsafe { libc::dlsym(handle, name.as_ptr()) };
    if found.is_null() {
        fail(&format!("the library has no {name:?}"));
    }
    found
}

fn load(path: &CStr) -> Library {
    // SAFETY: a string.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
    if handle.is_null() {
        fail(&format!("cannot load {path:?}"));
    }
    let go_with = symbol(handle, c"gmp_go_with");
    let join = symbol(handle, c"gmp_join");
    let yield_now = symbol(handle, c"gmp_yield");
    Library {
        // SAFETY: the function has this type, by gmp.h.
        go_with: unsafe { transmute::<*mut c_void, GoWith>(go_with) },
        // SAFETY: likewise.
        join: unsafe { transmute::<*mut c_void, Join>(join) },
        // SAFETY: likewise.
        yield_now: unsafe { transmute::<*mut c_void, Yield>(yield_now) },
    }
}

/// A goroutine that is going to be joined.
struct Goroutine(*mut c_void);

impl Goroutine {
    /// Starts `entry`, which gets a number.
    fn start(entry: Entry, number: u64) -> Self {
        let arg = ptr::without_provenance_mut(number as usize);
        let mut handle = ptr::null_mut();
        // SAFETY: a function, what it takes, and a place for the handle.
        let rc = unsafe {
            (library().go_with)(ptr::null(), Some(entry), arg, &raw mut handle)
        };
        if rc != 0 {
            fail(&format!("gmp_go_with: {rc}"));
        }
        Self(handle)
    }

    fn join(self) {
        // SAFETY: a handle that nobody else joins, as this owns it.
        let rc = unsafe { (library().join)(self.0) };
        if rc != 0 {
            fail(&format!("gmp_join: {rc}"));
        }
    }
}

/// Lets other goroutines run; the caller holds no guard.
fn yield_goroutine() {
    // SAFETY: takes nothing, and parks its caller.
    unsafe { (library().yield_now)() };
}

// --- Before main ----------------------------------------------------------

static IN_MAIN: AtomicBool = AtomicBool::new(false);
static EARLY: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" fn early(number: *mut c_void) {
    STATE.lock().queue.reserve(ROOM);
    if !IN_MAIN.load(SeqCst) {
        EARLY.store(number.addr() as u64, SeqCst);
    }
}

/// `std::env::args` is for `main`; glibc's arguments to constructors are not
/// passed on by `#[ctor]`.
fn library_path() -> CString {
    let line = fs::read("/proc/self/cmdline").unwrap_or_default();
    let path = line.split(|byte| *byte == 0).nth(1).unwrap_or_default();
    CString::new(path).unwrap_or_default()
}

#[ctor::ctor(unsafe)]
fn before_main() {
    if LIBRARY.set(load(&library_path())).is_err() {
        fail("the constructor has run twice");
    }
    Goroutine::start(early, 4711).join();
}

// --- Producers and consumers ----------------------------------------------

/// What goroutines and threads share.
struct State {
    queue: VecDeque<u64>,
    /// How many may still make items.
    producers: u64,
    sent: u64,
    received: u64,
}

static STATE: Mutex<State> = Mutex::new(State {
    queue: VecDeque::new(),
    producers: 2 * PARTIES,
    sent: 0,
    received: 0,
});
static NOT_EMPTY: Condvar = Condvar::new();
static NOT_FULL: Condvar = Condvar::new();

/// Who has consumed how many: goroutines, and threads.
static CONSUMED: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// Makes the items of the producer of this number.
fn produce(number: u64, pause: fn()) {
    for item in number * ITEMS..(number + 1) * ITEMS {
        let mut state = STATE.lock();
        NOT_FULL.wait_while(&mut state, |state| state.queue.len() >= ROOM);
        state.queue.push_back(item);
        state.sent += item;
        drop(state);
        NOT_EMPTY.notify_one();
        pause();
    }
    STATE.lock().producers -= 1;
    NOT_EMPTY.notify_all();
}

/// Takes items until there are going to be no more.
fn consume(consumed: &AtomicU64, pause: fn()) {
    loop {
        let mut state = STATE.lock();
        NOT_EMPTY.wait_while(&mut state, |state| {
            state.queue.is_empty() && state.producers > 0
        });
        let Some(item) = state.queue.pop_front() else { return };
        state.received += item;
        drop(state);
        consumed.fetch_add(1, SeqCst);
        NOT_FULL.notify_one();
        pause();
    }
}

unsafe extern "C" fn producer(number: *mut c_void) {
    produce(number.addr() as u64, yield_goroutine);
}

unsafe extern "C" fn consumer(_: *mut c_void) {
    consume(&CONSUMED[0], yield_goroutine);
}

fn main() {
    IN_MAIN.store(true, SeqCst);
    if EARLY.load(SeqCst) != 4711 {
        fail("no goroutine has run before main");
    }
    let mut threads = Vec::new();
    let mut goroutines = Vec::new();
    for number in 0..PARTIES {
        goroutines.push(Goroutine::start(producer, 2 * number));
        goroutines.push(Goroutine::start(consumer, 0));
        threads.push(thread::spawn(move || {
            produce(2 * number + 1, thread::yield_now);
        }));
        threads.push(thread::spawn(|| {
            consume(&CONSUMED[1], thread::yield_now);
        }));
    }
    goroutines.into_iter().for_each(Goroutine::join);
    for thread in threads {
        thread.join().unwrap_or_else(|_| fail("a thread has panicked"));
    }
    let by = [&CONSUMED[0], &CONSUMED[1]].map(|n| n.load(SeqCst));
    let state = STATE.lock();
    let all = 2 * PARTIES * ITEMS;
    if by[0] + by[1] != all
        || state.sent != all * (all - 1) / 2
        || state.received != state.sent
        || !state.queue.is_empty()
    {
        fail(&format!(
            "{by:?} of {all} items, {} in, {} out",
            state.sent, state.received
        ));
    }
    println!("{} items by goroutines, {} by threads", by[0], by[1]);
}
