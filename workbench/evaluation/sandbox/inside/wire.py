"""Python values <-> JSON that keeps their types; the only language between a judge and what it judges.

Plain JSON stands for None, bool, str, list, finite float and int of up to 64 bits. Everything else is an
object with one key, its tag. Decoding builds values of builtin types only, so it runs no code of the
sender's: an object of any other type arrives as an `Opaque`, which equals nothing. Of a long text only length
and hash go over: nobody can tell them without the text.
"""

import math
from collections import deque

MAX_DEPTH = 100  # of containers in containers; more is refused, as is a container that holds itself
MAX_ITEMS = 2**23  # in all containers of a value: more of them are no line that the judge would read
LONG_TEXT = 2**12  # characters
_PLAIN_BITS = 64  # JSON readers refuse integers of thousands of digits
_VIEWS = (type({}.values()), type({}.items()), type(iter(())), type(iter([])), type(i for i in ()))
_ITERABLES = (*_VIEWS, map, filter, zip, enumerate, reversed, range, deque)
_KEYS = type({}.keys())


class Opaque:
    """A value of a type that is not carried over; `name` is the type's."""

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name}>"


class LongText:
    """Stands for a str of so many characters; equal texts have equal ones."""

    # No dataclass: that module would take a fifth of the time in which a run starts.
    def __init__(self, length: int, sha256: str):
        self.length, self.sha256 = length, sha256

    def __eq__(self, other) -> bool:
        return type(other) is LongText and (self.length, self.sha256) == (other.length, other.sha256)

    def __hash__(self) -> int:
        return hash((self.length, self.sha256))

    def __repr__(self) -> str:
        return f"<text of {self.length} characters>"


class Items(list):
    """What an iterator, a range or a view gave: it can be gone through, and equals nothing."""

    __hash__ = None

    def __eq__(self, other) -> bool:
        return False

    def __ne__(self, other) -> bool:
        return True


def encode(value, depth: int = 0):
    """`value` as JSON-ready data; ValueError where it is nested deeper than `MAX_DEPTH` or too large."""
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


_counted = [0]  # items of the value at hand


def _count(items: int) -> None:
    """Stop early: to turn a gigabyte into text only to have it refused takes a minute."""
    _counted[0] += items
    if _counted[0] > MAX_ITEMS:
        raise ValueError(f"more than {MAX_ITEMS:,} items")


def _hashed(text: str) -> list:
    from hashlib import sha256  # takes milliseconds to import, and is hardly ever needed

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
    """The value that `data` stands for; ValueError or TypeError where it stands for none."""
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
    """An instance of a class derived from the value's: equal to it, and not of its exact type."""
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
