//! Seeing inside: dumps of the goroutines.

use super::call;
use crate::{diag::look, os::Errno};
use core::ffi::c_int;
use gmprt_inspect::dump::Options;

/// gmp_dump(): an entry for each goroutine, and no groups.
pub const GMP_DUMP_EACH: u32 = 1;
/// gmp_dump(): JSON, as docs/dump-schema.json describes it.
pub const GMP_DUMP_JSON: u32 = 2;
/// gmp_dump(): the goroutines of the library, too.
pub const GMP_DUMP_SYSTEM: u32 = 4;
/// gmp_dump(): all frames, also of goroutines that run on other threads, which
/// are asked by a signal (SIGURG) if the program has no use for that; and how
/// much stack the goroutines of each function have used.
pub const GMP_DUMP_STACKS: u32 = 8;

/// Writes to the descriptor `fd` what all goroutines do, while they go on: the
/// state of each, what it waits for, since about when and who must end that,
/// where it was started, and its frames with file and line. Goroutines that are
/// alike are one entry with a count. Where the collected heap is in use, a
/// collection finds those that are leaked first: they wait for an object of the
/// heap that nothing else can reach. `flags` is 0, or any of the four constants
/// above or'ed.
///
/// A dump is no moment: each entry was true at some time while it was made. It
/// takes microseconds for each goroutine, and memory for each group; all the
/// time it lets other threads have the processor. Without memory for debug
/// information there are names and no lines. The files of the program, its
/// libraries and their debug information must not be cut short meanwhile, or
/// the process gets a SIGBUS; to replace a file by rename(2), as installers do,
/// is safe.
///
/// Returns 0; -EINVAL for unknown flags; -ENOMEM; a negative errno of write(2),
/// such as -EBADF or -EPIPE, after which a part is written. Raises no SIGPIPE.
/// Blocks as write(2) does, and while another thread makes a dump, as any
/// function outside this library does: never parks its caller.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_dump(fd: c_int, flags: u32) -> c_int {
    let all = GMP_DUMP_EACH | GMP_DUMP_JSON | GMP_DUMP_SYSTEM | GMP_DUMP_STACKS;
    call(move || {
        if flags & !all != 0 {
            return Err(Errno::EINVAL);
        }
        let options = Options {
            each: flags & GMP_DUMP_EACH != 0,
            json: flags & GMP_DUMP_JSON != 0,
            system: flags & GMP_DUMP_SYSTEM != 0,
            stacks: flags & GMP_DUMP_STACKS != 0,
            running: flags & GMP_DUMP_STACKS != 0,
        };
        look::dump(fd, options)
    })
}
