//! `GMPDEBUG=stackadvice=1`: at exit, a line for each function that goroutines
//! were started with:
//!
//! ```text
//! STACK handle: used=12288 size=196608 ended=1000 living=2 stack_size=65536
//! ```
//! `used` is the most that a goroutine of it has used, `size` what it had, and
//! `stack_size` the least that would do: for the same depth and a signal
//! handler of the host's. `sched::stackmark` measures.
//!
//! A dump with all frames ends with the same, without the setting too. Then
//! those that have ended are not known, and a stack counts with the depth of
//! the goroutines that had it before: `used` may be too large.

use crate::{
    base::print::SigWriter,
    sched::{
        child,
        stackmark::{self, Used},
    },
    stack,
};
use core::fmt::Write as _;
use gmprt_inspect::{
    dump::Advice, memory::OwnMemory, modules::OwnModules, symbols::Symbolizer,
};

/// Prints the lines, if the setting is on; not in the child of a fork.
pub(crate) fn print() {
    if !stack::is_clean() || child::is_a_child() {
        return;
    }
    let mut names = Symbolizer::new(OwnMemory, OwnModules);
    let mut w = SigWriter::stderr();
    stackmark::for_each(|| {}, |used| line(&mut w, used, &mut names));
    w.flush();
}

/// The advice at the end of a dump. `pause` is `for_each`'s.
pub(super) fn advice(pause: impl Fn()) -> Vec<Advice> {
    let mut all = Vec::new();
    stackmark::for_each(pause, |used| {
        all.push(Advice {
            func: used.func as u64,
            used: used.largest,
            size: used.size,
            ended: used.ended,
            living: used.living,
            stack_size: stack::size_for(used.largest as usize) as u64,
        });
    });
    all
}

fn line(
    w: &mut SigWriter,
    used: Used,
    names: &mut Symbolizer<OwnMemory, OwnModules>,
) {
    w.bytes(b"STACK ");
    name(w, used.func, names);
    // A SigWriter reports no errors.
    let _ = writeln!(
        w,
        ": used={} size={} ended={} living={} stack_size={}",
        used.largest,
        used.size,
        used.ended,
        used.living,
        stack::size_for(used.largest as usize),
    );
}

/// Writes the name of the function at `func`, else its object and place there.
fn name(
    w: &mut SigWriter,
    func: usize,
    names: &mut Symbolizer<OwnMemory, OwnModules>,
) {
    if func == 0 {
        w.bytes(b"(others)");
        return;
    }
    let place = names.place(func as u64);
    let function = place.functions.last().and_then(|f| f.name.as_deref());
    // A SigWriter reports no errors.
    let _ = match (function, place.object.as_deref()) {
        (Some(name), _) => w.write_str(name),
        (None, Some(object)) => {
            let file = object.rsplit('/').next().unwrap_or(object);
            write!(w, "{file}+{:#x}", place.at)
        }
        (None, None) => write!(w, "{func:#x}"),
    };
}
