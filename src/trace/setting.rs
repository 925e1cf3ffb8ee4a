//! `GMPDEBUG=trace=FILE` and `flight=FILE`: a trace from the start on.
//!
//! The settings are parsed before there is a thread that could write, and their
//! texts stay for ever.

use super::session::{keep_for_fatal, start};
use crate::{
    base::{
        alloc::Text,
        print::SigWriter,
        sync::{AtomicBool, Ordering::Relaxed},
    },
    os::{Errno, Result, proc},
};
use core::{ffi::CStr, fmt::Write as _};
use std::sync::OnceLock;

/// A setting of the environment.
#[derive(Clone, Copy)]
pub(crate) enum Setting {
    /// Into this file.
    File(&'static str),
    /// Into memory, and at a fatal error into this file.
    Flight(&'static str),
}

static SETTING: OnceLock<Setting> = OnceLock::new();

/// Notes what the environment asks for. False if it asks for two things.
pub(crate) fn set(setting: Setting) -> bool {
    SETTING.set(setting).is_ok()
}

/// Begins the trace that the environment asks for. An error is printed.
pub(crate) fn begin() {
    /// After a shutdown, a second file would take the place of the first.
    static BEGUN: AtomicBool = AtomicBool::new(false);
    if BEGUN.swap(true, Relaxed) {
        return;
    }
    let Some(&setting) = SETTING.get() else { return };
    let (path, result) = match setting {
        Setting::File(path) => {
            (path, with_path(path, |path| start(Some(path), true)))
        }
        Setting::Flight(path) => (path, with_path(path, keep_for_fatal)),
    };
    if let Err(why) = result {
        let mut w = SigWriter::stderr();
        // A SigWriter reports no errors.
        let _ = writeln!(w, "gmprt: trace: no trace to {path}: {}", why.text());
    }
}

/// The path with this process's number in the place of `%p`.
fn with_path(path: &str, f: impl FnOnce(&CStr) -> Result<()>) -> Result<()> {
    let mut whole = Vec::new();
    // A number has ten digits at most.
    whole.try_reserve(path.len() * 5 + 10).map_err(|_| Errno::ENOMEM)?;
    let mut parts = path.split("%p");
    whole.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let mut digits = [0; 20];
        let pid = proc::id() as u64;
        whole.extend_from_slice(super::packet::decimal(pid, &mut digits));
        whole.extend_from_slice(part.as_bytes());
    }
    let path = Text::copy(&whole).ok_or(Errno::ENOMEM)?;
    f(path.as_c_str())
}
