//! The settings of the environment: copied on the loading thread, where
//! nobody changes the environment meanwhile, and parsed on m0.
//!
//! A value that does not parse is reported once, with its key, and ignored.
//!
//! | key | value |
//! |---|---|
//! | `GMP_AUTOSTART` | `0`: start at the first call, not at load |
//! | `GMP_MAXPROCS`, else `GOMAXPROCS` | number of Ps, from 1 |
//! | `GMP_MAXTHREADS` | threads at most, from 2 (m0 and sysmon) |
//! | `GMP_STACKSIZE` | bytes, or `K`, `M`; 16K to 1024M |
//! | `GMP_TRACEBACK` | `none`, `single`, `all`, `system` |
//! | `GMPDEBUG` | `key=value,…` of the following |
//! | `inittrace`, `scheddetail`, `migrate` | `1` |
//! | `schedtrace` | milliseconds |
//! | `handoff`, `hostrun` | `0` |
//! | `guard` | `mprotect`: as on kernels that know no cheaper guards |

use super::inittrace::stage;
use crate::{
    base::{
        print::SigWriter,
        sync::{AtomicBool, AtomicPtr, Ordering::*},
    },
    gmp::{DEBUG, MAXTHREADS, Traceback},
};
use core::{
    ffi::{CStr, c_char},
    fmt::Write as _,
    ops::RangeInclusive,
    ptr,
};

/// A variable of the environment.
#[derive(Clone, Copy)]
enum Var {
    Autostart,
    Maxprocs,
    Gomaxprocs,
    Maxthreads,
    Stacksize,
    Traceback,
    Gmpdebug,
}

/// Their names, in the order of [`Var`].
const NAMES: [&CStr; 7] = [
    c"GMP_AUTOSTART",
    c"GMP_MAXPROCS",
    c"GOMAXPROCS",
    c"GMP_MAXTHREADS",
    c"GMP_STACKSIZE",
    c"GMP_TRACEBACK",
    c"GMPDEBUG",
];

/// Copies of their values, from `strdup`, or null. `capture` writes, then
/// `goenvs`.
static COPIES: [AtomicPtr<c_char>; NAMES.len()] =
    [const { AtomicPtr::new(ptr::null_mut()) }; NAMES.len()];

/// Sizes of stack that make sense, in bytes.
const STACK_SIZES: RangeInclusive<usize> = 16 << 10..=1 << 30;

/// What `schedinit` is told; the rest goes to [`DEBUG`] and [`MAXTHREADS`].
#[derive(Default)]
pub(super) struct Settings {
    /// Number of Ps.
    pub maxprocs: Option<usize>,
    /// Bytes.
    pub stack_size: Option<usize>,
    /// Guards as on old kernels.
    pub guard_mprotect: bool,
}

/// Copies what concerns us. Part of `libpreinit`: once, on the loading thread.
pub(super) fn capture() {
    for (name, copy) in NAMES.iter().zip(&COPIES) {
        // SAFETY: the name ends with a NUL; no other thread changes the
        // environment, unless it races with the loader as well.
        let value = unsafe { libc::getenv(name.as_ptr()) };
        if !value.is_null() {
            // SAFETY: a C string of the environment. Null where memory is out.
            copy.store(unsafe { libc::strdup(value) }, Release);
        }
    }
}

/// Whether the library starts the runtime when it is loaded.
pub(super) fn autostart() -> bool {
    bytes(Var::Autostart) != Some(b"0")
}

fn bytes(var: Var) -> Option<&'static [u8]> {
    let copy = COPIES[var as usize].load(Acquire);
    // SAFETY: from strdup, never freed or written.
    (!copy.is_null()).then(|| unsafe { CStr::from_ptr(copy) }.to_bytes())
}

/// The value of a variable, once `goenvs` has seen it.
fn text(var: Var) -> Option<&'static str> {
    bytes(var).and_then(|b| str::from_utf8(b).ok())
}

/// Drops what is not text.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn goenvs() {
    stage(c"goenvs");
    for (name, copy) in NAMES.iter().zip(&COPIES) {
        let value = copy.load(Relaxed);
        // SAFETY: null, or from strdup, never freed or written.
        let value =
            (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) });
        if value.is_some_and(|v| v.to_str().is_err()) {
            ignored(&name.to_string_lossy(), "?", "text");
            copy.store(ptr::null_mut(), Relaxed);
        }
    }
}

/// Parses the settings.
#[unsafe(no_mangle)]
#[inline(never)]
#[expect(improper_ctypes_definitions, reason = "plain name, called from here")]
pub(super) extern "C" fn parsedebugvars() -> Settings {
    stage(c"parsedebugvars");
    let mut settings = Settings {
        maxprocs: maxprocs(),
        stack_size: parsed(Var::Stacksize, "16K to 1024M", |v| {
            size(v).filter(|n| STACK_SIZES.contains(n))
        }),
        guard_mprotect: false,
    };
    let threads = parsed(Var::Maxthreads, "a number from 2", |v| {
        v.parse().ok().filter(|&n| n >= 2)
    });
    if let Some(n) = threads {
        MAXTHREADS.store(n, Relaxed);
    }
    let level =
        parsed(Var::Traceback, "none, single, all or system", traceback);
    if let Some(level) = level {
        DEBUG.set_traceback(level);
    }
    if let Some(list) = text(Var::Gmpdebug) {
        for item in list.split(',').filter(|item| !item.is_empty()) {
            debug_var(item, &mut settings);
        }
    }
    settings
}

fn maxprocs() -> Option<usize> {
    let number = |v: &str| v.parse().ok().filter(|&n: &usize| n >= 1);
    let ours = parsed(Var::Maxprocs, "a number from 1", number);
    ours.or_else(|| parsed(Var::Gomaxprocs, "a number from 1", number))
}

/// The variable's value, if it is set and parses.
fn parsed<T>(
    var: Var,
    want: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Option<T> {
    let value = text(var)?;
    let result = parse(value);
    if result.is_none() {
        ignored(&NAMES[var as usize].to_string_lossy(), value, want);
    }
    result
}

/// A number of bytes: `65536`, `64K`, `1M`.
fn size(text: &str) -> Option<usize> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 10),
        b'm' | b'M' => (&text[..text.len() - 1], 20),
        _ => (text, 0),
    };
    digits.parse::<usize>().ok()?.checked_mul(1 << shift)
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
fn debug_var(item: &str, settings: &mut Settings) {
    let (key, value) = item.split_once('=').unwrap_or((item, ""));
    let want = match key {
        "inittrace" => flag(&DEBUG.inittrace, value),
        "scheddetail" => flag(&DEBUG.scheddetail, value),
        "handoff" => flag(&DEBUG.handoff, value),
        "hostrun" => flag(&DEBUG.hostrun, value),
        "migrate" => flag(&DEBUG.migrate, value),
        "schedtrace" => schedtrace(value),
        "guard" => {
            settings.guard_mprotect = value == "mprotect";
            (!settings.guard_mprotect).then_some("mprotect")
        }
        _ => Some("a key that exists"),
    };
    if let Some(want) = want {
        ignored("GMPDEBUG", item, want);
    }
}

/// Sets a flag; what it wants if the value is something else.
fn flag(to: &AtomicBool, value: &str) -> Option<&'static str> {
    match value {
        "0" => to.store(false, Relaxed),
        "1" => to.store(true, Relaxed),
        _ => return Some("0 or 1"),
    }
    None
}

fn schedtrace(value: &str) -> Option<&'static str> {
    let Ok(ms) = value.parse() else { return Some("milliseconds") };
    DEBUG.schedtrace.store(ms, Relaxed);
    None
}

fn ignored(key: &str, value: &str, want: &str) {
    let mut w = SigWriter::stderr();
    // A SigWriter reports no errors.
    let _ = writeln!(w, "gmprt: {key}: ignoring \"{value}\": want {want}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_suffixes() {
        assert_eq!(size("65536"), Some(65536));
        assert_eq!(size("64k"), Some(65536));
        assert_eq!(size("64K"), Some(65536));
        assert_eq!(size("2M"), Some(2 << 20));
        for bad in
            ["", "K", "-1", "1G", "64KK", "0x10", " 1", "99999999999999M"]
        {
            assert_eq!(size(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_key_that_does_not_parse_changes_nothing() {
        let mut settings = Settings::default();
        debug_var("guard=none", &mut settings);
        assert!(!settings.guard_mprotect);
        debug_var("guard=mprotect", &mut settings);
        assert!(settings.guard_mprotect);
        let flagged = AtomicBool::new(true);
        assert_eq!(flag(&flagged, "no"), Some("0 or 1"));
        assert!(flagged.load(Relaxed));
        assert_eq!(flag(&flagged, "0"), None);
        assert!(!flagged.load(Relaxed));
    }

    #[test]
    fn levels_of_traceback_are_ordered() {
        let levels = ["none", "single", "all", "system"].map(traceback);
        assert!(levels.is_sorted());
        assert!(levels.iter().all(Option::is_some));
        assert_eq!(traceback("ALL"), None);
    }
}
