//! `gmprt report`: the page of a trace, looked at in a headless Chromium. What
//! happened is known, since the tests write the trace themselves, or have it
//! written of a program that is known.

#[expect(dead_code, reason = "other tests use other parts of it")]
mod common;
#[path = "report/written.rs"]
mod written;

use common::skip::lacks;
use common::{Outcome, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use written::pingpong;

/// How long the command or the browser may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Writes a file of this name.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = common::scratch().join(name);
    fs::write(&path, bytes).expect("a file");
    path
}

fn report(trace: &Path, page: &Path) -> Outcome {
    let mut command = Command::new(common::tool());
    command.arg("report").arg(trace).arg("-o").arg(page);
    run(&mut command, LIMIT)
}

/// The page of a trace, with `script` behind it.
fn page(name: &str, trace: &[u8], script: &str) -> PathBuf {
    let trace = file(&format!("{name}.trace"), trace);
    let path = trace.with_extension("html");
    report(&trace, &path).exited(0).kept_quiet_of("gmprt");
    with_script(path, script)
}

fn with_script(path: PathBuf, script: &str) -> PathBuf {
    let page = fs::read_to_string(&path).expect("the page");
    fs::write(&path, format!("{page}<script>{script}</script>"))
        .expect("the page");
    path
}

/// What the browser makes of a page: its document after the scripts have run.
/// The page must have told of no error, neither in itself nor to the browser.
fn look(page: &Path, flags: &[&str]) -> String {
    let profile = page.with_extension("profile");
    let mut browser = Command::new("chromium");
    browser
        .args(["--headless=new", "--no-sandbox", "--disable-gpu"])
        .args(["--enable-logging=stderr", "--virtual-time-budget=5000"])
        .args(["--window-size=1200,1000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(flags)
        .arg(format!("file://{}", page.display()));
    let outcome = run(&mut browser, LIMIT);
    let _ = fs::remove_dir_all(&profile);
    outcome.exited(0).kept_quiet_of("CONSOLE");
    let document = outcome.stdout;
    assert!(document.contains(r#"data-ready="yes""#), "{document}");
    assert!(
        document.contains(r#"<pre id="errors" role="alert" hidden="">"#),
        "the page tells of an error: {document}"
    );
    document
}

/// The texts of all elements that begin with `start`, up to their end tag.
fn texts<'a>(document: &'a str, start: &str) -> Vec<&'a str> {
    let pieces = document.split(start).skip(1);
    let inner = pieces.map(|piece| piece.split_once('>').map_or("", |p| p.1));
    inner.map(|text| text.split('<').next().unwrap_or("")).collect()
}

/// The cells of the rows of the table below the section `id`.
fn rows<'a>(document: &'a str, id: &str) -> Vec<Vec<&'a str>> {
    let section = document.split(&format!(r#"<section id="{id}""#)).nth(1);
    let section = section.and_then(|s| s.split("</section>").next());
    let section = section.expect("the section");
    let rows = section.split("<tr").map(|row| texts(row, "<td"));
    rows.filter(|row| !row.is_empty()).collect()
}

#[test]
fn the_page_shows_what_happened() {
    if lacks(&["chromium"]) {
        return;
    }
    let document = look(&page("known", &pingpong(1000), ""), &[]);
    let lanes = texts(&document, "<span title=");
    let want = [
        "P 0",
        "P 1",
        "ping #1",
        "pong #2",
        "sleeper #3",
        "runnable goroutines",
    ];
    assert_eq!(lanes, want);
    let facts = texts(&document, r#"<p id="facts""#);
    assert!(facts[0].contains("process 4711 · 10.0 ms · 2 Ps"), "{facts:?}");
    let goroutines = rows(&document, "goroutines");
    let ping = [
        "ping #1", "", "3.00 µs", "4.00 ms", "1.00 ms", "5.00 ms", "0 ns",
        "500",
    ];
    assert_eq!(goroutines[0], ping);
    assert_eq!(goroutines.len(), 3);
    let waits = rows(&document, "waits");
    assert_eq!(waits[0][..4], ["chan receive", "1,000", "10.0 µs", "10.0 µs"]);
    assert_eq!(waits[1][..2], ["sleep", "1"]);
    let pairs = rows(&document, "pairs");
    assert_eq!(pairs[0][..5], ["ping", "ready", "pong", "500", "2.00 µs"]);
    let made = ["(no goroutine)", "create", "sleeper", "1", "1.00 µs"];
    assert_eq!(pairs[2][..5], made);
    let marks = rows(&document, "marks");
    assert_eq!(marks[1], ["1.00 ms", "turn 100", "ping #1"]);
    assert_eq!(marks.len(), 10);
    let latency = document.split(r#"<section id="latency""#).nth(1);
    assert!(latency.expect("latencies").contains("half\n    up to 2.00 µs"));
}

/// The page has all that it needs in itself, and forbids itself the rest.
#[test]
fn the_page_needs_no_network() {
    let path = page("inline", &pingpong(10), "");
    let page = fs::read_to_string(path).expect("the page");
    for word in ["http:", "https:", "src=", "url(", "@import", "fetch("] {
        assert!(!page.contains(word), "the page has {word}");
    }
    assert!(
        page.contains("Content-Security-Policy\" content=\"default-src 'none'")
    );
}

/// Each step prints what it has led to.
const USE: &str = r#"
const said = [];
const say = text => said.push(text);
const view_ = () => say(`${Math.round(view.from)} ${Math.round(view.to)}`);
const key = name => {
  document.body.dispatchEvent(new KeyboardEvent("keydown",
    { key: name, bubbles: true, cancelable: true }));
  view_();
};
const at = (type, x, y, more) => {
  const box = canvas.getBoundingClientRect();
  canvas.dispatchEvent(new PointerEvent(type, { clientX: box.left + x,
    clientY: box.top + y, pointerId: 1, bubbles: true, cancelable: true, ...more }));
};
canvas.setPointerCapture = () => {};
draw();
show(4e6, 6e6);
view_();
key("+"); key("-"); key("ArrowRight"); key("ArrowLeft"); key("d"); key("0");
show(4e6, 6e6);
const box = canvas.getBoundingClientRect();
canvas.dispatchEvent(new WheelEvent("wheel", { clientX: box.left + width / 2,
  clientY: box.top + 30, deltaY: -50, ctrlKey: true, cancelable: true }));
say(((view.to - view.from) / 2e6).toFixed(3));
show(4e6, 6e6);
at("pointerdown", width / 2, 30); at("pointermove", 0, 30); at("pointerup", 0, 30);
view_();
show(4e6, 6e6);
at("pointerdown", width / 4, 30, { shiftKey: true });
at("pointermove", width / 2, 30); at("pointerup", width / 2, 30);
view_();
// A click on a slice of pong's on P 1.
show(13e3, 21e3); draw();
at("pointermove", width / 2, 30 + ROW + GAP);
say(document.getElementById("tip").textContent.replace(/\n/g, "; "));
at("pointerdown", width / 2, 30 + ROW + GAP); at("pointerup", width / 2, 30 + ROW + GAP);
say(document.getElementById("lanes").dataset.chosen);
key("n");
key("Escape");
say(document.getElementById("lanes").dataset.chosen);
const search = document.getElementById("search");
search.value = "slee";
search.dispatchEvent(new Event("change"));
say(document.getElementById("lanes").dataset.chosen);
const result = document.createElement("output");
result.textContent = said.join(" | ");
document.body.append(result);
"#;

#[test]
fn mouse_and_keyboard_move_zoom_and_choose() {
    if lacks(&["chromium"]) {
        return;
    }
    let document = look(&page("used", &pingpong(1000), USE), &[]);
    let said = texts(&document, "<output")[0].replace("&amp;", "&");
    let want = [
        "4000000 6000000",
        // + - ArrowRight ArrowLeft d 0
        "4300000 5700000",
        "4000000 6000000",
        "4200000 6200000",
        "4000000 6000000",
        "4200000 6200000",
        "0 10011000",
        // The wheel around the middle, a drag by a half, a part.
        "0.607",
        "5000000 7000000",
        "4500000 5000000",
        "pong #2; 8.00 µs, from 13.0 µs",
        "pong #2",
        // n, Escape: the wait from 21 to 31 µs is in the middle.
        "22000 30000",
        "22000 30000",
        "",
        "sleeper #3",
    ];
    let said: Vec<&str> = said.split(" | ").collect();
    assert_eq!(said, want);
}

/// A frame costs as many strokes of the pen as there are pixels, not events;
/// and wakes are arrows only where they can be told apart.
#[test]
fn a_million_events_cost_no_more_than_the_pixels() {
    if lacks(&["chromium"]) {
        return;
    }
    let count = r#"
let strokes = 0, arrows = 0;
for (const name of ["fillRect", "bezierCurveTo"]) {
  const old = CanvasRenderingContext2D.prototype[name];
  CanvasRenderingContext2D.prototype[name] = function (...all) {
    if (name === "fillRect") strokes++; else arrows++;
    return old.apply(this, all);
  };
}
const said = [];
for (const part of [1, 0.3, 0.01, 0.0001, 0.00001]) {
  show(0, meta.length * part);
  strokes = arrows = 0;
  draw();
  said.push(`${strokes / width / state.rows.length} ${arrows}`);
}
const result = document.createElement("output");
result.textContent = said.join("|");
document.body.append(result);
"#;
    let document = look(&page("million", &pingpong(140_000), count), &[]);
    let said = texts(&document, "<output")[0];
    let mut arrows = vec![];
    for frame in said.split('|') {
        let (strokes, drawn) = frame.split_once(' ').expect(said);
        let strokes: f64 = strokes.parse().expect(said);
        assert!(strokes < 4.0, "strokes a pixel of a row, arrows: {said}");
        arrows.push(drawn.parse::<u32>().expect(said));
    }
    assert_eq!(arrows[..3], [0; 3], "{said}");
    assert!(arrows[4] >= 1 && arrows[3] >= 10, "{said}");
    let facts = texts(&document, r#"<p id="facts""#);
    assert!(facts[0].contains("1,264,209 events"), "{facts:?}");
}

/// In the light and in the dark, text stands out from what lies behind it.
#[test]
fn both_themes_are_legible() {
    if lacks(&["chromium"]) {
        return;
    }
    let measure = r#"
const light = colour => {
  const part = n => {
    const c = parseInt(colour.slice(n, n + 2), 16) / 255;
    return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  };
  return 0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5);
};
const contrast = (a, b) => {
  const [x, y] = [light(a), light(b)].sort((a, b) => b - a);
  return (x + 0.05) / (y + 0.05);
};
const behind = [...new Set([...colours.states, ...colours.byText])];
const all = [contrast(colours.ink, colours.surface),
  contrast(colours["ink-2"], colours.surface),
  ...behind.map(colour => contrast(inkOn(colour), colour))];
const result = document.createElement("output");
result.textContent = `${light(colours.surface) > 0.5 ? "light" : "dark"} `
  + `${Math.min(all[0], all[1]).toFixed(2)} ${Math.min(...all).toFixed(2)}`;
document.body.append(result);
"#;
    let page = page("themes", &pingpong(10), measure);
    for (scheme, flag) in [("light", "1"), ("dark", "0")] {
        let flag = format!("--blink-settings=preferredColorScheme={flag}");
        let document = look(&page, &[&flag]);
        let said = texts(&document, "<output")[0];
        let mut words = said.split(' ');
        assert_eq!(words.next(), Some(scheme), "{said}");
        let mut least = || words.next().and_then(|n| n.parse::<f64>().ok());
        assert!(least().expect(said) >= 4.5, "{scheme}: plain text: {said}");
        assert!(least().expect(said) >= 4.5, "{scheme}: in slices: {said}");
    }
}

/// A program may die while it writes its trace.
#[test]
fn a_trace_that_is_cut_off_is_shown_up_to_there() {
    let whole = pingpong(100);
    let trace = file("cut.trace", &whole[..whole.len() / 2]);
    let page = trace.with_extension("html");
    let outcome = report(&trace, &page);
    outcome.exited(0).said("The trace is cut off: it ends within a packet");
    let page = fs::read_to_string(page).expect("the page");
    assert!(page.contains("The trace is cut off"));
    assert!(page.contains("pingpong"));
}

#[test]
fn a_file_that_is_no_trace_is_refused_in_words() {
    let mut damaged = pingpong(100);
    let middle = damaged.len() / 2;
    damaged[middle..middle + 40].fill(0xff);
    let foreign = written::Writer::begin("other", 0).end();
    let cases: [(&str, &[u8], &str); 8] = [
        ("empty", b"", "is empty, and no trace in Perfetto's format"),
        ("json", b"{\"traceEvents\":[]}", "is JSON, and no trace"),
        ("elf", b"\x7fELF\x02\x01\x01", "is a program, a library or a core"),
        ("gzip", b"\x1f\x8b\x08\0", "is compressed by gzip"),
        ("text", b"hello, world\n", "no packet begins at byte 0"),
        ("short", b"\x0a\x7f\x08", "ends within its first packet"),
        ("damaged", &damaged, "is damaged in the packet at byte|no packet"),
        ("foreign", &foreign, "has 6 packets, but no track event in them"),
    ];
    for (name, bytes, words) in cases {
        let trace = file(&format!("refused-{name}"), bytes);
        let page = trace.with_extension("html");
        let outcome = report(&trace, &page);
        outcome.exited(1).kept_quiet_of("panicked");
        let said = words.split('|').any(|w| outcome.stderr.contains(w));
        assert!(said, "want {words:?}\n{}", outcome.report());
        assert!(!page.exists(), "a page of a file that was refused");
    }
}

#[test]
fn files_that_cannot_be_read_or_written_are_named() {
    let missing = common::scratch().join("missing.trace");
    let page = missing.with_extension("html");
    report(&missing, &page).exited(1).said("missing.trace: no such file");
    report(common::scratch(), &page).exited(1).said("is a directory");
    let trace = file("good.trace", &pingpong(10));
    let nowhere = Path::new("/nowhere/at/all.html");
    report(&trace, nowhere).exited(1).said("cannot write /nowhere/at/all.html");
}

/// What the library itself writes: `trace_known.c` says what happens.
#[test]
fn the_page_of_a_real_trace_shows_what_happened() {
    if lacks(&["chromium"]) {
        return;
    }
    let program = common::build("trace_known.c", common::Link::Shared);
    let trace = common::scratch().join("real.trace");
    let mut command = program.command();
    command.arg("file").arg(&trace).env("GMP_MAXPROCS", "1");
    run(&mut command, LIMIT).exited(0);
    let path = trace.with_extension("html");
    report(&trace, &path).exited(0).kept_quiet_of("gmprt");
    let document = look(&path, &[]);
    let lanes = texts(&document, "<span title=");
    assert_eq!(lanes[0], "P 0", "{lanes:?}");
    assert!(!lanes.contains(&"P 1"), "{lanes:?}");
    let goroutines = rows(&document, "goroutines");
    let times_run = |name: &str| -> u64 {
        let is = |row: &&Vec<&str>| {
            row[0].rsplit_once(" #").is_some_and(|(its, _)| its == name)
        };
        let row = goroutines.iter().find(is);
        let row = row.unwrap_or_else(|| panic!("no {name}: {goroutines:?}"));
        row[7].replace(',', "").parse().expect("a number")
    };
    // Once at first, and once after each wait.
    for name in ["reader", "writer", "holder", "pipe reader"] {
        assert!(times_run(name) >= 2, "{name}: {goroutines:?}");
    }
    let waits = rows(&document, "waits");
    for reason in ["chan receive", "sleep", "own reason"] {
        let known = waits.iter().any(|row| row[0] == reason);
        assert!(known, "{reason}: {waits:?}");
    }
    let objects = rows(&document, "objects");
    let channel = |row: &Vec<&str>| {
        row[0].starts_with("0x") && row[1] == "chan receive" && row[2] != "0"
    };
    assert!(objects.iter().any(channel), "{objects:?}");
    let pairs = rows(&document, "pairs");
    for (waker, how, woken) in [
        ("writer", "ready", "reader"),
        ("unparker", "ready", "parker"),
        ("(no goroutine)", "timer", "writer"),
    ] {
        let known = pairs.iter().any(|row| row[..3] == [waker, how, woken]);
        assert!(known, "{waker} {how} {woken}: {pairs:?}");
    }
    let marks = rows(&document, "marks");
    let texts: Vec<&str> = marks.iter().map(|row| row[1]).collect();
    assert_eq!(texts, ["begin", "three received", "end"]);
    assert!(marks[1][2].starts_with("reader #"), "{marks:?}");
}
