"""Damage to files, drawn by chance: bytes flipped, cut, repeated, zeroed, blocks swapped; fields of YAML made wrong."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

EDGE = 256
"""Half of all damage begins so near to the file's begin or end, bytes: most of a file's structure lies there."""
WORDS = (
    "", "null", "[]", "{}", "-1", "0", "99999999999999999999", "3.5", "true", "'", "\"", "[", "- ", "\t", "&a *a",
    "!!python/none", "mcap", "sqlite3", "../../elsewhere", "/", "a: b", "\x00", "é", "|", "1e400",
)  # fmt: skip
"""What fields of metadata are replaced by."""


def damage_file(file: Path, draw: random.Random) -> str:
    """`damage` to a file in its place; what was done, in words."""
    content, text = damage(file.read_bytes(), draw)
    file.write_bytes(content)
    return text


def damage(data: bytes, draw: random.Random) -> tuple[bytes, str]:
    """One to three kinds of damage to a file's bytes, and what was done, in words."""
    done = []
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        if not data:
            break
        kind = draw.choice(list(KINDS))
        begin = place(len(data), draw)
        data, what = KINDS[kind](data, begin, draw)
        done.append(f"{kind} at byte {begin}{what}")
    return data, "; ".join(done)


def place(size: int, draw: random.Random) -> int:
    """Where damage begins: anywhere, or near to one of the ends."""
    near = draw.randrange(min(size, EDGE))
    return draw.choice((draw.randrange(size), draw.randrange(size), near, size - 1 - near))


def _length(data: bytes, draw: random.Random) -> int:
    """Of a block: short ones are as likely as long ones."""
    return max(1, int(len(data) ** draw.random() / 2))


def _flip(data: bytes, begin: int, draw: random.Random) -> tuple[bytes, str]:
    changed = bytearray(data)
    count = draw.choice((1, 1, 2, 8))
    for at in range(begin, min(begin + count, len(data))):
        changed[at] ^= 1 << draw.randrange(8)
    return bytes(changed), f", one bit in each of {count} bytes"


def _overwrite(data: bytes, begin: int, draw: random.Random) -> tuple[bytes, str]:
    block = draw.choice((b"\xff" * 8, b"\0" * 8, b"\xff" * 4, draw.randbytes(1), draw.randbytes(16)))
    return (data[:begin] + block + data[begin + len(block) :])[: len(data)], f" with {block.hex()}"


def _zero(data: bytes, begin: int, draw: random.Random) -> tuple[bytes, str]:
    end = min(len(data), begin + _length(data, draw))
    return data[:begin] + bytes(end - begin) + data[end:], f", {end - begin} bytes"


def _cut(data: bytes, begin: int, draw: random.Random) -> tuple[bytes, str]:
    return data[:begin], f" of {len(data)}"


def _remove(data: bytes, begin: int, draw: random.Random) -> tuple[bytes, str]:
    length = _length(data, draw)
    return data[:begin] + data[begin + length :], f", {length} bytes"


def _repeat(data: bytes, begin: int, draw: random.Random) -> tuple[bytes, str]:
    block = data[begin : begin + _length(data, draw)]
    return data[:begin] + block + data[begin:], f", {len(block)} bytes"


def _swap(data: bytes, begin: int, draw: random.Random) -> tuple[bytes, str]:
    length = min(_length(data, draw), len(data) // 2)
    one, other = sorted((min(begin, len(data) - length), draw.randrange(len(data) - length + 1)))
    other = max(other, one + length)
    blocks = data[other : other + length], data[one + length : other], data[one : one + length]
    return data[:one] + b"".join(blocks) + data[other + length :], f" with byte {other}, {length} bytes"


def _insert(data: bytes, begin: int, draw: random.Random) -> tuple[bytes, str]:
    length = min(_length(data, draw), 4096)
    return data[:begin] + draw.randbytes(length) + data[begin:], f", {length} random bytes"


KINDS: dict[str, Callable[[bytes, int, random.Random], tuple[bytes, str]]] = {
    "flipped": _flip,
    "overwritten": _overwrite,
    "zeroed": _zero,
    "cut off": _cut,
    "removed": _remove,
    "repeated": _repeat,
    "swapped": _swap,
    "inserted": _insert,
}


def damage_yaml(text: str, draw: random.Random) -> tuple[str, str]:
    """One to three lines of a YAML file emptied, replaced, removed, doubled or cut, and what was done, in words."""
    lines, done = text.splitlines(), []
    for _ in range(draw.choice((1, 1, 2, 3))):
        if not lines:
            break
        at = draw.randrange(len(lines))
        name, colon, _ = lines[at].partition(":")
        kind = draw.choice(("value", "value", "value", "value", "removed", "doubled", "cut"))
        if kind == "value":
            lines[at] = f"{name}{colon or ':'} {(word := draw.choice(WORDS))}"
            done.append(f"'{name.strip()}' is '{word}'")
        elif kind == "cut":
            lines = lines[:at]
            done.append(f"cut at line {at + 1}")
        else:
            lines[at : at + 1] = [lines[at]] * (2 if kind == "doubled" else 0)
            done.append(f"'{name.strip()}' {kind}")
    return "\n".join(lines) + "\n", "; ".join(done)
