//! What a snapshot reads of many goroutines at a time.
//!
//! Each read of another process's memory, or of the own by the kernel, is a
//! system call. A goroutine needs three: its wait, its stack, the begin of its
//! name. Here they are read for a batch of goroutines in few calls, before each
//! of them is looked at.

use crate::memory::{Memory, Part};

/// Bytes of a stack that are read ahead; a walk reads the rest where it is.
pub(crate) const STACK: usize = 2048;
/// Bytes of a wait.
pub(crate) const WAIT: usize = 64;
/// Bytes of a name. They never reach over a page that the name ends in.
const NAME: usize = 32;

/// What one goroutine has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    /// Where its wait is, or 0.
    pub wait: u64,
    /// Where its name is, or 0.
    pub name: u64,
    /// Where its frames begin, or 0, and how many bytes of stack there are.
    pub stack: (u64, usize),
}

/// The memory of a batch.
#[derive(Default)]
pub(crate) struct Ahead {
    wanted: Vec<Wanted>,
    read: Vec<[bool; 3]>,
    waits: Vec<u8>,
    names: Vec<u8>,
    stacks: Vec<u8>,
}

impl Ahead {
    /// Reads what `wanted` says, in order; what cannot be read is missing.
    pub(crate) fn read(
        &mut self,
        memory: &impl Memory,
        wanted: impl Iterator<Item = Wanted>,
        wait_size: usize,
    ) {
        self.wanted.clear();
        self.wanted.extend(wanted);
        let n = self.wanted.len();
        self.read.clear();
        self.read.resize(n, [false; 3]);
        self.waits.resize(n * WAIT, 0);
        self.names.resize(n * NAME, 0);
        self.stacks.resize(n * STACK, 0);
        let mut parts = Vec::with_capacity(3 * n);
        let mut whose = Vec::with_capacity(3 * n);
        let rooms = self
            .waits
            .chunks_exact_mut(WAIT)
            .zip(self.names.chunks_exact_mut(NAME))
            .zip(self.stacks.chunks_exact_mut(STACK));
        for (i, (it, ((wait, name), stack))) in
            self.wanted.iter().zip(rooms).enumerate()
        {
            let mut add = |at: u64, to, kind: usize| {
                if at != 0 {
                    parts.push(Part { at, to });
                    whose.push((i, kind));
                }
            };
            add(it.wait, &mut wait[..wait_size.min(WAIT)], 0);
            let len = NAME - it.name as usize % NAME;
            add(it.name, &mut name[..len], 1);
            add(it.stack.0, &mut stack[..it.stack.1.min(STACK)], 2);
        }
        let mut from = 0;
        while from < parts.len() {
            let good = memory.read_many(&mut parts[from..]);
            for &(i, kind) in &whose[from..from + good] {
                self.read[i][kind] = true;
            }
            // The next one cannot be read.
            from += good + 1;
        }
    }

    /// The wait of goroutine `i`, if it was at this address and was read.
    pub(crate) fn wait(&self, i: usize, at: u64) -> Option<&[u8]> {
        let is_it = self.wanted[i].wait == at && self.read[i][0];
        is_it.then(|| &self.waits[i * WAIT..(i + 1) * WAIT])
    }

    /// The whole name of goroutine `i`, likewise.
    pub(crate) fn name(&self, i: usize, at: u64) -> Option<&[u8]> {
        if self.wanted[i].name != at || !self.read[i][1] {
            return None;
        }
        let len = NAME - at as usize % NAME;
        let bytes = &self.names[i * NAME..i * NAME + len];
        let end = bytes.iter().position(|&byte| byte == 0)?;
        Some(&bytes[..end])
    }

    /// The begin of the stack of goroutine `i`, likewise.
    pub(crate) fn stack(&self, i: usize, at: u64) -> Option<&[u8]> {
        let (begin, len) = self.wanted[i].stack;
        let is_it = begin == at && self.read[i][2];
        is_it.then(|| &self.stacks[i * STACK..i * STACK + len.min(STACK)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::OwnMemory;

    #[test]
    fn what_cannot_be_read_is_missing_and_the_rest_is_there() {
        let wait = [7u8; WAIT];
        let name = c"a name";
        let stack = [9u8; 3 * STACK];
        let at = |bytes: &[u8]| bytes.as_ptr().addr() as u64;
        let good = Wanted {
            wait: at(&wait),
            name: at(name.to_bytes()),
            stack: (at(&stack), 100),
        };
        let bad = Wanted { wait: 8, name: 16, stack: (24, 100) };
        let mut ahead = Ahead::default();
        let all = [bad, good, bad, Wanted::default(), good];
        ahead.read(&OwnMemory, all.into_iter(), 40);
        for i in 0..all.len() {
            let there = i == 1 || i == 4;
            assert_eq!(ahead.wait(i, good.wait).is_some(), there);
            assert_eq!(ahead.stack(i, good.stack.0).is_some(), there);
        }
        assert_eq!(ahead.wait(4, good.wait).map(|w| w[39]), Some(7));
        assert_eq!(ahead.stack(4, good.stack.0).map(<[u8]>::len), Some(100));
        assert_eq!(ahead.stack(4, good.stack.0 + 8), None);
        // Unless it lies over the end of an aligned piece.
        let whole = good.name as usize % NAME + 7 <= NAME;
        let want = whole.then_some(&b"a name"[..]);
        assert_eq!(ahead.name(4, good.name), want);
    }
}
