//! The words of the file: categories, names of events and of annotations, each
//! with the id by which packets refer to it.

/// Categories, in the order of their ids, which begin with 1.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Category {
    Run = 1,
    State,
    Wait,
    Outside,
    Go,
    Wake,
    Timer,
    Net,
    Sched,
    User,
    Panic,
    Gc,
    Lost,
}
pub(super) const CATEGORIES: [&str; 13] = [
    "run", "state", "wait", "outside", "go", "wake", "timer", "net", "sched",
    "user", "panic", "gc", "lost",
];

/// Names of events, likewise.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Fixed {
    Running = 1,
    Runnable,
    Waiting,
    Outside,
    Goroutine,
    Create,
    End,
    Ready,
    Timer,
    Netpoll,
    Steal,
    Start,
    Stop,
    Retake,
    Handoff,
    Thread,
    Fatal,
    GcStop,
    GcMark,
    GcSweep,
    Lost,
}
pub(super) const NAMES: [&str; 21] = [
    "running",
    "runnable",
    "waiting",
    "outside",
    "goroutine",
    "create",
    "end",
    "ready",
    "timer",
    "netpoll",
    "steal",
    "start",
    "stop",
    "retake",
    "handoff",
    "thread",
    "fatal error",
    "GC stop",
    "GC mark",
    "GC sweep",
    "events lost",
];

/// Names of annotations, likewise.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Note {
    Goroutine = 1,
    Thread,
    P,
    Waker,
    By,
    Object,
    Function,
    Fd,
    Events,
    From,
    Count,
    Busy,
    M,
    Bytes,
}
pub(super) const NOTES: [&str; 14] = [
    "goroutine",
    "thread",
    "p",
    "waker",
    "by",
    "object",
    "function",
    "fd",
    "events",
    "from",
    "count",
    "busy",
    "m",
    "bytes",
];

/// Causes of wake-ups, in the order of `reader::By`.
pub(super) const CAUSES: [&str; 7] =
    ["create", "ready", "timer", "netpoll", "end", "yield", "scheduler"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_of_names_are_as_long_as_their_enums() {
        assert_eq!(CATEGORIES.len(), Category::Lost as usize);
        assert_eq!(CATEGORIES[Category::User as usize - 1], "user");
        assert_eq!(NAMES.len(), Fixed::Lost as usize);
        assert_eq!(NAMES[Fixed::Handoff as usize - 1], "handoff");
        assert_eq!(NOTES.len(), Note::Bytes as usize);
        assert_eq!(NOTES[Note::Object as usize - 1], "object");
    }
}
