"""Encode Python values as JSON that keeps their types, and decode them outside the sandbox.

None, bool, str, list, finite float and int of up to 64 bits are plain JSON. Every other value is an object
with a single key, its tag. Decoding builds values of builtin types only, so it never runs the sender's code:
an object of any other type arrives as an `Opaque`, which equals nothing. A long string is replaced by its
length and hash, which cannot be computed without the string.
"""

import math
from collections import deque

MAX_DEPTH = 100  # nesting of containers; this also rejects a container that contains itself
MAX_ITEMS = 2**23  # items in all containers of a value; more would exceed the size of a line
LONG_TEXT = 2**12  # characters
_PLAIN_BITS = 64  # bits; JSON parsers reject integers of thousands of digits
_VIEWS = (type({}.values()), type({}.items()), type(iter(())), type(iter([])), type(i for i in ()))
_ITERABLES = (*_VIEWS, map, filter, zip, enumerate, reversed, range, deque)
_KEYS = type({}.keys())


class Opaque:
    """Stands for a value of an unsupported type, called `name`."""

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name}>"


class LongText:
    """Stands for a str of `length` characters. Equal strings have equal `LongText`s."""

    # Not a dataclass: importing that module would take a fifth of a run's start-up time.
    def __init__(self, length: int, sha256: str):
        self.length, self.sha256 = length, sha256

    def __eq__(self, other) -> bool:
        return type(other) is LongText and (self.length, self.sha256) == (other.length, other.sha256)

    def __hash__(self) -> int:
        return hash((self.length, self.sha256))

    def __repr__(self) -> str:
        return f"<text of {self.length} characters>"


class Items(list):
    """The items of an iterator, range or view. It can be iterated over and equals nothing."""

    __hash__ = None

    def __eq__(self, other) -> bool:
        return False

    def __ne__(self, other) -> bool:
        return True


def encode(value, depth: int = 0):
    """`value` as JSON-ready data; raises ValueError if it is nested deeper than `MAX_DEPTH` or has more than
    `MAX_ITEMS` items."""
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str:
        return value if len(value) < LONG_TEXT else {"text": _hashed(value)}
    if kind is int:
        return value if value.bit_length() <= _PLAIN_BITS else {"int": hex(value)}
    if kind is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if depth >= MAX_DEPTH:
        raise ValueError("nested too deeply, or contains itself")
    if depth == 0:
        _counted[0] = 0
    if kind in _SIZED:
        _count(len(value))
    if kind is list:
        return [encode(item, depth + 1) for item in value]
    return _tagged(value, kind, depth + 1)


_counted = [0]  # items of the value that is being encoded


def _count(items: int) -> None:
    """Stop early: encoding a gigabyte that the reader then rejects would take a minute."""
    _counted[0] += items
    if _counted[0] > MAX_ITEMS:
        raise ValueError(f"more than {MAX_ITEMS:,} items")


def _hashed(text: str) -> list:
    from hashlib import sha256  # takes milliseconds to import and is rarely needed

    return [len(text), sha256(text.encode(errors="surrogatepass")).hexdigest()]


def _tagged(value, kind: type, depth: int):
    if kind in _SEQUENCES:
        return {_SEQUENCES[kind]: [encode(item, depth) for item in value]}
    if kind is dict:
        return {"dict": [[encode(key, depth), encode(item, depth)] for key, item in value.items()]}
    if kind is complex:
        return {"complex": [encode(value.real), encode(value.imag)]}
    if kind is bytes or kind is bytearray:
        return {kind.__name__: value.hex()}
    if kind is _KEYS:
        return {"keys": [encode(item, depth) for item in value]}
    if kind in _ITERABLES:
        return {"items": [encode(item, depth) for item in value]}
    for base in _BASES:
        if isinstance(value, base):  # a Counter, a named tuple, a member of an IntEnum
            return {"sub": encode(str.__str__(value) if base is str else base(value), depth)}
    return {"opaque": f"{kind.__module__}.{kind.__qualname__}"[:100]}


_SEQUENCES = {tuple: "tuple", set: "set", frozenset: "frozenset"}
_SIZED = frozenset((list, dict, *_SEQUENCES))
_BASES = (int, float, str, list, tuple, set, frozenset, dict, complex, bytes)


def decode(data):
    """The value that `data` encodes; raises ValueError or TypeError if `data` is malformed."""
    kind = type(data)
    if kind is list:
        return [decode(item) for item in data]
    if kind is not dict:
        return data
    ((tag, content),) = data.items()
    if tag not in _DECODERS:
        raise ValueError(f"unknown tag {tag!r}")
    return _DECODERS[tag](content)


def _decode_all(items):
    return [decode(item) for item in items]


def _subclass(content):
    """An instance of a subclass of the value's type: equal to the value, but not of its exact type."""
    value = decode(content)
    if type(value) not in _BASES:
        raise ValueError("not a base type")
    return type("Derived", (type(value),), {})(value)


_DECODERS = {
    "int": lambda text: int(text, 16),
    "float": float,
    "tuple": lambda items: tuple(_decode_all(items)),
    "set": lambda items: set(_decode_all(items)),
    "frozenset": lambda items: frozenset(_decode_all(items)),
    "dict": lambda pairs: {decode(key): decode(item) for key, item in pairs},
    "complex": lambda parts: complex(*_decode_all(parts)),
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "keys": lambda items: dict.fromkeys(_decode_all(items)).keys(),
    "items": lambda items: Items(_decode_all(items)),
    "sub": _subclass,
    "text": lambda parts: LongText(*parts),
    "opaque": Opaque,
}
