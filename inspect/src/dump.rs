//! A dump: the goroutines of a process, in groups or one by one, as text or
//! JSON. The library's `gmp_dump` and the command `gmprt dump` print by it.

use crate::{
    goroutine::{Goroutine, Status, Threads, Want},
    groups::{Entry, Groups, Objects},
    json::Json,
    memory::Memory,
    modules::Modules,
    places::{By, Places},
    snapshot::World,
    text::Text,
};
use std::io::{self, Write};

/// Frames that are shown of a group where stacks are not asked for.
pub(crate) const FEW: usize = 6;
/// Frames that are walked for these, and for the comparison of stacks.
const WALK_FEW: usize = 20;
/// Frames that are walked where stacks are asked for.
const WALK_ALL: usize = 256;

/// What a dump shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// An entry for each goroutine, and no groups.
    pub each: bool,
    /// JSON instead of text.
    pub json: bool,
    /// The library's own goroutines, too.
    pub system: bool,
    /// All frames.
    pub stacks: bool,
    /// Frames of goroutines that other threads run, too.
    pub running: bool,
}

/// What a dump begins with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head {
    /// The number of the process.
    pub pid: u32,
    /// Goroutines that run at once at most (`GMP_MAXPROCS`), if known.
    pub procs: Option<u64>,
    /// A search for leaked goroutines was wanted, and not possible. Then the
    /// finds of an earlier one are not told.
    pub unsearched: bool,
}

/// What a dump ends with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Goroutines that wait, without the library's own.
    pub waiting: u64,
    /// Those that wait for their turn.
    pub runnable: u64,
    /// Those that run.
    pub running: u64,
    /// Threads of the host's that wait in a call.
    pub threads: u64,
    /// Of those that wait: for what nothing else can reach.
    pub leaked: u64,
    /// Goroutines for whose groups there was no room.
    pub left_out: u64,
}

impl Totals {
    fn count(&mut self, it: &Goroutine) {
        let at = match it.status {
            _ if it.host => &mut self.threads,
            _ if it.system => return,
            Status::Waiting => &mut self.waiting,
            Status::Runnable | Status::New => &mut self.runnable,
            Status::Running => &mut self.running,
        };
        *at += 1;
        self.leaked += u64::from(it.leaked && !it.host);
    }

    /// All goroutines.
    #[must_use]
    pub fn goroutines(&self) -> u64 {
        self.waiting + self.runnable + self.running
    }
}

/// What is known of the stacks of goroutines with the same function.
#[derive(Clone, Copy, Debug)]
pub struct Advice {
    /// The function; 0 for several others.
    pub func: u64,
    /// The most bytes that one of them has used.
    pub used: u64,
    /// Bytes of their largest stack.
    pub size: u64,
    /// How many have ended, as far as that was counted.
    pub ended: u64,
    /// How many live.
    pub living: u64,
    /// The smallest size that would do.
    pub stack_size: u64,
}

/// A form that a dump may have.
pub(crate) trait Form {
    fn begin(&mut self, head: &Head, totals: Option<&Totals>)
    -> io::Result<()>;
    fn entry<M: Memory, O: Modules>(
        &mut self,
        entry: &Entry,
        places: &mut Places<'_, M, O>,
    ) -> io::Result<()>;
    fn end<M: Memory, O: Modules>(
        &mut self,
        totals: &Totals,
        advice: &[Advice],
        places: &mut Places<'_, M, O>,
    ) -> io::Result<()>;
}

/// Writes a dump of a world, and advice behind it. `short` is
/// [`Places::new`]'s.
///
/// # Errors
/// Those of the writer.
pub fn write<M: Memory, O: Modules, T: Threads>(
    world: &World<M, O, T>,
    options: Options,
    head: Head,
    advice: &[Advice],
    short: &dyn Fn() -> bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut places = world.places(short);
    if options.json {
        let mut form = Json::new(out, options);
        write_form(world, options, head, advice, &mut places, &mut form)
    } else {
        let mut form = Text::new(out, options);
        write_form(world, options, head, advice, &mut places, &mut form)
    }
}

fn write_form<M: Memory, O: Modules, T: Threads>(
    world: &World<M, O, T>,
    options: Options,
    head: Head,
    advice: &[Advice],
    places: &mut Places<'_, M, O>,
    form: &mut impl Form,
) -> io::Result<()> {
    let want = Want {
        system: options.system,
        frames: if options.stacks { WALK_ALL } else { WALK_FEW },
        running: options.running,
    };
    let mut totals = Totals::default();
    if options.each {
        form.begin(&head, None)?;
        world.each(&want, |it| {
            it.leaked &= !head.unsearched;
            totals.count(it);
            it.stack_used = world.stack_used(it);
            form.entry(&entry_of(world, it), places)
        })?;
    } else {
        let mut groups = Groups::default();
        world.each(&want, |it| {
            it.leaked &= !head.unsearched;
            totals.count(it);
            let by = match it.status {
                Status::Waiting => By::Places,
                _ => By::Functions,
            };
            let key = places.key(&it.frames, by);
            groups.add(it, key, |it| world.stack_used(it));
            Ok::<_, io::Error>(())
        })?;
        let (mut entries, left_out) = groups.finish();
        totals.left_out = left_out;
        form.begin(&head, Some(&totals))?;
        for entry in &mut entries {
            ask_more(world, entry);
            form.entry(entry, places)?;
        }
    }
    form.end(&totals, advice, places)
}

/// An entry for one goroutine, with all that is known of it.
pub fn entry_of<M: Memory, O: Modules, T: Threads>(
    world: &World<M, O, T>,
    it: &Goroutine,
) -> Entry {
    let mut entry = Entry::of(it);
    ask_more(world, &mut entry);
    entry
}

/// Looks up the name of what an entry waits for, if that is one object, and the
/// thread that has started it.
fn ask_more<M: Memory, O: Modules, T: Threads>(
    world: &World<M, O, T>,
    entry: &mut Entry,
) {
    if let Objects::One(at) = entry.objects {
        entry.object_name = world.channel_name(&entry.like.reason, at);
    }
    if entry.like.by_thread && entry.one_parent {
        entry.creator = world.thread_with(entry.like.parent);
    }
}
