//! For tests: what C programs call to see their own stack. A static library,
//! so that it can be in static programs.
//!
//! A line for each frame: the name as a handler has it, then for each function
//! there `name file:line`, separated by tabs. The last line is the walk's end,
//! and before it stands `unpacks` if the crate can decompress.

use gmprt_inspect::{
    memory::OwnMemory,
    modules::OwnModules,
    names,
    regs::Registers,
    symbols::{Function, Symbolizer},
    walk::{Frame, walk},
};
use std::fmt::Write;

/// Prints the stack at a signal, or of the caller where `context` is null.
///
/// # Safety
/// `context` is null, or what a signal handler has got.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn print_stack(context: *const libc::ucontext_t) {
    // SAFETY: the caller's promise.
    let regs = match unsafe { context.as_ref() } {
        Some(context) => Registers::from_ucontext(context),
        None => Registers::here(),
    };
    print(&regs);
}

/// Prints the stack of a context that is suspended at `sp`.
#[unsafe(no_mangle)]
pub extern "C" fn print_parked(sp: u64) {
    match Registers::parked(&OwnMemory, sp) {
        Some(regs) => print(&regs),
        None => println!("unreadable"),
    }
}

fn print(regs: &Registers) {
    let mut frames = [Frame::default(); 100];
    let (count, end) = walk(&OwnMemory, &OwnModules, regs, &mut frames);
    let mut symbolizer = Symbolizer::new(OwnMemory, OwnModules);
    let mut out = String::new();
    for frame in &frames[..count] {
        let mut room = [0; 512];
        let at = frame.lookup();
        let name = names::name(&OwnMemory, &OwnModules, at, &mut room);
        let signal = if frame.signal { "signal " } else { "" };
        _ = write!(out, "{signal}{name}");
        let place = symbolizer.place(at);
        for function in &place.functions {
            _ = write!(out, "\t{}", shown(function));
        }
        _ = write!(out, "{}", if place.note.is_some() { "\t!" } else { "" });
        out.push('\n');
    }
    let unpacks = cfg!(feature = "decompress");
    let unpacks = if unpacks { "unpacks\n" } else { "" };
    println!("{out}{unpacks}{end:?}");
}

fn shown(function: &Function) -> String {
    let name = function.name.as_deref().unwrap_or("?");
    let file = function.file.as_deref().unwrap_or("?");
    let file = file.rsplit('/').next().unwrap_or(file);
    format!("{name} {file}:{}", function.line.unwrap_or(0))
}
