//! Events in, states and packets out: what each goroutine and each P does.
//!
//! The rings say what happened, each for its thread. Here these are put
//! together: a P's track shows the goroutine whose thread holds the P, and a
//! goroutine's track its state.
//!
//! ```text
//!            Create            Resume
//!   (new) ----------> runnable ------> running ----> (gone)   End
//!                      ^   ^   Yield    |  |  ^
//!                      |   '------------'  |  |  LostP, TakeP
//!                      |         Park      |  v
//!                      waiting <-----------' outside          Retake, DropP
//!                            Ready
//! ```
//! A host thread goes from waiting by Ready to runnable, and by Awake to
//! running.
//!
//! Events may be lost, and those of two threads that happen within some
//! nanoseconds may come in the wrong order. So no transition is taken for
//! granted: each event ends whatever slice is open, and begins its own.

use super::{
    lanes::{Flow, Name, Value, Writer, Written, with_number},
    mapped::Mapped,
    merge::Merge,
    packet::Sink,
    reader::{By, Reader, Thread},
    recorder::{self, Recorder},
    stamp::{Line, Stamp},
    tracks::{self, State},
    words::{Category, Fixed, Note},
};
use crate::{
    base::{ring::Words, sync::Ordering::*, trace::Kind},
    gmp::{G, GStatus, MKind, each_g, gflag, wait::Wait},
    os::Result,
};
use core::mem::offset_of;
use gmprt_inspect::memory::{Memory, OwnMemory};

/// What makes a file of events. All bytes zero: it has not begun.
pub(super) struct Encoder {
    merge: Merge,
    written: Written,
    /// Events before that are of an earlier trace.
    since: u64,
}

impl Encoder {
    /// One that has not begun.
    ///
    /// Errors: `ENOMEM`.
    pub(super) fn map() -> Result<Mapped<Self>> {
        // SAFETY: all bytes zero are an encoder.
        unsafe { Mapped::new() }
    }

    fn writer<'a>(&'a mut self, sink: &'a Sink) -> Writer<'a> {
        Writer { w: &mut self.written, sink }
    }

    /// Begins the file of a trace that has begun at `since`. `states`: what
    /// goroutines wait for now they do so from the begin on.
    pub(super) fn begin(&mut self, sink: &Sink, since: Stamp, states: bool) {
        self.since = since.ticks;
        self.written.ns = since.ns;
        self.written.line = Line::new(since, since);
        let mut writer = self.writer(sink);
        writer.begin();
        for gp in each_g() {
            writer.look_at(gp, states);
        }
    }

    /// Writes the events so far, but those of the last `lag` nanoseconds.
    /// Returns the part of a ring, in percent, that was unread in the fullest.
    ///
    /// # Safety
    /// The caller holds the session's lock.
    pub(super) unsafe fn drain(&mut self, sink: &Sink, lag: i64) -> u64 {
        let line = &mut self.written.line;
        *line = Line::new(line.to, Stamp::now());
        let until = line.before_end(lag).max(self.since);
        let full = recorder::each().map(|recorder| {
            // SAFETY: the caller holds the lock.
            let reader = unsafe { recorder.reader() };
            reader.unread(&recorder.ring) * 100 / recorder.ring.capacity()
        });
        let full = full.max().unwrap_or(0);
        let (since, written) = (self.since, &mut self.written);
        // SAFETY: the caller holds the lock.
        unsafe {
            self.merge.run(until, |recorder, reader, time, event| {
                if time < since {
                    return;
                }
                written.ns = written.ns.max(written.line.ns(time));
                let mut writer = Writer { w: &mut *written, sink };
                writer.event(recorder, reader, &event);
            });
        }
        full
    }

    /// Ends the file.
    ///
    /// Errors: the first of the file.
    pub(super) fn finish(&mut self, sink: &Sink) -> Result<()> {
        let refused = recorder::REFUSED.swap(0, Relaxed);
        let mut writer = self.writer(sink);
        if refused > 0 {
            writer.lost(0, refused);
        }
        writer.end_part();
        writer.end_all();
        writer.flush();
        writer.result()
    }

    /// Writes what has come together.
    ///
    /// Errors: the first of the file.
    pub(super) fn flush(&mut self, sink: &Sink) -> Result<()> {
        let mut writer = self.writer(sink);
        writer.flush();
        writer.result()
    }

    /// From now on functions are written as addresses: the process dies, and
    /// there may be little stack.
    pub(super) fn hurry(&mut self) {
        self.written.hurried = true;
    }
}

/// What an event says, with the goroutine that it is about.
struct Said {
    id: u64,
    a: u64,
    b: u64,
}

impl Writer<'_> {
    /// A goroutine that exists when the file begins.
    fn look_at(&mut self, gp: &G, states: bool) {
        let status = gp.readgstatus();
        // SAFETY: aligned and initialised; the word is the old or the new one.
        let goid = unsafe { gp.goid.as_ptr().read_volatile() };
        if goid == 0 || matches!(status, GStatus::Idle | GStatus::Dead) {
            return;
        }
        // SAFETY: as above.
        let func = unsafe { gp.func.as_ptr().read_volatile() };
        // SAFETY: as above.
        let flags = unsafe { gp.flags.as_ptr().read_volatile() };
        let Some(known) = self.w.table.get(goid) else { return };
        known.func = func.map_or(0, |f| f as usize as u64);
        known.host = flags & gflag::HOST != 0;
        let mut room = [0; 64];
        let name = gp.name.load(Acquire).addr() as u64;
        let name = match name {
            0 => None,
            // Freed meanwhile it may be any text.
            at => OwnMemory.c_str(at, &mut room),
        };
        self.track(goid, name.unwrap_or(b""), false);
        if !states {
            return;
        }
        match status {
            GStatus::Waiting => {
                let wait = gp.waiting.load(Acquire).addr() as u64;
                let read = |at| OwnMemory.u64(wait + at as u64);
                let Some(object) = read(offset_of!(Wait, object)) else {
                    return;
                };
                let Some(reason) = read(offset_of!(Wait, reason)) else {
                    return;
                };
                let mut text = [0; 64];
                // A host's reason may change, so it is not interned.
                let text = OwnMemory.c_str(reason, &mut text).unwrap_or(b"");
                self.waits(goid, Name::Text(text), object);
            }
            GStatus::Runnable => self.runnable(goid, 0, By::Scheduler),
            _ => {}
        }
    }

    /// One event of a ring.
    fn event(&mut self, from: &Recorder, reader: &mut Reader, event: &Words) {
        let lost = reader.take_lost();
        if lost > 0 {
            self.lost(reader.thread.tid, lost);
            let Thread { p, goid, mut tid, .. } = reader.thread;
            if p > 0 {
                self.end_run(p - 1, Some(goid));
            }
            self.state(goid, State::Unknown);
            self.end_state(goid);
            if from.m().is_none() {
                // The last to tell its number is not the next to write.
                tid = 0;
            }
            reader.thread = Thread { tid, ..Thread::NEW };
        }
        let thread = &mut reader.thread;
        let (Some(kind), id) = recorder::split(event) else { return };
        let said = Said { id, a: event[2], b: event[3] };
        if kind == Kind::Text {
            thread.add_text(said.id, said.a, said.b);
            return;
        }
        match kind {
            Kind::Create | Kind::Attach | Kind::Name | Kind::End => {
                self.life(kind, from, thread, &said);
            }
            Kind::Resume | Kind::Awake => self.resume(thread, &said),
            Kind::Park | Kind::Yield => self.leave(kind, thread, &said),
            Kind::Ready => self.ready(from, thread, &said),
            Kind::TakeP | Kind::DropP | Kind::Retake | Kind::LostP => {
                self.p_moves(kind, from, thread, &said);
            }
            _ if kind.is_of_heap() => self.heap(kind, said.a, said.b),
            _ => self.rest(kind, from, thread, &said),
        }
        if matches!(kind, Kind::Resume | Kind::Awake | Kind::Park | Kind::Yield)
        {
            (thread.by, thread.next_by) = (By::Nothing, By::Nothing);
        }
        thread.text_len = 0;
    }

    pub(super) fn lost(&mut self, tid: i32, count: u64) {
        let notes = [
            (Note::Count, Value::Number(count)),
            (Note::Thread, Value::Signed(tid.into())),
        ];
        let name = Name::Fixed(Fixed::Lost);
        let track = tracks::SCHEDULER;
        self.instant(track, Category::Lost, name, &notes, Flow::None);
    }

    fn state(&mut self, goid: u64, state: State) {
        if let Some(known) = self.w.table.get(goid) {
            known.state = state;
        }
    }

    /// Begins a flow to the next run of a goroutine.
    fn flow_to(&mut self, goid: u64) -> Flow {
        let id = self.w.flow + 1;
        match self.w.table.get(goid) {
            Some(known) => {
                known.flow = id;
                self.w.flow = id;
                Flow::Begins(id)
            }
            None => Flow::None,
        }
    }

    /// Ends the flow to a goroutine.
    fn flow_ends(&mut self, goid: u64) -> Flow {
        let known = self.w.table.find(goid);
        match known.map(|known| core::mem::take(&mut known.flow)) {
            Some(id) if id != 0 => Flow::Ends(id),
            _ => Flow::None,
        }
    }

    /// Where the instants of a thread go.
    fn place(&mut self, from: &Recorder, thread: &Thread) -> u64 {
        if thread.p > 0 {
            return self.p(thread.p - 1);
        }
        let known = self.w.table.find(thread.goid);
        if known.is_some_and(|known| known.tracked) {
            return tracks::of_goroutine(thread.goid);
        }
        let mut room = [0; 120];
        let name: &[u8] = match from.m().map(|mp| {
            // SAFETY: aligned and initialised; the byte is the old or the new
            // one.
            unsafe { mp.kind.as_ptr().read_volatile() }
        }) {
            Some(MKind::Worker | MKind::Early) => b"gmprt-m",
            Some(MKind::Sysmon) => b"gmprt-sysmon",
            Some(MKind::Template) => b"gmprt-template",
            Some(MKind::Dumper) => b"gmprt-dumper",
            Some(MKind::Marker) => b"gmprt-marker",
            Some(MKind::Tracer) => b"gmprt-trace",
            Some(MKind::Host) | None => {
                let tid = thread.tid as u64;
                let len = with_number(b"host thread ", tid, &mut room);
                &room[..len]
            }
        };
        self.thread(thread.tid, name)
    }

    fn runnable(&mut self, goid: u64, waker: u64, by: By) {
        self.state(goid, State::Runnable);
        let notes = [
            (Note::Waker, Value::Number(waker)),
            (Note::By, Value::Interned(by.iid())),
        ];
        let what = (Category::State, Name::Fixed(Fixed::Runnable));
        self.begin_state(goid, what, &notes, Flow::None);
    }

    fn running(&mut self, goid: u64, p: u32, tid: i32, flow: Flow) {
        self.state(goid, State::Running);
        let notes = [
            (Note::Thread, Value::Signed(tid.into())),
            (Note::P, Value::Number(u64::from(p.wrapping_sub(1)))),
        ];
        let notes = if p > 0 { &notes[..] } else { &notes[..1] };
        let what = (Category::State, Name::Fixed(Fixed::Running));
        self.begin_state(goid, what, notes, flow);
    }

    fn waits(&mut self, goid: u64, reason: Name<'_>, object: u64) {
        self.state(goid, State::Waiting);
        let notes = [(Note::Object, Value::Pointer(object))];
        let notes = if object != 0 { &notes[..] } else { &[] };
        self.begin_state(goid, (Category::Wait, reason), notes, Flow::None);
    }

    fn outside(&mut self, goid: u64, tid: i32) {
        self.state(goid, State::Outside);
        let notes = [(Note::Thread, Value::Signed(tid.into()))];
        let notes = if tid != 0 { &notes[..] } else { &[] };
        let what = (Category::Outside, Name::Fixed(Fixed::Outside));
        self.begin_state(goid, what, notes, Flow::None);
    }

    /// Goroutines and stand-ins come, get names, and go.
    fn life(
        &mut self,
        kind: Kind,
        from: &Recorder,
        thread: &mut Thread,
        said: &Said,
    ) {
        let Said { id, a, b } = *said;
        let mut room = [0; 120];
        match kind {
            Kind::Create => {
                if let Some(known) = self.w.table.get(id) {
                    known.func = b;
                }
                let track = self.place(from, thread);
                let flow = self.flow_to(id);
                let notes = [
                    (Note::Goroutine, Value::Number(id)),
                    (Note::Function, self.function_note(b)),
                ];
                let name = Name::Fixed(Fixed::Create);
                self.instant(track, Category::Go, name, &notes, flow);
                self.track(id, thread.text(), false);
                self.runnable(id, a, By::Create);
            }
            Kind::Attach => {
                if let Some(known) = self.w.table.get(id) {
                    known.host = true;
                }
                let len = with_number(b"host thread ", a, &mut room);
                self.track(id, &room[..len], false);
            }
            Kind::Name => self.track(id, thread.text(), true),
            _ => {
                let track = self.place(from, thread);
                let notes = [(Note::Goroutine, Value::Number(id))];
                let name = Name::Fixed(Fixed::End);
                self.instant(track, Category::Go, name, &notes, Flow::None);
                self.stops(thread, id);
                self.end_state(id);
                self.w.table.remove(id);
                (thread.next_by, thread.ended) = (By::End, id);
            }
        }
    }

    /// This thread runs a goroutine, or goes on for its host.
    fn resume(&mut self, thread: &mut Thread, said: &Said) {
        let Said { id, a, .. } = *said;
        thread.goid = id;
        thread.p = a as u32;
        let flow = self.flow_ends(id);
        if thread.p == 0 {
            self.running(id, 0, thread.tid, flow);
            return;
        }
        self.begin_run(thread.p - 1, id, thread.tid, flow);
        self.running(id, thread.p, thread.tid, Flow::None);
    }

    /// The goroutine of this thread runs no more.
    fn stops(&mut self, thread: &mut Thread, goid: u64) {
        if thread.p > 0 {
            self.end_run(thread.p - 1, Some(goid));
        }
        thread.goid = 0;
    }

    fn leave(&mut self, kind: Kind, thread: &mut Thread, said: &Said) {
        let Said { id, a, b } = *said;
        self.stops(thread, id);
        if kind == Kind::Yield {
            self.runnable(id, id, By::Yield);
        } else if thread.text_len > 0 {
            self.waits(id, Name::Text(thread.text()), b);
        } else {
            let reason = self.reason(a);
            self.waits(id, reason, b);
        }
    }

    fn ready(&mut self, from: &Recorder, thread: &mut Thread, said: &Said) {
        let Said { id, a, .. } = *said;
        let next_by = core::mem::replace(&mut thread.next_by, By::Nothing);
        let (waker, by) = match next_by {
            By::End => (thread.ended, By::End),
            By::Scheduler => (0, By::Scheduler),
            _ if a != 0 => (a, By::Ready),
            By::Nothing if from.m().is_none() => (0, By::Ready),
            By::Nothing => (0, thread.by),
            by => (0, by),
        };
        let track = self.place(from, thread);
        let flow = self.flow_to(id);
        let notes = [
            (Note::Goroutine, Value::Number(id)),
            (Note::By, Value::Interned(by.iid())),
        ];
        let name = Name::Fixed(Fixed::Ready);
        self.instant(track, Category::Wake, name, &notes, flow);
        self.runnable(id, waker, by);
    }

    /// A P is taken or let go of.
    fn p_moves(
        &mut self,
        kind: Kind,
        from: &Recorder,
        thread: &mut Thread,
        said: &Said,
    ) {
        let Said { id, a, b } = *said;
        let p = a as u32;
        thread.next_by = By::Nothing;
        let on = [(Note::Thread, Value::Signed(thread.tid.into()))];
        match kind {
            Kind::TakeP => {
                thread.p = p + 1;
                self.end_run(p, None);
                let (track, name) = (self.p(p), Name::Fixed(Fixed::Start));
                self.instant(track, Category::Sched, name, &on, Flow::None);
                if id != 0 {
                    self.begin_run(p, id, thread.tid, Flow::None);
                    self.running(id, p + 1, thread.tid, Flow::None);
                }
            }
            Kind::DropP => {
                thread.p = 0;
                self.end_run(p, None);
                let (track, name) = (self.p(p), Name::Fixed(Fixed::Stop));
                self.instant(track, Category::Sched, name, &on, Flow::None);
                if id != 0 {
                    self.outside(id, thread.tid);
                }
            }
            Kind::Retake => {
                let notes = [
                    (Note::P, Value::Number(a)),
                    (Note::Goroutine, Value::Number(id)),
                    (Note::Busy, Value::Truth(b != 0)),
                ];
                self.end_run(p, None);
                let track = self.place(from, thread);
                let name = Name::Fixed(Fixed::Retake);
                self.instant(track, Category::Sched, name, &notes, Flow::None);
                self.outside(id, 0);
            }
            _ => {
                thread.p = 0;
                let outside = |s| s == State::Outside;
                let known = self.w.table.find(id);
                if known.is_some_and(|known| outside(known.state)) {
                    self.running(id, 0, thread.tid, Flow::None);
                }
            }
        }
    }

    fn rest(
        &mut self,
        kind: Kind,
        from: &Recorder,
        thread: &mut Thread,
        said: &Said,
    ) {
        let Said { id, a, b } = *said;
        let number = Value::Number;
        match kind {
            Kind::EndedBy => {
                let by = if id == 0 { By::Scheduler } else { By::End };
                thread.next_by = by;
                thread.ended = id;
            }
            Kind::Sender => *thread = Thread { tid: a as i32, ..Thread::NEW },
            Kind::Counters => {
                self.counter(tracks::LIVE, a);
                self.counter(tracks::RUNNABLE, b);
            }
            Kind::Timer => {
                thread.next_by = By::Timer;
                self.note(from, thread, Category::Timer, Fixed::Timer, &[]);
            }
            Kind::Net => {
                (thread.by, thread.next_by) = (By::Netpoll, By::Nothing);
                let notes = [(Note::Fd, number(a)), (Note::Events, number(b))];
                self.note(from, thread, Category::Net, Fixed::Netpoll, &notes);
            }
            Kind::Steal => {
                let notes = [(Note::From, number(a)), (Note::Count, number(b))];
                self.note(from, thread, Category::Sched, Fixed::Steal, &notes);
            }
            Kind::Handoff => {
                let notes = [(Note::P, number(a))];
                self.note(
                    from,
                    thread,
                    Category::Sched,
                    Fixed::Handoff,
                    &notes,
                );
            }
            Kind::Thread => {
                *thread = Thread { tid: a as i32, ..*thread };
                let tid = Value::Signed(a as i64);
                let notes = [(Note::Thread, tid), (Note::M, number(b))];
                let name = Name::Fixed(Fixed::Thread);
                let (track, category) = (tracks::SCHEDULER, Category::Sched);
                self.instant(track, category, name, &notes, Flow::None);
            }
            Kind::Fatal => {
                let notes = [(Note::Goroutine, number(id))];
                self.note(from, thread, Category::Panic, Fixed::Fatal, &notes);
            }
            Kind::Mark => self.mark(from, thread, id),
            _ => {}
        }
    }

    fn note(
        &mut self,
        from: &Recorder,
        thread: &Thread,
        category: Category,
        name: Fixed,
        notes: &[(Note, Value)],
    ) {
        let track = self.place(from, thread);
        self.instant(track, category, Name::Fixed(name), notes, Flow::None);
    }

    fn mark(&mut self, from: &Recorder, thread: &Thread, id: u64) {
        let open = self.w.table.get(id).is_some_and(|known| !known.tracked);
        self.track(id, b"", true);
        let tracked = self.w.table.find(id).is_some_and(|known| known.tracked);
        if open && tracked {
            self.running(id, thread.p, thread.tid, Flow::None);
        }
        let track = match tracked {
            true => tracks::of_goroutine(id),
            false => self.place(from, thread),
        };
        let name = Name::Text(thread.text());
        self.instant(track, Category::User, name, &[], Flow::None);
    }
}
