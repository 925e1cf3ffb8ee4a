"""Draws the last table of bench/README.md as SVG that lies in a page: a panel for
each operation, a bar for each system, the best above. It has the page's colours,
dark or light, and needs nothing but itself."""

import html
import re

WIDTH, LEFT, RIGHT, ROW = 340, 104, 76, 18


def columns(header):
    """The names of the systems, with where the column of each ends."""
    systems = header[: header.index("  to go")]
    found = [(m[0], m.end()) for m in re.finditer(r"\S+", systems)]
    return found[3:]  # behind operation, P and metric


def read(text):
    """Of each operation: its metric, and number, P, system of each first row."""
    table = re.search(r"<!-- table -->\n```\n(.*?)```", text, re.S)[1]
    machine, versions, _, header, *lines = table.splitlines()
    systems, panels = columns(header), {}
    metric_at = header.index("metric")
    for line in lines:
        if not line.strip():
            break
        operation, p, metric = line.split()[:3]
        more = " ↑" in line[metric_at : metric_at + 20]
        panel = panels.setdefault(operation, (metric, more, []))
        if panel[0] != metric:
            continue  # memory, or another way of the same
        start = line.index(metric, metric_at) + len(metric)
        start += 2 * more
        for system, end in systems:
            cell = re.match(r"\s*([\d,.]+)", line[start:end])
            if cell:
                number = float(cell[1].replace(",", ""))
                panel[2].append((number, cell[1], int(p), system))
            start = end
    return machine, versions, panels


def meanings(text):
    """What an operation's number is, from the table that describes them."""
    found = {}
    for names, metric in re.findall(r"^\| (`[^|]*`) \| ([^|]+) \|", text, re.M):
        for name in re.findall(r"`(\w+)`", names):
            found.setdefault(name, metric.split(",")[0].strip())
    return found


def panel(operation, meaning, more, bars):
    bars = sorted(bars, reverse=more)
    longest = max(number for number, *_ in bars)
    several = len({p for _, _, p, _ in bars}) > 1
    title = html.escape(f"{operation}: {meaning}" + (", more is better" * more))
    out = [
        f'<svg viewBox="0 0 {WIDTH} {24 + ROW * len(bars)}" role="img">'
        f"<title>{title}</title>",
        f'<text class="of" x="0" y="14">{title}</text>',
    ]
    for n, (number, told, p, system) in enumerate(bars):
        y = 24 + ROW * n
        width = max(1, number / longest * (WIDTH - LEFT - RIGHT))
        ours = ' class="ours"' if system == "gmprt" else ""
        name = f"{system}, {p} P" if several else system
        out.append(
            f'<text x="{LEFT - 6}" y="{y + 12}" text-anchor="end">{name}</text>'
            f'<rect{ours} x="{LEFT}" y="{y + 2}" width="{width:.1f}" height="12"/>'
            f'<text x="{LEFT + width + 5:.1f}" y="{y + 12}">{told}</text>'
        )
    return "".join(out) + "</svg>"


def bench(root):
    """The figure, as a block of HTML in a page of Markdown."""
    text = (root / "bench/README.md").read_text()
    machine, versions, panels = read(text)
    told = meanings(text)
    drawn = [
        panel(name, told.get(name, metric), more, bars)
        for name, (metric, more, bars) in panels.items()
    ]
    caption = html.escape(f"{machine}. {versions}.")
    return (
        f'<figure class="bench"><div>{"".join(drawn)}</div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )
