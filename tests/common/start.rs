//! What the tests of the start share: its stages, and how the programs of
//! `c-tests/start` are built.

use crate::common::{Link, Program, build_with, repository, scratch};
use std::fs;

/// How a stage shows: as a symbol at which a debugger stops, as a line of
/// `inittrace`, or both.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    Both,
    Symbol,
    Line,
}
use Shows::*;

/// The stages of a library's start in the order in which they are reached.
const STAGES: [(&str, Shows); 30] = [
    ("_rt0_amd64_lib", Both),
    ("libpreinit", Both),
    ("newosproc0", Both),
    ("_rt0_amd64_lib_go", Both),
    ("rt0_go", Both),
    ("settls", Both),
    ("check", Both),
    ("args", Both),
    ("osinit", Both),
    ("schedinit", Both),
    ("stackinit", Both),
    ("mallocinit", Both),
    ("fastrandinit", Both),
    ("mcommoninit", Both),
    ("cpuinit", Both),
    ("sigsave", Both),
    ("goargs", Both),
    ("goenvs", Both),
    ("parsedebugvars", Both),
    ("gcinit", Both),
    ("procresize", Both),
    ("newproc", Both),
    ("mstart", Both),
    ("mstart1", Symbol),
    ("minit", Symbol),
    ("schedule", Symbol),
    ("runtime_main", Both),
    ("runtime_inittasks", Symbol),
    ("gcenable", Both),
    ("main_init_done", Line),
];

/// The stages that show in this way.
pub fn shown(shows: Shows) -> Vec<&'static str> {
    let shown = |(_, s): &&(&str, Shows)| *s == Both || *s == shows;
    STAGES.iter().filter(shown).map(|(name, _)| *name).collect()
}

/// A file of `c-tests/start`, for the functions of `common`.
pub fn source(name: &str) -> String {
    // Where the program will be built.
    let dir = scratch().join("start");
    fs::create_dir_all(dir).expect("no scratch directory");
    format!("start/{name}")
}

pub fn build(name: &str, link: Link) -> Program {
    build_with(&source(name), link, &[])
}

/// `entry.c` as a program of the exe path.
pub fn build_entry(link: Link) -> Program {
    build_entry_of("entry.c", link)
}

/// The same for another program, with the entry object's source and how it is
/// linked; in both kinds of library.
pub fn build_entry_of(name: &str, link: Link) -> Program {
    let root = repository();
    let object = root.join("asm/entry_amd64.S").display().to_string();
    let include = format!("-I{}", root.join("asm").display());
    let flags = [object.as_str(), &include, "-Wl,-e,_rt0_amd64_linux"];
    build_with(&source(name), link, &flags)
}
