//! `gmprt dump`: the goroutines of a process or of a core, as `gmp_dump` of
//! the library writes them.

use crate::target::Target;
use clap::Args;
use gmprt_inspect::dump::{self, Head, Options};
use gmprt_inspect::memory::Memory;
use gmprt_inspect::modules::Modules;
use gmprt_inspect::snapshot::{Status, Threads, Want, World};
use std::io::{self, BufWriter, Write};

#[derive(Args)]
#[command(after_help = "The process goes on meanwhile: nothing in it is \
    stopped or changed. Goroutines that are alike are one entry, with their \
    count. Another user's process can be read by root only.\n\n\
    A core needs the program and the libraries that it was made with, at their \
    paths.\n\n\
    Exit status: 0, or 1 with the reason on the standard error.")]
pub struct Dump {
    /// A process by its number, or a core by its path (./123 is a path)
    #[arg(value_name = "PID|CORE")]
    target: String,
    /// Write JSON, as docs/dump-schema.json describes it
    #[arg(long)]
    json: bool,
    /// An entry for each goroutine instead of groups of like ones
    #[arg(long)]
    each: bool,
    /// All frames of each stack, also of goroutines that run and stand in a
    /// system call
    #[arg(long)]
    stacks: bool,
    /// The library's own goroutines too
    #[arg(long)]
    system: bool,
}

/// How many goroutines wait, but the reason, which is on their stack, is lost.
fn without_stacks<M: Memory, O: Modules, T: Threads>(
    world: &World<M, O, T>,
) -> u64 {
    let want = Want { system: false, frames: 0, running: false };
    let mut count = 0;
    let done: Result<(), std::convert::Infallible> = world.each(&want, |it| {
        let waits = it.status == Status::Waiting && !it.host;
        count += u64::from(waits && it.reason.is_empty());
        Ok(())
    });
    let Ok(()) = done;
    count
}

impl Dump {
    /// Writes the dump to the standard output.
    ///
    /// # Errors
    /// In words.
    pub fn run(&self) -> Result<(), String> {
        match Target::open(&self.target)? {
            Target::Process(process) => {
                self.write(process.pid, &process.world, &process.layout)?;
                if !process.lives() {
                    return Err(format!(
                        "process {} has ended meanwhile: the dump may not be \
                         whole",
                        process.pid
                    ));
                }
            }
            Target::Dead(dead) => {
                self.write(dead.pid, &dead.world, &dead.layout)?;
                let lost = without_stacks(&dead.world);
                if lost > 0 {
                    eprintln!(
                        "gmprt: the core lacks the stacks of {lost} \
                         goroutines that wait. gdb leaves a stack with a \
                         guard out; the kernel does not, nor does gdb where \
                         GMPDEBUG=guard=mprotect is set"
                    );
                }
                for complaint in dead.world.memory.complaints() {
                    eprintln!("gmprt: {complaint}");
                }
            }
        }
        Ok(())
    }

    fn write<M: Memory, O: Modules, T: Threads>(
        &self,
        pid: u32,
        world: &World<M, O, T>,
        layout: &gmprt_inspect::layout::Layout,
    ) -> Result<(), String> {
        let procs = layout.get("gomaxprocs").ok();
        let procs = procs.and_then(|at| world.memory.u64(at));
        let options = Options {
            each: self.each,
            json: self.json,
            system: self.system,
            stacks: self.stacks,
            running: self.stacks,
        };
        let mut out = BufWriter::new(io::stdout().lock());
        let head = Head { pid, procs, ..Head::default() };
        dump::write(world, options, head, &[], &|| false, &mut out)
            .and_then(|()| out.flush())
            .or_else(|why| match why.kind() {
                // The reader has seen enough.
                io::ErrorKind::BrokenPipe => Ok(()),
                _ => Err(format!("cannot write the dump: {why}")),
            })
    }
}
