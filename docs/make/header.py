"""Reads include/gmp.h: sections, functions, types, macros and their text.

The header is made by `make header` in one form, which this relies on: a heading
`/* --- NAME ---`, a doc comment `/** ... */` before each declaration, plain
comments before macros that have several lines. The text of a comment is
paragraphs, lists whose items begin with `- `, and code that is indented by
four columns.
"""

import re
from dataclasses import dataclass, field


@dataclass
class Block:
    """A part of a text: `kind` is "text", "code", "item" or "term"."""

    kind: str
    text: str


@dataclass
class Entry:
    """What one doc comment describes."""

    kind: str  # "function", "type", "macro"
    name: str
    code: str
    blocks: list
    section: str


@dataclass
class Section:
    name: str
    summary: str
    blocks: list
    entries: list = field(default_factory=list)


def comment_lines(comment):
    """The lines of a comment without its stars, that is its plain text."""
    lines = []
    for line in comment.strip().removeprefix("/*").removesuffix("*/").split("\n"):
        line = re.sub(r"^\s*\*( |$)", "", line)
        lines.append(line.lstrip("* ") if not lines else line)
    return lines


def blocks(lines):
    """Paragraphs, items of lists and code, in their order."""
    found = []
    kind, text = None, []

    def close():
        nonlocal kind, text
        if kind == "code":
            found.append(Block("code", "\n".join(text).rstrip()))
        elif kind:
            found.append(Block(kind, " ".join(text)))
        kind, text = None, []

    for line in lines:
        if not line.strip():
            if kind == "code":
                text.append("")
            else:
                close()
        elif line.startswith("    ") and kind != "item" and kind != "term":
            if kind != "code":
                close()
                kind = "code"
            text.append(line[4:])
        elif line.startswith("- "):
            close()
            kind, text = "item", [line[2:].strip()]
        elif line.startswith("  ") and kind in ("item", "term"):
            text.append(line.strip())
        elif re.match(r"[a-z ]+: ", line) and kind in (None, "term"):
            close()
            kind, text = "term", [line.strip()]
        else:
            if kind in ("code", "item") or kind == "term":
                close()
            kind = "text"
            text.append(line.strip())
    close()
    return found


DECLARED = re.compile(r"\b(gmp_[a-z0-9_]+)\(")


def entry(comment, code, section):
    """What `comment` and the declaration after it say."""
    about = blocks(comment_lines(comment))
    code = code.strip("\n")
    # Attributes tell a compiler what the text tells a reader.
    code = re.sub(r"^#ifdef __GNUC__\n.*?#endif\n", "", code, flags=re.S)
    # C has `bool` from a header only, so the header has two declarations.
    both = re.match(r"#ifdef __cplusplus\n(.*?)\n#else\n.*#endif", code, re.S)
    if both:
        code = both[1]
    macro = re.match(r"#define ([A-Z_]+)", code)
    if macro:
        return Entry("macro", macro[1], code, about, section)
    named = re.search(r"(?:^\} |^typedef .*?[ *(])(gmp_\w+)(?:;|\))", code, re.M)
    if code.startswith("typedef"):
        return Entry("type", named[1], code, about, section)
    return Entry("function", DECLARED.search(code)[1], code, about, section)


def declaration(text):
    """The declaration at the beginning of `text`, which may have comments."""
    text = text.lstrip("\n")
    if text.startswith("#ifdef __GNUC__"):
        end = text.index("#endif\n") + 7
        return text[:end] + declaration(text[end:])
    if text.startswith("#ifdef"):
        return text[: text.index("#endif") + 6]
    if text.startswith("#define"):
        return re.match(r"(?:.*\\\n)*.*", text)[0]
    if text.startswith("typedef struct") and "{" in text.split(";")[0]:
        return text[: text.index("\n}") + 2] + re.match(
            r"[^;]*;", text[text.index("\n}") + 2 :]
        )[0]
    return text[: text.index(";") + 1]


def parse(text):
    """The sections of the header, in order."""
    contents = dict(
        (m[1].strip(), m[2])
        for m in re.finditer(r"^ \*   (\S[^\n]{12}) (\S.*)$", text, re.M)
    )
    parts = re.split(r"^/\* --- (.*?) -+$", text, flags=re.M)
    sections = []
    for name, body in zip(parts[1::2], parts[2::2]):
        head, body = body.split("*/", 1)
        section = Section(name, contents[name], blocks(comment_lines(head)))
        while True:
            found = re.search(r"^(/\*\*?)(?=[ \n])", body, re.M)
            if not found:
                break
            end = body.index("*/", found.start()) + 2
            comment, rest = body[found.start() : end], body[end:]
            if found[1] == "/**":
                code = declaration(rest)
                section.entries.append(entry(comment, code, name))
                rest = rest.lstrip("\n")[len(code) :]
            elif rest.startswith("\n#define"):
                code = declaration(rest)
                section.entries.append(entry(comment, code, name))
            body = rest
        sections.append(section)
    return sections


def errors(about):
    """Each error that the text names, with what it says of it."""
    found = []
    for block in about:
        if block.kind != "text" or not re.search(r"-E[A-Z]+", block.text):
            continue
        for clause in re.split(r"(?<=[;.:]) ", block.text):
            names = re.findall(r"-(E[A-Z0-9]+)\b", clause)
            for name in names:
                if name not in [n for n, _ in found]:
                    found.append((name, clause.strip().rstrip(";.:")))
    return found
