// The data: columns of numbers become typed arrays, ordered by lane and by
// goroutine. Times are nanoseconds from the start of the trace.

const $ = id => document.getElementById(id);
const meta = JSON.parse($("meta").textContent);

// A page that fails says so in itself, and in words.
addEventListener("error", event => {
  $("errors").hidden = false;
  $("errors").textContent += `This page has failed: ${event.message}\n`;
});

function decode() {
  const text = atob($("columns").textContent);
  const columns = {};
  let at = 0;
  for (const [name, count] of meta.columns) {
    const column = new Float64Array(count);
    for (let n = 0; n < count; n++) {
      let value = 0, scale = 1, byte;
      do {
        byte = text.charCodeAt(at++);
        value += (byte & 127) * scale;
        scale *= 128;
      } while (byte > 127);
      column[n] = value;
    }
    columns[name] = column;
  }
  $("columns").remove();
  return columns;
}

const data = decode();

// Spans of time that follow one another: where each begins and ends, and the
// time covered before each.
function intervals(gaps, lengths, first, count) {
  const from = new Float64Array(count), to = new Float64Array(count);
  const covered = new Float64Array(count + 1);
  for (let n = 0, time = 0; n < count; n++) {
    time += gaps[first + n];
    from[n] = time;
    time += lengths[first + n];
    to[n] = time;
    covered[n + 1] = covered[n] + lengths[first + n];
  }
  return { from, to, covered, count };
}

function sums(steps, first = 0, count = steps.length) {
  const times = new Float64Array(count);
  for (let n = 0, time = 0; n < count; n++) times[n] = time += steps[first + n];
  return times;
}

// The first index from `low` on whose value is above `value`.
function above(values, value, low = 0, high = values.length) {
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] > value) high = middle; else low = middle + 1;
  }
  return low;
}

let slicesSeen = 0, momentsSeen = 0;
const lanes = meta.lanes.map((lane, index) => {
  const slices = intervals(data["slice.gap"], data["slice.length"],
    slicesSeen, lane.slices);
  const end = slicesSeen + lane.slices;
  slices.name = data["slice.name"].subarray(slicesSeen, end);
  slices.g = data["slice.g"].subarray(slicesSeen, end);
  slicesSeen = end;
  const moments = {
    at: sums(data["moment.step"], momentsSeen, lane.moments),
    name: data["moment.name"].subarray(momentsSeen, momentsSeen + lane.moments),
  };
  momentsSeen += lane.moments;
  return { index, name: lane.name, p: lane.p, slices, moments };
});

const marks = {
  at: sums(data["mark.step"]), text: data["mark.text"],
  g: data["mark.g"], lane: data["mark.lane"],
};
const wakes = {
  at: sums(data["wake.step"]), by: data["wake.by"], lane: data["wake.lane"],
  g: data["wake.g"], delay: data["wake.delay"], to: data["wake.to"],
};
let pointsSeen = 0;
const counters = meta.counters.map(counter => {
  const at = sums(data["point.step"], pointsSeen, counter.points);
  const value = data["point.value"].subarray(pointsSeen, pointsSeen + counter.points);
  pointsSeen += counter.points;
  let max = 0;
  for (const v of value) if (v > max) max = v;
  return { name: counter.name, at, value, max };
});

const RUNNING = 0, RUNNABLE = 1, WAITING = 2, BLOCKED = 3;

// The goroutines as columns; the spans of one are put in order when asked for.
const G = (() => {
  const count = data["g.id"].length;
  const first = new Float64Array(count + 1);
  const time = [0, 1, 2, 3].map(() => new Float64Array(count));
  const switches = new Float64Array(count), start = new Float64Array(count);
  for (let g = 0; g < count; g++) {
    const end = first[g + 1] = first[g] + data["g.spans"][g];
    if (end > first[g]) start[g] = data["span.gap"][first[g]];
    for (let n = first[g]; n < end; n++) {
      const kind = data["span.state"][n] % 4;
      time[kind][g] += data["span.length"][n];
      if (kind === RUNNING) switches[g]++;
    }
  }
  const known = new Map();
  return {
    count, id: data["g.id"], name: data["g.name"], parent: data["g.parent"],
    time, switches, start,
    spans(g) {
      if (!known.has(g)) {
        const spans = intervals(data["span.gap"], data["span.length"],
          first[g], first[g + 1] - first[g]);
        spans.state = data["span.state"].subarray(first[g], first[g + 1]);
        spans.object = data["span.object"].subarray(first[g], first[g + 1]);
        // The time in each state before each span.
        spans.sums = time.map((_, kind) => {
          const sum = new Float64Array(spans.count + 1);
          for (let n = 0; n < spans.count; n++)
            sum[n + 1] = sum[n]
              + (spans.state[n] % 4 === kind ? spans.to[n] - spans.from[n] : 0);
          return sum;
        });
        known.set(g, spans);
      }
      return known.get(g);
    },
  };
})();

const nameOf = g => meta.texts[G.name[g]] || "goroutine";
const labelOf = g => `${nameOf(g)} #${G.id[g]}`;

function stateText(code) {
  const what = Math.floor(code / 4);
  switch (code % 4) {
    case RUNNING: return what ? `running on ${lanes[what - 1].name}` : "running";
    case RUNNABLE: return "runnable";
    case WAITING: return `waiting: ${meta.texts[what]}`;
    default: return "in C code, P lent";
  }
}

// 1234567 -> "1.23 ms"
function duration(ns) {
  const [unit, name] = ns < 1e3 ? [1, "ns"] : ns < 1e6 ? [1e3, "µs"]
    : ns < 1e9 ? [1e6, "ms"] : [1e9, "s"];
  const value = ns / unit;
  const digits = unit === 1 ? 0 : value < 10 ? 2 : value < 100 ? 1 : 0;
  return `${value.toFixed(digits)} ${name}`;
}
const number = n => n.toLocaleString("en");
