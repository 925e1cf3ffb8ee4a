"""gmprt in gdb: goroutines and their stacks, in a living program and in a core.

    info goroutines [-a] [REGEXP]   goroutines, a line each
    goroutine N [COMMAND]           its fields; or COMMAND on its stack (bt, ...)
    goroutine all COMMAND           COMMAND on the stack of each
    print $goroutine(N)             its descriptor
    goroutine-gcore [FILE]          a core, the stacks of goroutines included

gdb loads this file by itself with the library where auto-load safe-path lets
it; else `source` does. docs/gdb.md is for users.

How a parked goroutine's stack is shown
    gdb unwinds from the registers of a thread, and these cannot be changed in
    a core. So an unwinder of ours claims the thread's innermost frame, and says
    that its caller is the goroutine, suspended in its frame (`frame.*` in the
    table). That innermost frame is left out of what is printed; the goroutine's
    first has number 1. No register and no byte of the program is written.

How the list is fast
    The function of the host's that waits is the caller of the first `gmp_*`
    function on the stack. gdb unwinds one stack for each way by which the
    library is left; from then on the words in the places of the same return
    addresses tell that a stack is alike.

Everything about the library's data comes from the table `gmp_debug_layout`
(src/ffi/layout.rs). All names here begin with Gmprt or gmprt: scripts of gdb
share one module.
"""

import bisect
import itertools
import re
import struct
import time

import gdb
import gdb.unwinder

# A function of gmp.h may end with a jump into the library.
GMPRT_OURS = ("gmp_", "gmprt", "core::", "std::", "alloc::")
GMPRT_REGISTERS = ("rip", "rbp", "rbx", "r12", "r13", "r14", "r15")


class GmprtError(gdb.GdbError):
    """Goes to the user as it is, without a traceback."""


def gmprt_read(at, size):
    return bytes(gdb.selected_inferior().read_memory(at, size))


def gmprt_word(at):
    return struct.unpack("<Q", gmprt_read(at, 8))[0]


def gmprt_text(at, limit=200):
    """The C string at an address, or None where there is none."""
    if at == 0:
        return None
    text = b""
    while b"\0" not in text and len(text) < limit:
        # Not past a page that may be the last one.
        room = min(64, 4096 - (at + len(text)) % 4096)
        try:
            text += gmprt_read(at + len(text), room)
        except gdb.MemoryError:
            return None
    return text.split(b"\0")[0][:limit].decode("utf-8", "replace")


def gmprt_symbol(pc):
    """`function+offset`, or `function at file:line`, for a return address."""
    if pc == 0:
        return "none"
    said = gdb.execute("info symbol %#x" % (pc - 1), to_string=True)
    name = re.sub("::h[0-9a-f]{16}\\b", "", said.split(" in section")[0])
    if said.startswith("No symbol"):
        return "%#x" % pc
    sal = gdb.find_pc_line(pc - 1)
    if sal.symtab is not None:
        return "%s at %s:%d" % (name.split(" + ")[0], sal.symtab.filename,
                                sal.line)
    return name.replace(" + ", "+")


class GmprtLayout:
    """The library's table of offsets, constants and addresses."""

    VERSION = 1

    def __init__(self):
        self.at = self.search()
        if self.at is None:
            raise GmprtError(
                "gmprt: gdb knows no symbol gmp_debug_layout. Either the "
                "program has not loaded libgmprt yet, or gdb has not found the "
                "library's file: see `info sharedlibrary`, `set sysroot`, "
                "`set solib-search-path`.")
        try:
            head = gmprt_read(self.at, 16)
        except gdb.error:
            raise GmprtError("gmprt: gmp_debug_layout at %#x cannot be read" %
                             self.at)
        magic, version, count = struct.unpack("<8sII", head)
        if magic != b"gmprtlay":
            raise GmprtError(
                "gmprt: no table at gmp_debug_layout: the file of the library "
                "is not the one that the program has run with.")
        if version != self.VERSION:
            raise GmprtError(
                "gmprt: the library has layout %d, and this script knows %d. "
                "Take the script that came with the library." %
                (version, self.VERSION))
        self.entries = {}
        for name, value in struct.iter_unpack(
                "<24sQ", gmprt_read(self.at + 16, 32 * count)):
            self.entries[name.split(b"\0")[0].decode()] = value

    @staticmethod
    def search():
        """The table's address; in a stripped program, by its first bytes."""
        try:
            return int(gdb.parse_and_eval("&gmp_debug_layout"))
        except gdb.error:
            pass
        for lo, hi in re.findall(r"(0x\w+) - (0x\w+) is \.(?:data|rodata)",
                                 gdb.execute("info files", to_string=True)):
            lo, hi = int(lo, 16), int(hi, 16)
            while lo < hi:
                try:
                    at = gdb.selected_inferior().search_memory(
                        lo, hi - lo, b"gmprtlay")
                    if at is None:
                        break
                    if gmprt_text(at + 16, 24) == "G.size":
                        return at
                except gdb.error:
                    break
                lo = at + 8
        return None

    def __getitem__(self, name):
        try:
            return self.entries[name]
        except KeyError:
            raise GmprtError("gmprt: the library's layout lacks %s" % name)

    def fields(self, kind):
        """Names of a structure's fields, in their order."""
        named = [(at, name.split(".")[1]) for name, at in self.entries.items()
                 if name.startswith(kind + ".") and name != kind + ".size"]
        return [name for _, name in sorted(named)]


class GmprtRecord:
    """Reads all known fields of a structure at once."""

    # The others are words.
    FORMS = {"status": "I", "flags": "H", "claim": "B", "index": "I",
             "waitsince": "I", "stack_size": "I", "shields": "H", "kind": "B",
             "deadline": "q"}

    def __init__(self, layout, kind):
        self.names, form, end = layout.fields(kind), "<", 0
        for name in self.names:
            at, code = layout[kind + "." + name], self.FORMS.get(name, "Q")
            form += "%dx%s" % (at - end, code)
            end = at + struct.calcsize("<" + code)
        self.size = layout[kind + ".size"]
        self.form = struct.Struct("%s%dx" % (form, self.size - end))

    def unpack(self, memory):
        return dict(zip(self.names, self.form.unpack(memory)))


class GmprtG:
    """A goroutine, as its descriptor says."""

    def __init__(self, state, address, memory):
        self.state = state
        self.address = address
        self.memory = memory
        self.fields = state.g_fields.unpack(memory)
        self.goid = self.fields["goid"]
        self.status = state.statuses.get(
            self.fields["status"], "status %d" % self.fields["status"])
        self.flags = self.fields["flags"]
        self.sched_sp = self.fields["sched_sp"]

    def number(self, field):
        try:
            return self.fields[field]
        except KeyError:
            raise GmprtError("gmprt: the library's layout lacks G." + field)

    def has(self, flag):
        return self.flags & self.state.layout["flag." + flag] != 0

    def is_alive(self):
        return self.status not in ("idle", "dead")

    def name(self):
        return gmprt_text(self.number("name"))

    def thread(self):
        """The thread that it runs on, or that it stands for; or None."""
        host = self.has("host")
        if not host:
            threads = self.state.threads_between(
                self.number("stack_lo"), self.number("stack_hi"))
            if threads:
                return threads[0]
        if not host and self.status != "running":
            return None
        mp = self.number("m")
        if mp == 0:
            return None
        procid = self.state.m_number(mp, "procid", "<i")
        for thread in self.state.threads():
            if thread.lwp == procid:
                return thread
        return None

    def wait(self, stack=None):
        """The fields of its Wait, or None if it waits for nothing.

        The wait lies on its own stack, of which `stack` may be a copy, or in
        the G.
        """
        at = self.number("waiting")
        if self.status != "waiting" or at == 0:
            return None
        record = self.state.wait_fields
        try:
            if stack is not None and stack.covers(at, record.size):
                memory = stack.cut(at, record.size)
            else:
                memory = gmprt_read(at, record.size)
        except gdb.MemoryError:
            return None
        wait = record.unpack(memory)
        wait["reason"] = self.state.constant_text(wait["reason"])
        return wait

    def since(self):
        """How long it has waited, in words."""
        began = self.number("waitsince")
        if began == 0:
            return ""
        ago = self.state.now() - began & 0xffffffff
        return ", %.1f s" % ((ago << self.state.layout["waitmark.shift"]) / 1e9)

    def title(self):
        wait = self.wait()
        text = "goroutine %d [%s]" % (
            self.goid, wait["reason"] if wait else self.status)
        name = self.name()
        return text + (' "%s"' % name if name else "")


class GmprtStack:
    """A copy of the innermost part of a suspended stack."""

    def __init__(self, gp, size):
        self.lo = gp.sched_sp
        size = min(size, gp.number("stack_hi") - self.lo)
        if size < gp.state.layout["frame.size"]:
            raise GmprtError("gmprt: goroutine %d has lost its stack pointer" %
                             gp.goid)
        self.memory = gmprt_read(self.lo, size)

    def covers(self, at, size):
        return self.lo <= at and at + size <= self.lo + len(self.memory)

    def cut(self, at, size):
        return self.memory[at - self.lo:at - self.lo + size]

    def word(self, offset):
        if offset + 8 > len(self.memory):
            return None
        return struct.unpack_from("<Q", self.memory, offset)[0]


class GmprtThread:
    """A thread of the program, and where it stands."""

    def __init__(self, thread):
        self.thread = thread
        self.lwp = thread.ptid[1]
        thread.switch()
        frame = gdb.newest_frame()
        self.sp = int(frame.read_register("rsp"))
        self.pc = frame.pc()


class GmprtSelection:
    """Keeps the user's thread and frame, and brings them back."""

    def __enter__(self):
        self.thread = gdb.selected_thread()
        self.frame = None
        if self.thread is not None:
            self.frame = gdb.selected_frame()
        return self

    def __exit__(self, *_):
        if self.thread is not None and self.thread.is_valid():
            self.thread.switch()
            if self.frame is not None and self.frame.is_valid():
                self.frame.select()


class GmprtState:
    """The program as one command sees it."""

    # Bytes of each stack that are read at first.
    PEEK = 768

    def __init__(self):
        if gdb.selected_inferior().pid == 0 or gdb.selected_thread() is None:
            raise GmprtError("gmprt: the program is not running, and there is "
                             "no core")
        self.layout = GmprtLayout()
        self.texts = {}
        self.ways = {}
        self.peek = self.PEEK
        self.all_threads = None
        self.stack_pointers = None
        self.mark = None
        self.g_fields = GmprtRecord(self.layout, "G")
        self.wait_fields = GmprtRecord(self.layout, "Wait")
        self.statuses = {value: name[7:]
                         for name, value in self.layout.entries.items()
                         if name.startswith("status.")}

    def now(self):
        """The time as a mark. The program's own is old where all is idle."""
        if self.mark is None:
            at = self.layout["waitmark"]
            self.mark = struct.unpack("<I", gmprt_read(at, 4))[0]
            connection = getattr(gdb.selected_inferior(), "connection", None)
            if connection is not None and connection.type == "native":
                self.mark = (time.monotonic_ns() >>
                             self.layout["waitmark.shift"]) & 0xffffffff
        return self.mark

    def threads_between(self, lo, hi):
        """The threads whose stack pointers lie there."""
        if self.stack_pointers is None:
            self.stack_pointers = sorted(t.sp for t in self.threads())
        i = bisect.bisect_left(self.stack_pointers, lo)
        if i == len(self.stack_pointers) or self.stack_pointers[i] > hi:
            return []
        return [t for t in self.threads() if lo <= t.sp <= hi]

    def constant_text(self, at):
        if at not in self.texts:
            self.texts[at] = gmprt_text(at) or "waiting"
        return self.texts[at]

    def m_number(self, mp, field, form="<Q"):
        at = mp + self.layout["M." + field]
        return struct.unpack(form, gmprt_read(at, struct.calcsize(form)))[0]

    def threads(self):
        if self.all_threads is None:
            with GmprtSelection():
                threads = gdb.selected_inferior().threads()
                self.all_threads = [GmprtThread(t) for t in threads]
        return self.all_threads

    def goroutines(self):
        """Every goroutine and host thread that is alive."""
        layout = self.layout
        at, size, slab = (layout[name] for name in
                          ("allgs.table", "G.size", "allgs.slab"))
        left = struct.unpack("<I", gmprt_read(layout["allgs.count"], 4))[0]
        while left > 0:
            base, many = gmprt_word(at), min(left, slab)
            memory = gmprt_read(base, many * size)
            for i in range(many):
                part = memory[i * size:(i + 1) * size]
                gp = GmprtG(self, base + i * size, part)
                if gp.is_alive():
                    yield gp
            at += 8
            left -= many

    def g_of_handle(self, handle):
        """The goroutine of a host's handle; None for a stale one."""
        layout = self.layout
        index = (handle & 0xffffffff) - 1
        count = struct.unpack("<I", gmprt_read(layout["allgs.count"], 4))[0]
        if not 0 <= index < count:
            return None
        slab = gmprt_word(
            layout["allgs.table"] + index // layout["allgs.slab"] * 8)
        at = slab + index % layout["allgs.slab"] * layout["G.size"]
        gp = GmprtG(self, at, gmprt_read(at, layout["G.size"]))
        pending = struct.unpack_from(
            "<Q", gp.memory, layout["G.park"] + layout["park.pending"])[0]
        return gp if pending >> 32 == handle >> 32 else None

    def find(self, word):
        """The goroutine of this number, or of this handle, an expression."""
        value = gdb.Value(int(word)) if word.isdigit() else \
            gdb.parse_and_eval(word)
        if value.type.strip_typedefs().code == gdb.TYPE_CODE_PTR:
            gp = self.g_of_handle(int(value))
            if gp is None:
                raise GmprtError("gmprt: %s is no handle of a goroutine that "
                                 "is alive" % word)
            return gp
        for gp in self.goroutines():
            if gp.goid == int(value):
                return gp
        raise GmprtError("gmprt: there is no goroutine %s" % word)

    def place(self, gp, stack):
        """Where the host's code stands: `function at file:line`."""
        thread = gp.thread() if stack is None else None
        if thread is not None:
            with GmprtSelection():
                thread.thread.switch()
                inside = gp.status == "waiting" if gp.has("host") else \
                    self.m_number(gp.number("m"), "in_runtime", "<B")
                frame = gdb.newest_frame()
                return gmprt_place(gmprt_leave(frame) if inside else frame)
        if stack is None:
            if gp.has("started") or gp.has("host"):
                return "?"
            what = "goes on in " if gp.has("steps") else "starts at "
            return what + gmprt_symbol(gp.number("func") + 1)
        return self.suspended_place(gp, stack)

    def suspended_place(self, gp, stack):
        """The same for a stack that nobody runs on, by the known ways."""
        at = self.layout["frame.rip"]
        step = self.ways
        while True:
            step = step.get(stack.word(at))
            if step is None:
                return self.new_way(gp)
            if isinstance(step, str):
                return step
            at, step = step

    def new_way(self, gp):
        """Unwinds the stack, and notes the places of its return addresses."""
        with GmprtOnStack(self, gp) as frame:
            last = gmprt_leave(frame)
            step = self.ways
            at = self.layout["frame.rip"]
            while True:
                outer = frame.older()
                while outer is not None and outer.type() == gdb.INLINE_FRAME \
                        and not outer == last:
                    outer = outer.older()
                if frame == last or outer is None or at > 65536:
                    break
                pc = frame.pc()
                frame = outer
                if frame.pc() == pc:
                    continue
                at_next = int(frame.read_register("rsp")) - 8 - gp.sched_sp
                step = step.setdefault(pc, (at_next, {}))[1]
                at = at_next
            place = step[frame.pc()] = gmprt_place(last)
            self.peek = max(self.peek, min(at + 8, 8192))
            return place


def gmprt_leave(frame):
    """The frame of the host's that has called the library; where none has,
    that of the goroutine's function."""
    last, exported = frame, False
    while frame is not None:
        name = frame.name() or ""
        was, exported = exported, name.startswith(GMPRT_OURS)
        if name == "gostart":
            break
        if was and not exported:
            return frame
        last, frame = frame, frame.older()
    return last


def gmprt_place(frame):
    sal = frame.find_sal()
    name = frame.name() or "%#x" % frame.pc()
    if sal.symtab is None:
        return name
    return "%s at %s:%d" % (name, sal.symtab.filename, sal.line)


class GmprtFrameId:
    def __init__(self, sp, pc):
        self.sp = sp
        self.pc = pc


class GmprtUnwinder(gdb.unwinder.Unwinder):
    """Says that the frame at `claimed` was called by the goroutine at `of`."""

    def __init__(self):
        super().__init__("gmprt")
        self.claimed = None
        self.of = None

    def __call__(self, pending):
        if self.claimed is None:
            return None
        registers = [pending.read_register(name) for name in ("rsp", "rip")]
        here = [int(value) & 0xffffffffffffffff for value in registers]
        if here != self.claimed:
            return None
        layout, sp = self.of.state.layout, self.of.sched_sp
        # The frame's own place is below the goroutine's frames: gdb stops
        # where a caller's frame is below that of the function it calls.
        # Not by its name: the language may be Rust.
        pointer = registers[0].type
        info = pending.create_unwind_info(GmprtFrameId(
            *[gdb.Value(at).cast(pointer) for at in (sp, here[1])]))
        frame = gmprt_read(sp, layout["frame.size"])
        for name in GMPRT_REGISTERS:
            at = layout["frame." + name]
            value = struct.unpack_from("<Q", frame, at)[0]
            info.add_saved_register(name, gdb.Value(value).cast(pointer))
        info.add_saved_register(
            "rsp", gdb.Value(sp + layout["frame.size"]).cast(pointer))
        return info


class GmprtFilter:
    """Leaves the thread's own frames out of a goroutine's backtrace, and
    closures that the compiler has put into the library's functions."""

    def __init__(self):
        self.name = "gmprt"
        self.priority = 1000
        self.enabled = False
        self.skip = 0
        gdb.frame_filters[self.name] = self

    def filter(self, frames):
        return (frame for frame in itertools.islice(frames, self.skip, None)
                if not self.is_closure(frame.inferior_frame()))

    @staticmethod
    def is_closure(frame):
        return frame.type() == gdb.INLINE_FRAME and \
            "{closure" in (frame.name() or "")


class GmprtOnStack:
    """While it lasts, gdb shows the stack of this goroutine: gives its first
    frame, selected. A goroutine that runs is shown on its thread."""

    current = None

    def __init__(self, state, gp):
        self.state = state
        self.gp = gp
        self.selection = GmprtSelection()
        self.past_main = None

    def __enter__(self):
        gp = self.gp
        thread = gp.thread()
        suspended = not gp.has("host") and gp.status != "running"
        if thread is None and not suspended:
            raise GmprtError("gmprt: gdb does not show the thread of goroutine "
                             "%d" % gp.goid)
        if thread is None and not gp.has("started"):
            raise GmprtError(
                "gmprt: goroutine %d has no stack now. It will call %s." %
                (gp.goid, gmprt_symbol(gp.number("func") + 1)))
        self.selection.__enter__()
        try:
            if thread is not None:
                thread.thread.switch()
                return gdb.newest_frame()
            return self.claim()
        except BaseException:
            self.__exit__()
            raise

    def claim(self):
        GmprtOnStack.current = self
        # gdb looks no further than `main`, where the thread may be.
        self.past_main = gdb.parameter("backtrace past-main")
        if not self.past_main:
            gdb.execute("set backtrace past-main on", to_string=True)
        frame = gdb.newest_frame()
        here = [int(frame.read_register("rsp")) & 0xffffffffffffffff,
                frame.pc()]
        gmprt_unwinder.of = self.gp
        gmprt_unwinder.claimed = here
        gdb.invalidate_cached_frames()
        frame, skip = gdb.newest_frame(), 0
        while frame is not None and frame.pc() == here[1] and \
                int(frame.read_register("rsp")) & 0xffffffffffffffff == here[0]:
            frame, skip = frame.older(), skip + 1
        if frame is None or frame.pc() != gmprt_word(
                self.gp.sched_sp + self.state.layout["frame.rip"]):
            raise GmprtError("gmprt: gdb cannot unwind from thread %d; try "
                             "another thread" % gdb.selected_thread().num)
        gmprt_filter.skip = skip
        gmprt_filter.enabled = True
        frame.select()
        return frame

    def __exit__(self, *_):
        if GmprtOnStack.current is self:
            gmprt_let_go()
            if not self.past_main:
                gdb.execute("set backtrace past-main off", to_string=True)
        self.selection.__exit__()


def gmprt_let_go(_event=None):
    """From here on gdb shows threads as they are."""
    if GmprtOnStack.current is not None:
        GmprtOnStack.current = None
        gmprt_unwinder.claimed = gmprt_unwinder.of = None
        gmprt_filter.enabled = False
        gdb.invalidate_cached_frames()


class GmprtInfoGoroutines(gdb.Command):
    """List goroutines: number, state, since when, object, name, and where the
host's code stands.
Usage: info goroutines [-a] [REGEXP]
With -a also the library's own goroutines and the host's threads. REGEXP
chooses among the lines. A star marks a goroutine that runs."""

    def __init__(self):
        super().__init__("info goroutines", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        words = argument.split(None, 1)
        everything = bool(words) and words[0] == "-a"
        if everything:
            argument = words[1] if len(words) > 1 else ""
        try:
            chosen = re.compile(argument.strip())
        except re.error as e:
            raise GmprtError("gmprt: %s is no regular expression: %s" %
                             (argument, e))
        state = GmprtState()
        lines, shown = [], 0
        for gp in sorted(state.goroutines(), key=lambda gp: gp.goid):
            if not everything and (gp.has("system") or gp.has("host")):
                continue
            line = self.line(state, gp)
            if chosen.search(line):
                lines.append(line)
                shown += 1
            if len(lines) >= 500:
                gdb.write("\n".join(lines) + "\n")
                lines = []
        if lines:
            gdb.write("\n".join(lines) + "\n")
        if shown == 0:
            gdb.write("No goroutines%s.\n" %
                      (" match" if argument else ""))

    @staticmethod
    def line(state, gp):
        thread = gp.thread() if gp.status == "running" or gp.has("host") else None
        stack = None
        suspended = gp.status == "waiting" or gp.status == "runnable"
        if suspended and gp.has("started") and not gp.has("host"):
            if gp.thread() is None:
                stack = GmprtStack(gp, state.peek)
        wait = gp.wait(stack)
        text = gp.status
        if wait is not None:
            text = wait["reason"]
            if wait["object"] != 0:
                text += " %#x" % wait["object"]
            text += gp.since()
        name = gp.name()
        name = ' "%s"' % name if name else ""
        if gp.has("host"):
            name += " (thread %s)" % (thread.thread.num if thread else "?")
        return "%s %5d [%s]%s %s" % (
            "*" if gp.status == "running" else " ", gp.goid, text, name,
            state.place(gp, stack))


class GmprtGoroutine(gdb.Command):
    """Look at a goroutine, or run a command on its stack.
Usage: goroutine N
       goroutine N COMMAND
       goroutine all COMMAND
N is a number of `info goroutines`, or an expression that gives a gmp_g *.
Without COMMAND the fields of its descriptor are printed. The first frame of a
goroutine that does not run has number 1. Nothing is written into the program;
COMMAND begins in the host's function that waits, and sees its variables; but
thread-local ones are those of the current thread.

  goroutine 7 bt
  goroutine 7 frame apply level 4 info locals
  goroutine all bt 5"""

    def __init__(self):
        super().__init__("goroutine", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        words = argument.split(None, 1)
        if not words or (words[0] == "all" and len(words) < 2):
            raise GmprtError("usage: goroutine N [COMMAND], or goroutine all "
                             "COMMAND")
        state = GmprtState()
        if words[0] == "all":
            self.all(state, words[1], from_tty)
            return
        gp = state.find(words[0])
        if len(words) < 2:
            self.fields(state, gp)
            return
        self.run(state, gp, words[1], from_tty)

    RUNS = re.compile(
        "(s|step|si|stepi|n|next|ni|nexti|u|until|fin|finish|c|fg|continue|adv"
        "|advance|j|jump|return|signal|run|r|start|starti|reverse-.*)$")

    @classmethod
    def run(cls, state, gp, command, from_tty):
        with GmprtOnStack(state, gp) as frame:
            if GmprtOnStack.current is not None and \
                    cls.RUNS.match(command.split()[0]):
                raise GmprtError(
                    "gmprt: goroutine %d does not run, so `%s` cannot move it. "
                    "Set a breakpoint where it will go on: `goroutine %d "
                    "tbreak`." % (gp.goid, command, gp.goid))
            gmprt_leave(frame).select()
            # `list` and `break` begin where a frame was printed last.
            gdb.execute("frame", to_string=True)
            gdb.execute(command, from_tty)
        gdb.execute("frame", to_string=True)

    @classmethod
    def all(cls, state, command, from_tty):
        for gp in sorted(state.goroutines(), key=lambda gp: gp.goid):
            if gp.has("system") or gp.has("host"):
                continue
            gdb.write("\n%s:\n" % gp.title())
            try:
                cls.run(state, gp, command, from_tty)
            except gdb.error as e:
                gdb.write("%s\n" % e)

    @classmethod
    def fields(cls, state, gp):
        gdb.write("%s, G at %#x\n" % (gp.title(), gp.address))
        layout = state.layout
        for field in layout.fields("G"):
            gdb.write("  %-12s %s\n" % (field, cls.field(state, gp, field)))
        wait = gp.wait()
        if wait is not None:
            gdb.write("  waits for    %s, object %#x, held by %#x, deadline "
                      "%s%s\n" % (
                          wait["reason"], wait["object"], wait["held"],
                          "none" if wait["deadline"] == 2**63 - 1
                          else wait["deadline"],
                          gp.since()))
        thread = gp.thread()
        if thread is not None:
            gdb.write("  thread       %d (LWP %d)\n" %
                      (thread.thread.num, thread.lwp))

    @staticmethod
    def field( state, gp, field):
        value = gp.number(field)
        if field == "status":
            return gp.status
        if field == "flags":
            flags = [name[5:] for name in state.layout.entries
                     if name.startswith("flag.") and gp.has(name[5:])]
            return "%#x %s" % (value, " ".join(flags))
        if field in ("goid", "parent", "index", "stack_size", "shields",
                     "claim"):
            return str(value)
        if field == "name":
            name = gp.name()
            return '"%s"' % name if name else "none"
        if field == "gopc":
            return gmprt_symbol(value)
        if field == "func":
            return gmprt_symbol(value + 1) if value else "none"
        if field == "park":
            return "%#x, pending %#x" % (value, struct.unpack_from(
                "<Q", gp.memory, state.layout["G.park"] + 8)[0])
        if field in ("m", "lockedm") and value != 0:
            return "%#x (M %d)" % (value, state.m_number(value, "id", "<q"))
        return "%#x" % value


class GmprtCore:
    """The file of a core, in which stacks are completed.

    gdb's own `gcore` stops in each mapping at the first page that cannot be
    read. Guards lie in the mappings of the stacks (MADV_GUARD_INSTALL), so it
    leaves the stacks out.
    """

    STEP = 65536

    def __init__(self, path):
        self.file = open(path, "r+b")
        head = self.file.read(64)
        at, = struct.unpack_from("<Q", head, 32)
        size, many = struct.unpack_from("<HH", head, 54)
        if many == 0xffff:
            raise GmprtError("gmprt: too many mappings for %s" % path)
        self.file.seek(at)
        table = self.file.read(size * many)
        self.segments = []
        for i in range(many):
            kind, _, offset, lo, _, length = struct.unpack_from(
                "<IIQQQQ", table, size * i)
            if kind == 1:
                self.segments.append((lo, lo + length, offset))
        self.segments.sort()
        self.starts = [lo for lo, _, _ in self.segments]

    def complete(self, lo, hi=None):
        """Writes the memory from `lo` to `hi`, or to the mapping's end."""
        i = bisect.bisect_right(self.starts, lo) - 1
        if i < 0 or lo >= self.segments[i][1]:
            return False
        base, end, offset = self.segments[i]
        end = min(end, hi or end)
        while lo < end:
            size = min(self.STEP - lo % self.STEP, end - lo)
            try:
                memory = gmprt_read(lo, size)
            except gdb.error:
                return False
            self.file.seek(offset + lo - base)
            self.file.write(memory)
            lo += size
        return True


class GmprtGcore(gdb.Command):
    """Save a core of the program, with the stacks of its goroutines.
Usage: goroutine-gcore [FILE]
gdb's own gcore leaves the stacks out, because guard pages lie between them."""

    def __init__(self):
        super().__init__("goroutine-gcore", gdb.COMMAND_FILES,
                         gdb.COMPLETE_FILENAME)

    def invoke(self, argument, from_tty):
        state = GmprtState()
        path = argument.strip() or "core.%d" % gdb.selected_inferior().pid
        gdb.execute("gcore " + path, from_tty, to_string=True)
        core, many = GmprtCore(path), 0
        with core.file:
            for thread in state.threads():
                # 128 bytes below the stack pointer are in use, by the ABI.
                core.complete(thread.sp - 128)
            for gp in state.goroutines():
                if gp.has("started") and gp.sched_sp != 0:
                    many += core.complete(gp.sched_sp, gp.number("stack_hi"))
        gdb.write("Saved %s, with the stacks of %d goroutines.\n" %
                  (path, many))


class GmprtFunction(gdb.Function):
    """$goroutine(N): the descriptor of goroutine N, a struct runtime_g.
N is a number of `info goroutines`, or a gmp_g *."""

    def __init__(self):
        super().__init__("goroutine")

    def invoke(self, which):
        state = GmprtState()
        if which.type.strip_typedefs().code == gdb.TYPE_CODE_PTR:
            gp = state.g_of_handle(int(which))
        else:
            gp = next((gp for gp in state.goroutines()
                       if gp.goid == int(which)), None)
        if gp is None:
            raise GmprtError("gmprt: there is no goroutine %s" % which)
        try:
            kind = gdb.lookup_type("struct runtime_g")
        except gdb.error:
            raise GmprtError("gmprt: the library has no debug information for "
                             "its types; `goroutine %d` prints the fields" %
                             gp.goid)
        return gdb.Value(gp.address).cast(kind.pointer()).dereference()


class GmprtHandlePrinter:
    """A gmp_g *: the goroutine that it names."""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        handle = int(self.value)
        if handle == 0:
            return "NULL"
        try:
            gp = GmprtState().g_of_handle(handle)
        except gdb.error:
            return "%#x" % handle
        if gp is None or not gp.is_alive():
            return "%#x (has ended)" % handle
        return "%#x (%s)" % (handle, gp.title())


def gmprt_printer(value):
    kind = value.type.strip_typedefs()
    if kind.code == gdb.TYPE_CODE_PTR and \
            kind.target().strip_typedefs().tag == "gmp_g":
        return GmprtHandlePrinter(value)
    return None


gmprt_unwinder = GmprtUnwinder()
gmprt_filter = GmprtFilter()
gdb.unwinder.register_unwinder(None, gmprt_unwinder, True)
gdb.pretty_printers[:] = [p for p in gdb.pretty_printers
                          if getattr(p, "__name__", "") != "gmprt_printer"]
gdb.pretty_printers.append(gmprt_printer)
gdb.events.cont.connect(gmprt_let_go)
GmprtInfoGoroutines()
GmprtGoroutine()
GmprtGcore()
GmprtFunction()
