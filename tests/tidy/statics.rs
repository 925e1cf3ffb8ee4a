//! A static belongs to the process, and is named here with a reason, or to a
//! run of the runtime, and a function of its file puts it back (`boot::reset`).

use super::source::{library, name, places, report};

/// What belongs to the process: file, static or nothing for all of the file,
/// reason.
const KEPT: &[(&str, &str, &str)] = &[
    ("base/barrier.rs", "", "what the kernel can do"),
    ("base/rank.rs", "", "for a check"),
    ("base/lock.rs", "", "a fork forgets the sleepers; a lock has none else"),
    ("base/random.rs", "", "a seed, of which any will do"),
    ("base/reserve.rs", "", "the allocator of the process"),
    ("base/sanitize.rs", "", "the tool that watches the process"),
    ("base/shortcut.rs", "", "follows the state of the start, and settings"),
    ("base/throw.rs", "", "the end of the process; the hook of the library"),
    ("base/trace.rs", "", "trace/session.rs sets it"),
    ("base/turnstile.rs", "", "the generation of the process"),
    ("block/group.rs", "TREE", "guards groups, which are the host's"),
    ("block/holder.rs", "", "what the C library can do"),
    ("block/notify.rs", "CHANNELS", "wishes of the host, which stay"),
    ("block/notify.rs", "CHAINED", "handlers stay installed"),
    ("block/notify.rs", "OLD", "handlers stay installed"),
    ("block/once.rs", "", "a constant"),
    ("block/parking.rs", "", "its locks tell of a fork; empty at an end"),
    ("boot/arguments.rs", "", "the program's"),
    ("boot/doinit.rs", "TASKS", "functions of the host; its runner is reset"),
    ("boot/env.rs", "", "the environment at the load"),
    ("boot/exe.rs", "", "the program's"),
    ("boot/hooks.rs", "", "the host's"),
    ("boot/init.rs", "", "the machine"),
    ("boot/inittrace.rs", "", "the first start, for its report"),
    ("boot/keep.rs", "", "the library's reference to itself"),
    ("boot/shutdown.rs", "", "handlers of the process"),
    ("boot/phase.rs", "", "says whether there is a run"),
    ("boot/preinit.rs", "", "the load of the library"),
    ("diag/dump.rs", "", "the end of the process"),
    ("diag/dumpsignal.rs", "OLD", "the handler stays installed"),
    ("diag/fault.rs", "", "handlers stay installed"),
    ("diag/own.rs", "", "an address"),
    ("diag/sample.rs", "", "knows a fork by the number of the process"),
    ("ffi/layout.rs", "", "a constant"),
    ("ffi/watch.rs", "", "an address"),
    ("gc/bad_pointer.rs", "", "said once"),
    ("gc/cycle.rs", "", "counts and memory of the heap, which stays"),
    ("gc/malloc.rs", "", "counts for a test; the heap has begun, and stays"),
    ("gc/forked.rs", "", "a fork sets it; said once"),
    ("gc/markers.rs", "GATE", "shut between collections"),
    ("gc/markers.rs", "MARKING", "looked at inside of the gate"),
    ("gc/markers.rs", "ROUND", "any number will do"),
    ("gc/mcaches.rs", "", "memory, which stays"),
    ("gc/others.rs", "", "no fork and no end while goroutines are stopped"),
    ("gc/roots.rs", "", "what the host has named; a fork finds no collection"),
    ("gc/settings.rs", "", "settings"),
    ("gc/unstopped.rs", "", "said once"),
    ("heap/", "", "memory of the host's objects, which stays"),
    ("gmp/ask.rs", "", "block/notify.rs resets it"),
    ("gmp/glife.rs", "NAMES", "guards no value that stays"),
    ("gmp/gtab.rs", "", "Gs stay; `reset_gs` ends them"),
    ("gmp/m.rs", "", "a constant"),
    ("gmp/schedt.rs", "ALLP", "Ps stay, and are emptied"),
    ("gmp/schedt.rs", "NALLP", "Ps stay, and are emptied"),
    ("gmp/schedt.rs", "GOMAXPROCS", "a setting"),
    ("gmp/schedt.rs", "MAXTHREADS", "a setting"),
    ("gmp/schedt.rs", "NCPU", "the machine"),
    ("gmp/schedt.rs", "NCPUALLOWED", "the machine"),
    ("gmp/schedt.rs", "RUNTIME_INIT_TIME", "each start sets it"),
    ("gmp/schedt.rs", "WAITMARK", "the time"),
    ("gmp/settings.rs", "", "settings"),
    ("gmp/watched.rs", "", "memory beside the Gs, which stay"),
    ("netpoll/desc.rs", "TABLE", "slabs stay, and are emptied"),
    ("netpoll/poller.rs", "POLLERS", "memory, which stays"),
    ("netpoll/poller.rs", "MAKING", "guards nothing that stays"),
    ("os/", "", "what the kernel can do, and facts of the process"),
    ("sched/calls.rs", "", "`forget` ends calls of a fork's parent"),
    ("sched/child.rs", "", "what the process is"),
    ("sched/context.rs", "", "where a function is"),
    ("sched/ending.rs", "", "a constant"),
    ("sched/fiber.rs", "", "an address, and what the C library does"),
    ("sched/fork.rs", "", "what the process is"),
    ("sched/host.rs", "KEY", "a key of the process"),
    ("sched/local.rs", "", "keys of the host, which stay"),
    ("sched/mainthread.rs", "", "what the process is"),
    ("sched/migrate.rs", "", "said once"),
    ("sched/panicrecord.rs", "", "memory, which stays"),
    ("sched/python.rs", "", "where functions are"),
    ("sched/random.rs", "", "a seed, of which any will do"),
    ("sched/sigmask.rs", "", "masks of the host's threads"),
    ("sched/stackmark.rs", "", "marks of all runs, for the report at exit"),
    ("sched/starved.rs", "SAID", "said once"),
    ("sched/stw.rs", "STARTED", "points in time"),
    ("sched/stw.rs", "STOOD", "a span of time"),
    ("sched/threads.rs", "THREAD_START", "the host's"),
    ("sched/threads.rs", "M0_IS_OURS", "each start sets it"),
    ("sched/threads.rs", "MSLAB", "memory, which stays"),
    ("sched/threads.rs", "SIGSTACKS", "memory, which stays"),
    ("sched/suspended.rs", "WANTED", "the heap stays"),
    ("sched/putoff.rs", "", "the tool that watches the process"),
    ("sched/urgent.rs", "", "handlers stay installed"),
    ("stack/", "", "memory, which stays, and settings"),
    ("trace/recorder.rs", "RING_SLOTS", "a setting"),
    ("trace/recorder.rs", "RECORDERS", "memory, which stays"),
    ("trace/recorder.rs", "SHARED", "memory, which stays"),
    ("trace/setting.rs", "", "a setting"),
];

/// The text of the functions of a file whose names begin with `reset`.
fn resets(code: &str) -> String {
    let mut all = String::new();
    for at in places(code, "fn reset") {
        let rest = &code[at..];
        let end = rest.find("\n}").unwrap_or(rest.len());
        all.push_str(&rest[..end]);
    }
    all
}

/// A start after a fork, or after an end, finds all as the first one did.
#[test]
fn statics_are_put_back_or_belong_to_the_process() {
    let mut findings = Vec::new();
    let mut used = vec![false; KEPT.len()];
    let all: Vec<_> = library()
        .into_iter()
        .filter(|f| !f.for_tests && !f.path.starts_with("model/"))
        .collect();
    for file in &all {
        let resets = resets(&file.code);
        for at in places(&file.code, "static ") {
            let rest =
                file.code[at + "static ".len()..].trim_start_matches("ref ");
            let it = name(rest);
            // A path begins with two colons.
            let declared = rest[it.len()..].starts_with(": ");
            if !declared || it.is_empty() {
                continue;
            }
            let mut kept = false;
            for (i, (path, which, _)) in KEPT.iter().enumerate() {
                if file.path.starts_with(path)
                    && (which.is_empty() || *which == it)
                {
                    kept = true;
                    used[i] = true;
                }
            }
            let mut put_back = places(&resets, it);
            if !kept && put_back.next().is_none() {
                findings.push(format!("{}: {it}", file.place(at)));
            }
        }
    }
    for (used, (path, which, _)) in used.iter().zip(KEPT) {
        if !used {
            findings.push(format!("KEPT: {path} {which} is not there"));
        }
    }
    report(
        "a static that no reset puts back, and KEPT does not name:",
        &findings,
    );
}

/// Each `reset` is called from `boot/reset.rs`, by way of its folder.
#[test]
fn every_reset_is_in_the_list() {
    let mut findings = Vec::new();
    let all = library();
    let text = |path: &str| {
        all.iter().find(|f| f.path == path).map_or("", |f| f.code.as_str())
    };
    let list = text("boot/reset.rs");
    for file in all.iter().filter(|f| f.path != "boot/reset.rs") {
        for at in places(&file.code, "fn reset") {
            let it = name(&file.code[at + "fn ".len()..]);
            let public = file.code[..at].ends_with("unsafe ");
            let stem = file.path.rsplit('/').next().unwrap_or("");
            let stem = stem.trim_end_matches(".rs");
            let folder = file.path.split('/').next().unwrap_or("");
            let module = if stem == "mod" { folder } else { stem };
            let call = match it {
                "reset" => format!("{module}::reset"),
                _ => format!("{it}("),
            };
            let up = text(&format!("{folder}/mod.rs"));
            let again = it == "reset"
                && up.contains("reset as reset_")
                && up.contains(&format!("use {stem}::{{"));
            let called = list.contains(&call) || again;
            if public && !called {
                findings.push(format!("{}: {it}", file.place(at)));
            }
        }
    }
    report("a reset that nobody calls:", &findings);
}
