"""A pickle followed symbolically: what it would build, as inert data. Nothing is imported, nothing is
called.

The stack machine is CPython's (``pickletools`` documents each opcode), with every global, call and
persistent id left standing as a value. What the values mean for tensors is ``torch_names``; which globals
they name is ``pickle_trace``.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

MAX_BYTES = 64 << 20
"""Longest pickle that is followed; a checkpoint of 100,000 tensors needs about 15 MB."""
MAX_OPCODES = 5_000_000
"""Steps that are followed; a tensor takes about 35. Each can cost 150 bytes of memory while it is
followed."""


class PickleUnreadable(ValueError):
    """The pickle cannot be followed, so nothing can be said about what it would do."""


@dataclass(frozen=True, slots=True, eq=False)
class Global:
    """A name that unpickling would import."""

    module: str
    name: str


@dataclass(slots=True, eq=False)
class Call:
    """The result of calling something, with all that is put into it afterwards."""

    function: object
    arguments: object
    state: object = None
    pairs: list[tuple[object, object]] = field(default_factory=list)
    items: list[object] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Mapping:
    """A dict as the pairs that are put into it; nothing is hashed."""

    pairs: list[tuple[object, object]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Persistent:
    """An object that the archive keeps elsewhere, by its id."""

    id: object


@dataclass(frozen=True, slots=True)
class Walk:
    """One pickle followed to its end."""

    value: object
    globals: frozenset[Global]
    end: int
    """Offset just behind the pickle's STOP."""


def walk(data: bytes, start: int = 0) -> Walk:
    """Follows the pickle at ``start``; ``PickleUnreadable`` where it is broken, too large or too clever."""
    if len(data) - start > MAX_BYTES:
        raise PickleUnreadable(f"the pickle is larger than {MAX_BYTES >> 20} MiB")
    machine = _Machine()
    try:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(data[start:])):
            if count >= MAX_OPCODES:
                raise PickleUnreadable(f"the pickle has more than {MAX_OPCODES:,} steps")
            if opcode.name == "STOP":
                value = machine.pop()
                return Walk(value, frozenset(machine.globals), start + int(position or 0) + 1)
            machine.step(opcode.name, argument)
    except PickleUnreadable:
        raise
    except (ValueError, IndexError, KeyError, OverflowError, struct.error, Warning) as exc:
        raise PickleUnreadable(f"the pickle is broken ({type(exc).__name__})") from exc
    raise PickleUnreadable("the pickle has no end")


class _Machine:
    def __init__(self) -> None:
        self.globals: list[Global] = []
        self._stack: list[object] = []
        self._marked: list[list[object]] = []
        self._memo: dict[int, object] = {}

    def pop(self) -> object:
        return self._stack.pop()

    def step(self, name: str, argument: object) -> None:
        if name in _IGNORED:
            return
        handler = _HANDLERS.get(name)
        if handler is not None:
            handler(self, argument)
        elif name in _LITERALS:
            self._stack.append(argument)
        else:
            raise PickleUnreadable(f"the pickle uses {name}, which is not followed")

    def _push(self, value: object) -> None:
        self._stack.append(value)

    def _mark(self, _argument: object) -> None:
        self._marked.append(self._stack)
        self._stack = []

    def _drop_mark(self) -> None:
        self._stack = self._marked.pop()

    def _pop_or_unmark(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._drop_mark()

    def _since_mark(self) -> list[object]:
        items, self._stack = self._stack, self._marked.pop()
        return items

    def _tuple(self, size: int) -> None:
        if len(self._stack) < size:
            raise PickleUnreadable("the pickle takes more from its stack than it put there")
        items = self._stack[len(self._stack) - size :]
        del self._stack[len(self._stack) - size :]
        self._push(tuple(items))

    def _global(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleUnreadable("the pickle computes the name of something it imports")
        found = Global(module, name)
        self.globals.append(found)
        self._push(found)

    def _global_line(self, argument: object) -> None:
        module, _, name = str(argument).partition(" ")
        if not module or not name or " " in name:
            raise PickleUnreadable("the pickle imports a name with a space in it")
        self._global(module, name)

    def _stack_global(self, _argument: object) -> None:
        name, module = self.pop(), self.pop()
        self._global(module, name)

    def _inst(self, argument: object) -> None:
        arguments = tuple(self._since_mark())
        self._global_line(argument)
        self._push(Call(self.pop(), arguments))

    def _call(self, _argument: object) -> None:
        arguments, function = self.pop(), self.pop()
        self._push(Call(function, arguments))

    def _call_with_keywords(self, _argument: object) -> None:
        keywords, arguments, function = self.pop(), self.pop(), self.pop()
        self._push(Call(function, (arguments, keywords)))

    def _object(self, _argument: object) -> None:
        items = self._since_mark()
        self._push(Call(items[0], tuple(items[1:])))

    def _build(self, _argument: object) -> None:
        state = self.pop()
        target = self._stack[-1]
        if isinstance(target, Call):
            target.state = state

    def _extend(self, items: list[object]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif isinstance(target, Call):
            target.items.extend(items)
        else:
            raise PickleUnreadable("the pickle appends to what is no list")

    def _set(self, items: list[object]) -> None:
        target = self._stack[-1]
        if not isinstance(target, (Mapping, Call)) or len(items) % 2:
            raise PickleUnreadable("the pickle sets keys of what is no dict")
        target.pairs.extend(zip(items[::2], items[1::2], strict=True))

    def _set_one(self, _argument: object) -> None:
        value, key = self.pop(), self.pop()
        self._set([key, value])

    def _new_dict(self, _argument: object) -> None:
        items = self._since_mark()
        self._push(Mapping())
        self._set(items)

    def _put(self, argument: object) -> None:
        self._memo[int(str(argument))] = self._stack[-1]

    def _memoize(self, _argument: object) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _get(self, argument: object) -> None:
        self._push(self._memo[int(str(argument))])


_IGNORED = frozenset({"PROTO", "FRAME"})
_LITERALS = (
    frozenset(["INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"])
    | frozenset(["STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"])
    | frozenset(["BYTEARRAY8", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"])
)
_HANDLERS: dict[str, Callable[[_Machine, object], None]] = {
    "NONE": lambda machine, _: machine._push(None),
    "NEWTRUE": lambda machine, _: machine._push(True),
    "NEWFALSE": lambda machine, _: machine._push(False),
    "MARK": _Machine._mark,
    "POP": lambda machine, _: machine._pop_or_unmark(),
    "POP_MARK": lambda machine, _: machine._drop_mark(),
    "DUP": lambda machine, _: machine._push(machine._stack[-1]),
    "EMPTY_LIST": lambda machine, _: machine._push([]),
    "LIST": lambda machine, _: machine._push(machine._since_mark()),
    "APPEND": lambda machine, _: machine._extend([machine.pop()]),
    "APPENDS": lambda machine, _: machine._extend(machine._since_mark()),
    "EMPTY_TUPLE": lambda machine, _: machine._push(()),
    "TUPLE": lambda machine, _: machine._push(tuple(machine._since_mark())),
    "TUPLE1": lambda machine, _: machine._tuple(1),
    "TUPLE2": lambda machine, _: machine._tuple(2),
    "TUPLE3": lambda machine, _: machine._tuple(3),
    "EMPTY_DICT": lambda machine, _: machine._push(Mapping()),
    "DICT": _Machine._new_dict,
    "SETITEM": _Machine._set_one,
    "SETITEMS": lambda machine, _: machine._set(machine._since_mark()),
    "EMPTY_SET": lambda machine, _: machine._push([]),
    "ADDITEMS": lambda machine, _: machine._extend(machine._since_mark()),
    "FROZENSET": lambda machine, _: machine._push(machine._since_mark()),
    "GET": _Machine._get,
    "BINGET": _Machine._get,
    "LONG_BINGET": _Machine._get,
    "PUT": _Machine._put,
    "BINPUT": _Machine._put,
    "LONG_BINPUT": _Machine._put,
    "MEMOIZE": _Machine._memoize,
    "GLOBAL": _Machine._global_line,
    "STACK_GLOBAL": _Machine._stack_global,
    "INST": _Machine._inst,
    "REDUCE": _Machine._call,
    "NEWOBJ": _Machine._call,
    "NEWOBJ_EX": _Machine._call_with_keywords,
    "OBJ": _Machine._object,
    "BUILD": _Machine._build,
    "PERSID": lambda machine, argument: machine._push(Persistent(argument)),
    "BINPERSID": lambda machine, _: machine._push(Persistent(machine.pop())),
}
