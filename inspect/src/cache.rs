//! Walks of many stacks: the rules of a pc are looked up once.
//!
//! A dump of a hundred thousand goroutines walks some dozen different stacks
//! over and over. A lookup in the unwind tables costs microseconds, because
//! each read is a system call; here it is a lookup in a hash table of fixed
//! size. With a stack that was copied ([`crate::memory::Copied`]) a frame then
//! costs no system call.
//!
//! # Invariants
//! 1. What is in the table was true when it was put there. An object may be
//!    unloaded, and another one loaded in its place: so a table is for one
//!    dump.

use crate::{
    cfi::Missing,
    memory::Memory,
    modules::Modules,
    regs::Registers,
    walk::{End, Frame, Rules, Simple, rules_at, walk_by},
};

/// The rules of the frames that walks have met. Allocates; not for handlers.
#[derive(Default)]
pub struct Cache {
    /// By the hash of a pc; a power of two of them, at most half in use.
    slots: Vec<Option<(u64, Known)>>,
    used: usize,
}

#[derive(Clone, Copy)]
enum Known {
    Simple(Simple),
    NoCfi,
}

/// With so many slots, a table that is full is emptied instead of grown.
const MOST: usize = 1 << 16;

impl Cache {
    /// Allocates nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { slots: Vec::new(), used: 0 }
    }

    /// [`crate::walk::walk`], faster.
    pub fn walk<M: Memory, O: Modules>(
        &mut self,
        memory: &M,
        modules: &O,
        regs: &Registers,
        frames: &mut [Frame],
    ) -> (usize, End) {
        walk_by(memory, modules, regs, frames, |memory, pc| {
            match self.get(pc) {
                Some(Known::Simple(simple)) => Ok(Rules::Simple(simple)),
                Some(Known::NoCfi) => Err(Missing::NoCfi),
                None => self.look(memory, modules, pc),
            }
        })
    }

    #[cold]
    fn look<M: Memory, O: Modules>(
        &mut self,
        memory: &M,
        modules: &O,
        pc: u64,
    ) -> Result<Rules, Missing> {
        let rules = rules_at(memory, modules, pc);
        match &rules {
            Ok(Rules::Simple(simple)) => self.put(pc, Known::Simple(*simple)),
            Err(Missing::NoCfi) => self.put(pc, Known::NoCfi),
            _ => {}
        }
        rules
    }

    fn slot(&self, pc: u64) -> usize {
        let hash = pc.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        hash as usize & (self.slots.len() - 1)
    }

    #[inline]
    fn get(&self, pc: u64) -> Option<Known> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = self.slot(pc);
        loop {
            match self.slots[at] {
                Some((known, rules)) if known == pc => return Some(rules),
                Some(_) => at = (at + 1) & (self.slots.len() - 1),
                None => return None,
            }
        }
    }

    fn put(&mut self, pc: u64, known: Known) {
        if 2 * (self.used + 1) > self.slots.len() {
            let len = (2 * self.slots.len()).clamp(256, MOST);
            let full = len == self.slots.len();
            let old = std::mem::replace(&mut self.slots, vec![None; len]);
            self.used = 0;
            if !full {
                for (pc, known) in old.into_iter().flatten() {
                    self.put(pc, known);
                }
            }
        }
        let mut at = self.slot(pc);
        while self.slots[at].is_some() {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = Some((pc, known));
        self.used += 1;
    }
}
