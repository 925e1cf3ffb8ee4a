//! What the tables of a report say: latencies, waits by reason, who woke whom.

use super::timeline::{State, Timeline};
use serde::Serialize;
use std::collections::{HashMap, HashSet};

/// The steps of a histogram: each is twice as wide as the one before. Step 0
/// has all below 128 ns; the last has all from 17 s up.
const STEPS: usize = 29;
const FIRST_BITS: u32 = 7;

/// How long something took, over and over.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Spread {
    pub count: u64,
    pub total: u64,
    pub half: u64,
    pub p99: u64,
    pub max: u64,
    /// Counts by step.
    pub steps: Vec<u64>,
}

impl Spread {
    fn of(mut times: Vec<u64>) -> Spread {
        times.sort_unstable();
        let Some(max) = times.last() else { return Spread::default() };
        let rank = |share: f64| {
            let rank = (times.len() as f64 * share).ceil() as usize;
            times[rank.clamp(1, times.len()) - 1]
        };
        let mut steps = vec![0; STEPS];
        for time in &times {
            steps[step(*time)] += 1;
        }
        Spread {
            count: times.len() as u64,
            total: times.iter().sum(),
            half: rank(0.5),
            p99: rank(0.99),
            max: *max,
            steps,
        }
    }
}

/// The step of a histogram that `time` belongs to.
fn step(time: u64) -> usize {
    let bits = 64 - time.leading_zeros();
    (bits.saturating_sub(FIRST_BITS) as usize).min(STEPS - 1)
}

/// Waits of one reason.
#[derive(Debug, Serialize)]
pub struct Waits {
    pub reason: String,
    pub times: Spread,
}

/// Waits for one object.
#[derive(Debug, Serialize)]
pub struct WaitsFor {
    pub object: String,
    pub reason: String,
    /// How many goroutines have waited.
    pub goroutines: u64,
    pub times: Spread,
}

/// Goroutines of one name that woke goroutines of another in one way.
#[derive(Debug, Serialize)]
pub struct Pair {
    pub by: String,
    pub how: String,
    pub woken: String,
    /// From being made runnable to running.
    pub times: Spread,
    /// Without `times`: never ran before the trace ended.
    pub never: u64,
}

/// Goroutines of one name.
#[derive(Debug, Serialize)]
pub struct Group {
    pub name: String,
    pub count: u64,
    pub running: u64,
    pub runnable: u64,
    pub waiting: u64,
    pub blocked: u64,
}

#[derive(Debug, Serialize)]
pub struct Summary {
    /// From runnable to running.
    pub latency: Spread,
    /// By their total, longest first.
    pub waits: Vec<Waits>,
    /// The longest in all, longest first.
    pub objects: Vec<WaitsFor>,
    /// By count, largest first.
    pub pairs: Vec<Pair>,
    /// By their time running, longest first.
    pub groups: Vec<Group>,
}

/// The waker where it was no goroutine.
const NOBODY: &str = "(no goroutine)";

pub fn summary(timeline: &Timeline) -> Summary {
    Summary {
        latency: latency(timeline),
        waits: waits(timeline),
        objects: objects(timeline),
        pairs: pairs(timeline),
        groups: groups(timeline),
    }
}

fn latency(timeline: &Timeline) -> Spread {
    let mut times = Vec::new();
    for goroutine in &timeline.goroutines {
        for pair in goroutine.spans.windows(2) {
            let waited = pair[0].state == State::Runnable;
            if waited && matches!(pair[1].state, State::Running(_)) {
                times.push(pair[0].to - pair[0].from);
            }
        }
    }
    Spread::of(times)
}

fn waits(timeline: &Timeline) -> Vec<Waits> {
    let mut reasons: HashMap<u32, Vec<u64>> = HashMap::new();
    for goroutine in &timeline.goroutines {
        for span in &goroutine.spans {
            if let State::Waiting(reason, _) = span.state {
                let times = reasons.entry(reason).or_default();
                times.push(span.to - span.from);
            }
        }
    }
    let named = reasons.into_iter().map(|(reason, times)| Waits {
        reason: timeline.texts.get(reason).to_owned(),
        times: Spread::of(times),
    });
    let mut waits: Vec<Waits> = named.collect();
    waits.sort_by(|a, b| {
        (b.times.total, &a.reason).cmp(&(a.times.total, &b.reason))
    });
    waits
}

/// The most objects that are told.
const OBJECTS: usize = 200;

fn objects(timeline: &Timeline) -> Vec<WaitsFor> {
    let mut objects: HashMap<(u32, u32), (Vec<u64>, u64)> = HashMap::new();
    for goroutine in &timeline.goroutines {
        let mut seen = HashSet::new();
        for span in &goroutine.spans {
            if let State::Waiting(reason, object) = span.state
                && object != 0
            {
                let it = objects.entry((object, reason)).or_default();
                it.0.push(span.to - span.from);
                it.1 += u64::from(seen.insert((object, reason)));
            }
        }
    }
    let named = objects.into_iter().map(|((object, reason), it)| WaitsFor {
        object: timeline.texts.get(object).to_owned(),
        reason: timeline.texts.get(reason).to_owned(),
        goroutines: it.1,
        times: Spread::of(it.0),
    });
    let mut objects: Vec<WaitsFor> = named.collect();
    objects.sort_by(|a, b| {
        (b.times.total, &a.object).cmp(&(a.times.total, &b.object))
    });
    objects.truncate(OBJECTS);
    objects
}

fn pairs(timeline: &Timeline) -> Vec<Pair> {
    let mut pairs: HashMap<(&str, u32, &str), (Vec<u64>, u64)> = HashMap::new();
    for wake in &timeline.wakes {
        let by = wake.by.map_or(NOBODY, |by| timeline.name_of(by));
        let woken = timeline.name_of(wake.woken);
        let (times, never) = pairs.entry((by, wake.how, woken)).or_default();
        match wake.ran {
            Some((at, _)) => times.push(at.saturating_sub(wake.at)),
            None => *never += 1,
        }
    }
    let named =
        pairs.into_iter().map(|((by, how, woken), (times, never))| Pair {
            by: by.to_owned(),
            how: timeline.texts.get(how).to_owned(),
            woken: woken.to_owned(),
            times: Spread::of(times),
            never,
        });
    let mut pairs: Vec<Pair> = named.collect();
    let count = |pair: &Pair| pair.times.count + pair.never;
    pairs.sort_by(|a, b| {
        let names = |pair: &Pair| {
            (pair.by.clone(), pair.how.clone(), pair.woken.clone())
        };
        count(b).cmp(&count(a)).then_with(|| names(a).cmp(&names(b)))
    });
    pairs
}

fn groups(timeline: &Timeline) -> Vec<Group> {
    let mut groups: HashMap<&str, Group> = HashMap::new();
    for (index, goroutine) in timeline.goroutines.iter().enumerate() {
        let name = timeline.name_of(index);
        let group = groups.entry(name).or_insert_with(|| Group {
            name: name.to_owned(),
            count: 0,
            running: 0,
            runnable: 0,
            waiting: 0,
            blocked: 0,
        });
        group.count += 1;
        for span in &goroutine.spans {
            *match span.state {
                State::Running(_) => &mut group.running,
                State::Runnable => &mut group.runnable,
                State::Waiting(..) => &mut group.waiting,
                State::Blocked => &mut group.blocked,
            } += span.to - span.from;
        }
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by(|a, b| (b.running, &a.name).cmp(&(a.running, &b.name)));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_of_the_times_themselves() {
        let spread = Spread::of((1..=100).rev().collect());
        assert_eq!((spread.count, spread.total), (100, 5050));
        assert_eq!((spread.half, spread.p99, spread.max), (50, 99, 100));
        assert_eq!(Spread::of(vec![7]).half, 7);
        assert_eq!(Spread::of(vec![]).count, 0);
    }

    #[test]
    fn steps_double() {
        assert_eq!([0, 127, 128, 255, 256].map(step), [0, 0, 1, 1, 2]);
        assert_eq!(step(u64::MAX), STEPS - 1);
    }
}
