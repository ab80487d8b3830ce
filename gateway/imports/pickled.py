"""A pickle read as plain data: what it says, and nothing of what it would do.

A pickle is a program; loading one runs whatever it names. This reads the opcodes (pickletools) and keeps a
stack of its own: no module is imported, nothing is called, a class is a `Thing` with a name, its arguments
and its attributes. Opcodes that data has no use for, and sizes beyond the limits, are refused.

Source: the opcode table of Python's pickletools, protocols 0 to 5.

Deliberately not here: what any class means.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any, cast

MOST_BYTES = 50_000_000
MOST_OPCODES = 5_000_000


class BadPickle(ValueError):
    """It cannot be read as data; says why."""


class Thing:
    """An object: `kind` is `module.Class`, or of a call what would be called."""

    __slots__ = ("arguments", "attributes", "kind")

    def __init__(self, kind: str, arguments: tuple[Any, ...] = ()) -> None:
        self.kind = kind
        self.arguments = arguments
        self.attributes: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"Thing({self.kind!r}, {self.arguments!r})"

    @property
    def name(self) -> str:
        """The class without its module."""
        return self.kind.rpartition(".")[2]

    def get(self, name: str, default: Any = None) -> Any:
        return self.attributes.get(name, default)


class _Mark:
    pass


_MARK = _Mark()
_VALUES = frozenset(
    ("INT", "LONG", "LONG1", "LONG4", "BININT", "BININT1", "BININT2", "FLOAT", "BINFLOAT", "STRING",
     "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES",
     "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
)  # fmt: skip
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": list,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NOTHING = frozenset(("PROTO", "FRAME"))


def read(data: bytes) -> Any:
    """What it holds: None, bool, numbers, text, bytes, lists, tuples, dicts and Things. Errors: BadPickle."""
    if len(data) > MOST_BYTES:
        raise BadPickle(f"more than {MOST_BYTES:,} bytes")
    machine = _Machine()
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if number >= MOST_OPCODES:
                raise BadPickle(f"more than {MOST_OPCODES:,} opcodes")
            if opcode.name == "STOP":
                return machine.stack.pop()
            machine.do(opcode.name, argument)
    except BadPickle:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadPickle(f"it is damaged: {error}") from None
    raise BadPickle("it ends too early")


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def do(self, name: str, argument: Any) -> None:
        push, stack = self.stack.append, self.stack
        if name in _VALUES:
            push(argument)
        elif name in _CONSTANTS:
            push(_CONSTANTS[name])
        elif name in _EMPTY:
            push(_EMPTY[name]())
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[int(argument)] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            push(self.memo[int(argument)])
        elif name == "MARK":
            push(_MARK)
        elif name in _TUPLES:
            count = _TUPLES[name]
            stack[-count:] = [tuple(stack[-count:])]
        elif name in ("TUPLE", "LIST", "FROZENSET"):
            found = self._marked()
            push(tuple(found) if name == "TUPLE" else found)
        elif name == "DICT":
            push(_pairs(self._marked()))
        elif name in ("APPEND", "SETITEM", "APPENDS", "SETITEMS", "ADDITEMS"):
            self._extend(name)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self._named(name, argument)
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, what = stack.pop(), stack.pop()
            push(_made(what, arguments))
        elif name == "BUILD":
            state, what = stack.pop(), stack[-1]
            _build(what, state)
        elif name == "POP":
            stack.pop()
        elif name == "DUP":
            push(stack[-1])
        elif name not in _NOTHING:
            raise BadPickle(f"it has {name}, which no data needs")

    def _marked(self) -> list[Any]:
        found = []
        while (one := self.stack.pop()) is not _MARK:
            found.append(one)
        return found[::-1]

    def _extend(self, name: str) -> None:
        if name == "APPEND":
            items = [self.stack.pop()]
        elif name == "SETITEM":
            value, key = self.stack.pop(), self.stack.pop()
            items = [key, value]
        else:
            items = self._marked()
        into = self.stack[-1]
        if name in ("SETITEM", "SETITEMS"):
            if isinstance(into, dict):
                into.update(_pairs(items))
        elif isinstance(into, list):
            into.extend(items)

    def _named(self, name: str, argument: Any) -> None:
        if name == "GLOBAL":
            module, _, attribute = cast(str, argument).partition(" ")
        else:
            attribute, module = self.stack.pop(), self.stack.pop()
        self.stack.append(Thing(f"{module}.{attribute}"))


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return {_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


def _key(key: Any) -> Any:
    """Keys are plain values; what is none gets a name."""
    return key if key is None or isinstance(key, str | bytes | int | float) else f"({type(key).__name__})"


def _made(what: Any, arguments: Any) -> Any:
    if not isinstance(what, Thing) or not isinstance(arguments, tuple):
        raise BadPickle("it makes an object of what is no class")
    if what.kind == "_codecs.encode" and len(arguments) == 2 and arguments[1] == "latin1":
        return str(arguments[0]).encode("latin-1")  # how protocol 2 writes bytes
    if what.kind in ("copyreg._reconstructor", "copy_reg._reconstructor") and isinstance(arguments[0], Thing):
        return Thing(arguments[0].kind)
    return Thing(what.kind, arguments)


def _build(what: Any, state: Any) -> None:
    if not isinstance(what, Thing):
        raise BadPickle("it gives attributes to what is no object")
    for part in state if isinstance(state, tuple) else (state,):
        if isinstance(part, dict):
            what.attributes.update({str(name): value for name, value in part.items()})
