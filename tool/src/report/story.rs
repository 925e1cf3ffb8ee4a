//! Makes a timeline of the tracks of a trace, as `docs/trace.md` describes
//! them: tracks of Ps with a slice for each time a goroutine ran there, tracks
//! of goroutines with their states, instants of wake-ups, and flows from these
//! to the slice in which the woken goroutine ran.
//!
//! Not every goroutine has a track. The states of one without a track come
//! from the slices on Ps and from the instants that made it runnable; the
//! reason of such a wait is not known.

use super::perfetto::{Event, Kind, Note, Trace};
use super::timeline::{
    Counter, Goroutine, Lane, LaneKind, Mark, Moment, Slice, Span, State,
    Timeline, Wake,
};
use std::collections::HashMap;

/// The reason of a wait that no track tells.
const UNTOLD: &str = "(no track)";

/// What a track is about.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    /// A lane.
    Lane(usize),
    Goroutine(usize),
    Counter(usize),
    /// Of one of the tracks that only hold others.
    None,
}

/// The indices of the words that the events are told apart by; a word that the
/// trace does not have is no index of any.
struct Words {
    run: u32,
    state: u32,
    wait: u32,
    user: u32,
    lost: u32,
    create: u32,
    ready: u32,
    running: u32,
    runnable: u32,
    outside: u32,
    timer: u32,
    netpoll: u32,
    scheduler: u32,
    note_goroutine: u32,
    note_waker: u32,
    note_by: u32,
    note_p: u32,
    note_object: u32,
    note_count: u32,
}

impl Words {
    fn of(trace: &Trace) -> Words {
        let find = |word| trace.texts.find(word).unwrap_or(u32::MAX);
        Words {
            run: find("run"),
            state: find("state"),
            wait: find("wait"),
            user: find("user"),
            lost: find("lost"),
            create: find("create"),
            ready: find("ready"),
            running: find("running"),
            runnable: find("runnable"),
            outside: find("outside"),
            timer: find("timer"),
            netpoll: find("netpoll"),
            scheduler: find("scheduler"),
            note_goroutine: find("goroutine"),
            note_waker: find("waker"),
            note_by: find("by"),
            note_p: find("p"),
            note_object: find("object"),
            note_count: find("count"),
        }
    }
}

/// The number of an annotation.
fn number(event: &Event, name: u32) -> Option<u64> {
    let mut notes = event.notes.iter();
    notes.find_map(|(note, value)| match value {
        Note::Number(n) if *note == name => Some(n.cast_unsigned()),
        _ => None,
    })
}

/// The text of an annotation.
fn text(event: &Event, name: u32) -> Option<u32> {
    let mut notes = event.notes.iter();
    notes.find_map(|(note, value)| match value {
        Note::Text(text) if *note == name => Some(*text),
        _ => None,
    })
}

/// `search #12` is goroutine 12 with the name `search`.
fn split_label(label: &str) -> Option<(&str, u64)> {
    let (name, id) = label.rsplit_once('#')?;
    Some((name.trim_end(), id.parse().ok()?))
}

struct Teller {
    words: Words,
    timeline: Timeline,
    roles: Vec<Role>,
    /// The slice that is open on a lane: its index, and the depth of slices.
    open: Vec<(Option<Slice>, usize)>,
    /// Goroutines by id.
    ids: HashMap<u64, usize>,
    /// Whether a goroutine has a track.
    tracked: Vec<bool>,
    /// The span that is open on a goroutine's track, with the depth of slices.
    spans: Vec<(Option<Span>, usize)>,
    /// Lanes of Ps by number.
    ps: HashMap<u64, usize>,
    /// Wakes by the flow that leaves them.
    flows: HashMap<u64, usize>,
    /// Of goroutines without a track: where they ran, when they were readied.
    runs: HashMap<usize, Vec<Span>>,
    readied: HashMap<usize, Vec<u64>>,
    start: u64,
    lost: u64,
}

/// The timeline that `trace` tells.
///
/// # Errors
/// In words: the trace is no trace of gmprt's.
pub fn tell(trace: Trace) -> Result<Timeline, String> {
    let start = trace.events.first().map_or(0, |event| event.at);
    let length = trace.events.last().map_or(0, |event| event.at - start);
    let words = Words::of(&trace);
    let Trace { tracks, events, texts, warnings } = trace;
    let mut teller = Teller {
        words,
        timeline: Timeline {
            length,
            events: events.len() as u64,
            texts,
            warnings,
            ..Timeline::default()
        },
        roles: Vec::new(),
        open: Vec::new(),
        ids: HashMap::new(),
        tracked: Vec::new(),
        spans: Vec::new(),
        ps: HashMap::new(),
        flows: HashMap::new(),
        runs: HashMap::new(),
        readied: HashMap::new(),
        start,
        lost: 0,
    };
    teller.tracks(&tracks);
    if teller.ps.is_empty() && teller.ids.is_empty() {
        return Err(
            "is a trace in Perfetto's format, but not of gmprt: it has \
                    no Ps and no goroutines"
                .into(),
        );
    }
    for event in &events {
        teller.event(event);
    }
    Ok(teller.finish())
}

impl Teller {
    /// Finds out what the tracks are.
    fn tracks(&mut self, tracks: &[super::perfetto::Track]) {
        let names: HashMap<u64, &str> =
            tracks.iter().map(|t| (t.uuid, t.name.as_str())).collect();
        // Ps in the order of their numbers, before all other lanes.
        let mut order: Vec<usize> = (0..tracks.len()).collect();
        let p_number = |name: &str| -> Option<u64> {
            name.strip_prefix("P ")?.parse().ok()
        };
        let in_ps = |track: usize| {
            let parent = names.get(&tracks[track].parent);
            let number = p_number(&tracks[track].name);
            number.filter(|_| parent == Some(&"Ps"))
        };
        order.sort_by_key(|&track| (in_ps(track).is_none(), in_ps(track)));
        self.roles = vec![Role::None; tracks.len()];
        for index in order {
            let track = &tracks[index];
            let parent = names.get(&track.parent).copied().unwrap_or("");
            self.roles[index] = if let Some(number) = in_ps(index) {
                let lane = self.lane(&track.name, LaneKind::P);
                self.ps.insert(number, lane);
                Role::Lane(lane)
            } else if let Some((name, id)) =
                split_label(&track.name).filter(|_| parent == "goroutines")
            {
                let goroutine = self.goroutine(id);
                let name = self.timeline.texts.add(name);
                self.timeline.goroutines[goroutine].name = name;
                self.tracked[goroutine] = true;
                Role::Goroutine(goroutine)
            } else if track.counter {
                let name = track.name.clone();
                self.timeline.counters.push(Counter { name, points: vec![] });
                Role::Counter(self.timeline.counters.len() - 1)
            } else if let Some(pid) = track.pid {
                self.timeline.program.clone_from(&track.name);
                self.timeline.pid = Some(pid);
                Role::None
            } else if ["Ps", "goroutines"].contains(&track.name.as_str()) {
                Role::None
            } else {
                let name = match track.tid.map(|tid| tid.to_string()) {
                    Some(tid) if !track.name.ends_with(&tid) => {
                        format!("{} {tid}", track.name)
                    }
                    _ => track.name.clone(),
                };
                Role::Lane(self.lane(&name, LaneKind::Other))
            };
        }
    }

    fn lane(&mut self, name: &str, kind: LaneKind) -> usize {
        let name = name.to_owned();
        let lane = Lane { name, kind, slices: vec![], moments: vec![] };
        self.timeline.lanes.push(lane);
        self.open.push((None, 0));
        self.timeline.lanes.len() - 1
    }

    /// The goroutine with this id.
    fn goroutine(&mut self, id: u64) -> usize {
        let goroutines = &mut self.timeline.goroutines;
        *self.ids.entry(id).or_insert_with(|| {
            goroutines.push(Goroutine { id, ..Goroutine::default() });
            self.tracked.push(false);
            self.spans.push((None, 0));
            goroutines.len() - 1
        })
    }

    fn event(&mut self, event: &Event) {
        let at = event.at - self.start;
        match (self.roles[event.track], event.kind) {
            (Role::Lane(lane), Kind::Begin) => self.begin(lane, at, event),
            (Role::Lane(lane), Kind::End) => self.end(lane, at),
            (Role::Lane(lane), Kind::Instant) => self.instant(lane, at, event),
            (Role::Goroutine(g), Kind::Begin) => self.state(g, at, event),
            (Role::Goroutine(g), Kind::End) => self.state_ends(g, at),
            (Role::Goroutine(g), Kind::Instant)
                if event.category == self.words.user =>
            {
                self.mark(g, at, event.name);
            }
            (Role::Counter(counter), Kind::Counter(value)) => {
                self.timeline.counters[counter].points.push((at, value));
            }
            _ => {}
        }
    }

    fn mark(&mut self, g: usize, at: u64, text: u32) {
        let lane = match self.spans[g].0.map(|span| span.state) {
            Some(State::Running(lane)) => lane,
            _ => None,
        };
        let goroutine = Some(g);
        self.timeline.marks.push(Mark { at, text, goroutine, lane });
    }

    /// A slice begins on a lane; of nested ones the outermost is shown.
    fn begin(&mut self, lane: usize, at: u64, event: &Event) {
        self.open[lane].1 += 1;
        if self.open[lane].1 > 1 {
            return;
        }
        let id = number(event, self.words.note_goroutine)
            .filter(|_| event.category == self.words.run);
        let goroutine = id.map(|id| self.goroutine(id));
        if let Some(goroutine) = goroutine
            && self.timeline.goroutines[goroutine].name == 0
        {
            let label = self.timeline.texts.get(event.name);
            if let Some((name, _)) = split_label(label) {
                let name = name.to_owned();
                let name = self.timeline.texts.add(&name);
                self.timeline.goroutines[goroutine].name = name;
            }
        }
        let (from, to) = (at, at);
        self.open[lane].0 =
            Some(Slice { from, to, name: event.name, goroutine });
        self.flows_end(event, at, Some(lane));
    }

    /// The wakes whose flow ends in `event` have led to a run.
    fn flows_end(&mut self, event: &Event, at: u64, lane: Option<usize>) {
        for flow in &event.ends {
            if let Some(wake) = self.flows.remove(flow) {
                self.timeline.wakes[wake].ran = Some((at, lane));
            }
        }
    }

    fn end(&mut self, lane: usize, at: u64) {
        self.open[lane].1 = self.open[lane].1.saturating_sub(1);
        if self.open[lane].1 > 0 {
            return;
        }
        let Some(mut slice) = self.open[lane].0.take() else { return };
        slice.to = at;
        self.timeline.lanes[lane].slices.push(slice);
        if let Some(goroutine) = slice.goroutine
            && !self.tracked[goroutine]
        {
            let state = State::Running(Some(lane));
            let span = Span { from: slice.from, to: at, state };
            self.runs.entry(goroutine).or_default().push(span);
        }
    }

    fn instant(&mut self, lane: usize, at: u64, event: &Event) {
        let words = &self.words;
        if event.category == words.user {
            // Of a thread of the host's, which is no goroutine.
            let (text, lane) = (event.name, Some(lane));
            self.timeline.marks.push(Mark { at, text, goroutine: None, lane });
        }
        if event.category == words.lost {
            self.lost += number(event, words.note_count).unwrap_or(1);
        }
        let created = event.name == words.create;
        let woken = number(event, words.note_goroutine)
            .filter(|_| created || event.name == words.ready);
        self.timeline.lanes[lane].moments.push(Moment { at, name: event.name });
        let Some(woken) = woken else { return };
        let words = &self.words;
        let by = text(event, words.note_by).unwrap_or(event.name);
        let nobody =
            [words.timer, words.netpoll, words.scheduler].contains(&by);
        let waker = self.open[lane].0.and_then(|slice| slice.goroutine);
        let waker = waker.filter(|_| !nobody);
        let woken = self.goroutine(woken);
        if created {
            self.timeline.goroutines[woken].parent = waker;
        }
        if !self.tracked[woken] {
            self.readied.entry(woken).or_default().push(at);
        }
        for flow in &event.flows {
            self.flows.insert(*flow, self.timeline.wakes.len());
        }
        let lane = Some(lane);
        let (how, ran) = (by, None);
        self.timeline.wakes.push(Wake { at, by: waker, how, lane, woken, ran });
    }

    /// A state begins on a goroutine's track.
    fn state(&mut self, g: usize, at: u64, event: &Event) {
        self.spans[g].1 += 1;
        if self.spans[g].1 > 1 {
            return;
        }
        let words = &self.words;
        let state = if event.category == words.wait {
            let object = number(event, words.note_object);
            let object = object.map(|at| format!("{at:#x}"));
            let object = self.timeline.texts.add(&object.unwrap_or_default());
            State::Waiting(event.name, object)
        } else if event.name == words.outside {
            State::Blocked
        } else if event.category != words.state {
            return;
        } else if event.name == words.running {
            let p = number(event, words.note_p);
            State::Running(p.and_then(|p| self.ps.get(&p).copied()))
        } else if event.name == words.runnable {
            State::Runnable
        } else {
            return;
        };
        let waker = number(event, words.note_waker).filter(|id| *id != 0);
        let created = text(event, words.note_by) == Some(words.create);
        if let (Some(waker), true) = (waker, created) {
            let parent = self.goroutine(waker);
            self.timeline.goroutines[g].parent = Some(parent);
        }
        self.spans[g].0 = Some(Span { from: at, to: at, state });
        self.flows_end(event, at, None);
    }

    fn state_ends(&mut self, g: usize, at: u64) {
        self.spans[g].1 = self.spans[g].1.saturating_sub(1);
        if self.spans[g].1 > 0 {
            return;
        }
        if let Some(mut span) = self.spans[g].0.take() {
            span.to = at;
            self.timeline.goroutines[g].spans.push(span);
        }
    }

    fn finish(mut self) -> Timeline {
        // What the trace leaves open goes on to its end.
        let end = self.timeline.length;
        for lane in 0..self.open.len() {
            self.open[lane].1 = 1;
            self.end(lane, end);
        }
        for g in 0..self.spans.len() {
            self.spans[g].1 = 1;
            self.state_ends(g, end);
        }
        let untold = self.timeline.texts.add(UNTOLD);
        for (g, runs) in std::mem::take(&mut self.runs) {
            let readied = self.readied.remove(&g).unwrap_or_default();
            self.timeline.goroutines[g].spans =
                between(&runs, &readied, untold);
        }
        if self.lost > 0 {
            self.timeline.warnings.push(format!(
                "{} events were lost: a ring was full. What is shown around \
                 that time may be wrong. GMPDEBUG=tracebuf=KIB makes the \
                 rings larger.",
                self.lost
            ));
        }
        let lanes = &self.timeline.lanes;
        let empty = |lane: &Lane| {
            lane.kind == LaneKind::Other
                && lane.slices.is_empty()
                && lane.moments.is_empty()
        };
        // Ps come first, so only what lies behind them moves up.
        if lanes.iter().any(empty) {
            self.drop_lanes(empty);
        }
        self.timeline
    }

    /// Takes lanes out, and gives the rest their new numbers.
    fn drop_lanes(&mut self, which: impl Fn(&Lane) -> bool) {
        let mut kept = 0;
        let new: Vec<Option<usize>> = self
            .timeline
            .lanes
            .iter()
            .map(|lane| {
                let index = (!which(lane)).then_some(kept);
                kept += usize::from(index.is_some());
                index
            })
            .collect();
        self.timeline.lanes.retain(|lane| !which(lane));
        for wake in &mut self.timeline.wakes {
            wake.lane = wake.lane.and_then(|lane| new[lane]);
        }
        for mark in &mut self.timeline.marks {
            mark.lane = mark.lane.and_then(|lane| new[lane]);
        }
    }
}

/// The states of a goroutine without a track, from the times when it ran and
/// those when it was made runnable.
fn between(runs: &[Span], readied: &[u64], reason: u32) -> Vec<Span> {
    let mut spans = Vec::with_capacity(runs.len() * 3);
    let mut readied = readied.iter().copied().peekable();
    let mut end = None;
    for run in runs {
        let mut ready = None;
        while let Some(at) = readied.next_if(|at| *at <= run.from) {
            ready = Some(at);
        }
        let from = end.unwrap_or(run.from);
        let ready = ready.filter(|at| end.is_none() || *at >= from);
        match (end, ready) {
            (Some(end), Some(at)) => {
                let state = State::Waiting(reason, 0);
                spans.push(Span { from: end, to: at, state });
                let state = State::Runnable;
                spans.push(Span { from: at, to: run.from, state });
            }
            // It had given way to others, or was just made.
            (Some(from), None) | (None, Some(from)) => {
                let state = State::Runnable;
                spans.push(Span { from, to: run.from, state });
            }
            (None, None) => {}
        }
        spans.push(*run);
        end = Some(run.to);
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(from: u64, to: u64) -> Span {
        Span { from, to, state: State::Running(None) }
    }

    #[test]
    fn a_label_ends_with_the_id() {
        assert_eq!(split_label("search #12"), Some(("search", 12)));
        assert_eq!(split_label("a # b #7"), Some(("a # b", 7)));
        assert_eq!(split_label("goroutine"), None);
    }

    #[test]
    fn what_lies_between_runs_is_a_wait_if_something_ended_it() {
        let spans = between(&[run(5, 6), run(9, 10), run(20, 21)], &[3, 18], 4);
        let want = [
            Span { from: 3, to: 5, state: State::Runnable },
            run(5, 6),
            Span { from: 6, to: 9, state: State::Runnable },
            run(9, 10),
            Span { from: 10, to: 18, state: State::Waiting(4, 0) },
            Span { from: 18, to: 20, state: State::Runnable },
            run(20, 21),
        ];
        assert_eq!(spans, want);
    }
}
