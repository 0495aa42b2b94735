"""What a pickle would import and call, found by following its opcodes over a file of any size.

Unlike ``pickle_walk``, which rebuilds the object to name its tensors, this keeps only what a judgement needs: names,
and which of them lie where on the stack. Payloads are skipped, not read; memory is bounded by the limits below. It
is as lenient as CPython's unpickler is, so that nothing hides behind a byte that only a stricter reader minds.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from p2pckpt.checkpoint.formats.inflated import NotInflated
from p2pckpt.checkpoint.formats.source import Peekable

MAX_OPCODES: Final = 5_000_000
"""Steps that are followed in one file, all its pickles together; a tensor takes about 35, so 100,000 tensors fit."""
MAX_MEMO: Final = 2_000_000
MAX_IMPORTS: Final = 10_000
"""Different names; real files have a dozen, a whole pickled pipeline a few hundred."""
MAX_NESTED: Final = 1_000
"""Byte strings whose places are noted."""
_MAX_NAME: Final = 256
"""Longer strings are no names of modules: they are not kept."""
_MAX_NAMES: Final = 64 << 20
"""Characters kept at one time."""
_MAX_LINE: Final = 16 << 20
_BUFFER: Final = 1 << 16
_NEWEST_PROTOCOL: Final = 5


class _Exhausted(Exception):
    """A limit was reached: nothing can be said about the rest."""


class _Broken(Exception):
    """An unpickler would stop here with an error."""


@dataclass(frozen=True, slots=True)
class Import:
    """A name that unpickling would look up, as it is written in the pickle."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(slots=True)
class Trace:
    """One pickle, as far as it could be followed."""

    start: int
    end: int = 0
    """Offset behind the last opcode that was followed."""
    whole: bool = False
    """It ended with STOP."""
    gave_up: str = ""
    """The limit, or the damage of what it is compressed in, that ended it, one clause: "it …"; empty for none."""
    opcodes: int = 0
    framed: bool = False
    """It begins with PROTO, as every pickle of protocol 2 and later does."""
    imports: set[Import] = field(default_factory=set)
    hidden: bool = False
    """It imports a name that is written in a way no pickler uses."""
    calls: int = 0
    oddities: set[str] = field(default_factory=set)
    """What no ordinary pickle does, one clause each: "it …"."""
    nested: list[tuple[int, int]] = field(default_factory=list)
    """Offset and length of byte strings that may hold something of their own."""


class Allowance:
    """Steps that may still be followed; shared by all pickles of one file."""

    def __init__(self, opcodes: int = MAX_OPCODES) -> None:
        self.opcodes = opcodes


def trace(source: Peekable, start: int, allowance: Allowance) -> Trace:
    """Follow the pickle at ``start`` as far as an unpickler would get. Content never makes this raise."""
    found = Trace(start)
    reader = _Reader(source, start)
    try:
        _Machine(found, reader).run(allowance)
    except (_Broken, IndexError):
        pass
    except (_Exhausted, NotInflated) as exc:
        found.gave_up = str(exc)
    found.end = reader.position
    return found


class _Reader:
    """Sequential reading with a small buffer; what is skipped is not read."""

    def __init__(self, source: Peekable, start: int) -> None:
        self._source = source
        self._buffer = b""
        self._at = 0
        self._base = start
        """Offset of the buffer's first byte."""
        self._ahead = 512
        """Bytes read at once; most of what is looked at turns out to be no pickle at the first byte."""

    @property
    def position(self) -> int:
        return self._base + self._at

    def byte(self) -> int:
        if self._at >= len(self._buffer):
            self._fill(1)
        value = self._buffer[self._at]
        self._at += 1
        return value

    def take(self, length: int) -> bytes:
        if self._at + length > len(self._buffer):
            self._fill(length)
        data = self._buffer[self._at : self._at + length]
        self._at += length
        return data

    def number(self, length: int) -> int:
        return int.from_bytes(self.take(length), "little")

    def skip(self, length: int) -> None:
        target = self.position + length
        if target > self._source.size:
            raise _Broken
        if self._at + length <= len(self._buffer):
            self._at += length
        else:
            self._base, self._buffer, self._at = target, b"", 0

    def line(self) -> bytes | None:
        """Up to the next newline, which is taken too; None for a line too long to be a name."""
        kept = b""
        for _ in range(_MAX_LINE // _BUFFER):
            end = self._buffer.find(b"\n", self._at)
            if end >= 0:
                kept += self._buffer[self._at : end]
                self._at = end + 1
                return kept if len(kept) <= 4 * _MAX_NAME else None
            kept = (kept + self._buffer[self._at :])[: 4 * _MAX_NAME + 1]
            self._at = len(self._buffer)
            if not self._more():
                return kept[:-1]  # at the end of the file, Python's own unpickler takes a line for whole
        raise _Broken

    def _fill(self, needed: int) -> None:
        """Have ``needed`` bytes from the present position on in the buffer."""
        if self._more(needed) < needed:
            raise _Broken

    def _more(self, needed: int = 1) -> int:
        """Read on from the present position; how many bytes there are, which may be fewer than ``needed``."""
        base = self.position
        self._ahead = min(2 * self._ahead, _BUFFER)
        data = self._source.peek(base, max(needed, self._ahead))
        self._buffer, self._base, self._at = data, base, 0
        return len(data)


class _Thing:
    """A value of which only its kind matters."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


_PLAIN: Final = _Thing("data")
_RESULT: Final = _Thing("result of a call")
_TEXT: Final = _Thing("long text")
_KEPT_ELSEWHERE: Final = _Thing("object by its id")
"""Old torch writes the class of a module so; the import is in the id."""
_Value = _Thing | Import | str


class _Machine:
    """The unpickler's stack, marks and memo, with names in place of objects."""

    def __init__(self, found: Trace, reader: _Reader) -> None:
        self._found = found
        self._reader = reader
        self._stack: list[_Value] = []
        self._marked: list[list[_Value]] = []
        self._memo: dict[int, _Value] = {}
        self._kept = 0

    def run(self, allowance: Allowance) -> None:
        found, reader, table = self._found, self._reader, _HANDLERS
        while True:
            if allowance.opcodes <= 0:
                raise _Exhausted("it is too long to be followed")
            code = reader.byte()
            handler = table[code]
            if handler is None:
                raise _Broken
            if code == 0x80 and found.opcodes == 0:
                found.framed = True
            handler(self)
            allowance.opcodes -= 1
            found.opcodes += 1
            if code == 0x2E:
                found.whole = True
                return

    # -- stack

    def pop(self) -> _Value:
        return self._stack.pop()

    def push(self, value: _Value) -> None:
        self._stack.append(value)

    def drop(self, count: int, push: bool) -> None:
        if count > len(self._stack):
            raise _Broken
        if count:
            del self._stack[-count:]
        if push:
            self._stack.append(_PLAIN)

    def mark(self) -> None:
        self._marked.append(self._stack)
        self._stack = []

    def since_mark(self) -> list[_Value]:
        items, self._stack = self._stack, self._marked.pop()
        return items

    def pop_or_unmark(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._stack = self._marked.pop()

    def collect(self) -> None:
        self.since_mark()
        self.push(_PLAIN)

    def put_into(self) -> None:
        self.since_mark()
        self._change(self._stack[-1])

    def put_one_into(self, count: int) -> None:
        self.drop(count, push=False)
        self._change(self._stack[-1])

    def _change(self, target: _Value) -> None:
        if isinstance(target, Import):
            self._found.oddities.add("changes something it imports")

    # -- memo

    def put(self, key: int) -> None:
        if key not in self._memo and len(self._memo) >= MAX_MEMO:
            raise _Exhausted("it remembers more than can be followed")
        self._memo[key] = self._stack[-1]

    def memoize(self) -> None:
        self.put(len(self._memo))

    def get(self, key: int) -> None:
        if key not in self._memo:
            raise _Broken
        self.push(self._memo[key])

    def key(self) -> int:
        line = self._reader.line() or b""
        try:
            return int(line.split(b"\0")[0])  # where a string ends in C, the number does
        except ValueError:
            raise _Broken from None

    # -- data

    def fixed(self, length: int) -> None:
        self._reader.skip(length)
        self.push(_PLAIN)

    def skip_line(self) -> None:
        self._reader.line()
        self.push(_PLAIN)

    def skip_counted(self, width: int) -> None:
        self._reader.skip(self._reader.number(width))
        self.push(_PLAIN)

    def payload(self, width: int) -> None:
        """A byte string: never kept, its place noted if it is long enough to hide something."""
        self._note_nested(self._reader.number(width))
        self.push(_PLAIN)

    def _note_nested(self, length: int) -> None:
        place = self._reader.position
        self._reader.skip(length)
        if length > 3 and len(self._found.nested) < MAX_NESTED:
            self._found.nested.append((place, length))

    def text(self, width: int) -> None:
        length = self._reader.number(width)
        if length > 4 * _MAX_NAME:
            self._reader.skip(length)
            self.push(_TEXT)
        else:
            self._keep(self._reader.take(length), "utf-8")

    def old_text(self, width: int) -> None:
        """A Python 2 string: text to most unpicklers, and bytes that may hold something of their own."""
        length = self._reader.number(width)
        if length > 4 * _MAX_NAME:
            self._note_nested(length)
            self.push(_TEXT)
        else:
            self._keep(self._reader.take(length), "latin-1")

    def text_line(self, encoding: str) -> None:
        line = self._reader.line()
        if line is None:
            self.push(_TEXT)
        elif encoding == "quoted":
            # with an escape in it, it is no name that any pickler wrote
            self.push(_TEXT) if b"\\" in line else self._keep(line.strip()[1:-1], "latin-1")
        else:
            self._keep(line, encoding)

    def _keep(self, raw: bytes, encoding: str) -> None:
        try:
            text = raw.decode(encoding, "surrogatepass" if encoding == "utf-8" else "strict")
        except UnicodeDecodeError:
            self.push(_TEXT)
            return
        if len(text) > _MAX_NAME:
            self.push(_TEXT)
            return
        self._kept += len(text)
        if self._kept > _MAX_NAMES:
            raise _Exhausted("it holds more names than can be followed")
        self.push(text)

    # -- imports and calls

    def _import(self, module: str, name: str) -> Import:
        found = Import(module, name)
        imports = self._found.imports
        if found not in imports and len(imports) >= MAX_IMPORTS:
            raise _Exhausted(f"it imports more than {MAX_IMPORTS:,} different names")
        imports.add(found)
        return found

    def import_lines(self) -> Import:
        module, name = self._reader.line(), self._reader.line()
        if module is None or name is None:
            raise _Broken
        return self._import(module.decode("utf-8", "replace"), name.decode("utf-8", "replace"))

    def import_from_stack(self) -> None:
        name, module = self.pop(), self.pop()
        if isinstance(name, str) and isinstance(module, str):
            self.push(self._import(module, name))
            return
        if _PLAIN in (name, module) or isinstance(name, Import) or isinstance(module, Import):
            raise _Broken  # no text: an unpickler refuses it
        self._found.hidden |= _TEXT in (name, module)
        self._found.oddities.add("computes the name of something it imports")
        self.push(_RESULT)

    def instance(self) -> None:
        found = self.import_lines()
        self.since_mark()
        self._called(found)

    def object(self) -> None:
        self._called(self.since_mark()[0])

    def call(self, arguments: int) -> None:
        for _ in range(arguments):
            self.pop()
        self._called(self.pop())

    def _called(self, function: _Value) -> None:
        self._found.calls += 1
        if not isinstance(function, Import) and function is not _KEPT_ELSEWHERE:
            self._found.oddities.add("calls what it computed")
        self.push(_RESULT)

    def extension(self, width: int) -> None:
        self._found.oddities.add(f"imports number {self._reader.number(width)} of the extension registry")
        self._found.calls += 1
        self.push(_RESULT)

    def persistent_line(self) -> None:
        self._reader.line()
        self.push(_KEPT_ELSEWHERE)

    def persistent(self) -> None:
        self.pop()
        self.push(_KEPT_ELSEWHERE)

    def protocol(self) -> None:
        if self._reader.byte() > _NEWEST_PROTOCOL:
            raise _Broken

    def frame(self) -> None:
        self._reader.skip(8)

    def stop(self) -> None:
        self.pop()


_Handler = Callable[[_Machine], object]


def _table() -> list[_Handler | None]:
    """Opcode byte → what it does. Those without a line here take and leave what ``pickletools`` says they do."""
    special: dict[str, _Handler] = {
        "MARK": _Machine.mark,
        "POP": _Machine.pop_or_unmark,
        "POP_MARK": _Machine.since_mark,
        "DUP": lambda m: m.push(m._stack[-1]),
        "TUPLE": _Machine.collect,
        "LIST": _Machine.collect,
        "DICT": _Machine.collect,
        "FROZENSET": _Machine.collect,
        "APPENDS": _Machine.put_into,
        "SETITEMS": _Machine.put_into,
        "ADDITEMS": _Machine.put_into,
        "APPEND": lambda m: m.put_one_into(1),
        "SETITEM": lambda m: m.put_one_into(2),
        "BUILD": lambda m: m.put_one_into(1),
        "PUT": lambda m: m.put(m.key()),
        "BINPUT": lambda m: m.put(m._reader.byte()),
        "LONG_BINPUT": lambda m: m.put(m._reader.number(4)),
        "MEMOIZE": _Machine.memoize,
        "GET": lambda m: m.get(m.key()),
        "BINGET": lambda m: m.get(m._reader.byte()),
        "LONG_BINGET": lambda m: m.get(m._reader.number(4)),
        "INT": _Machine.skip_line,
        "LONG": _Machine.skip_line,
        "FLOAT": _Machine.skip_line,
        "LONG1": lambda m: m.skip_counted(1),
        "LONG4": lambda m: m.skip_counted(4),
        "STRING": lambda m: m.text_line("quoted"),
        "UNICODE": lambda m: m.text_line("raw-unicode-escape"),
        "SHORT_BINUNICODE": lambda m: m.text(1),
        "BINUNICODE": lambda m: m.text(4),
        "BINUNICODE8": lambda m: m.text(8),
        "SHORT_BINSTRING": lambda m: m.old_text(1),
        "BINSTRING": lambda m: m.old_text(4),
        "SHORT_BINBYTES": lambda m: m.payload(1),
        "BINBYTES": lambda m: m.payload(4),
        "BINBYTES8": lambda m: m.payload(8),
        "BYTEARRAY8": lambda m: m.payload(8),
        "GLOBAL": lambda m: m.push(m.import_lines()),
        "STACK_GLOBAL": _Machine.import_from_stack,
        "INST": _Machine.instance,
        "OBJ": _Machine.object,
        "REDUCE": lambda m: m.call(1),
        "NEWOBJ": lambda m: m.call(1),
        "NEWOBJ_EX": lambda m: m.call(2),
        "EXT1": lambda m: m.extension(1),
        "EXT2": lambda m: m.extension(2),
        "EXT4": lambda m: m.extension(4),
        "PERSID": _Machine.persistent_line,
        "BINPERSID": _Machine.persistent,
        "PROTO": _Machine.protocol,
        "FRAME": _Machine.frame,
        "STOP": _Machine.stop,
    }
    table: list[_Handler | None] = [None] * 256
    for opcode in pickletools.opcodes:
        table[ord(opcode.code)] = special.get(opcode.name) or _plain(opcode)
    return table


def _plain(opcode: pickletools.OpcodeInfo) -> _Handler:
    taken, left = len(opcode.stack_before), len(opcode.stack_after)
    length = opcode.arg.n if opcode.arg is not None else 0
    if length < 0 or left > 1:
        raise AssertionError(f"{opcode.name} needs a line of its own")
    if not taken:
        return lambda m: m.fixed(length)
    return lambda m: m.drop(taken, push=bool(left))


_HANDLERS: Final = _table()
