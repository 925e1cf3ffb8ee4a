"""Makes the site: static pages of docs/site, docs, README's neighbours and the
header, with a search that needs no server, in dark or light as the reader's
system has it.

    site.py VERSION OUT

A line `{{FILE}}` in a page of docs/site stands for the program FILE of
docs/examples or of another folder, `{{FILE name}}` for one function of it,
`{{README.md LANGUAGE}}` for README's program in that language, and `{{bench}}` for
plots of the table in bench/README.md. A link to a file that is no page leads to
a copy of the file. A link that leads nowhere, or to a heading that is not
there, ends the run with an error.
"""

import html
import json
import re
import shutil
import sys
from pathlib import Path

from markdown_it import MarkdownIt

import docstrings
import examples
import header
import plots

ROOT = Path(__file__).resolve().parent.parent.parent
# Each page with its title in the list, below the headings of the list.
NAV = [
    ("Start", [
        ("docs/site/index.md", "gmprt"),
        ("docs/site/start.md", "Five minutes"),
        ("docs/site/tutorial.md", "A server, step by step"),
        ("docs/site/coming-from.md", "Coming from"),
        ("docs/site/faq.md", "Questions"),
    ]),
    ("Guides", [
        ("docs/site/channels.md", "Channels and select"),
        ("docs/site/cancel.md", "Cancels and deadlines"),
        ("docs/site/blocking.md", "C code that blocks"),
        ("docs/hazards.md", "Hazards: what belongs to a thread"),
        ("docs/heap.md", "The collected heap"),
        ("docs/panic.md", "Panics"),
        ("docs/site/fork.md", "fork and plug-ins"),
        ("docs/site/embedding.md", "Embedding"),
        ("docs/when.md", "When it hangs, crashes, is slow"),
        ("docs/site/performance.md", "Performance"),
        ("docs/cpp.md", "C++"),
        ("docs/python.md", "Python"),
        ("docs/company.md", "Beside other runtimes"),
        ("docs/host.md", "What it does to its host"),
        ("docs/dump.md", "Dumps"),
        ("docs/gdb.md", "gdb"),
        ("docs/trace.md", "Traces"),
    ]),
    ("Inside", [
        ("README.md", "README"),
        ("HACKING.md", "How it works"),
        ("docs/go-names.md", "Go's names"),
        ("docs/python-internals.md", "Inside the Python package"),
        ("bench/README.md", "Measurements"),
        ("CHANGELOG.md", "Changes"),
        ("SECURITY.md", "Security"),
        ("CONTRIBUTING.md", "Contributing"),
    ]),
]
LISTED = [page for _, pages in NAV for page in pages]


def address(page):
    """The file of a page on the site."""
    name = page.removeprefix("docs/").removeprefix("site/").removesuffix(".md")
    return name.replace("/", "-").lower() + ".html"


def slug(text):
    """The anchor of a heading, as GitHub makes it."""
    text = re.sub(r"[^\w\- ]", "", text.strip().lower())
    return text.replace(" ", "-")


def included(text):
    """Text in which programs stand for the lines that name them."""
    readme = (ROOT / "README.md").read_text()

    def program(match):
        file, part = match[1], match[2]
        if file == "README.md":
            code = re.search(rf"```{part}\n(.*?)```", readme, re.S)[1]
            return f"```{part}\n{code}```"
        path = ROOT / ("" if "/" in file else "docs/examples") / file
        folder, file = path.parent, path.name
        code = path.read_text()
        if part:
            found = [c for f, c in examples.pieces(folder) if f == file]
            code = next(c for c in found if re.search(rf"\b{part}\(", c))
        return f"```c\n{code}```"

    text = re.sub(r"^\{\{bench\}\}$", lambda _: plots.bench(ROOT), text, flags=re.M)
    return re.sub(r"^\{\{(\S+)(?: (\w+))?\}\}$", program, text, flags=re.M)


def named(text):
    """Text of the header in which errors are code, and names of functions, types
    and macros, of which the page makes links."""
    parts = re.split(r"(`[^`]*`)", text)
    name = r"(\b(?:gmp|GMP)_\w+(?:\(\))?|(?<!\w)-E[A-Z0-9]+\b)"
    parts[::2] = [re.sub(name, r"`\1`", part) for part in parts[::2]]
    return "".join(parts)


def words_of(inline):
    """A paragraph's text, whose lines end between words."""
    parts = inline.children
    return "".join(" " if p.type.endswith("break") else p.content for p in parts)


def reference(section):
    """A section of the header as Markdown."""
    lines = [f"# {section.name}", "", section.summary.capitalize() + ".", ""]

    def about(blocks):
        for block in blocks:
            text = named(block.text)
            if block.kind == "code":
                lines.extend(["```c", block.text, "```", ""])
            elif block.kind == "item":
                lines.extend([f"- {text}", ""])
            elif block.kind == "term":
                term, text = text.split(": ", 1)
                lines.extend([f"- **{term}**: {text}", ""])
            else:
                lines.extend([text, ""])

    about(section.blocks)
    if len(section.entries) > 1:
        lines.extend([", ".join(f"`{e.name}`" for e in section.entries), ""])
    for entry in section.entries:
        lines.extend([f"## {entry.name}", "", "```c", entry.code, "```", ""])
        about(entry.blocks)
        shown = SHOWN.of(entry) if entry.kind == "function" else None
        if shown and shown[1]:
            lines.extend(["Example:", "", "```c", shown[0], "```", ""])
    return "\n".join(lines)


SHOWN = examples.Examples(ROOT / "docs/examples")


class Site:
    def __init__(self, version, out):
        self.version = version
        self.out = Path(out)
        self.index = []
        self.wrong = []
        self.anchors = {}
        self.links = []
        self.functions = {}

    def link(self, page, target):
        """Where a link of a page leads on the site."""
        if re.match(r"(https?|mailto):", target):
            return target
        path, _, anchor = target.partition("#")
        if not path:
            self.links.append((page, address(page), anchor))
            return target
        if path.endswith(".html"):
            self.links.append((page, path, anchor))
            return target
        file = (ROOT / page).parent / path
        if not file.exists():
            self.wrong.append(f"{page}: no {path}")
            return target
        name = file.resolve().relative_to(ROOT).as_posix()
        if name in [p for p, _ in LISTED]:
            self.links.append((page, address(name), anchor))
            return address(name) + (f"#{anchor}" if anchor else "")
        if file.is_dir():
            name += ".txt"
            text = "\n".join(sorted(p.name for p in file.iterdir())) + "\n"
            copy = self.out / "files" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(text)
        else:
            plain = file.suffix not in (".png", ".svg", ".json", ".txt")
            name += ".txt" if plain else ""
            copy = self.out / "files" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        return f"files/{name}"

    def body(self, page, text, listed):
        """The page's HTML; its headings and words go into the index. In comments
        a type such as `co<T>` is no HTML."""
        md = COMMENTS if page.startswith("api/") else MD
        tokens = md.parse(text)
        title, anchor, words = page, "", []
        anchors = self.anchors.setdefault(address(page), set())

        def close():
            found = " ".join(words).strip()
            url = address(page) + (f"#{anchor}" if anchor else "")
            if found or anchor:
                self.index.append([title, url, found, listed])
            words.clear()

        for n, token in enumerate(tokens):
            if token.type == "heading_open":
                inline = tokens[n + 1]
                plain = words_of(inline)
                close()
                title, anchor = plain, slug(plain)
                while anchor in anchors:
                    anchor += "-1"
                anchors.add(anchor)
                token.attrSet("id", anchor)
            elif token.type == "inline":
                if tokens[n - 1].type != "heading_open":
                    words.append(words_of(token))
                for child in token.children:
                    for name in ("href", "src"):
                        if child.attrGet(name):
                            to = self.link(page, child.attrGet(name))
                            child.attrSet(name, to)
            elif token.type == "fence":
                words.append(token.content)
        close()
        made = md.renderer.render(tokens, md.options, {})
        made = made.replace("<table>", '<div class="wide"><table>')
        made = made.replace("</table>", "</table></div>")

        def function(match):
            where = self.functions.get(match[1])
            return f'<a href="{where}">{match[0]}</a>' if where else match[0]

        name = r"<code>((?:gmp|GMP)_\w+)(?:\(\))?</code>"
        return re.sub(name, function, made)

    def write(self, page, text, title):
        body = self.body(page, text, title)
        nav = []
        for heading, pages in [*NAV, ("Reference", self.reference)]:
            nav.append(f"<h2>{heading}</h2><ul>")
            for other, name in pages:
                here = ' aria-current="page"' if other == page else ""
                to = f'<a href="{address(other)}"{here}>{html.escape(name)}</a>'
                nav.append(f"<li>{to}</li>")
            nav.append("</ul>")
        shell = (ROOT / "docs/site/page.html").read_text()
        for mark, value in {
            "@TITLE@": html.escape(title),
            "@VERSION@": self.version,
            "@NAV@": "".join(nav),
            "@BODY@": body,
        }.items():
            shell = shell.replace(mark, value)
        (self.out / address(page)).write_text(shell)

    def make(self):
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir(parents=True)
        sections = header.parse((ROOT / "include/gmp.h").read_text())
        parts = {f"api/{slug(s.name)}.md": s for s in sections}
        self.reference = [(page, s.name) for page, s in parts.items()]
        self.reference += [("api/cpp.md", "C++"), ("api/python.md", "Python")]
        for page, section in parts.items():
            for entry in section.entries:
                self.functions[entry.name] = f"{address(page)}#{entry.name.lower()}"
        for page, name in LISTED:
            self.write(page, included((ROOT / page).read_text()), name)
        for page, section in parts.items():
            self.write(page, reference(section), section.name)
        self.write("api/cpp.md", docstrings.cpp(ROOT), "C++")
        self.write("api/python.md", docstrings.python(ROOT), "Python")
        for file in ("style.css", "search.js"):
            shutil.copyfile(ROOT / "docs/site" / file, self.out / file)
        index = json.dumps(self.index, ensure_ascii=False)
        (self.out / "index.js").write_text(f"const PAGES = {index};\n")
        for page, to, anchor in self.links:
            if to not in self.anchors or anchor and anchor not in self.anchors[to]:
                self.wrong.append(f"{page}: no {to}#{anchor}")
        if self.wrong:
            sys.exit("links that lead nowhere:\n" + "\n".join(self.wrong))
        print(f"{len(self.anchors)} pages, {len(self.links)} links checked")


MD = MarkdownIt("commonmark").enable("table")
COMMENTS = MarkdownIt("commonmark", {"html": False})

if __name__ == "__main__":
    Site(*sys.argv[1:]).make()
