// What the reader does: move, zoom, choose; and the tables.

function show(from, to) {
  const length = Math.max(meta.length, 1);
  const span = Math.min(length, Math.max(view.min, to - from));
  // A view that is too narrow widens around its middle.
  from = (from + to) / 2 - span / 2;
  view.from = Math.max(0, Math.min(length - span, from));
  view.to = view.from + span;
  $("lanes").dataset.from = Math.round(view.from);
  $("lanes").dataset.to = Math.round(view.to);
  redraw();
}
function zoom(factor, at = (view.from + view.to) / 2) {
  show(at - (at - view.from) * factor, at + (view.to - at) * factor);
}
function move(part) {
  const by = (view.to - view.from) * part;
  const free = by < 0 ? Math.max(by, -view.from) : Math.min(by, meta.length - view.to);
  show(view.from + free, view.to + free);
}
function showMoment(at) {
  const half = Math.min(view.to - view.from, meta.length / 20) / 2;
  show(at - half, at + half);
}

function choose(g) {
  if (g >= 0 && !state.shown.includes(g)) state.shown.push(g);
  state.chosen = g;
  $("lanes").dataset.chosen = g >= 0 ? labelOf(g) : "";
  layOut();
  redraw();
  showDetails();
  markRows();
}
function hide(g) {
  state.shown = state.shown.filter(other => other !== g);
  if (state.chosen === g) state.chosen = -1;
  choose(state.chosen);
}

// --- Mouse and keyboard -----------------------------------------------------

function rowAt(y) {
  return state.rows.find(row => y >= row.y && y < row.y + ROW);
}
// The interval of a row at x; one that is too narrow to hit counts for 2 pixels.
function intervalAt(row, x) {
  if (!row || !row.intervals) return -1;
  const { from, to, count } = row.intervals;
  const n = above(to, T(x));
  if (n < count && from[n] <= T(x)) return n;
  const slack = T(2) - T(0);
  if (n < count && from[n] - T(x) < slack) return n;
  return n > 0 && T(x) - to[n - 1] < slack ? n - 1 : -1;
}

function tipText(x, y) {
  const mark = y < AXIS ? above(marks.at, T(x - 5)) : marks.at.length;
  if (mark < marks.at.length && X(marks.at[mark]) - x < 5)
    return `mark: ${meta.texts[marks.text[mark]]}\nat ${duration(marks.at[mark])}`;
  const row = rowAt(y);
  if (!row) return "";
  if (row.kind === "counter") {
    const n = above(row.counter.at, T(x)) - 1;
    return `${row.name}: ${n < 0 ? 0 : number(row.counter.value[n])}`;
  }
  const lines = [];
  const n = intervalAt(row, x);
  if (n >= 0) {
    const { from, to } = row.intervals;
    lines.push(row.kind === "g" ? row.name : "", textOf(row, n),
      `${duration(to[n] - from[n])}, from ${duration(from[n])}`);
  }
  if (row.lane && y < row.y + 8) {
    const { at, name } = row.lane.moments;
    const last = above(at, T(x + 2)) - 1;
    if (last >= 0 && x - X(at[last]) < 4)
      lines.push(`${meta.texts[name[last]]} at ${duration(at[last])}`);
  }
  return lines.filter(Boolean).join("\n");
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

canvas.addEventListener("pointerdown", event => {
  const [x] = place(event);
  state.drag = { x, now: x, from: view.from, to: view.to, part: event.shiftKey };
  canvas.setPointerCapture(event.pointerId);
  canvas.classList.add("held");
});
canvas.addEventListener("pointermove", event => {
  const [x, y] = place(event), drag = state.drag;
  if (drag) {
    drag.now = x;
    const by = (drag.x - x) / width * (drag.to - drag.from);
    if (drag.part) redraw(); else show(drag.from + by, drag.to + by);
    $("tip").hidden = true;
    return;
  }
  const text = tipText(x, y), tip = $("tip");
  tip.hidden = !text;
  tip.textContent = text;
  const right = event.clientX + 14 + tip.offsetWidth > innerWidth;
  tip.style.left = `${right ? event.clientX - tip.offsetWidth - 8 : event.clientX + 14}px`;
  tip.style.top = `${event.clientY + 14}px`;
});
canvas.addEventListener("pointerleave", () => { $("tip").hidden = true; });
canvas.addEventListener("pointerup", event => {
  const [x, y] = place(event), drag = state.drag;
  state.drag = null;
  canvas.classList.remove("held");
  if (!drag) return;
  if (Math.abs(x - drag.x) >= 4) {
    const [a, b] = [T(drag.x), T(x)].sort((a, b) => a - b);
    if (drag.part) show(a, b);
    return;
  }
  const row = rowAt(y), n = intervalAt(row, x);
  if (row && row.kind === "g") choose(row.g);
  else if (n >= 0 && row.intervals.g[n]) choose(row.intervals.g[n] - 1);
});
canvas.addEventListener("pointercancel", () => {
  state.drag = null;
  canvas.classList.remove("held");
});
canvas.addEventListener("dblclick", event => zoom(0.25, T(place(event)[0])));
canvas.addEventListener("wheel", event => {
  const sideways = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
  if (event.ctrlKey || event.metaKey)
    zoom(Math.exp(Math.max(-50, Math.min(50, event.deltaY)) * 0.01),
      T(place(event)[0]));
  else if (sideways) move(sideways / width);
  else return;
  event.preventDefault();
}, { passive: false });
function overviewTo(event) {
  if (!event.buttons) return;
  const box = overview.getBoundingClientRect();
  const at = (event.clientX - box.left) / width * meta.length;
  const half = (view.to - view.from) / 2;
  show(at - half, at + half);
}
overview.addEventListener("pointerdown", overviewTo);
overview.addEventListener("pointermove", overviewTo);

function step(by) {
  if (state.chosen < 0) return;
  const { from, to, count } = G.spans(state.chosen);
  const middle = (view.from + view.to) / 2;
  const now = Math.min(count - 1, above(to, middle));
  const n = Math.max(0, Math.min(count - 1, now + by));
  if (count) showMoment((from[n] + to[n]) / 2);
}

const KEYS = {
  ArrowLeft: () => move(-0.1), a: () => move(-0.1),
  ArrowRight: () => move(0.1), d: () => move(0.1),
  "+": () => zoom(0.7), "=": () => zoom(0.7), w: () => zoom(0.7),
  "-": () => zoom(1 / 0.7), s: () => zoom(1 / 0.7),
  0: () => show(0, meta.length), Home: () => show(0, meta.length),
  n: () => step(1), p: () => step(-1), Escape: () => choose(-1),
  "/": () => $("search").focus(),
};
addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.tagName === "INPUT") {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!Object.hasOwn(KEYS, key)) return;
  event.preventDefault();
  KEYS[key]();
});
$("in").onclick = KEYS["+"];
$("out").onclick = KEYS["-"];
$("fit").onclick = KEYS[0];
$("arrows").onchange = redraw;

// --- Search -----------------------------------------------------------------

function matches(text, most) {
  const found = [], wanted = text.trim().toLowerCase();
  if (!wanted) return found;
  for (let g = 0; g < G.count && found.length < most; g++) {
    const label = labelOf(g).toLowerCase();
    if (String(G.id[g]) === wanted || label === wanted) found.unshift(g);
    else if (label.includes(wanted)) found.push(g);
  }
  return found;
}
$("search").addEventListener("input", () => {
  const options = matches($("search").value, 30).map(g => {
    const option = document.createElement("option");
    option.value = labelOf(g);
    return option;
  });
  $("found").replaceChildren(...options);
  table.filter = $("search").value;
  fillTable();
});
$("search").addEventListener("change", () => {
  const [g] = matches($("search").value, G.count);
  if (g !== undefined) choose(g);
});

// --- Tables -----------------------------------------------------------------

function element(tag, text, type) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (type) made.className = type;
  return made;
}

// Rows of cells under heads: each head is a text and the class of its column.
function fill(tableElement, heads, rows, onClick) {
  const head = element("tr");
  head.append(...heads.map(([text, type]) => element("th", text, type)));
  const lines = rows.map((cells, n) => {
    const line = element("tr");
    line.append(...cells.map((cell, k) => {
      if (cell instanceof Node) {
        const td = element("td", undefined, "text");
        td.append(cell);
        return td;
      }
      const td = element("td", cell, heads[k][1]);
      if (heads[k][1]) td.title = cell;
      return td;
    }));
    if (onClick) {
      line.className = "link";
      line.onclick = () => onClick(n);
    }
    return line;
  });
  tableElement.replaceChildren(head, ...lines);
  return [head, lines];
}

const COLUMNS = [
  ["Goroutine", g => labelOf(g), null],
  ["Made by", g => G.parent[g] ? labelOf(G.parent[g] - 1) : "", null],
  ["First seen", g => duration(G.start[g]), g => G.start[g]],
  ["Running", g => duration(G.time[RUNNING][g]), g => G.time[RUNNING][g]],
  ["Runnable", g => duration(G.time[RUNNABLE][g]), g => G.time[RUNNABLE][g]],
  ["Waiting", g => duration(G.time[WAITING][g]), g => G.time[WAITING][g]],
  ["In C code", g => duration(G.time[BLOCKED][g]), g => G.time[BLOCKED][g]],
  ["Times run", g => number(G.switches[g]), g => G.switches[g]],
];
const table = { by: 3, up: false, most: 25, filter: "", shown: [] };

function sorted() {
  const all = table.filter.trim() ? matches(table.filter, G.count)
    : Array.from({ length: G.count }, (_, g) => g);
  const value = COLUMNS[table.by][2], sign = table.up ? 1 : -1;
  if (value) return all.sort((a, b) => sign * (value(a) - value(b)) || a - b);
  const text = COLUMNS[table.by][1];
  return all.sort((a, b) => sign * text(a).localeCompare(text(b)) || a - b);
}

function fillTable() {
  const all = sorted();
  table.shown = all.slice(0, table.most);
  const heads = COLUMNS.map(([name, , value]) => [name, value ? "" : "text"]);
  const rows = table.shown.map(g => COLUMNS.map(([, text]) => text(g)));
  const [head] = fill($("g-table"), heads, rows, n => choose(table.shown[n]));
  [...head.children].forEach((cell, n) => {
    cell.dataset.by = n;
    if (n === table.by) cell.className += table.up ? " sorted up" : " sorted";
    cell.onclick = () => {
      table.up = table.by === n ? !table.up : !COLUMNS[n][2];
      table.by = n;
      fillTable();
    };
  });
  $("more").hidden = all.length <= table.most;
  $("more").textContent = `More (${number(all.length - table.most)} left)`;
  markRows();
}
$("more").onclick = () => { table.most *= 4; fillTable(); };

function markRows() {
  const lines = [...$("g-table").querySelectorAll("tr.link")];
  lines.forEach((line, n) =>
    line.classList.toggle("chosen", table.shown[n] === state.chosen));
}

function showDetails() {
  const g = state.chosen, details = $("details");
  details.hidden = g < 0;
  if (g < 0) return;
  const reasons = new Map(), spans = G.spans(g);
  for (let n = 0; n < spans.count; n++) {
    const object = meta.texts[spans.object[n]];
    const text = stateText(spans.state[n]).replace(/ on .*/, "")
      + (object ? `, ${object}` : "");
    const sum = reasons.get(text) || { count: 0, time: 0, max: 0 };
    const length = spans.to[n] - spans.from[n];
    sum.count++;
    sum.time += length;
    sum.max = Math.max(sum.max, length);
    reasons.set(text, sum);
  }
  const rows = [...reasons].sort((a, b) => b[1].time - a[1].time)
    .map(([text, sum]) => [text, number(sum.count), duration(sum.time),
      duration(sum.time / sum.count), duration(sum.max)]);
  const made = G.parent[g] ? `, made by ${labelOf(G.parent[g] - 1)}` : "";
  const times = element("table"), [by, of] = wakeTables(g);
  fill(times, [["State", "text"], ["Times"], ["Total"], ["Mean"], ["Longest"]], rows);
  details.replaceChildren(element("h2", labelOf(g) + made), times, by, of);
}

// By whom a goroutine was woken, and whom it woke: the most frequent.
function wakeTables(g) {
  const by = new Map(), of = new Map();
  const count = (map, who) => map.set(who, (map.get(who) || 0) + 1);
  for (let n = 0; n < wakes.at.length; n++) {
    if (wakes.g[n] === g) count(by, wakes.by[n] - 1);
    if (wakes.by[n] - 1 === g) count(of, wakes.g[n]);
  }
  return [["Woken by", by], ["Woke", of]].map(([title, map]) => {
    const top = [...map].sort((a, b) => b[1] - a[1]).slice(0, 8);
    const made = element("table");
    if (top.length) fill(made, [[title, "text"], ["Times"]],
      top.map(([who, n]) => [who < 0 ? "(no goroutine)" : labelOf(who),
        number(n)]), n => { if (top[n][0] >= 0) choose(top[n][0]); });
    return made;
  });
}

const SPREAD = [["Times"], ["Half up to"], ["99 % up to"], ["Longest"], ["Total"]];
const spread = times => times.count ? [number(times.count), duration(times.half),
  duration(times.p99), duration(times.max), duration(times.total)]
  : ["0", "", "", "", ""];

function share(part) {
  const bar = element("span", undefined, "share");
  bar.style.width = `${Math.max(1, Math.round(part * 120))}px`;
  return bar;
}

function fillTables() {
  const { groups, waits, objects, pairs } = meta.summary, most = 200;
  const longest = Math.max(1, ...groups.map(group => group.running));
  fill(document.querySelector("#groups table"), [["Name", "text"], ["Goroutines"],
    ["Running"], ["Runnable"], ["Waiting"], ["In C code"], ["", "text"]],
  groups.slice(0, most).map(group => [group.name, number(group.count),
    duration(group.running), duration(group.runnable), duration(group.waiting),
    duration(group.blocked), share(group.running / longest)]));
  fill(document.querySelector("#waits table"), [["Reason", "text"], ...SPREAD],
    waits.slice(0, most).map(wait => [wait.reason, ...spread(wait.times)]));
  fill(document.querySelector("#objects table"), [["Object", "text"],
    ["Reason", "text"], ["Goroutines"], ...SPREAD],
  objects.map(wait => [wait.object, wait.reason, number(wait.goroutines),
    ...spread(wait.times)]));
  $("objects").hidden = !objects.length;
  fill(document.querySelector("#pairs table"), [["Waker", "text"],
    ["How", "text"], ["Woken", "text"], ["Wakes"], ["Half ran within"], ["99 % within"],
    ["Longest"], ["Never ran"]],
  pairs.slice(0, most).map(pair => {
    const [, half, p99, max] = spread(pair.times);
    return [pair.by, pair.how, pair.woken, number(pair.times.count + pair.never), half,
      p99, max, pair.never ? number(pair.never) : ""];
  }));
  const shown = Math.min(marks.at.length, most);
  fill(document.querySelector("#marks table"), [["At"], ["Mark", "text"],
    ["By", "text"]],
  Array.from({ length: shown }, (_, n) => [duration(marks.at[n]),
    meta.texts[marks.text[n]], marks.g[n] ? labelOf(marks.g[n] - 1)
      : marks.lane[n] ? lanes[marks.lane[n] - 1].name : ""]),
  n => { if (marks.g[n]) choose(marks.g[n] - 1); showMoment(marks.at[n]); });
  $("marks").hidden = !shown;
}

function histogram() {
  const { latency } = meta.summary, section = $("latency");
  if (!latency.count) {
    section.append(element("p", "No goroutine was seen to become runnable and run."));
    return;
  }
  const first = latency.steps.findIndex(Boolean);
  const last = latency.steps.findLastIndex(Boolean);
  const steps = latency.steps.slice(first, last + 1);
  const most = Math.max(...steps), wide = 600 / steps.length;
  const parts = steps.map((count, n) => {
    const high = count ? Math.max(1.5, count / most * 130) : 0, x = n * wide;
    const to = duration(2 ** (first + n + 7));
    const text = n % Math.ceil(steps.length / 8) === 0
      ? `<text x="${x + wide}" y="164" text-anchor="middle">${to}</text>` : "";
    return `<rect x="${x + 1}" y="${148 - high}" width="${wide - 2}" height="${high}"
      rx="2"><title>up to ${to}: ${number(count)}</title></rect>${text}`;
  });
  section.insertAdjacentHTML("beforeend", `<p>${number(latency.count)} times; half
    up to ${duration(latency.half)}, 99 % up to ${duration(latency.p99)}, the
    longest ${duration(latency.max)}. Each bar is twice as wide in time as the
    one before.</p><svg viewBox="0 0 620 170" role="img"
    aria-label="Histogram of the times from runnable to running">
    <line x1="0" x2="620" y1="148.5" y2="148.5"/>${parts.join("")}</svg>`);
}

// --- Start ------------------------------------------------------------------

function start() {
  $("title").textContent = meta.program || "gmprt report";
  const ps = lanes.filter(lane => lane.p).length;
  $("facts").textContent = [meta.pid ? `process ${meta.pid}` : "",
    duration(meta.length), `${ps} Ps`, `${number(G.count)} goroutines`,
    `${number(meta.events)} events`].filter(Boolean).join(" · ");
  $("warnings").hidden = !meta.warnings.length;
  $("warnings").append(...meta.warnings.map(text => element("li", text)));
  readColours();
  fillTables();
  histogram();
  fillTable();
  // The lanes of those that ran longest, to begin with.
  state.shown = table.shown.slice(0, 5);
  layOut();
  show(0, meta.length);
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    readColours();
    redraw();
  });
  new ResizeObserver(redraw).observe($("lanes"));
  document.body.dataset.ready = "yes";
}
start();
