//! What the commands look into: a process, or the core of one that has died.
//!
//! A target is found by its table `gmp_debug_layout`, which lies in
//! `libgmprt.so`, in the program, or in a plug-in that has the library in it.
//! It is looked for by its magic number, so that a stripped program will do.
//!
//! Invariants:
//! 1. Nothing is written to a process, and none is stopped.
//! 2. A core is looked into only if the file that has the library is the build
//!    that the core was made with: the unwind tables are in the file alone.

use gmprt_inspect::corefile::{Core, Thread};
use gmprt_inspect::layout::{Layout, Missing};
use gmprt_inspect::memory::Memory;
use gmprt_inspect::modules::Module;
use gmprt_inspect::objects::{Mapping, Objects};
use gmprt_inspect::process::ProcessMemory;
use gmprt_inspect::snapshot::{Goroutine, Seen, Threads, World};
use gmprt_inspect::touched::{ProcessPages, stack_high_water};
use std::cell::RefCell;
use std::fs;
use std::path::Path;

/// A running process.
pub struct Process {
    pub pid: u32,
    pub name: String,
    pub layout: Layout,
    pub world: World<ProcessMemory, Objects, ProcessThreads>,
}

/// A core.
pub struct Dead {
    pub pid: u32,
    pub layout: Layout,
    pub world: World<Core, Objects, CoreThreads>,
}

pub enum Target {
    Process(Process),
    Dead(Dead),
}

impl Target {
    /// Opens the process with the number `what`, or the core at that path.
    ///
    /// # Errors
    /// In words.
    pub fn open(what: &str) -> Result<Target, String> {
        match number(what) {
            Some(pid) => Process::open(pid).map(Target::Process),
            None => Dead::open(Path::new(what)).map(Target::Dead),
        }
    }
}

/// The number that `what` is; a file of such a name is `./123`.
fn number(what: &str) -> Option<u32> {
    let digits = what.bytes().all(|byte| byte.is_ascii_digit());
    if digits { what.parse().ok() } else { None }
}

impl Process {
    /// Opens the process `pid`.
    ///
    /// # Errors
    /// In words.
    pub fn open(pid: u32) -> Result<Process, String> {
        let words = |error: gmprt_inspect::process::Error| error.to_string();
        let memory = ProcessMemory::open(pid).map_err(words)?;
        let name = process_name(pid);
        let mappings = memory.mappings().map_err(words)?;
        let objects = Objects::new(&memory, &mappings, &memory.root());
        let who = format!("process {pid} ({name})");
        let found = find_layout(&memory, &mappings, &objects);
        let (layout, _) = found.map_err(|why| why.words(&who))?;
        let again = ProcessMemory::open(pid).map_err(words)?;
        let threads = ProcessThreads::of(again);
        let world = World::new(memory, objects, threads, &layout)
            .map_err(|why| Unfit::Other(why).words(&who))?;
        Ok(Process { pid, name, layout, world })
    }

    /// Whether the process is still the one that was opened.
    pub fn lives(&self) -> bool {
        let mut magic = [0; 8];
        let at = self.layout.get("allgs.count").unwrap_or(0);
        self.world.memory.read(at, &mut magic)
    }
}

/// The program's name, as the kernel has it.
fn process_name(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm"));
    name.unwrap_or_default().trim_end().to_owned()
}

impl Dead {
    fn open(path: &Path) -> Result<Dead, String> {
        let shown = path.display();
        if path.is_dir() {
            return Err(format!("{shown} is a directory, and no core"));
        }
        let core = Core::open(path).map_err(|error| error.to_string())?;
        let objects = Objects::new(&core, core.mappings(), "");
        let who = format!("the core {shown}");
        let found = find_layout(&core, core.mappings(), &objects);
        // A file that is of another build, or is not there, is the reason for
        // much that is not found; so it is told first.
        let (layout, module) = match found {
            Ok(found) => found,
            Err(why) => {
                let mut complaints = core.complaints();
                complaints.insert(0, why.words(&who));
                return Err(complaints.join("; "));
            }
        };
        // Invariant 2.
        core.fits(objects.name(&module)).map_err(|why| {
            format!("{why}; without it the goroutines cannot be told")
        })?;
        let (pid, threads) = (core.pid(), core.threads().to_vec());
        let world = World::new(core, objects, CoreThreads(threads), &layout)
            .map_err(|why| Unfit::Other(why).words(&who))?;
        Ok(Dead { pid, layout, world })
    }
}

/// Why a target cannot be looked into.
enum Unfit {
    /// There is no table.
    None,
    Other(Missing),
}

impl Unfit {
    fn words(&self, who: &str) -> String {
        match self {
            Unfit::None => format!("{who} does not use gmprt"),
            Unfit::Other(Missing::Table) => {
                format!("{who}: its table gmp_debug_layout cannot be read")
            }
            Unfit::Other(Missing::Version(version)) => format!(
                "{who} has a gmprt that this command does not know: its table \
                 has version {version}, known is {}. Use the gmprt that came \
                 with that library",
                gmprt_inspect::layout::VERSION
            ),
            Unfit::Other(Missing::Entry(entry)) => format!(
                "{who} has a gmprt that this command does not know: its table \
                 lacks {entry}. Use the gmprt that came with that library"
            ),
            Unfit::Other(Missing::Value(entry)) => format!(
                "{who} is damaged: its table gmp_debug_layout has a wrong \
                 value of {entry}"
            ),
        }
    }
}

const MAGIC: &[u8; 8] = b"gmprtlay";
/// How much is searched at a time.
const PIECE: u64 = 1 << 20;

/// Finds and reads the table, and says in which object it is: the library if
/// it is there, else the first that has one.
fn find_layout(
    memory: &impl Memory,
    mappings: &[Mapping],
    objects: &Objects,
) -> Result<(Layout, Module), Unfit> {
    let mut modules: Vec<&Module> = objects.all().collect();
    modules.sort_by_key(|module| !is_library(objects.name(module)));
    let mut unfit = Unfit::None;
    for module in modules {
        let inside = |m: &&Mapping| {
            m.start < module.end && m.end > module.start && !m.executable
        };
        for mapping in mappings.iter().filter(inside) {
            let from = mapping.start.max(module.start);
            let to = mapping.end.min(module.end);
            for at in places(memory, from, to) {
                match Layout::read(memory, at) {
                    Ok(layout) => return Ok((layout, *module)),
                    Err(Missing::Table) => {}
                    Err(why) => unfit = Unfit::Other(why),
                }
            }
        }
    }
    Err(unfit)
}

fn is_library(path: &[u8]) -> bool {
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
    name.starts_with(b"libgmprt.")
}

/// Where a table may begin: the magic number stands there, and a name behind
/// the header. The number alone stands in the code that looks for it, too.
fn places(memory: &impl Memory, from: u64, to: u64) -> Vec<u64> {
    let mut found = Vec::new();
    let mut piece = vec![0; PIECE as usize];
    let mut at = from;
    while at < to {
        let length = PIECE.min(to - at) as usize;
        let bytes = &mut piece[..length];
        if memory.read(at, bytes) {
            let words = bytes.chunks_exact(8).enumerate();
            let magic = words.filter(|(_, word)| word == MAGIC);
            found.extend(magic.map(|(n, _)| at + 8 * n as u64));
        }
        at += length as u64;
    }
    found.retain(|at| {
        let mut name = [0; 24];
        memory.read(at + 16, &mut name) && is_name(&name)
    });
    found
}

/// The name of an entry: printable, and NULs up to its end.
fn is_name(name: &[u8; 24]) -> bool {
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(24);
    let (text, rest) = name.split_at(end);
    !text.is_empty()
        && text.iter().all(u8::is_ascii_graphic)
        && !rest.is_empty()
        && rest.iter().all(|&byte| byte == 0)
}

/// The threads of a running process.
pub struct ProcessThreads {
    memory: ProcessMemory,
    /// None where `/proc` does not tell.
    pages: RefCell<Option<ProcessPages>>,
}

impl ProcessThreads {
    fn of(memory: ProcessMemory) -> ProcessThreads {
        let pages = RefCell::new(ProcessPages::of(memory.pid()).ok());
        ProcessThreads { memory, pages }
    }
}

impl Threads for ProcessThreads {
    fn seen(&self, it: &Goroutine, _to: &mut Vec<u8>) -> Seen {
        let regs = self.memory.waiting_at(it.tid);
        regs.map_or(Seen::No(""), Seen::Registers)
    }

    fn stack_used(&self, lo: u64, hi: u64) -> Option<u64> {
        let mut pages = self.pages.borrow_mut();
        stack_high_water(lo, hi, pages.as_mut()?)
    }

    fn now(&self) -> Option<u64> {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `now` is ours.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
        let (s, ns) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
        Some(s * 1_000_000_000 + ns)
    }
}

/// The threads of a process that has died.
pub struct CoreThreads(Vec<Thread>);

impl Threads for CoreThreads {
    fn seen(&self, it: &Goroutine, _to: &mut Vec<u8>) -> Seen {
        let thread = self.0.iter().find(|thread| thread.id == it.tid);
        thread.map_or(Seen::No(""), |thread| Seen::Registers(thread.regs))
    }

    fn now(&self) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_a_process_and_the_rest_a_path() {
        assert_eq!(number("4711"), Some(4711));
        assert_eq!(number("./4711"), None);
        assert_eq!(number("core.4711"), None);
    }

    #[test]
    fn a_name_is_text_and_nuls() {
        let mut name = [0; 24];
        assert!(!is_name(&name));
        name[..6].copy_from_slice(b"G.size");
        assert!(is_name(&name));
        name[9] = 1;
        assert!(!is_name(&name));
    }
}
