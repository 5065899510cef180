"""Damage to the bytes of an artifact, and forgeries that break the schema while checksums hold.

Both are drawn by a number, so that whatever is found can be made again.
"""

from __future__ import annotations

import copy
import io
import random
import struct
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["DAMAGES", "FORGERIES", "damaged", "forged"]

Damage = Callable[[bytes, random.Random], bytes]
Arrays = dict[str, np.ndarray[Any, Any]]
Parts = tuple[dict[str, Any], Arrays]
MEMBERS = ("manifest.json", "weights.safetensors", "SHA256SUMS")

# --- bytes ---------------------------------------------------------------------------------------


def bits(content: bytes, chance: random.Random) -> bytes:
    """Flip one to eight bits."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 8)):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def structure(content: bytes, chance: random.Random) -> bytes:
    """Flip bits of the zip's own numbers: the list of members, its end and their headers."""
    changed = bytearray(content)
    places = [*range(max(len(changed) - 300, 0), len(changed))]
    for member in MEMBERS:
        at = content.find(b"PK\x03\x04")
        places += range(max(at, 0), at + 40)
        at = content.find(member.encode())
        places += range(max(at - 30, 0), at + 30)
    for _ in range(chance.randint(1, 4)):
        changed[chance.choice(places)] = chance.randrange(256)
    return bytes(changed)


def truncated(content: bytes, chance: random.Random) -> bytes:
    """Cut the end, the beginning or a piece in the middle off."""
    start, end = sorted(chance.sample(range(len(content) + 1), 2))
    return chance.choice([content[:end], content[start:], content[:start] + content[end:]])


def sizes(content: bytes, chance: random.Random) -> bytes:
    """Forge a size or a place in the list of members, or at its end."""
    changed = bytearray(content)
    size = chance.choice([0, 1, len(content), 2**20, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1])
    entries = [at for at in range(len(content)) if content.startswith(b"PK\x01\x02", at)]
    end = content.rfind(b"PK\x05\x06")
    at = chance.choice([chance.choice(entries) + field for field in (20, 24, 42)] + [end + 12])
    struct.pack_into("<I", changed, at, size)
    return bytes(changed)


def _members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zipped(members: list[tuple[zipfile.ZipInfo | str, bytes]], compression: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, own in members:
            archive.writestr(name, own, compress_type=compression)
    return buffer.getvalue()


def swapped(content: bytes, chance: random.Random) -> bytes:
    """Exchange, repeat or leave out members, or compress them in another way."""
    members = list(_members(content).items())
    what = chance.randrange(4)
    if what == 0:
        names = [name for name, _ in members]
        chance.shuffle(names)
        members = [(name, own) for name, (_, own) in zip(names, members)]
    elif what == 1:
        members.append(chance.choice(members))
    elif what == 2:
        members.remove(chance.choice(members))
    kinds = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name twice
        return _zipped([*members], chance.choice(kinds))


def bomb(content: bytes, chance: random.Random) -> bytes:
    """Put in a member that is small in the file and large in memory."""
    members = _members(content)
    name = chance.choice(MEMBERS)
    megabytes = chance.choice([8, 15, 40, 200])
    filling = chance.choice([b"\0", b" ", b"[", b"[],", b"{},", b'"",', b"0,"])
    members[name] = filling * (megabytes * 2**20 // len(filling))
    if chance.random() < 0.5:
        members[name] = b"[" + members[name][:-1] + b"]"
    return _zipped([*members.items()], zipfile.ZIP_DEFLATED)


def named(content: bytes, chance: random.Random) -> bytes:
    """Give a member the name of another place, or make it a link."""
    members = [*_members(content).items()]
    at = chance.randrange(len(members))
    name = chance.choice(["../../evil", "/etc/evil", "a\\..\\b", "evil\0.json", "ü" * 200, ""])
    entry = zipfile.ZipInfo(chance.choice([name, members[at][0]]))
    entry.external_attr = 0o120777 << 16  # a symbolic link
    changed: list[tuple[zipfile.ZipInfo | str, bytes]] = [*members]
    changed[at] = (entry, chance.choice([b"/etc/passwd", members[at][1]]))
    return _zipped(changed, zipfile.ZIP_STORED)


DAMAGES: dict[str, Damage] = {
    each.__name__: each for each in (bits, structure, truncated, sizes, swapped, bomb, named)
}


def damaged(content: bytes, number: int) -> tuple[str, bytes]:
    """Damage an artifact.

    Parameters
    ----------
    content : bytes
        A whole artifact.
    number : int
        Which damage.

    Returns
    -------
    str
        The kind of damage.
    bytes
    """
    chance = random.Random(number)
    kind = list(DAMAGES)[number % len(DAMAGES)]
    return kind, DAMAGES[kind](content, chance)


# --- forgeries -----------------------------------------------------------------------------------

# what takes the place of a value of a kind, and is nothing that a field of the kind can hold
WRONG: dict[type, tuple[Any, ...]] = {
    bool: (None, 1, "x", [], {}),
    int: (True, "x", [], {}, float("nan"), float("inf"), [0] * 10**5),
    float: (True, "x", [], {}, float("nan"), -float("inf")),
    str: (1, True, [], {}, float("nan"), ["x"]),
    list: (True, 1, "x", {}, float("nan"), [[[]]], [{"a": 1}]),
    dict: (None, True, 1, "x", [], [{}], {"a": 1}, {}),
    type(None): (True, "x", {}, float("nan")),
}
FREE = ("info", "strategy", "description", "name", "target")  # what says something, and no more


def forged(parts: Parts, number: int) -> tuple[str, Parts]:
    """Change a value or an array such that it is none that a pipeline can have.

    Parameters
    ----------
    parts : (dict, dict)
        Plain values and arrays of a whole artifact.
    number : int
        Which forgery.

    Returns
    -------
    str
        The kind of forgery.
    (dict, dict)
    """
    chance = random.Random(number)
    manifest, arrays = copy.deepcopy(parts[0]), dict(parts[1])
    kind = list(FORGERIES)[number % len(FORGERIES)]
    FORGERIES[kind](manifest, arrays, chance)
    return kind, (manifest, arrays)


def _places(holder: Any) -> list[tuple[Any, Any]]:
    """Return (holder, key) of all plain values that are read to predict."""
    found = []
    for key, own in list(holder.items() if isinstance(holder, dict) else enumerate(holder)):
        if key in FREE:
            continue
        found.append((holder, key))
        if isinstance(own, dict | list):
            found += _places(own)
    return found


def value(manifest: dict[str, Any], _: Arrays, chance: random.Random) -> None:
    """Put a value of another kind in the place of one."""
    holder, key = chance.choice(_places(manifest))
    holder[key] = copy.deepcopy(chance.choice(WRONG[type(holder[key])]))


def key(manifest: dict[str, Any], _: Arrays, chance: random.Random) -> None:
    """Put a key in that no table has, or take one out."""
    holder, name = chance.choice([own for own in _places(manifest) if isinstance(own[0], dict)])
    if chance.random() < 0.5:
        del holder[name]
    else:
        holder["more"] = holder[name]


def numbers(_: dict[str, Any], arrays: Arrays, chance: random.Random) -> None:
    """Put a number into an array that it can't hold."""
    kinds = [name for name, own in arrays.items() if own.size and own.dtype.str in ("<f4", "<f8")]
    name = chance.choice(kinds)
    arrays[name] = arrays[name].copy()
    arrays[name].flat[chance.randrange(arrays[name].size)] = np.nan


def counts(_: dict[str, Any], arrays: Arrays, chance: random.Random) -> None:
    """Put a place or a count into an array that is far beyond all of it."""
    kinds = [name for name, own in arrays.items() if own.size and own.dtype.str in ("<i4", "<i8")]
    name = chance.choice(kinds)
    arrays[name] = arrays[name].copy()
    at = chance.randrange(arrays[name].size)
    arrays[name].flat[at] = chance.choice([-(2**31), 2**31 - 1])


def dtype(_: dict[str, Any], arrays: Arrays, chance: random.Random) -> None:
    """Give an array another kind of numbers."""
    name = chance.choice(sorted(arrays))
    kinds = [np.float16, np.float32, np.float64, np.int64, np.int32, np.uint8, np.bool_]
    with np.errstate(all="ignore"):
        arrays[name] = arrays[name].astype(
            chance.choice([each for each in kinds if each != arrays[name].dtype])
        )


def shape(_: dict[str, Any], arrays: Arrays, chance: random.Random) -> None:
    """Give an array another axis, or one more entry along the first."""
    name = chance.choice([name for name, own in arrays.items() if own.size])
    own = arrays[name]
    arrays[name] = chance.choice([own[None], np.concatenate([own, own[:1]])])


def array(_: dict[str, Any], arrays: Arrays, chance: random.Random) -> None:
    """Put an array in that no part has, or take one out."""
    name = chance.choice([own for own in sorted(arrays) if ".tables." not in own])
    if chance.random() < 0.5:
        del arrays[name]
    else:
        place = chance.choice(["more", f"{name}.more", "encoders.99.center", "oof.y", "../evil"])
        arrays[place] = arrays[name]


FORGERIES = {each.__name__: each for each in (value, key, numbers, counts, dtype, shape, array)}
