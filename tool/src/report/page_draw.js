// The timeline: rows of lanes on a canvas. What is narrower than a pixel is
// binned: one column a pixel, as high as the part of the pixel's time that is
// covered. So the cost of a frame depends on pixels, not on events.

const ROW = 24, LOW = 12, GAP = 4, AXIS = 22, OVERVIEW = 34, MOST_ARROWS = 400;
const view = { from: 0, to: meta.length, min: 200 };
const state = { chosen: -1, shown: [], rows: [], hover: null, drag: null };
let colours = {};

function readColours() {
  const style = getComputedStyle(document.documentElement);
  const get = name => style.getPropertyValue("--" + name).trim();
  colours = {};
  for (const name of ["surface", "ink", "ink-2", "line", "axis", "running",
    "runnable", "waiting", "blocked", "other", "arrow", "focus"])
    colours[name] = get(name);
  colours.states = [colours.running, colours.runnable, colours.waiting,
    colours.blocked];
  // The names that ran longest have a colour each; all others share one.
  const named = new Map();
  meta.summary.groups.slice(0, 8).forEach((group, n) =>
    named.set(group.name, get("c" + n)));
  colours.byText = meta.texts.map(text =>
    named.get(text || "goroutine") || colours.other);
}

// Black or white, whichever is legible on this colour.
const inks = new Map();
function inkOn(colour) {
  if (!inks.has(colour)) {
    const part = n => (parseInt(colour.slice(n, n + 2), 16) / 255) ** 2.2;
    const light = 0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5);
    inks.set(colour, light > 0.18 ? "#0b0b0b" : "#ffffff");
  }
  return inks.get(colour);
}

const canvas = $("canvas"), overview = $("overview");
let width = 0;
const X = time => (time - view.from) / (view.to - view.from) * width;
const T = x => view.from + x / width * (view.to - view.from);

// The rows from top to bottom: Ps, chosen goroutines, other tracks, counters.
function layOut() {
  const rows = [];
  const add = row => {
    row.y = AXIS + rows.length * (ROW + GAP);
    rows.push(row);
  };
  lanes.filter(lane => lane.p).forEach(lane =>
    add({ kind: "p", lane, intervals: lane.slices, name: lane.name }));
  state.shown.forEach(g =>
    add({ kind: "g", g, intervals: G.spans(g), name: labelOf(g) }));
  lanes.filter(lane => !lane.p).forEach(lane =>
    add({ kind: "other", lane, intervals: lane.slices, name: lane.name }));
  counters.forEach(counter => add({ kind: "counter", counter, name: counter.name }));
  state.rows = rows;
  const labels = rows.map(row => {
    const label = document.createElement("div");
    label.className = `lane ${row.kind}`;
    if (row.kind === "g" && row.g === state.chosen) label.classList.add("chosen");
    label.dataset.kind = row.kind;
    label.style.cssText = `top:${row.y + OVERVIEW}px;height:${ROW}px`;
    const text = document.createElement("span");
    text.textContent = text.title = row.name;
    label.append(text);
    if (row.kind === "g") {
      text.onclick = () => choose(row.g);
      const close = document.createElement("button");
      close.textContent = "✕";
      close.title = `Hide the lane of ${row.name}`;
      close.onclick = () => hide(row.g);
      label.append(close);
    }
    return label;
  });
  $("labels").replaceChildren(...labels);
}

function fitCanvas(element, height) {
  const scale = devicePixelRatio || 1;
  const wide = Math.round(width * scale), high = Math.round(height * scale);
  if (element.width !== wide || element.height !== high) {
    element.width = wide;
    element.height = high;
    element.style.height = `${height}px`;
  }
  const pen = element.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = "11px system-ui, sans-serif";
  pen.textBaseline = "middle";
  return pen;
}

function colourOf(row, n) {
  if (row.kind === "g") return colours.states[row.intervals.state[n] % 4];
  const g = row.intervals.g[n];
  return colours.byText[g ? G.name[g - 1] : row.intervals.name[n]];
}

function textOf(row, n) {
  if (row.kind === "g") {
    const object = meta.texts[row.intervals.object[n]];
    return stateText(row.intervals.state[n]) + (object ? `, ${object}` : "");
  }
  const g = row.intervals.g[n];
  return g ? labelOf(g - 1) : meta.texts[row.intervals.name[n]];
}

function drawRow(pen, row) {
  const { from, to, covered, count } = row.intervals;
  const perPixel = (view.to - view.from) / width;
  let n = above(to, view.from);
  while (n < count && from[n] < view.to) {
    const left = X(from[n]), right = X(to[n]);
    if (right - left >= 1.5) {
      drawSlice(pen, row, n, Math.max(left, -2), Math.min(right, width + 2));
      n++;
      continue;
    }
    // All that begins in this pixel; the last may reach beyond it and then is
    // drawn by itself.
    const pixel = Math.floor(left), end = T(pixel + 1);
    let next = Math.max(above(from, end, n), n + 1);
    if (next - 1 > n && to[next - 1] > end + perPixel) next--;
    if (row.kind === "g") drawStates(pen, row, pixel, n, next, perPixel);
    else {
      const part = Math.min(1, (covered[next] - covered[n]) / perPixel);
      const high = Math.max(3, Math.round(ROW * part));
      pen.fillStyle = colourOf(row, longest(row.intervals, n, next));
      pen.fillRect(pixel, row.y + ROW - high, 1, high);
    }
    n = next;
  }
}

// A pixel of a goroutine's lane: its states stacked, each as high as its part.
function drawStates(pen, row, pixel, n, next, perPixel) {
  let bottom = row.y + ROW;
  for (const kind of [RUNNING, RUNNABLE, BLOCKED]) {
    const sum = row.intervals.sums[kind];
    const part = Math.min(1, (sum[next] - sum[n]) / perPixel);
    const high = part && Math.max(1, ROW * part);
    pen.fillStyle = colours.states[kind];
    pen.fillRect(pixel, bottom - high, 1, high);
    bottom -= high;
  }
  // Waiting fills up its low bar.
  const high = Math.max(0, bottom - (row.y + ROW - LOW));
  pen.fillStyle = colours.waiting;
  pen.fillRect(pixel, bottom - high, 1, high);
}

// The longest of some; of many, of a sample.
function longest(intervals, n, end) {
  const step = Math.max(1, (end - n) >> 4);
  let best = n, length = -1;
  for (; n < end; n += step) {
    const l = intervals.to[n] - intervals.from[n];
    if (l > length) [best, length] = [n, l];
  }
  return best;
}

function drawSlice(pen, row, n, left, right) {
  const colour = colourOf(row, n), wide = right - left;
  // Waiting is a low bar: it is no activity.
  const waiting = row.kind === "g" && row.intervals.state[n] % 4 === WAITING;
  const high = waiting ? LOW : ROW, top = row.y + ROW - high;
  pen.fillStyle = colour;
  // A gap of a pixel between neighbours that are wide enough for it.
  pen.fillRect(left, top, wide > 4 ? wide - 1 : wide, high);
  const g = row.kind === "g" ? row.g : row.intervals.g[n] - 1;
  if (row.kind !== "g" && g >= 0 && g === state.chosen) {
    pen.strokeStyle = colours.ink;
    pen.lineWidth = 2;
    pen.strokeRect(left + 1, top + 1, Math.max(1, wide - 3), high - 2);
  }
  if (wide > 34) {
    pen.save();
    pen.beginPath();
    pen.rect(left, top, wide - 4, high);
    pen.clip();
    pen.fillStyle = inkOn(colour);
    pen.fillText(textOf(row, n), Math.max(left, 0) + 5, top + high / 2 + 0.5);
    pen.restore();
  }
}

// Moments of a lane as ticks at its top, while there is room to tell them apart.
function drawMoments(pen, row) {
  const { at } = row.lane.moments;
  if (above(at, view.to) - above(at, view.from) > width / 6) return;
  pen.fillStyle = colours.ink;
  let n = above(at, view.from - 1);
  while (n < at.length && at[n] < view.to) {
    const pixel = Math.floor(X(at[n]));
    pen.fillRect(pixel, row.y, 1.5, 5);
    n = above(at, T(pixel + 1), n + 1);
  }
}

function drawCounter(pen, row) {
  const { at, value, max } = row.counter;
  pen.fillStyle = colours.running;
  let n = Math.max(0, above(at, view.from) - 1);
  while (n < at.length && at[n] < view.to) {
    const left = Math.max(0, Math.floor(X(at[n])));
    // The highest of a pixel stands for it.
    const next = Math.max(n + 1, above(at, T(left + 1), n + 1));
    let top = 0;
    for (let k = n; k < Math.min(next, n + 64); k++) top = Math.max(top, value[k]);
    const right = next < at.length ? Math.min(width, X(at[next])) : width;
    const high = max ? top / max * ROW : 0;
    pen.globalAlpha = 0.6;
    pen.fillRect(left, row.y + ROW - high, Math.max(1, right - left), high);
    pen.globalAlpha = 1;
    n = next;
  }
  pen.fillStyle = colours.ink;
  pen.fillText(`max ${number(max)}`, 4, row.y + 7);
}

function drawAxis(pen, height) {
  const span = view.to - view.from;
  const rough = span / Math.max(2, width / 110);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(n => n * power).find(s => s >= rough) || rough;
  pen.textAlign = "left";
  for (let t = Math.ceil(view.from / step) * step; t <= view.to; t += step) {
    const x = Math.round(X(t)) + 0.5;
    pen.fillStyle = colours.line;
    pen.fillRect(x, AXIS - 6, 1, height);
    pen.fillStyle = colours["ink-2"];
    pen.fillText(axisText(t, step), x + 3, 9);
  }
}

// As many digits as the step between the labels needs.
function axisText(t, step) {
  const [unit, name] = meta.length < 1e4 ? [1, "ns"] : meta.length < 1e7
    ? [1e3, "µs"] : meta.length < 1e10 ? [1e6, "ms"] : [1e9, "s"];
  const digits = Math.max(0, Math.ceil(Math.log10(unit / step) - 1e-9));
  return `${(t / unit).toFixed(digits)} ${name}`;
}

function drawMarks(pen, height) {
  let n = above(marks.at, view.from - 1);
  const few = above(marks.at, view.to) - n <= 60;
  pen.fillStyle = colours.focus;
  while (n < marks.at.length && marks.at[n] <= view.to) {
    const x = X(marks.at[n]);
    pen.beginPath();
    pen.moveTo(x - 4, AXIS - 8);
    pen.lineTo(x + 5, AXIS - 8);
    pen.lineTo(x + 0.5, AXIS - 1);
    pen.fill();
    if (few) {
      pen.globalAlpha = 0.5;
      pen.fillRect(x, AXIS, 1, height);
      pen.globalAlpha = 1;
    }
    n = above(marks.at, T(Math.floor(x) + 1), n + 1);
  }
}

// --- Who woke whom ----------------------------------------------------------

// The rows of lanes and goroutines, for the ends of arrows.
function rowFinder() {
  const byLane = new Map(), byG = new Map();
  for (const row of state.rows)
    if (row.kind === "g") byG.set(row.g, row);
    else if (row.lane) byLane.set(row.lane.index, row);
  return (g, lane) => byG.get(g) || byLane.get(lane);
}

function wakesInView() {
  const { at } = wakes, found = [];
  const first = above(at, view.from - (view.to - view.from) * 0.1);
  for (let n = first; n < at.length && at[n] <= view.to; n++) {
    const chosen = state.chosen;
    if (chosen >= 0 && wakes.g[n] !== chosen && wakes.by[n] - 1 !== chosen)
      continue;
    found.push(n);
    if (found.length > MOST_ARROWS) return null;
  }
  return found;
}

function drawWakes(pen) {
  const wanted = $("arrows").checked;
  const found = wanted ? wakesInView() : [], rowOf = rowFinder();
  $("many").hidden = Boolean(found);
  if (!found) return;
  pen.strokeStyle = pen.fillStyle = colours.arrow;
  pen.lineWidth = 1;
  for (const n of found) {
    const source = rowOf(wakes.by[n] - 1, wakes.lane[n] - 1);
    const target = rowOf(wakes.g[n], wakes.to[n] - 1);
    if (!source || !target) continue;
    const there = target.kind === "g" ? wakes.at[n]
      : wakes.at[n] + Math.max(0, wakes.delay[n] - 1);
    const [from, to] = [X(wakes.at[n]), X(there)];
    // Too short to be told from a blot.
    if (source === target && Math.abs(to - from) < 8) continue;
    drawArrow(pen, from, source, to, target, found.length);
  }
}

// One of so many: where there are many, each is thinner and has no head.
function drawArrow(pen, x0, source, x1, target, many) {
  const down = target.y >= source.y;
  const y0 = source.y + ROW / 2;
  const y1 = target.y + (down ? 5 : ROW - 5);
  const bend = source === target ? 18 : 6;
  pen.globalAlpha = many > 80 ? 0.25 : 0.65;
  pen.beginPath();
  pen.moveTo(x0, y0);
  pen.bezierCurveTo(x0 + bend, (y0 + y1) / 2, x1 - bend, (y0 + y1) / 2, x1, y1);
  pen.stroke();
  if (many <= 80) {
    const tail = down ? -6 : 6;
    pen.beginPath();
    pen.arc(x0, y0, 2, 0, 7);
    pen.moveTo(x1, y1);
    pen.lineTo(x1 - 3.5, y1 + tail);
    pen.lineTo(x1 + 3.5, y1 + tail);
    pen.fill();
  }
  pen.globalAlpha = 1;
}

// --- The whole --------------------------------------------------------------

// How busy the Ps are over all the trace: drawn once for a width.
let busy = { width: 0 };
function busyParts() {
  if (busy.width === width) return busy.parts;
  const parts = new Float64Array(Math.max(1, Math.floor(width)));
  const ps = lanes.filter(lane => lane.p), perPixel = meta.length / parts.length;
  for (const { slices } of ps) {
    let last = 0;
    for (let x = 0; x < parts.length; x++) {
      const n = above(slices.from, (x + 1) * perPixel);
      // Up to this moment; the slice under way counts for its part.
      const over = n ? Math.max(0, slices.to[n - 1] - (x + 1) * perPixel) : 0;
      const now = slices.covered[n] - over;
      parts[x] += (now - last) / perPixel / ps.length;
      last = now;
    }
  }
  busy = { width, parts };
  return parts;
}

function drawOverview() {
  const pen = fitCanvas(overview, OVERVIEW);
  const parts = busyParts();
  pen.fillStyle = colours.running;
  parts.forEach((part, x) => {
    const high = Math.min(1, part) * (OVERVIEW - 4);
    pen.fillRect(x, OVERVIEW - high, 1, high);
  });
  const left = view.from / meta.length * width;
  const right = view.to / meta.length * width;
  pen.fillStyle = colours.surface;
  pen.globalAlpha = 0.7;
  pen.fillRect(0, 0, left, OVERVIEW);
  pen.fillRect(right, 0, width - right, OVERVIEW);
  pen.globalAlpha = 1;
  pen.strokeStyle = colours.axis;
  pen.strokeRect(left + 0.5, 0.5, Math.max(2, right - left - 1), OVERVIEW - 1);
}

function draw() {
  width = Math.max(50, $("lanes").clientWidth - 190);
  const height = AXIS + state.rows.length * (ROW + GAP) + 4;
  drawOverview();
  const pen = fitCanvas(canvas, height);
  $("labels").style.height = `${height}px`;
  drawAxis(pen, height);
  for (const row of state.rows) {
    if (row.kind === "counter") drawCounter(pen, row);
    else drawRow(pen, row);
    if (row.lane) drawMoments(pen, row);
  }
  drawMarks(pen, height);
  drawWakes(pen);
  if (state.drag && state.drag.part) {
    const [a, b] = [state.drag.x, state.drag.now].sort((a, b) => a - b);
    pen.globalAlpha = 0.25;
    pen.fillStyle = colours.focus;
    pen.fillRect(a, 0, b - a, height);
    pen.globalAlpha = 1;
  }
}

let asked = false;
function redraw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; draw(); });
}
