//! Who has to go on before a wait can end, and which thread a stand-in is.
//!
//! What is read may be gone meanwhile, so a holder counts where two words agree
//! on it.

use crate::{goroutine::Holder, memory::Memory, offsets::At};

/// Looks into the memory of a process for them.
pub(crate) struct Holders<'a, M> {
    pub memory: &'a M,
    pub at: &'a At,
}

impl<M: Memory> Holders<'_, M> {
    /// The actor that a wait's tagged word names.
    pub(crate) fn holder(&self, held: u64) -> Holder {
        const TAG: u64 = 3;
        let at = held & !TAG;
        match held & TAG {
            _ if at == 0 => Holder::Unknown,
            // 3: a reader waits, whom these words may keep out.
            0 | 3 => self.in_words(at),
            1 => self.goroutine_at(at),
            2 => Holder::Group(at),
            _ => Holder::Unknown,
        }
    }

    /// The holder that the words of an object name: a G, with half of the
    /// number that it had then, or a thread, with its id.
    fn in_words(&self, at: u64) -> Holder {
        // 2: whether this reader still has its share is in doubt.
        match self.memory.u64(at).unwrap_or(0) {
            0 => Holder::Unknown,
            word if word & 2 != 0 => Holder::Unknown,
            word if word & 1 == 0 => {
                let then = self.memory.u32(at.wrapping_add(8));
                match self.goid_at(word) {
                    Some(id) if then != Some(id as u32) => Holder::Unknown,
                    _ => self.goroutine_at(word),
                }
            }
            word => match self.thread_at(word & !1) {
                Holder::Thread(tid)
                    if self.memory.u32(at.wrapping_add(8)) != Some(tid) =>
                {
                    Holder::Unknown
                }
                now => now,
            },
        }
    }

    fn goid_at(&self, g: u64) -> Option<u64> {
        self.memory.u64(g.wrapping_add(self.at.goid as u64))
    }

    /// The goroutine with this descriptor, or the thread that it stands for.
    fn goroutine_at(&self, g: u64) -> Holder {
        if let Some(m) = self.thread_of(g) {
            let tid = self.memory.u32(m.wrapping_add(self.at.m_procid));
            return tid.map_or(Holder::Unknown, Holder::Thread);
        }
        self.goid_at(g).map_or(Holder::Unknown, Holder::Goroutine)
    }

    /// The M of the thread for which the descriptor at `g` stands; None if that
    /// is a goroutine's.
    fn thread_of(&self, g: u64) -> Option<u64> {
        let mut flags = [0; 2];
        let read =
            self.memory.read(g.wrapping_add(self.at.flags as u64), &mut flags);
        let host = read && u16::from_le_bytes(flags) & self.at.host != 0;
        let m = || self.memory.u64(g.wrapping_add(self.at.m as u64));
        host.then(m).flatten()
    }

    /// The id of the host's thread whose stand-in has this number; None if the
    /// thread has ended.
    pub(crate) fn thread_with(&self, goid: u64) -> Option<u32> {
        /// More than a process has; a list that is damaged has an end.
        const MOST: usize = 1 << 16;
        let word = |at: u64, off| self.memory.u64(at.wrapping_add(off));
        let first = match self.at.hostms {
            0 => None,
            at => word(at, 0),
        };
        let next = |m: &u64| word(*m, self.at.m_hostlink);
        let list = core::iter::successors(first, next);
        for m in list.take(MOST).take_while(|m| *m != 0) {
            let Some(g) = word(m, self.at.m_standin) else { continue };
            if self.goid_at(g) == Some(goid) && self.thread_of(g) == Some(m) {
                let tid = self.memory.u32(m.wrapping_add(self.at.m_procid));
                return tid.filter(|tid| *tid != 0);
            }
        }
        None
    }

    /// The thread with this thread pointer, by glibc's descriptor there: the
    /// second word of its header is its address, and the id comes later.
    fn thread_at(&self, pointer: u64) -> Holder {
        const SELF: u64 = 16;
        const TID: u64 = 0x2d0;
        if self.memory.u64(pointer.wrapping_add(SELF)) != Some(pointer) {
            return Holder::Unknown;
        }
        let tid = self.memory.u32(pointer.wrapping_add(TID));
        tid.map_or(Holder::Unknown, Holder::Thread)
    }
}
