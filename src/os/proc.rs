//! This process: its number, its end, and its arguments, for loaders that do
//! not pass them to constructors.

use super::own::read_all;
use crate::base::alloc::try_push;
use core::ffi::{CStr, c_char, c_int};
use core::ptr;
use core::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::path::Path;

/// The number of this process, and of its first thread.
pub(crate) fn id() -> i32 {
    // SAFETY: takes no argument and cannot fail.
    unsafe { libc::syscall(libc::SYS_getpid) as i32 }
}

/// The number of the process that this memory belongs to.
static OWNER: AtomicI32 = AtomicI32::new(0);

/// The memory is this process's: it was loaded here, or a fork has copied it.
pub(crate) fn own() {
    OWNER.store(id(), Relaxed);
}

/// The number of the process that the memory belongs to.
pub(crate) fn owner() -> i32 {
    OWNER.load(Relaxed)
}

/// Whether the memory is this process's. The child of vfork(2) only borrows it
/// from its parent, until it executes a program or ends.
pub(crate) fn is_own() -> bool {
    OWNER.load(Relaxed) == id()
}

/// Ends this process as a return from `main` does.
pub(crate) fn exit(status: c_int) -> ! {
    // SAFETY: runs the host's exit handlers, which may run on any thread.
    unsafe { libc::exit(status) }
}

/// `argc` and `argv` as `main` gets them, read from the kernel. The strings
/// and the array, which ends with a null, stay for ever.
///
/// None without `/proc`, or if the process has wiped its arguments.
pub(crate) fn args() -> Option<(c_int, *const *const c_char)> {
    let text = read_all(Path::new("/proc/self/cmdline")).ok()?;
    let argv = split_args(text)?;
    // Without the null at the end.
    let argc = c_int::try_from(argv.len() - 1).ok()?;
    (argc > 0).then(|| (argc, argv.leak().as_ptr()))
}

/// Pointers to the NUL-terminated strings in `text`, and a null. `text` is
/// leaked. None without memory.
fn split_args(mut text: Vec<u8>) -> Option<Vec<*const c_char>> {
    if text.last().is_some_and(|b| *b != 0) {
        try_push(&mut text, 0)?;
    }
    let mut argv = Vec::new();
    let mut rest: &[u8] = text.leak();
    while let Ok(arg) = CStr::from_bytes_until_nul(rest) {
        try_push(&mut argv, arg.as_ptr())?;
        rest = &rest[arg.count_bytes() + 1..];
    }
    try_push(&mut argv, ptr::null())?;
    Some(argv)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(argv: &[*const c_char]) -> Vec<&CStr> {
        let (last, args) = argv.split_last().unwrap();
        assert!(last.is_null());
        // SAFETY: split_args gives strings that stay for ever.
        args.iter().map(|a| unsafe { CStr::from_ptr(*a) }).collect()
    }

    #[test]
    fn arguments_are_split_empty_ones_too() {
        let argv = split_args(b"prog\0\0-x\0".to_vec()).unwrap();
        assert_eq!(strings(&argv), [c"prog", c"", c"-x"]);
        // The arguments of a process that has set its title.
        let argv = split_args(b"nginx: worker".to_vec()).unwrap();
        assert_eq!(strings(&argv), [c"nginx: worker"]);
        assert!(strings(&split_args(Vec::new()).unwrap()).is_empty());
    }

    #[test]
    fn this_process_has_arguments() {
        let (argc, argv) = args().unwrap();
        let want: Vec<_> = std::env::args().collect();
        assert_eq!(argc as usize, want.len());
        // SAFETY: argc strings and a null, which stay for ever.
        let argv = unsafe { std::slice::from_raw_parts(argv, want.len() + 1) };
        let got = strings(argv);
        assert_eq!(got[0].to_str().unwrap(), want[0]);
    }
}
