#!/usr/bin/env python3
"""Decodes a trace by Perfetto's own definitions, and checks it.

    check.py FILE CASE

Whatever the case, the file must be well formed: names are known where they are
used, times do not decrease, slices on a track nest and end, each flow has one
begin and at most one end. The case says which events must be there.
"""

import sys
from collections import defaultdict
from dataclasses import dataclass, field

from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

CLEARED = pb.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
NEEDS = pb.TracePacket.SEQ_NEEDS_INCREMENTAL_STATE


@dataclass
class Event:
    """A slice, an instant or a value of a counter."""

    at: int
    track: int
    category: str
    name: str
    notes: dict
    begins: list
    ends: list
    end: int = -1


@dataclass
class Trace:
    tracks: dict = field(default_factory=dict)
    parents: dict = field(default_factory=dict)
    slices: list = field(default_factory=list)
    instants: list = field(default_factory=list)
    counters: dict = field(default_factory=lambda: defaultdict(list))

    def track(self, name: str) -> int:
        """The one track whose name begins so."""
        found = [uuid for uuid, n in self.tracks.items()
                 if n == name or n.startswith(name + " #")]
        assert len(found) == 1, (name, found)
        return found[0]

    def goid(self, name: str) -> int:
        return self.track(name) - (1 << 40)

    def states(self, name: str) -> list:
        uuid = self.track(name)
        return [s for s in self.slices if s.track == uuid]

    def waits(self, name: str) -> list:
        return [s for s in self.states(name) if s.category == "wait"]

    def marks(self) -> dict:
        return {i.name: i for i in self.instants if i.category == "user"}

    def runs(self, goid: int) -> list:
        return [s for s in self.slices if s.category == "run"
                and s.notes["goroutine"] == goid]


def read(path: str) -> Trace:
    raw = pb.Trace()
    with open(path, "rb") as file:
        raw.ParseFromString(file.read())
    trace = Trace()
    names, categories, notes, strings = {}, {}, {}, {}
    open_slices = defaultdict(list)
    last = 0
    assert raw.packet, "no packet"
    for n, packet in enumerate(raw.packet):
        assert packet.trusted_packet_sequence_id == 1
        assert packet.sequence_flags == (NEEDS if n else CLEARED)
        assert packet.timestamp >= last, "times decrease"
        last = packet.timestamp
        data = packet.interned_data
        for table, entries in (
            (names, data.event_names),
            (categories, data.event_categories),
            (notes, data.debug_annotation_names),
        ):
            for entry in entries:
                assert entry.iid not in table, "interned twice"
                table[entry.iid] = entry.name
        for entry in data.debug_annotation_string_values:
            strings[entry.iid] = entry.str.decode()
        if packet.HasField("track_descriptor"):
            describe(trace, packet.track_descriptor)
        if packet.HasField("track_event"):
            event = packet.track_event
            assert event.track_uuid in trace.tracks, "a track without a name"
            tables = names, categories, notes, strings
            take(trace, open_slices, last, event, tables)
    unended = {trace.tracks[t]: s for t, s in open_slices.items() if s}
    assert not unended, unended
    check_flows(trace)
    check_states(trace)
    return trace


def describe(trace: Trace, track) -> None:
    name = (track.name or track.thread.thread_name
            or track.process.process_name)
    assert name, track
    if track.uuid != 1:
        assert track.parent_uuid in trace.tracks, track
    trace.tracks[track.uuid] = name
    trace.parents[track.uuid] = track.parent_uuid


def value_of(note, strings):
    kind = note.WhichOneof("value")
    value = getattr(note, kind)
    return strings[value] if kind == "string_value_iid" else value


def take(trace, open_slices, at, event, tables) -> None:
    names, categories, notes, strings = tables
    kind = event.type
    if kind == pb.TrackEvent.TYPE_COUNTER:
        trace.counters[event.track_uuid].append((at, event.counter_value))
        return
    stack = open_slices[event.track_uuid]
    if kind == pb.TrackEvent.TYPE_SLICE_END:
        assert stack, f"an end on {trace.tracks[event.track_uuid]}"
        stack.pop().end = at
        return
    made = Event(
        at,
        event.track_uuid,
        ",".join(categories[iid] for iid in event.category_iids),
        names[event.name_iid] if event.name_iid else event.name,
        {notes[n.name_iid]: value_of(n, strings)
         for n in event.debug_annotations},
        list(event.flow_ids),
        list(event.terminating_flow_ids),
    )
    assert made.name and made.category, event
    if kind == pb.TrackEvent.TYPE_SLICE_BEGIN:
        assert not stack, "slices of ours do not nest"
        stack.append(made)
        trace.slices.append(made)
    else:
        assert kind == pb.TrackEvent.TYPE_INSTANT, event
        trace.instants.append(made)


def check_flows(trace: Trace) -> None:
    begun, ended = {}, {}
    for event in trace.slices + trace.instants:
        for flow in event.begins:
            assert flow not in begun, "a flow begins twice"
            begun[flow] = event
        for flow in event.ends:
            assert flow not in ended, "a flow ends twice"
            ended[flow] = event
    for flow, event in ended.items():
        assert flow in begun, "a flow from nowhere"
        woken = begun[flow].notes["goroutine"]
        runs = event.notes.get("goroutine", event.track - (1 << 40))
        assert woken == runs, "a flow to somebody else"
        assert begun[flow].at <= event.at, "a flow back in time"


def check_states(trace: Trace) -> None:
    """On a goroutine's track one state follows the other."""
    before = {}
    for state in trace.slices:
        if state.track < 1 << 40:
            continue
        assert trace.parents[state.track] == 3
        last = before.get(state.track)
        assert last is None or last.end <= state.at
        before[state.track] = state


# --- What the programs do ----------------------------------------------------


def ready_of(trace: Trace, goid: int, at: int) -> Event:
    """What made a goroutine runnable at this moment."""
    found = [i for i in trace.instants if i.name == "ready"
             and i.notes["goroutine"] == goid and i.at == at]
    assert len(found) == 1, (goid, at, found)
    return found[0]


def woken(trace: Trace, name: str, reason: str, by: str, waker: int) -> None:
    """`name` waits for `reason`, and is woken by that, with a flow from the
    waker's P to its next run."""
    goid = trace.goid(name)
    states = trace.states(name)
    waits = [n for n, s in enumerate(states)
             if s.category == "wait" and s.name == reason]
    assert waits, (name, [s.name for s in states])
    for n in waits:
        runnable, running = states[n + 1], states[n + 2]
        assert states[n].end == runnable.at
        assert runnable.name == "runnable", states
        assert runnable.notes == {"waker": waker, "by": by}, runnable
        assert running.name == "running" and running.at == runnable.end
        ready = ready_of(trace, goid, runnable.at)
        assert ready.notes["by"] == by
        [run] = [r for r in trace.runs(goid) if r.at == running.at]
        assert run.ends == ready.begins != [], (run, ready)
        assert run.track == 4096 + running.notes["p"]
        assert run.notes["thread"] == running.notes["thread"]
        if by == "ready":
            # It happens while the waker runs.
            assert any(r.at <= ready.at <= r.end and r.track == ready.track
                       for r in trace.runs(waker)), ready


def known(trace: Trace) -> None:
    goid = trace.goid
    host = trace.marks()["end"].track - (1 << 40)
    creates = {i.notes["goroutine"]: i for i in trace.instants
               if i.name == "create"}
    for name, function in {
        "reader": "reader", "writer": "writer", "holder": "holder",
        "contender": "contender", "pipe reader": "pipe_reader",
        "parker": "parker", "unparker": "unparker", "parent": "parent",
        "yielder": "yielder", "child": "child",
    }.items():
        create = creates[goid(name)]
        assert create.notes["function"] == function, create
        first = trace.states(name)[0]
        # A host thread has no number before its first call that waits.
        makers = [goid("parent")] if name == "child" else [0, host]
        assert first.name == "runnable" and first.at == create.at
        assert first.notes["by"] == "create", first
        assert first.notes["waker"] in makers, first
        assert trace.runs(goid(name))[0].ends == create.begins
        [end] = [i for i in trace.instants if i.category == "go"
                 and i.name == "end" and i.notes["goroutine"] == goid(name)]
        assert trace.states(name)[-1].end == end.at
    assert len([w for w in trace.waits("reader")]) == 3
    woken(trace, "reader", "chan receive", "ready", goid("writer"))
    woken(trace, "writer", "sleep", "timer", 0)
    woken(trace, "contender", "mutex", "ready", goid("holder"))
    assert trace.waits("contender")[1].notes["object"] != 0
    woken(trace, "pipe reader", "IO wait (read)", "netpoll", 0)
    assert any(i.name == "netpoll" and i.notes["fd"] > 2
               for i in trace.instants)
    woken(trace, "parker", "own reason", "ready", goid("unparker"))
    woken(trace, "parent", "join", "end", goid("child"))
    assert any(s.notes.get("by") == "yield" for s in trace.states("yielder"))
    # The P of a goroutine that blocks is taken, and another one runs.
    outside = [s for s in trace.states("blocked long") if s.name == "outside"]
    assert outside and all(s.end > s.at for s in outside), outside
    retakes = [i for i in trace.instants if i.name == "retake"
               and i.notes["goroutine"] == goid("blocked long")]
    assert retakes and not retakes[0].notes["busy"], retakes
    assert trace.tracks[retakes[0].track] == "gmprt-sysmon"
    ran = [r for r in trace.runs(goid("yielder"))
           if outside[0].at <= r.at <= outside[0].end]
    assert ran, "nobody ran meanwhile"
    marks = trace.marks()
    assert marks["begin"].at < marks["three received"].at < marks["end"].at
    assert marks["three received"].track == trace.track("reader")
    host_track = trace.tracks[marks["end"].track]
    assert host_track.startswith("host thread "), host_track
    assert any(w.name == "join" for w in trace.slices
               if w.track == marks["end"].track)
    assert trace.counters[5] and max(v for _, v in trace.counters[5]) >= 2
    assert 6 in trace.counters
    assert not [i for i in trace.instants if i.category == "lost"]


def fatal(trace: Trace) -> None:
    marks = trace.marks()
    died = [i for i in trace.instants if i.name == "fatal error"]
    assert len(died) == 1 and died[0].at >= marks["about to die"].at
    main = marks["about to die"].track
    waits = [s for s in trace.slices
             if s.track == main and s.name == "mutex"]
    assert waits and waits[-1].end >= died[0].at, waits


def many(trace: Trace) -> None:
    own = [t for t in trace.tracks if t >= 1 << 40]
    assert 900 < len(own) < 1200, len(own)
    creates = [i for i in trace.instants if i.name == "create"]
    lost = sum(i.notes["count"] for i in trace.instants
               if i.category == "lost")
    assert len(creates) + lost >= 20000, (len(creates), lost)
    assert len(creates) > 1000


def heap(trace: Trace) -> None:
    parts = trace.states("GC")
    names = ["GC stop", "GC mark", "GC sweep"] * 3
    assert [p.name for p in parts] == names, parts
    for n in range(3):
        stop, mark, sweep = parts[3 * n:3 * n + 3]
        assert stop.notes["count"] == n + 1, stop
        assert stop.end == mark.at and mark.end == sweep.at, parts
        for part in mark, sweep:
            assert part.category == "gc"
            assert part.notes["bytes"] >= (n + 1) << 20, part
    live = [v for _, v in trace.counters[trace.track("heap bytes")]]
    goal = [v for _, v in trace.counters[trace.track("heap goal")]]
    assert max(live) >= 3 << 20 and min(goal) >= 4_000_000, (live, goal)


def well_formed(trace: Trace) -> None:
    assert trace.slices and trace.instants


if __name__ == "__main__":
    cases = {"known": known, "fatal": fatal, "many": many, "heap": heap,
             "any": well_formed}
    cases[sys.argv[2]](read(sys.argv[1]))
