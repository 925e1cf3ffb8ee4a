//! Writes the page: the template with its style, its script and the data.
//!
//! The names and the tables go into the page as JSON. All that there may be a
//! million of goes in as columns of numbers: unsigned LEB128, one column after
//! another, in base64. The description of the columns is in the JSON, so that
//! the script has no second list of them. Times that follow one another are
//! written as differences, which makes most of them one or two bytes.

use super::summary::summary;
use super::timeline::{LaneKind, State, Timeline};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPTS: [&str; 3] = [
    include_str!("page_data.js"),
    include_str!("page_draw.js"),
    include_str!("page_main.js"),
];

/// Columns of numbers, one after another.
#[derive(Default)]
struct Columns {
    bytes: Vec<u8>,
    /// Name and length of each.
    names: Vec<Value>,
}

impl Columns {
    fn add(&mut self, name: &str, numbers: impl Iterator<Item = u64>) {
        let mut count = 0_u64;
        for mut number in numbers {
            while number >= 0x80 {
                self.bytes.push(number as u8 | 0x80);
                number >>= 7;
            }
            self.bytes.push(number as u8);
            count += 1;
        }
        self.names.push(json!([name, count]));
    }
}

/// Differences of times that follow one another.
fn steps(times: impl Iterator<Item = u64>) -> impl Iterator<Item = u64> {
    times.scan(0, |last, time| {
        let step = time.saturating_sub(*last);
        *last = time.max(*last);
        Some(step)
    })
}

/// Index + 1, or 0 for none.
fn or_none(index: Option<usize>) -> u64 {
    index.map_or(0, |index| index as u64 + 1)
}

/// How the script knows a state: two bits for its kind, the rest says where
/// or why.
fn code(state: State) -> u64 {
    match state {
        State::Running(lane) => or_none(lane) << 2,
        State::Runnable => 1,
        State::Waiting(reason, _) => u64::from(reason) << 2 | 2,
        State::Blocked => 3,
    }
}

/// The text of the object that a state is about.
fn object(state: State) -> u64 {
    match state {
        State::Waiting(_, object) => object.into(),
        _ => 0,
    }
}

fn lanes(timeline: &Timeline, columns: &mut Columns) -> Value {
    let lanes = &timeline.lanes;
    let slices = || lanes.iter().flat_map(|lane| &lane.slices);
    // From the end of one slice to the start of the next.
    let gaps = lanes.iter().flat_map(|lane| {
        let ends = lane.slices.iter().map(|slice| slice.to);
        let ends = std::iter::once(0).chain(ends);
        let pairs = lane.slices.iter().zip(ends);
        pairs.map(|(slice, end)| slice.from.saturating_sub(end))
    });
    columns.add("slice.gap", gaps);
    columns.add("slice.length", slices().map(|s| s.to - s.from));
    columns.add("slice.name", slices().map(|s| s.name.into()));
    columns.add("slice.g", slices().map(|s| or_none(s.goroutine)));
    let moments = || lanes.iter().flat_map(|lane| &lane.moments);
    let times =
        lanes.iter().flat_map(|lane| steps(lane.moments.iter().map(|m| m.at)));
    columns.add("moment.step", times);
    columns.add("moment.name", moments().map(|m| m.name.into()));
    lanes
        .iter()
        .map(|lane| {
            json!({
                "name": lane.name,
                "p": lane.kind == LaneKind::P,
                "slices": lane.slices.len(),
                "moments": lane.moments.len(),
            })
        })
        .collect()
}

fn goroutines(timeline: &Timeline, columns: &mut Columns) {
    let all = || timeline.goroutines.iter();
    columns.add("g.id", all().map(|g| g.id));
    columns.add("g.name", all().map(|g| g.name.into()));
    columns.add("g.parent", all().map(|g| or_none(g.parent)));
    columns.add("g.spans", all().map(|g| g.spans.len() as u64));
    let gaps = all().flat_map(|g| {
        let ends = std::iter::once(0).chain(g.spans.iter().map(|s| s.to));
        let pairs = g.spans.iter().zip(ends);
        pairs.map(|(span, end)| span.from.saturating_sub(end))
    });
    columns.add("span.gap", gaps);
    let spans = || all().flat_map(|g| &g.spans);
    columns.add("span.length", spans().map(|s| s.to - s.from));
    columns.add("span.state", spans().map(|s| code(s.state)));
    columns.add("span.object", spans().map(|s| object(s.state)));
}

fn wakes_and_marks(timeline: &Timeline, columns: &mut Columns) {
    let wakes = || timeline.wakes.iter();
    columns.add("wake.step", steps(wakes().map(|w| w.at)));
    columns.add("wake.by", wakes().map(|w| or_none(w.by)));
    columns.add("wake.how", wakes().map(|w| w.how.into()));
    columns.add("wake.lane", wakes().map(|w| or_none(w.lane)));
    columns.add("wake.g", wakes().map(|w| w.woken as u64));
    let delay = |w: &super::timeline::Wake| {
        w.ran.map_or(0, |(at, _)| at.saturating_sub(w.at) + 1)
    };
    columns.add("wake.delay", wakes().map(delay));
    let to = |w: &super::timeline::Wake| or_none(w.ran.and_then(|ran| ran.1));
    columns.add("wake.to", wakes().map(to));
    let marks = || timeline.marks.iter();
    columns.add("mark.step", steps(marks().map(|m| m.at)));
    columns.add("mark.text", marks().map(|m| m.text.into()));
    columns.add("mark.g", marks().map(|m| or_none(m.goroutine)));
    columns.add("mark.lane", marks().map(|m| or_none(m.lane)));
}

fn counters(timeline: &Timeline, columns: &mut Columns) -> Value {
    let all = || timeline.counters.iter();
    let times =
        all().flat_map(|counter| steps(counter.points.iter().map(|p| p.0)));
    columns.add("point.step", times);
    // What is counted is never below 0; a fraction of a count is not shown.
    let values = all().flat_map(|c| c.points.iter().map(|p| p.1 as u64));
    columns.add("point.value", values);
    all().map(|c| json!({ "name": c.name, "points": c.points.len() })).collect()
}

/// The page for `timeline`.
pub fn page(timeline: &Timeline) -> String {
    let mut columns = Columns::default();
    let lanes = lanes(timeline, &mut columns);
    goroutines(timeline, &mut columns);
    wakes_and_marks(timeline, &mut columns);
    let counters = counters(timeline, &mut columns);
    let meta = json!({
        "program": timeline.program,
        "pid": timeline.pid,
        "length": timeline.length,
        "events": timeline.events,
        "warnings": timeline.warnings,
        "texts": timeline.texts.all(),
        "lanes": lanes,
        "counters": counters,
        "columns": columns.names,
        "summary": summary(timeline),
    });
    // Within a script no text may look like the script's end.
    let meta = meta.to_string().replace('<', "\\u003c");
    let title = escape(&timeline.program);
    fill(TEMPLATE, |name| match name {
        "title" => title.clone(),
        "style" => STYLE.to_owned(),
        "meta" => meta.clone(),
        "columns" => STANDARD.encode(&columns.bytes),
        "script" => SCRIPTS.concat(),
        _ => unreachable!("the template asks for {name}"),
    })
}

/// `template` with each `@@name@@` replaced.
fn fill(template: &str, value: impl Fn(&str) -> String) -> String {
    let pieces = template.split("@@").enumerate();
    pieces
        .map(|(n, piece)| match n % 2 {
            0 => piece.to_owned(),
            _ => value(piece),
        })
        .collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_leb128() {
        let mut columns = Columns::default();
        columns.add("a", [0, 127, 128, 300].into_iter());
        assert_eq!(columns.bytes, [0, 127, 0x80, 1, 0xac, 2]);
        assert_eq!(columns.names, [json!(["a", 4])]);
    }

    #[test]
    fn no_text_ends_the_script() {
        let program = "</script><b>".into();
        let mut timeline = Timeline { program, ..Timeline::default() };
        timeline.texts.add("</script>");
        let page = page(&timeline);
        assert_eq!(page.matches("</script>").count(), 3);
        assert!(!page.contains("<b>"));
    }
}
