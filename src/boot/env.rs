//! The settings of the environment. They are copied on the loading thread,
//! while no other thread changes the environment, and parsed on m0.
//!
//! [`VARS`] and [`KEYS`] list all settings, and `GMPDEBUG=help` prints them. A
//! value that does not parse, and an unknown name with our prefix, are reported
//! once and ignored.
//!
//! A program with more rights than its caller (`AT_SECURE`: set-uid, file
//! capabilities) reads none of them, because the caller would choose the sizes
//! of stacks and the number of threads.
//!
//! Invariant: [`capture`] alone reads the environment, and once.

use super::{
    inittrace::stage,
    parse::{nearest, number, signal, size, truth},
};
use crate::{
    base::{
        print::SigWriter,
        sync::{AtomicBool, AtomicPtr, Ordering::*},
    },
    gc::settings,
    gmp::{DEBUG, MAXTHREADS, Traceback},
    os::{auxv, clock},
    sched::{suspended, urgent},
    trace::{
        self,
        setting::{self, Setting},
    },
};
use core::{
    ffi::{CStr, c_char},
    fmt::Write as _,
    ops::RangeInclusive,
    ptr,
};

unsafe extern "C" {
    /// The C library's variable for the environment.
    static environ: *const *const c_char;
}

/// The prefix of all our names except some of [`VARS`].
const PREFIX: &str = "GMP_";
/// The most unknown names that are reported.
const MAX_UNKNOWN: usize = 8;
/// Sizes of stack that make sense, in bytes.
const STACK_SIZES: RangeInclusive<usize> = 16 << 10..=1 << 30;

/// The most seconds of `lockwait`: the marks of waits come round.
const MAX_LOCKWAIT: u32 = 7 * 24 * 3600;

/// A variable of the environment.
#[derive(Clone, Copy)]
enum Var {
    Autostart,
    Maxprocs,
    Gomaxprocs,
    Maxthreads,
    Stacksize,
    Traceback,
    Gogc,
    Memlimit,
    GcSignal,
    Gmpdebug,
}

/// One line of the help.
struct Variable {
    name: &'static str,
    /// The values that it takes.
    values: &'static str,
    about: &'static str,
}

/// The variables, in the order of [`Var`].
const VARS: [Variable; 10] = [
    Variable {
        name: "GMP_AUTOSTART",
        values: "yes or no",
        about: "start when loaded, or at the first call",
    },
    Variable {
        name: "GMP_MAXPROCS",
        values: "a number from 1",
        about: "goroutines that run at once",
    },
    Variable {
        name: "GOMAXPROCS",
        values: "a number from 1",
        about: "the same, where GMP_MAXPROCS says nothing",
    },
    Variable {
        name: "GMP_MAXTHREADS",
        values: "a number from 2",
        about: "threads at most, sysmon and m0 among them",
    },
    Variable {
        name: "GMP_STACKSIZE",
        values: "16K to 1G",
        about: "bytes of a goroutine's stack; K, M, G or KiB, MiB, GiB",
    },
    Variable {
        name: "GMP_TRACEBACK",
        values: "none, single, all or system",
        about: "goroutines that a fatal error lists",
    },
    Variable {
        name: "GMP_GOGC",
        values: "a percentage, or off",
        about: "how much the heap grows until it is collected",
    },
    Variable {
        name: "GMP_MEMLIMIT",
        values: "1M and more",
        about: "bytes of objects in the heap at most; K, M, G, T",
    },
    Variable {
        name: "GMP_GC_SIGNAL",
        values: "a signal that can be caught and that users send, such as \
                 USR2, or 0",
        about: "stops threads for a collection; 0: none does",
    },
    Variable {
        name: "GMPDEBUG",
        values: "key=value,...",
        about: "any of the following keys",
    },
];

/// A key of `GMPDEBUG`.
struct Key {
    entry: Variable,
    /// Sets the value; false if it does not parse.
    set: fn(&'static str, &mut Settings) -> bool,
}

const fn key(
    name: &'static str,
    values: &'static str,
    about: &'static str,
    set: fn(&'static str, &mut Settings) -> bool,
) -> Key {
    Key { entry: Variable { name, values, about }, set }
}

const KEYS: [Key; 19] = [
    key("help", "no value", "print these lines", |value, settings| {
        settings.help = value.is_empty();
        settings.help
    }),
    key("inittrace", "0 or 1", "print the stages of the start", |value, _| {
        flag(&DEBUG.inittrace, value)
    }),
    key(
        "schedtrace",
        "milliseconds",
        "print the scheduler's state so often; 0: never",
        |value, _| {
            let ms = number(value, 0..=u32::MAX);
            ms.inspect(|&ms| DEBUG.schedtrace.store(ms, Relaxed)).is_some()
        },
    ),
    key("scheddetail", "0 or 1", "and that of each P", |value, _| {
        flag(&DEBUG.scheddetail, value)
    }),
    key("trace", "FILE", "a timeline, for ui.perfetto.dev", |value, _| {
        !value.is_empty() && setting::set(Setting::File(value))
    }),
    key(
        "flight",
        "FILE",
        "the last events of a timeline, at a fatal error",
        |value, _| !value.is_empty() && setting::set(Setting::Flight(value)),
    ),
    key(
        "tracebuf",
        "64 to 4194304",
        "KiB of events that a timeline keeps of each thread",
        |value, _| {
            let kib = number(value, 64..=4 << 20);
            kib.inspect(|&kib: &usize| trace::set_ring_size(kib << 10))
                .is_some()
        },
    ),
    key(
        "lockwait",
        "seconds",
        "tell deadlocks whose waits are older; 0: none",
        |value, _| {
            let seconds = number(value, 0..=MAX_LOCKWAIT);
            seconds.inspect(|&s| DEBUG.lockwait.store(s, Relaxed)).is_some()
        },
    ),
    key("handoff", "0 or 1", "0: no goroutine loses its P", |value, _| {
        flag(&DEBUG.handoff, value)
    }),
    key(
        "hostrun",
        "0 or 1",
        "0: no goroutine runs on a thread of the host's",
        |value, _| flag(&DEBUG.hostrun, value),
    ),
    key(
        "migrate",
        "0 or 1",
        "1: a goroutine that waits goes on on another thread",
        |value, _| flag(&DEBUG.migrate, value),
    ),
    key(
        "idlethread",
        "milliseconds",
        "a spare thread ends when it was idle so long; 0: never",
        |value, _| {
            let ms = number(value, 0..=u32::MAX);
            ms.inspect(|&ms| DEBUG.idlethread.store(ms, Relaxed)).is_some()
        },
    ),
    key(
        "dumpsignal",
        "a signal that can be caught and that users send, such as QUIT",
        "dump all goroutines when the signal comes",
        |value, _| {
            let sig = signal(value);
            sig.inspect(|&sig| DEBUG.dumpsignal.store(sig, Relaxed)).is_some()
        },
    ),
    key(
        "guard",
        "mprotect",
        "guards of stacks as on an older kernel",
        |value, settings| {
            settings.guard_mprotect = value == "mprotect";
            settings.guard_mprotect
        },
    ),
    key(
        "stackadvice",
        "0 or 1",
        "1: measure the stacks of goroutines; print at exit what they need",
        |value, settings| {
            let on = truth(value);
            settings.stack_advice = on == Some(true);
            on.is_some()
        },
    ),
    key("gctrace", "0 or 1", "a line for each collection", |value, _| {
        flag(&settings::TRACE, value)
    }),
    key(
        "gcstress",
        "a number",
        "each so manyth allocation in the heap collects; 0: none",
        |value, _| {
            let n = number(value, 0..=u32::MAX);
            n.inspect(|&n| settings::set_stress(n)).is_some()
        },
    ),
    key(
        "forcegc",
        "milliseconds",
        "a heap that is used is collected after so long",
        |value, _| {
            let ms = number(value, 1..=u32::MAX);
            ms.inspect(|&ms| settings::set_period(ms)).is_some()
        },
    ),
    key(
        "tsc",
        "0 or 1",
        "0: as if the processor's counter of cycles were uneven",
        |value, _| {
            let even = truth(value);
            if even == Some(false) {
                clock::distrust_cycles();
            }
            even.is_some()
        },
    ),
];

/// Copies of the values of [`VARS`], from `strdup`, or null. `capture`
/// writes, then `goenvs`.
static COPIES: [AtomicPtr<c_char>; VARS.len()] =
    [const { AtomicPtr::new(ptr::null_mut()) }; VARS.len()];
/// Copies of unknown names, with their values; or null.
static UNKNOWN: [AtomicPtr<c_char>; MAX_UNKNOWN] =
    [const { AtomicPtr::new(ptr::null_mut()) }; MAX_UNKNOWN];

/// The settings for `schedinit`; the others go to [`DEBUG`] and
/// [`MAXTHREADS`].
#[derive(Default)]
pub(super) struct Settings {
    /// Number of Ps.
    pub maxprocs: Option<usize>,
    /// Bytes.
    pub stack_size: Option<usize>,
    /// Guards as on old kernels.
    pub guard_mprotect: bool,
    /// Stacks are measured.
    pub stack_advice: bool,
    /// `help` was among the keys.
    help: bool,
}

/// A later start, after a shutdown: the settings are those of the first one,
/// and what is wrong with them has been reported.
static AGAIN: AtomicBool = AtomicBool::new(false);

/// The runtime has ended, and may start again.
pub(super) fn ended() {
    AGAIN.store(true, Relaxed);
}

/// The library is unloaded: frees the copies.
///
/// # Safety
/// No setting is read any more.
pub(super) unsafe fn free() {
    for copy in COPIES.iter().chain(&UNKNOWN) {
        // SAFETY: null, or from strdup in keep, and nobody reads it.
        unsafe { libc::free(copy.swap(ptr::null_mut(), Relaxed).cast()) };
    }
}

/// Copies our variables. Part of `libpreinit`: once, on the loading thread.
pub(super) fn capture() {
    if auxv::secure() || AGAIN.load(Relaxed) {
        return;
    }
    let mut unknown = UNKNOWN.iter();
    // SAFETY: the C library's variable. A thread that changes the environment
    // now would race with the loader too.
    let mut at = unsafe { environ };
    if at.is_null() {
        return;
    }
    loop {
        // SAFETY: within the array, which ends with a null.
        let text = unsafe { *at };
        if text.is_null() {
            return;
        }
        at = at.wrapping_add(1);
        // SAFETY: a C string of the environment.
        let bytes = unsafe { CStr::from_ptr(text) }.to_bytes();
        let Some(equals) = bytes.iter().position(|b| *b == b'=') else {
            continue;
        };
        let name = &bytes[..equals];
        match VARS.iter().position(|v| v.name.as_bytes() == name) {
            // The first of two equal names counts, as in getenv.
            Some(var) if COPIES[var].load(Relaxed).is_null() => {
                keep(&COPIES[var], text.wrapping_add(equals + 1));
            }
            None if name.starts_with(PREFIX.as_bytes()) => {
                if let Some(place) = unknown.next() {
                    keep(place, text);
                }
            }
            _ => {}
        }
    }
}

/// Leaves a copy of a C string of the environment in `place`.
fn keep(place: &AtomicPtr<c_char>, text: *const c_char) {
    // Null without memory.
    // SAFETY: a C string, the caller promises.
    place.store(unsafe { libc::strdup(text) }, Release);
}

/// Whether the library starts the runtime when it is loaded. `parsedebugvars`
/// reports a value that is neither yes nor no.
pub(super) fn autostart() -> bool {
    text(Var::Autostart).and_then(truth).unwrap_or(true)
}

/// The value of a variable, if it is set and valid UTF-8.
fn text(var: Var) -> Option<&'static str> {
    copied(&COPIES[var as usize])?.to_str().ok()
}

fn copied(place: &AtomicPtr<c_char>) -> Option<&'static CStr> {
    let copy = place.load(Acquire);
    // SAFETY: from strdup, never freed or written.
    (!copy.is_null()).then(|| unsafe { CStr::from_ptr(copy) })
}

/// Drops values that are no UTF-8, and reports unknown names.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn goenvs() {
    stage(c"goenvs");
    for (var, copy) in VARS.iter().zip(&COPIES) {
        if copied(copy).is_some_and(|v| v.to_str().is_err()) {
            ignored(var.name, "?", "text");
            copy.store(ptr::null_mut(), Relaxed);
        }
    }
    for entry in UNKNOWN.iter().filter_map(copied) {
        let text = String::from_utf8_lossy(entry.to_bytes());
        let name = text.split('=').next().unwrap_or_default();
        no_such(name, "setting", nearest(name, VARS.iter().map(|v| v.name)));
    }
}

/// Parses the settings.
#[unsafe(no_mangle)]
#[inline(never)]
#[expect(improper_ctypes_definitions, reason = "plain name, called from here")]
pub(super) extern "C" fn parsedebugvars() -> Settings {
    stage(c"parsedebugvars");
    let _known_since_the_load = parsed(Var::Autostart, truth);
    let mut settings = Settings {
        maxprocs: maxprocs(),
        stack_size: parsed(Var::Stacksize, |v| {
            size(v).filter(|n| STACK_SIZES.contains(n))
        }),
        ..Settings::default()
    };
    if let Some(n) = parsed(Var::Maxthreads, |v| number(v, 2..=i32::MAX)) {
        MAXTHREADS.store(n, Relaxed);
    }
    if let Some(level) = parsed(Var::Traceback, traceback) {
        DEBUG.set_traceback(level);
    }
    if let Some(percent) = parsed(Var::Gogc, percent) {
        settings::PERCENT.store(percent, Relaxed);
    }
    let limit = |v: &str| size(v).filter(|n| *n >= 1 << 20);
    if let Some(limit) = parsed(Var::Memlimit, limit) {
        settings::LIMIT.store(limit, Relaxed);
    }
    let gc_signal = |v: &str| if v == "0" { Some(0) } else { signal(v) };
    if let Some(sig) = parsed(Var::GcSignal, gc_signal) {
        urgent::set_for_collections(sig as i32);
        if sig == 0 {
            suspended::want();
        }
    }
    if let Some(list) = text(Var::Gmpdebug) {
        for item in list.split(',').filter(|item| !item.is_empty()) {
            debug_var(item, &mut settings);
        }
    }
    if settings.help && !AGAIN.load(Relaxed) {
        help();
    }
    settings
}

fn maxprocs() -> Option<usize> {
    let procs = |v: &str| number(v, 1..=usize::MAX);
    let ours = parsed(Var::Maxprocs, procs);
    ours.or_else(|| parsed(Var::Gomaxprocs, procs))
}

/// The variable's value, if it is set and parses.
fn parsed<T>(var: Var, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    let value = text(var)?;
    let result = parse(value);
    if result.is_none() {
        let entry = &VARS[var as usize];
        ignored(entry.name, value, entry.values);
    }
    result
}

fn percent(text: &str) -> Option<i32> {
    match text {
        "off" => Some(-1),
        _ => number(text, 0..=i32::MAX),
    }
}

fn traceback(text: &str) -> Option<Traceback> {
    Some(match text {
        "none" => Traceback::None,
        "single" => Traceback::Single,
        "all" => Traceback::All,
        "system" => Traceback::System,
        _ => return None,
    })
}

/// One `key=value` of `GMPDEBUG`.
fn debug_var(item: &'static str, settings: &mut Settings) {
    let (name, value) = item.split_once('=').unwrap_or((item, ""));
    match KEYS.iter().find(|key| key.entry.name == name) {
        Some(key) => {
            if !(key.set)(value, settings) {
                ignored("GMPDEBUG", item, key.entry.values);
            }
        }
        None => {
            let names = KEYS.iter().map(|key| key.entry.name);
            no_such(name, "key of GMPDEBUG", nearest(name, names));
        }
    }
}

/// Sets a flag; false if the value is neither yes nor no.
fn flag(to: &AtomicBool, value: &str) -> bool {
    let value = truth(value);
    value.inspect(|&value| to.store(value, Relaxed)).is_some()
}

fn ignored(key: &str, value: &str, want: &str) {
    if AGAIN.load(Relaxed) {
        return;
    }
    let mut w = SigWriter::stderr();
    // A SigWriter reports no errors.
    let _ = writeln!(w, "gmprt: {key}: ignoring \"{value}\": want {want}");
}

fn no_such(name: &str, what: &str, nearest: Option<&str>) {
    if AGAIN.load(Relaxed) {
        return;
    }
    let mut w = SigWriter::stderr();
    // A SigWriter reports no errors.
    let _ = write!(w, "gmprt: {name}: ignoring it: no such {what}");
    if let Some(nearest) = nearest {
        let _ = write!(w, "; the nearest is {nearest}");
    }
    let _ = writeln!(w);
}

/// `GMPDEBUG=help`: prints all settings.
fn help() {
    let mut w = SigWriter::stderr();
    let mut line = |indent: &str, entry: &Variable| {
        let Variable { name, values, about } = entry;
        // A SigWriter reports no errors.
        let _ = writeln!(w, "gmprt: {indent}{name}={values}: {about}");
    };
    VARS.iter().for_each(|var| line("", var));
    KEYS.iter().for_each(|key| line("  ", &key.entry));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_does_not_parse_changes_nothing() {
        let mut settings = Settings::default();
        debug_var("guard=none", &mut settings);
        assert!(!settings.guard_mprotect);
        debug_var("guard=mprotect", &mut settings);
        assert!(settings.guard_mprotect);
        debug_var("help=1", &mut settings);
        assert!(!settings.help);
        debug_var("help", &mut settings);
        assert!(settings.help);
        let flagged = AtomicBool::new(true);
        assert!(!flag(&flagged, "never"));
        assert!(flagged.load(Relaxed));
        assert!(flag(&flagged, "0"));
        assert!(!flagged.load(Relaxed));
    }

    #[test]
    fn levels_of_traceback_are_ordered() {
        let levels = ["none", "single", "all", "system"].map(traceback);
        assert!(levels.is_sorted());
        assert!(levels.iter().all(Option::is_some));
        assert_eq!(traceback("ALL"), None);
    }

    /// The order of the enum is that of the table.
    #[test]
    fn variables_stand_where_they_are_looked_for() {
        let at = |var: Var| VARS[var as usize].name;
        assert_eq!(at(Var::Autostart), "GMP_AUTOSTART");
        assert_eq!(at(Var::Maxprocs), "GMP_MAXPROCS");
        assert_eq!(at(Var::Gomaxprocs), "GOMAXPROCS");
        assert_eq!(at(Var::Maxthreads), "GMP_MAXTHREADS");
        assert_eq!(at(Var::Stacksize), "GMP_STACKSIZE");
        assert_eq!(at(Var::Traceback), "GMP_TRACEBACK");
        assert_eq!(at(Var::Gogc), "GMP_GOGC");
        assert_eq!(at(Var::Memlimit), "GMP_MEMLIMIT");
        assert_eq!(at(Var::GcSignal), "GMP_GC_SIGNAL");
        assert_eq!(at(Var::Gmpdebug), "GMPDEBUG");
    }
}
