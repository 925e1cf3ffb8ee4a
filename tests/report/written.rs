//! A trace as the library writes it, of a program that is known: so that what
//! a page shows can be compared with what happened.

/// A message of protocol buffers under way.
#[derive(Clone, Default)]
pub struct Message(Vec<u8>);

impl Message {
    fn raw(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub fn number(mut self, field: u64, number: u64) -> Message {
        self.raw(field << 3);
        self.raw(number);
        self
    }

    pub fn fixed(mut self, field: u64, number: u64) -> Message {
        self.raw(field << 3 | 1);
        self.0.extend(number.to_le_bytes());
        self
    }

    pub fn text(mut self, field: u64, text: &str) -> Message {
        self.raw(field << 3 | 2);
        self.raw(text.len() as u64);
        self.0.extend(text.as_bytes());
        self
    }

    pub fn message(mut self, field: u64, message: Message) -> Message {
        self.raw(field << 3 | 2);
        self.raw(message.0.len() as u64);
        self.0.extend(message.0);
        self
    }
}

fn message() -> Message {
    Message::default()
}

const BEGIN: u64 = 1;
const END: u64 = 2;
const INSTANT: u64 = 3;
const COUNTER: u64 = 4;

/// Writes packets, and interns names as the library does.
#[derive(Default)]
pub struct Writer {
    bytes: Message,
    names: Vec<(u64, String)>,
    flows: u64,
}

/// The fields of `InternedData`.
const CATEGORIES: u64 = 1;
const NAMES: u64 = 2;
const NOTES: u64 = 3;

impl Writer {
    fn packet(&mut self, packet: Message) {
        let packet = packet.number(10, 1);
        self.bytes = std::mem::take(&mut self.bytes).message(1, packet);
    }

    /// The iid of `text`, in a packet that says so if it is new.
    fn iid(&mut self, table: u64, text: &str) -> u64 {
        let known = |(t, name): &(u64, String)| *t == table && name == text;
        if let Some(at) = self.names.iter().position(known) {
            return at as u64 + 1;
        }
        self.names.push((table, text.to_owned()));
        let iid = self.names.len() as u64;
        let entry = message().number(1, iid).text(2, text);
        self.packet(message().message(12, message().message(table, entry)));
        iid
    }

    fn track(&mut self, uuid: u64, parent: u64, name: &str) {
        let track = message().number(1, uuid).number(5, parent).text(2, name);
        self.packet(message().message(60, track));
    }

    /// The tracks of every trace, and those of so many Ps.
    pub fn begin(program: &str, ps: u64) -> Writer {
        let mut writer = Writer::default();
        writer.packet(message().number(13, 1));
        let process = message().number(1, 4711).text(6, program);
        let track = message().number(1, 1).message(3, process);
        writer.packet(message().message(60, track));
        writer.track(2, 1, "Ps");
        writer.track(3, 1, "goroutines");
        writer.track(4, 1, "scheduler");
        let counter = message()
            .number(1, 6)
            .number(5, 1)
            .text(2, "runnable goroutines")
            .message(8, message());
        writer.packet(message().message(60, counter));
        for p in 0..ps {
            writer.track(4096 + p, 2, &format!("P {p}"));
        }
        writer
    }

    pub fn goroutine(&mut self, id: u64, name: &str) {
        self.track((1 << 40) + id, 3, &format!("{name} #{id}"));
    }

    fn event(&mut self, at: u64, event: Message) {
        self.packet(message().number(8, at).message(11, event));
    }

    fn note(&mut self, name: &str) -> Message {
        message().number(1, self.iid(NOTES, name))
    }

    /// A state of a goroutine.
    pub fn state(&mut self, id: u64, category: &str, name: &str, span: Span) {
        let event = message()
            .number(3, self.iid(CATEGORIES, category))
            .number(10, self.iid(NAMES, name))
            .number(11, (1 << 40) + id);
        let mut begins = event.clone().number(9, BEGIN);
        if let Some(p) = span.p {
            begins = begins.message(4, self.note("p").number(3, p));
        }
        self.event(span.from, begins);
        let track = (1 << 40) + id;
        self.event(span.to, message().number(9, END).number(11, track));
    }

    /// A goroutine runs on a P; a flow ends there.
    pub fn run(&mut self, id: u64, name: &str, flow: Option<u64>, span: Span) {
        let track = 4096 + span.p.expect("a P");
        let goroutine = self.note("goroutine").number(3, id);
        let mut event = message()
            .number(3, self.iid(CATEGORIES, "run"))
            .number(10, self.iid(NAMES, &format!("{name} #{id}")))
            .number(11, track)
            .number(9, BEGIN)
            .message(4, goroutine);
        if let Some(flow) = flow {
            event = event.fixed(48, flow);
        }
        self.event(span.from, event);
        self.event(span.to, message().number(9, END).number(11, track));
    }

    /// A goroutine is made runnable on a P: the flow that leads from there.
    pub fn wake(&mut self, at: u64, p: u64, how: &str, woken: u64) -> u64 {
        self.flows += 1;
        let (category, name) = match how {
            "create" => ("go", "create"),
            _ => ("wake", "ready"),
        };
        let goroutine = self.note("goroutine").number(3, woken);
        let by = self.note("by").text(6, how);
        let event = message()
            .number(3, self.iid(CATEGORIES, category))
            .number(10, self.iid(NAMES, name))
            .number(11, 4096 + p)
            .number(9, INSTANT)
            .message(4, goroutine)
            .message(4, by)
            .fixed(47, self.flows);
        self.event(at, event);
        self.flows
    }

    pub fn mark(&mut self, at: u64, id: u64, text: &str) {
        let event = message()
            .number(3, self.iid(CATEGORIES, "user"))
            .text(23, text)
            .number(11, (1 << 40) + id)
            .number(9, INSTANT);
        self.event(at, event);
    }

    pub fn counter(&mut self, at: u64, value: u64) {
        let event =
            message().number(11, 6).number(9, COUNTER).number(30, value);
        self.event(at, event);
    }

    pub fn end(self) -> Vec<u8> {
        self.bytes.0
    }
}

/// A time, and perhaps a P.
#[derive(Clone, Copy)]
pub struct Span {
    pub from: u64,
    pub to: u64,
    pub p: Option<u64>,
}

/// When the trace begins.
pub const START: u64 = 1_000_000_000;

/// Two goroutines that wake each other by a channel, `turns` times, on two Ps:
/// each turn takes 10 µs, of which the woken one is 2 µs runnable. A third
/// sleeps for all that time, but for its start; the first marks each 100th
/// turn.
pub fn pingpong(turns: u64) -> Vec<u8> {
    let mut writer = Writer::begin("pingpong", 2);
    for (id, name) in [(1, "ping"), (2, "pong"), (3, "sleeper")] {
        writer.goroutine(id, name);
    }
    let span = |from, to, p| Span { from, to, p };
    let mut at = START;
    let created = writer.wake(at, 0, "create", 3);
    writer.state(3, "state", "runnable", span(at, at + 1000, None));
    let mut flow = Some(created);
    writer.run(3, "sleeper", flow, span(at + 1000, at + 3000, Some(1)));
    writer.state(3, "state", "running", span(at + 1000, at + 3000, Some(1)));
    at += 3000;
    let end = at + turns * 10_000;
    writer.state(3, "wait", "sleep", span(at, end, None));
    flow = None;
    for turn in 0..turns {
        let (id, name, other) =
            if turn % 2 == 0 { (1, "ping", 2) } else { (2, "pong", 1) };
        let p = turn % 2;
        let ran = span(at, at + 8000, Some(p));
        writer.run(id, name, flow, ran);
        writer.state(id, "state", "running", ran);
        if id == 1 && turn % 100 == 0 {
            writer.mark(at + 10, id, &format!("turn {turn}"));
        }
        flow = Some(writer.wake(at + 7999, p, "ready", other));
        writer.state(
            other,
            "state",
            "runnable",
            span(at + 8000, at + 10_000, None),
        );
        let waits = span(at + 8000, at + 18_000, None);
        writer.state(id, "wait", "chan receive", waits);
        if turn % 50 == 0 {
            writer.counter(at + 20, turn % 7);
        }
        at += 10_000;
    }
    writer.end()
}
