//! What is mapped, by whomever: all memory in which a word of the host's may
//! lie. Read from `/proc`, without `malloc`, so that a thread may do it while
//! the others are stopped.
//!
//! Pages that nobody has touched hold no word. The kernel tells them from the
//! others (`pagemap`), so that a look at all memory neither reads nor makes
//! them.

use super::{errno::Result, own::Own};
use core::ffi::CStr;

/// Memory that can be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapping {
    pub from: usize,
    pub to: usize,
    /// Others may write to it, so its pages need not be here.
    pub shared: bool,
    /// The stack of the first thread.
    pub stack: bool,
}

/// Of `/proc/self`, there is nothing once the first thread has ended.
const MAPS: &CStr = c"/proc/thread-self/maps";
const PAGEMAP: &CStr = c"/proc/thread-self/pagemap";

/// Bytes of a line that matter; its end is a file's name.
const LINE: usize = 160;

/// Calls `found` with each mapping that can be read, but for files that cannot
/// be written there, and what is the kernel's.
///
/// Errors: those of open(2) and read(2).
pub(crate) fn each_readable(found: &mut dyn FnMut(Mapping)) -> Result<()> {
    let file = Own::open(MAPS)?;
    let mut room = [0; 4096];
    let (mut line, mut len) = ([0; LINE], 0);
    loop {
        let bytes = file.read_next(&mut room)?;
        if bytes.is_empty() {
            return Ok(());
        }
        for &byte in bytes {
            if byte == b'\n' {
                if let Some(mapping) = parse(&line[..len]) {
                    found(mapping);
                }
                len = 0;
            } else if len < LINE {
                line[len] = byte;
                len += 1;
            }
        }
    }
}

/// Of a line, the mapping, if it is wanted:
/// `7f00-8f00 rw-p 00000000 00:00 0   [stack]`.
fn parse(line: &[u8]) -> Option<Mapping> {
    let line = core::str::from_utf8(line.get(..line.len().min(96))?).ok()?;
    let mut words = line.split_ascii_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let rights = words.next()?.as_bytes();
    let inode = words.nth(2)?;
    let name = words.next().unwrap_or("");
    let writable = rights.get(1) == Some(&b'w');
    if rights.first() != Some(&b'r')
        || !writable && inode != "0"
        || name.starts_with("[v")
    {
        return None;
    }
    Some(Mapping {
        from: usize::from_str_radix(from, 16).ok()?,
        to: usize::from_str_radix(to, 16).ok()?,
        shared: rights.get(3) == Some(&b's'),
        stack: name == "[stack]",
    })
}

/// Which pages have contents.
pub(crate) struct Touched(Option<Own>);

impl Touched {
    /// A kernel or a sandbox may refuse: then all pages seem to have some.
    pub(crate) fn open() -> Self {
        Self(Own::open(PAGEMAP).ok())
    }

    /// Calls `found` with the parts of a private mapping that have contents.
    pub(crate) fn each(
        &self,
        from: usize,
        to: usize,
        found: &mut dyn FnMut(usize, usize),
    ) {
        /// Present, or swapped out.
        const THERE: u64 = 3 << 62;
        let page = super::mem::page_size();
        let Some(file) = &self.0 else { return found(from, to) };
        let mut found = |a: usize, z: usize| found(a.max(from), z.min(to));
        let mut room = [0_u8; 4096];
        let (mut at, mut begun) = (from & !(page - 1), None);
        while at < to {
            let want = ((to - at).div_ceil(page) * 8).min(room.len());
            let offset = (at / page * 8) as i64;
            let Ok(entries) = file.read_at(offset, &mut room[..want]) else {
                return found(begun.unwrap_or(at), to);
            };
            let (entries, _) = entries.as_chunks::<8>();
            if entries.is_empty() {
                return found(begun.unwrap_or(at), to);
            }
            for entry in entries {
                let there = u64::from_ne_bytes(*entry) & THERE != 0;
                match (there, begun) {
                    (true, None) => begun = Some(at),
                    (false, Some(first)) => {
                        found(first, at);
                        begun = None;
                    }
                    _ => {}
                }
                at += page;
            }
        }
        if let Some(first) = begun {
            found(first, to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::mem::{map_data, page_size};

    #[test]
    fn lines_are_read_as_the_kernel_writes_them() {
        let yes = |line: &str| parse(line.as_bytes()).unwrap();
        let no = |line: &str| assert!(parse(line.as_bytes()).is_none());
        let heap = yes("55d0-55f1 rw-p 00000000 00:00 0     [heap]");
        assert_eq!((heap.from, heap.to), (0x55d0, 0x55f1));
        assert!(!heap.shared && !heap.stack);
        assert!(yes("7ffc-7ffd rw-p 00000000 00:00 0 [stack]").stack);
        assert!(yes("7f00-7f01 rw-s 00001000 00:01 77 /dev/shm/x y").shared);
        // Read-only from some time on, but written before.
        yes("7f00-7f01 r--p 00000000 00:00 0");
        no("7f00-7f01 r--p 00001000 08:01 1234 /usr/lib/libc.so.6");
        no("7f00-7f01 r-xp 00001000 08:01 1234 /usr/lib/libc.so.6");
        no("7f00-7f01 ---p 00000000 00:00 0");
        no("7ffd-7ffe r--p 00000000 00:00 0   [vvar]");
        no("");
    }

    #[test]
    fn what_was_touched_is_found_and_nothing_else() {
        let page = page_size();
        let base = map_data(16 * page).unwrap();
        for n in [3, 4, 9] {
            // SAFETY: within the mapping.
            unsafe { base.wrapping_add(n * page).write(1) };
        }
        let at = base.addr();
        let mut whole = false;
        each_readable(&mut |it| {
            whole |= it.from <= at && at + 16 * page <= it.to;
        })
        .unwrap();
        assert!(whole);
        let mut parts = Vec::new();
        Touched::open().each(at, at + 16 * page, &mut |from, to| {
            parts.push(((from - at) / page, (to - at) / page));
        });
        assert_eq!(parts, [(3, 5), (9, 10)]);
    }
}
