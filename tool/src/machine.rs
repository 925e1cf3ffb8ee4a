//! The Ps and Ms of a process, as its table tells where they are.
//!
//! Nothing is stopped, so a P and its M are of slightly different moments: a P
//! may be told with the goroutine that its M ran just before.

use gmprt_inspect::layout::{Layout, Missing};
use gmprt_inspect::memory::Memory;

/// More Ms than this are not followed: the list changes while it is read.
const MOST: usize = 1 << 16;
/// The bits of a P's word that have its state; the rest is its M.
const STATE: u64 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PState {
    Idle,
    Running,
    /// Its M is in code of the host's that blocks or computes.
    Retaking,
    Stopped,
}

#[derive(Clone, Copy, Debug)]
pub struct P {
    pub id: u32,
    pub state: PState,
    /// Goroutines started or resumed on it; wraps around.
    pub ticks: u32,
    /// Its M, or 0.
    m: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct M {
    pub tid: u32,
    pub kind: &'static str,
    /// The goroutine that it runs.
    pub goroutine: Option<u64>,
    at: u64,
}

/// Where the fields are.
pub struct Places {
    allp: u64,
    gomaxprocs: u64,
    allm: u64,
    p_owner: u64,
    p_id: u64,
    p_ticks: u64,
    m_tid: u64,
    m_kind: u64,
    m_curg: u64,
    m_next: u64,
    g_id: u64,
    states: [(u64, PState); 4],
    kinds: [(u64, &'static str); 5],
}

impl Places {
    pub fn new(layout: &Layout) -> Result<Places, Missing> {
        let get = |name| layout.get(name);
        Ok(Places {
            allp: get("allp")?,
            gomaxprocs: get("gomaxprocs")?,
            allm: get("allm")?,
            p_owner: get("P.owner")?,
            p_id: get("P.id")?,
            p_ticks: get("P.schedtick")?,
            m_tid: get("M.procid")?,
            m_kind: get("M.kind")?,
            m_curg: get("M.curg")?,
            m_next: get("M.alllink")?,
            g_id: get("G.goid")?,
            states: [
                (get("owner.idle")?, PState::Idle),
                (get("owner.running")?, PState::Running),
                (get("owner.retaking")?, PState::Retaking),
                (get("owner.stopped")?, PState::Stopped),
            ],
            kinds: [
                (get("kind.worker")?, "worker"),
                (get("kind.early")?, "worker"),
                (get("kind.sysmon")?, "sysmon"),
                (get("kind.template")?, "template"),
                (get("kind.host")?, "host"),
            ],
        })
    }

    /// The Ps in use.
    pub fn ps(&self, memory: &impl Memory) -> Vec<P> {
        let count = memory.u64(self.gomaxprocs).unwrap_or(0);
        let p = |n: u64| {
            let at = memory.u64(self.allp + 8 * n).filter(|at| *at != 0)?;
            let word = memory.u64(at + self.p_owner)?;
            let is = |(state, _): &&(u64, PState)| *state == word & STATE;
            Some(P {
                id: memory.u32(at + self.p_id)?,
                state: self.states.iter().find(is)?.1,
                ticks: memory.u32(at + self.p_ticks)?,
                m: word & !STATE,
            })
        };
        (0..count.min(MOST as u64)).filter_map(p).collect()
    }

    /// The Ms, without those of host threads.
    pub fn ms(&self, memory: &impl Memory) -> Vec<M> {
        let mut ms = Vec::new();
        let mut at = memory.u64(self.allm).unwrap_or(0);
        while at != 0 && ms.len() < MOST {
            ms.extend(self.m(memory, at));
            at = memory.u64(at + self.m_next).unwrap_or(0);
        }
        ms
    }

    fn m(&self, memory: &impl Memory, at: u64) -> Option<M> {
        let mut kind = [0];
        memory.read(at + self.m_kind, &mut kind).then_some(())?;
        let is = |(number, _): &&(u64, &str)| *number == u64::from(kind[0]);
        let goroutine = match memory.u64(at + self.m_curg)? {
            0 => None,
            g => memory.u64(g + self.g_id),
        };
        Some(M {
            tid: memory.u32(at + self.m_tid)?,
            kind: self.kinds.iter().find(is).map_or("?", |(_, name)| name),
            goroutine,
            at,
        })
    }
}

impl P {
    /// The M that holds it.
    pub fn m<'a>(&self, ms: &'a [M]) -> Option<&'a M> {
        ms.iter().find(|m| m.at == self.m)
    }
}
