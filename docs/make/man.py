"""Makes man pages of the header: one for each function, type and macro with a
comment, and gmprt(7), which has the terms, the conventions and a list.

    man.py HEADER EXAMPLES VERSION OUT

An `_until` function says of itself that it is another one with a deadline, so
its page has the text of that function too. The errors are those that the text
names, with the clause that names them, and those that the conventions add.
"""

import errno
import os
import re
import sys
from pathlib import Path

import header
from examples import Examples

ADDED = {
    "ECANCELED": "The calling goroutine is cancelled.",
    "EDEADLK": "The call would have to wait inside an unlockf.",
    "ETIMEDOUT": "The deadline has passed; the call has not done its work.",
    "EINVAL": "NULL where the text does not allow it.",
}
INCLUDE = "#include <gmp.h>"
FLAGS = "cc FILE.c $(pkg-config --cflags --libs gmprt)"


def escape(text):
    return text.replace("\\", "\\e").replace("-", "\\-")


def line(text):
    """A line of text, where a dot or quote at the front is no request."""
    return "\\&" + text if text[:1] in (".", "'") else text


def code(text):
    lines = [line(escape(part)) for part in text.split("\n")]
    return ["", ".EX", *lines, ".EE"]


def explained(error, clause):
    """What the clause says of the error, as a sentence."""
    said = re.sub(rf"^-{error}(?: (?=if|for|on|in|with|to|unless)|,? |$)", "", clause)
    if not said or said.startswith("Returns"):
        said = os.strerror(getattr(errno, error)) + (
            f"; {said}" if said and len(said) > len(f"Returns -{error}.") else ""
        )
        said = said.split("; Returns")[0]
    return said[0].upper() + said[1:].rstrip(".") + "."


class Pages:
    def __init__(self, sections, examples, version):
        self.sections = sections
        self.examples = examples
        self.version = version
        self.entries = {e.name: e for s in sections for e in s.entries}
        # Where the comment of a type names the initialiser, that is its page.
        self.functions = {
            name for name, e in self.entries.items() if e.kind == "function"
        }

    def prose(self, text):
        """Text with the names of functions and parameters set apart."""

        def name(match):
            word = match[1]
            pointer = match.string[match.end() :].startswith(" *")
            if word not in self.entries or pointer:
                return match[0]
            section = match[2] or "(3)"
            section = "(3)" if section == "()" else section
            return f"\\fB{word}\\fP{section}"

        text = escape(text)
        text = re.sub(r"`([^`]*)`", r"\\fI\1\\fP", text)
        text = re.sub(r"\b(gmp_[a-z0-9_]+|GMP_INIT)(\(\)|\(\d\))?", name, text)
        text = re.sub(r"\b([a-z_]{2,})(\(\d\))", r"\\fB\1\\fP\2", text)
        return line(text)

    def about(self, blocks):
        lines = []
        for block in blocks:
            if block.kind == "code":
                lines += code(block.text)
            elif block.kind == "item":
                lines += [".IP \\(bu 2", self.prose(block.text)]
            elif block.kind == "term":
                term, text = block.text.split(": ", 1)
                lines += [".TP", f".B {escape(term)}", self.prose(text)]
            else:
                lines += [".PP", self.prose(block.text)]
        return lines

    def head(self, name, number):
        date = os.environ.get("GMPRT_DATE", "")
        return [
            ".\\\" Made from include/gmp.h by docs/make/man.py.",
            f'.TH {name} {number} "{date}" "gmprt {self.version}" "gmprt"',
        ]

    def summary(self, entry):
        """The first sentence, as the line that whatis shows."""
        text = " ".join(b.text for b in entry.blocks if b.kind == "text")
        text = re.split(r"(?<=[a-z0-9)`])[.](?: |$)", text)[0].replace("`", "")
        for end in (": ", "; ", " (", ", "):
            if len(text) > 68:
                text = text.split(end)[0]
        first = text.split(" ")[0]
        if first.isalpha() and not first.isupper():
            text = text[0].lower() + text[1:]
        return text

    def base(self, entry):
        """The function that `entry` is with a deadline, or a try of."""
        first = next((b.text for b in entry.blocks if b.kind == "text"), "")
        named = re.match(r"(gmp_\w+)\b", first)
        other = named and self.entries.get(named[1])
        return other if other is not entry else None

    def see_also(self, entry):
        names = []
        for block in entry.blocks:
            names += re.findall(r"\bgmp_[a-z0-9_]+", block.text)
        name = entry.name
        names += [name + "_until", name.removesuffix("_until")]
        names += re.findall(r"\bgmp_[a-z0-9_]+", entry.code)
        stem = name.removesuffix("_until").rsplit("_", 1)[0]
        if stem != "gmp":
            names += [n for n in self.entries if n.startswith(stem + "_")][:8]
        known = sorted({n for n in names if n in self.entries and n != name})
        return ", ".join([f"\\fB{n}\\fP(3)" for n in known] + ["\\fBgmprt\\fP(7)"])

    def errors(self, entry, text):
        found = dict(header.errors(text))
        whole = " ".join(b.text for b in text)
        blocks = entry.kind == "function" and (
            "lock" in whole and "ever blocks" not in " ".join(
                b.text for b in entry.blocks
            )
        )
        returns = re.match(r"(int|ssize_t) ", entry.code)
        if blocks and returns:
            for error in ("ECANCELED", "EDEADLK"):
                if "cancel does not end" in whole and error == "ECANCELED":
                    continue
                found.setdefault(error, ADDED[error])
        if entry.name.endswith("_until"):
            found.setdefault("ETIMEDOUT", ADDED["ETIMEDOUT"])
        if "*" in entry.code.partition("(")[2] and returns:
            found.setdefault("EINVAL", ADDED["EINVAL"])
        return found

    def page(self, entry):
        lines = self.head(entry.name, 3)
        lines += [".SH NAME", f"{entry.name} \\- {escape(self.summary(entry))}"]
        lines += [".SH SYNOPSIS", ".nf", f".B {INCLUDE}", ".PP"]
        shown = "\n".join(
            part for part in entry.code.split("\n") if entry.kind == "function"
        ) or entry.code
        lines += [line(escape(part)) for part in shown.split("\n")]
        lines += [".fi", ".PP", escape(FLAGS)]

        text = [b for b in entry.blocks if b.kind != "code"]
        base = self.base(entry) if entry.kind == "function" else None
        returns = [b for b in text if b.text.startswith("Returns")]
        lines += [".SH DESCRIPTION"]
        lines += self.about([b for b in text if b not in returns])
        if base:
            theirs = [b for b in base.blocks if b.kind != "code"]
            lines += [".PP", f"\\fB{base.name}\\fP(3) is described so:", ".RS"]
            lines += self.about(theirs) + [".RE"]
            text = text + theirs
        if returns:
            lines += [".SH RETURN VALUE", *self.about(returns)]
        errors = self.errors(entry, text)
        if errors:
            lines += [".SH ERRORS", "The result is the negative value."]
            for error, clause in errors.items():
                said = explained(error, clause)
                lines += [".TP", f".B {error}", self.prose(said)]
        example = self.examples.of(entry)
        if example:
            shown, file = example
            lines += [".SH EXAMPLES", *code(shown)]
            if file:
                lines += [".PP", f"The whole program is {escape(file)} of the"]
                lines += ["examples that are installed with the documents."]
        lines += [".SH SEE ALSO", self.see_also(entry)]
        return "\n".join(lines) + "\n"

    def overview(self):
        lines = self.head("gmprt", 7)
        lines += [
            ".SH NAME",
            "gmprt \\- goroutines for C, C++ and everything that calls C",
            ".SH SYNOPSIS",
            ".nf",
            f".B {INCLUDE}",
            ".fi",
            ".PP",
            escape(FLAGS),
            ".SH DESCRIPTION",
            "A goroutine is a function that runs beside others on a small stack",
            "of its own. The library runs goroutines on as many threads as there",
            "are CPUs, and on more where some block in system calls. Goroutines",
            "and threads share channels and locks. Beside GNU MP, whose header",
            "has the same name, include <gmprt/gmp.h> (pkg\\-config",
            "gmprt\\-beside).",
        ]
        for section in self.sections:
            if section.name == "Includes":
                continue
            lines += [f".SH {section.name.upper()}"]
            if section.entries:
                lines += [section.summary[0].upper() + section.summary[1:] + "."]
            lines += self.about(section.blocks)
            listed = [e for e in section.entries if e.kind == "function"]
            for entry in listed:
                lines += [".TP", f"\\fB{entry.name}\\fP(3)"]
                lines += [escape(self.summary(entry))]
        lines += [".SH ENVIRONMENT"]
        for name, text in ENVIRONMENT:
            lines += [".TP", f".B {name}", escape(text)]
        lines += [
            ".SH FILES",
            ".TP",
            ".B libgmprt.so, libgmprt.a",
            "The library.",
            ".TP",
            ".B libgmprt_rt0.a",
            "The entry point that makes main the main goroutine.",
            ".SH SEE ALSO",
            "\\fBgmprt\\fP(1), \\fBpthreads\\fP(7), \\fBepoll\\fP(7)",
        ]
        return "\n".join(lines) + "\n"


ENVIRONMENT = []


def environment(readme):
    """The rows of README's table, without its marks."""
    _, _, table = readme.partition("## Environment")
    for row in table.split("\n\n")[1].split("\n")[2:]:
        name, text = row.strip("| ").split(" | ", 1)
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)
        yield name.replace("`", "").replace("**", ""), text.replace("`", "")


def main():
    source, folder, version, out = sys.argv[1:]
    sections = header.parse(Path(source).read_text())
    readme = Path(source).parent.parent / "README.md"
    ENVIRONMENT.extend(environment(readme.read_text()))
    pages = Pages(sections, Examples(folder), version)
    for number in ("man3", "man7"):
        (Path(out) / number).mkdir(parents=True, exist_ok=True)
    for name, entry in pages.entries.items():
        (Path(out) / "man3" / f"{name}.3").write_text(pages.page(entry))
    (Path(out) / "man7" / "gmprt.7").write_text(pages.overview())


main()
