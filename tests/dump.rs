//! `gmp_dump` and `GMPDEBUG=dumpsignal`: what a dump says, as text and as JSON,
//! and that all goes on meanwhile.

#[expect(dead_code, reason = "other tests use other parts of it")]
mod common;

use common::{Link, Outcome, build, run};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// The flags of gmp.h.
const EACH: u32 = 1;
const JSON: u32 = 2;
const SYSTEM: u32 = 4;
const STACKS: u32 = 8;

fn dump(link: Link, case: &str, flags: u32) -> Outcome {
    let mut command = build("dump.c", link).command();
    run(command.args([case, &flags.to_string()]), LIMIT)
}

/// The line of `dump.c` that ends with a comment.
fn line_of(comment: &str) -> String {
    let text = fs::read_to_string(common::source_path("dump.c"));
    let text = text.expect("no source");
    let mark = format!("/* {comment} */");
    let at = text.lines().position(|line| line.contains(&mark));
    format!("c-tests/dump.c:{}", at.expect("a line with the comment") + 1)
}

/// A thousand like goroutines are a group, with the place where each waits and
/// that where all were started, and fit on a screen.
#[test]
fn a_leak_is_one_entry() {
    for link in Link::ALL {
        for flags in [0, STACKS, SYSTEM, SYSTEM | STACKS] {
            let outcome = dump(link, "leak", flags);
            outcome.exited(0).kept_quiet_of("gmprt");
            let text = &outcome.stdout;
            let leak = "1000 goroutines [chan receive] \"leaker\", for ";
            let begin = text.find(leak).unwrap_or_else(|| {
                panic!("no group of 1000\n{}", outcome.report())
            });
            let entry = text[begin..].split("\n\n").next().unwrap_or("");
            for part in [
                ", on 1000 objects: ",
                "    started at ",
                &line_of("starts here"),
                "\n    gmp_chan_recv\n    wait_forever at ",
                &line_of("waits here"),
            ] {
                assert!(entry.contains(part), "{part:?}\n{}", outcome.report());
            }
            let advice = text.split("\nstacks, by ").nth(1).unwrap_or("");
            let its = advice.lines().find(|l| l.contains("wait_forever ("));
            let counted = its.is_some_and(|l| l.contains("; 1000 live; stack"));
            let asked = flags & STACKS != 0;
            assert!(counted == asked, "{}", outcome.report());
            assert!(entry.lines().count() < 10);
            if flags & SYSTEM == 0 {
                assert!(text.lines().count() <= 30, "{}", outcome.report());
            } else {
                assert!(text.contains("[sweep wait] \"bgsweep\""), "{text}");
            }
        }
    }
}

#[test]
fn each_goroutine_has_an_entry_if_asked_for() {
    let outcome = dump(Link::Shared, "leak", EACH);
    let text = &outcome.exited(0).stdout;
    let each = "[chan receive] \"leaker\", for ";
    assert_eq!(text.matches(each).count(), 1000, "{}", outcome.report());
    assert_eq!(text.matches("wait_forever at ").count(), 1000);
}

/// States, holders, threads, and a name that has to be escaped.
#[test]
fn each_kind_of_wait_is_told() {
    for link in [Link::Shared, Link::Static] {
        let outcome = dump(link, "kinds", STACKS);
        let text = &outcome.exited(0).stdout;
        for part in [
            " [mutex] \"odd \"name\"??\", for about ",
            "    want_mutex at ",
            " [chan receive], for about ",
            ", on \"lines \"in\"\" at 0x",
            "    want_line at ",
            " [running] \"dumper\", thread ",
            "    dump_here at ",
            "host thread ",
            "    want_on_thread at ",
        ] {
            assert!(text.contains(part), "{part:?}\n{}", outcome.report());
        }
        // The main thread has the mutex, and has started the goroutine.
        let pid = text.split(", process ").nth(1).expect("a process");
        let pid = pid.lines().next().unwrap_or_default();
        let odd = text.split("\n\n").find(|it| it.contains("\"odd "));
        let odd = odd.expect("an entry");
        for part in ["held by", "started at kinds (", ") by"] {
            let line = odd.lines().find(|line| line.contains(part));
            let line = line.unwrap_or_else(|| panic!("{part:?} in {odd}"));
            assert!(line.contains(&format!(" by host thread {pid}")), "{odd}");
        }
        // The goroutine that a thread runs is in a system call, as a rule.
        assert!(text.contains(" [running], thread "), "{text}");
    }
}

#[test]
fn json_is_as_its_schema_says() {
    let schema = common::repository().join("docs/dump-schema.json");
    let schema = fs::read(schema).expect("no schema");
    let schema: Value = serde_json::from_slice(&schema).expect("JSON");
    for case in ["leak", "kinds"] {
        for flags in [0, EACH, SYSTEM | STACKS, EACH | SYSTEM | STACKS] {
            let outcome = dump(Link::Shared, case, JSON | flags);
            let dump = serde_json::from_str(&outcome.exited(0).stdout);
            let dump: Value = dump.unwrap_or_else(|e| {
                panic!("no JSON: {e}\n{}", outcome.report())
            });
            let mut wrong = Vec::new();
            check(&schema, &schema, &dump, "dump", &mut wrong);
            assert!(wrong.is_empty(), "{wrong:#?}\n{dump:#}");
            if case == "leak" {
                has_the_leak(&dump, flags & EACH != 0);
            } else {
                let names = strings(&dump, "name");
                assert!(names.contains("odd \"name\"\n\u{fffd}"), "{names:?}");
                let objects = strings(&dump, "object_name");
                assert!(objects.contains("lines \"in\""), "{objects:?}");
                is_of_the_main_thread(&dump);
            }
        }
    }
}

/// It has the mutex, and has started the goroutines that wait for it.
fn is_of_the_main_thread(dump: &Value) {
    let entries = dump["entries"].as_array().expect("entries");
    let mutex = |e: &&Value| e["reason"] == "mutex" && e["kind"] == "goroutine";
    let all: Vec<_> = entries.iter().filter(mutex).collect();
    assert!(!all.is_empty(), "{dump:#}");
    for entry in all {
        let creator = &entry["creator"];
        assert_eq!(entry["holder"]["thread"], dump["pid"], "{entry:#}");
        assert_eq!(creator["thread"], dump["pid"], "{entry:#}");
        assert_eq!(creator["goroutine"], Value::Null, "{entry:#}");
    }
}

fn has_the_leak(dump: &Value, each: bool) {
    let entries = dump["entries"].as_array().expect("entries");
    let leaker = |e: &&Value| e["name"] == "leaker";
    let leakers: Vec<_> = entries.iter().filter(leaker).collect();
    let counts = leakers.iter().map(|e| e["count"].as_u64());
    assert_eq!(counts.sum::<Option<u64>>(), Some(1000));
    assert_eq!(leakers.len(), if each { 1000 } else { 1 });
    let last = leakers[0]["frames"].as_array().and_then(|f| f.last());
    let function = &last.expect("frames")["place"]["functions"][0];
    assert_eq!(function["name"], "wait_forever");
    assert!(function["line"].is_u64() && function["file"].is_string());
    assert_eq!(dump["totals"]["waiting"], 1000);
}

/// The strings of members of this name, at any depth.
fn strings(value: &Value, member: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = vec![value];
    while let Some(value) = rest.pop() {
        match value {
            Value::Array(all) => rest.extend(all),
            Value::Object(all) => {
                let text = all.get(member).and_then(Value::as_str);
                found.extend(text.map(str::to_owned));
                rest.extend(all.values());
            }
            _ => {}
        }
    }
    found
}

/// Compares a value with the words of JSON Schema that ours uses.
fn check(
    root: &Value,
    schema: &Value,
    value: &Value,
    at: &str,
    wrong: &mut Vec<String>,
) {
    let mut no = |why: String| wrong.push(format!("{at}: {why}: {value}"));
    if let Some(path) = schema["$ref"].as_str() {
        let at = path.trim_start_matches('#');
        let there = root.pointer(at).expect("a definition");
        return check(root, there, value, path, wrong);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let fits = |one: &&Value| {
            let mut wrong = Vec::new();
            check(root, one, value, at, &mut wrong);
            wrong.is_empty()
        };
        if !any.iter().any(|one| fits(&one)) {
            no("fits none".to_owned());
        }
        return;
    }
    if let Some(one) = schema.get("const").filter(|one| *one != value) {
        no(format!("is not {one}"));
    }
    if let Some(all) = schema["enum"].as_array()
        && !all.contains(value)
    {
        no("is none of them".to_owned());
    }
    check_type(&schema["type"], value, &mut no);
    let hex = |text: &str| {
        let digits = text.strip_prefix("0x");
        digits.is_some_and(|d| u64::from_str_radix(d, 16).is_ok())
    };
    if schema.get("pattern").is_some() && !value.as_str().is_some_and(hex) {
        no("is no address".to_owned());
    }
    for (i, one) in value.as_array().into_iter().flatten().enumerate() {
        check(root, &schema["items"], one, &format!("{at}[{i}]"), wrong);
    }
    let Some(members) = value.as_object() else { return };
    for name in schema["required"].as_array().into_iter().flatten() {
        if !members.contains_key(name.as_str().unwrap_or_default()) {
            wrong.push(format!("{at}: lacks {name}"));
        }
    }
    for (name, one) in members {
        match schema["properties"].get(name) {
            Some(its) => check(root, its, one, &format!("{at}.{name}"), wrong),
            None => wrong.push(format!("{at}: has {name}")),
        }
    }
}

/// Compares a value's type with the word `type`: a name, several, or none.
fn check_type(types: &Value, value: &Value, no: &mut impl FnMut(String)) {
    let types: Vec<_> = match types {
        Value::Array(all) => all.iter().collect(),
        Value::Null => return,
        one => vec![one],
    };
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !types.iter().any(|it| *it == is) {
        no(format!("is of type {is}"));
    }
}

/// Others are made, wait and end while it is dumped twenty times.
#[test]
fn a_dump_stops_nobody() {
    for procs in ["1", "4"] {
        for flags in [0, EACH | STACKS] {
            let program = build("dump.c", Link::Shared);
            let mut command = program.command();
            command.env("GMP_MAXPROCS", procs);
            let outcome =
                run(command.args(["storm", &flags.to_string()]), LIMIT);
            let churned = outcome.exited(0).stderr.trim().parse::<u64>();
            assert!(churned.is_ok_and(|n| n > 100), "{}", outcome.report());
            let of_it =
                if flags == 0 { "1000 goroutines [chan" } else { "\"leaker\"" };
            assert!(outcome.stdout.matches(of_it).count() >= 20);
        }
    }
}

/// Of a goroutine in a call of the library's, in whatever state, the frames
/// begin at that function, also where it has jumped on and has no frame.
#[test]
fn frames_begin_at_the_function_of_gmp_h() {
    for link in Link::ALL {
        let outcome = dump(link, "calls", EACH | STACKS);
        let text = &outcome.exited(0).stdout;
        assert!(!text.contains("gmprt"), "{}", outcome.report());
        let mut told = BTreeSet::new();
        for entry in text.split("\n\n") {
            let mut lines = entry.lines();
            let head = lines.next().unwrap_or_default();
            let Some((_, rest)) = head.split_once("] \"gmp_") else { continue };
            let name = format!("gmp_{}", rest.split('"').next().unwrap_or(""));
            // One that runs may be in a function of the C library.
            if head.contains(" [running] ") {
                continue;
            }
            let about = [
                "    started ",
                "    stack: ",
                "    went on while ",
                "    runs in_",
            ];
            let is_frame = |l: &&str| !about.iter().any(|a| l.starts_with(a));
            // Or it has just been started.
            let first = lines.find(is_frame).unwrap_or_default().trim();
            let own = first.is_empty() || first.starts_with("in_gmp_");
            if !own {
                assert_eq!(first, name, "{entry}");
                told.insert(name);
            }
        }
        assert!(told.len() >= 12, "{told:?}\n{}", outcome.report());
    }
}

/// The entry of the goroutine with this name.
fn entry_of<'t>(text: &'t str, name: &str) -> &'t str {
    let mark = format!(" [running] \"{name}\", thread ");
    let entry = text.split("\n\n").find(|entry| entry.contains(&mark));
    entry.unwrap_or_else(|| panic!("no {name:?} in {text}"))
}

/// Goroutines that compute on other threads are asked by a signal, whose
/// default action is there again afterwards.
#[test]
fn a_goroutine_that_computes_is_shown() {
    for link in Link::ALL {
        let mut command = build("dump.c", link).command();
        command.env("GMP_MAXPROCS", "4");
        let flags = (EACH | STACKS).to_string();
        let outcome = run(command.args(["spin", &flags]), LIMIT);
        let text = &outcome.exited(0).stdout;
        let spins = line_of("spins here");
        let line: u32 = spins.rsplit(':').next().unwrap().parse().unwrap();
        // The loop has two lines.
        let file = spins.rsplit_once(':').unwrap().0;
        let at = |entry: &str| {
            let first = entry.lines().find(|l| l.contains("    spin_here at "));
            let first = first.unwrap_or_else(|| panic!("{entry}"));
            let (place, n) = first.rsplit_once(':').expect("a line");
            let n: u32 = n.parse().expect("a number");
            place.ends_with(file) && (line..line + 2).contains(&n)
        };
        let plain = entry_of(text, "plain");
        assert!(at(plain), "{plain}");
        let deep = entry_of(text, "deep");
        assert!(at(deep), "{deep}");
        let frames = deep.lines().filter(|l| l.contains("    deeper at "));
        let runs = deep.contains("... ") && deep.contains(" times more");
        assert!(frames.count() >= if runs { 1 } else { 40 }, "{deep}");
        assert!(deep.contains("    spin_deep at "), "{deep}");
        let blocked = entry_of(text, "blocked");
        let why = "\n    no frames: its thread blocks SIGURG\n";
        assert!(blocked.contains(why), "{blocked}");
    }
}

/// A handler of the program's stays, and hears nothing of it.
#[test]
fn a_program_with_a_use_for_the_signal_is_left_alone() {
    for link in [Link::Shared, Link::Static] {
        let mut command = build("dump.c", link).command();
        command.env("GMP_MAXPROCS", "4");
        let flags = (EACH | STACKS).to_string();
        let outcome = run(command.args(["urgent", &flags]), LIMIT);
        let text = &outcome.exited(0).stdout;
        for name in ["plain", "deep", "blocked"] {
            let entry = entry_of(text, name);
            let why =
                "\n    no frames: the program has another use for SIGURG\n";
            assert!(entry.contains(why), "{entry}");
        }
    }
}

/// No call of the program's fails, and all ends as it should.
#[test]
fn asking_disturbs_nobody() {
    for procs in ["1", "2", "4"] {
        let mut command = build("dump.c", Link::Shared).command();
        command.env("GMP_MAXPROCS", procs);
        let flags = (EACH | STACKS).to_string();
        let outcome = run(command.args(["company", &flags]), LIMIT);
        let calls = outcome.exited(0).stdout.trim().parse::<u64>();
        assert!(calls.is_ok_and(|n| n > 100), "{}", outcome.report());
    }
}

/// However many others yield, end and are made meanwhile, and wherever in their
/// functions they are.
#[test]
fn a_leak_in_a_storm_fits_a_screen() {
    for procs in ["1", "2", "4"] {
        let mut command = build("dump.c", Link::Shared).command();
        command.env("GMP_MAXPROCS", procs);
        let outcome = run(command.args(["churn", "0"]), LIMIT);
        let text = &outcome.exited(0).stdout;
        let leak = "1000 goroutines [chan receive] \"leaker\", for ";
        assert!(text.contains(leak), "{}", outcome.report());
        assert!(text.lines().count() <= 30, "{}", outcome.report());
    }
}

#[test]
fn a_dump_that_cannot_be_written_is_an_error() {
    for link in Link::ALL {
        dump(link, "errors", 0).exited(0);
    }
}

/// Runs a case of `dump.c` that waits for signals, with `env`. Signals it three
/// times, each time until it has said `enough`; what it has said.
fn signalled(
    case: &str,
    env: &[(&str, &str)],
    enough: impl Fn(&str) -> bool,
) -> Vec<String> {
    let mut command = build("dump.c", Link::Shared).command();
    command.arg(case).env("GMPDEBUG", "dumpsignal=QUIT");
    command.envs(env.iter().copied());
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("no program");
    let mut out = BufReader::new(child.stdout.take().expect("stdout"));
    let mut err = BufReader::new(child.stderr.take().expect("stderr"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    assert_eq!(line, "ready\n");
    let mut dumps = Vec::new();
    for _ in 0..3 {
        let mut seen = String::new();
        // SAFETY: our child, which has not been waited for.
        unsafe { libc::kill(child.id() as i32, libc::SIGQUIT) };
        while !enough(&seen) {
            let n = err.read_line(&mut seen).expect("text");
            assert!(n > 0, "it ended after {seen}");
        }
        dumps.push(seen);
    }
    let mut input = child.stdin.take().expect("stdin");
    input.write_all(b"\n").expect("the program reads");
    let status = child.wait().expect("it ends");
    assert!(status.success(), "{status}");
    dumps
}

/// The signal makes dumps on standard error, calls the handler that the host
/// has, and ends nobody.
#[test]
fn a_signal_dumps() {
    for procs in ["1", "4"] {
        for handler in [false, true] {
            let mut env = vec![("GMP_MAXPROCS", procs)];
            if handler {
                env.push(("WITH_HANDLER", "1"));
            }
            signalled("signal", &env, |seen| {
                seen.contains("    wait_forever at ")
                    && seen.contains("1000 goroutines [chan receive]")
                    && seen.contains("the host's handler") == handler
            });
        }
    }
}

/// How many goroutines are leaked, as the first line of a dump says.
fn leaked(text: &str) -> u32 {
    let first = text.lines().find(|line| line.contains(" goroutines: "));
    let first = first.unwrap_or_else(|| panic!("no first line: {text}"));
    let counted = first.split(" leaked)").next().filter(|it| *it != first);
    let number = counted.and_then(|it| it.rsplit('(').next());
    number.map_or(0, |n| n.parse().expect("a number"))
}

/// A word on a stack may hide some.
const MOST_OF_THEM: u32 = 990;

/// The thread that writes them searches, as a caller of `gmp_dump` does.
#[test]
fn a_dump_that_a_signal_has_asked_for_tells_leaks() {
    for procs in ["1", "4"] {
        let env = [("GMP_MAXPROCS", procs)];
        let dumps = signalled("leaked", &env, |seen| {
            seen.contains("    wait_forever at ")
        });
        for text in dumps {
            assert!(leaked(&text) >= MOST_OF_THEM, "{text}");
            assert!(text.contains("[chan receive (leaked)]"), "{text}");
            assert!(!text.contains("not searched for"), "{text}");
        }
    }
}

/// A dump that says that nothing was searched tells no leaks of an earlier one.
#[test]
fn a_dump_without_a_search_tells_no_leaks() {
    let mut command = build("dump.c", Link::Shared).command();
    command.arg("unsearched").env("GMP_GC_SIGNAL", "0");
    let outcome = run(&mut command, LIMIT);
    let text = &outcome.exited(0).stdout;
    let (before, after) = text.split_once("and now\n").expect("two parts");
    assert!(leaked(before) >= MOST_OF_THEM, "{before}");
    assert_eq!(after.matches("leaks: not searched for").count(), 2, "{after}");
    assert!(!after.contains("leaked)"), "{after}");
}

/// The search of the thread that dumps and the end of the runtime both keep
/// forks away, and the end waits for the thread.
#[test]
fn the_runtime_ends_while_signals_ask_for_dumps() {
    for procs in ["1", "4"] {
        let mut command = build("dump.c", Link::Shared).command();
        command.arg("ends").env("GMPDEBUG", "dumpsignal=QUIT");
        command.env("GMP_MAXPROCS", procs).env("WITH_HANDLER", "1");
        run(&mut command, LIMIT).exited(0);
    }
}
