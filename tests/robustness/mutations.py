"""Damage to files, from a seed: bytes, numbers, structure of JSON, entries of archives."""

import io
import json
import re
import struct
import zipfile

NUMBERS = (-1, 0, 1, 2, 255, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 10**9)
VALUES = (
    *NUMBERS,
    *(2**64, 10**39, 10**50, -(2**31), 0.5, -1.5, 1e308, True, False, None),
    *("", "x", "x" * 1000, "\u0000", "../../etc/passwd", "1", "é", [], {}, [[]], {"": {}}),
    *([1, 2, 3], ["a"], [None], {"a": 1}, [[[[[[[[[[[[]]]]]]]]]]]]),
)
TEXTS = (b"NaN", b"Infinity", b"1e999", b"9" * 5000, b"[" * 100_000, b'{"a":' * 5000, b'"\\ud800"')
ARCHIVES = (".npz", ".keras", ".bin")


def mutate(content, name, random):
    """Returns the content of a file with random damage that suits its name and content."""
    choices = [flip, flip, flip, truncate, splice, number, repeat, blank]
    if name.endswith(".json"):
        choices += [json_value] * 12 + [json_text] * 4 + [json_key] * 3
    if name.endswith((".txt", ".yml")):
        choices += [lines] * 4
    if name.endswith(ARCHIVES) and zipfile.is_zipfile(io.BytesIO(content)):
        choices += [entry] * 14 + [swap] * 4
    return random.choice(choices)(content, random)


# === Bytes ===


def flip(content, random):
    content = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 8, 64))):
        if content:
            content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    return bytes(content)


def truncate(content, random):
    return content[: random.randrange(len(content) + 1)]


def splice(content, random):
    """Copies a part of the file to another place in it."""
    start, end, place = (random.randrange(len(content) + 1) for _ in range(3))
    part = content[min(start, end) : min(max(start, end), min(start, end) + 4096)]
    skipped = random.choice((0, len(part)))
    return content[:place] + part + content[place + skipped :]


def number(content, random):
    """Overwrites a number of 4 or 8 bytes, near the start half of the time."""
    size = random.choice((4, 8))
    if len(content) < size:
        return content
    last = len(content) - size
    place = random.randrange(min(last, 600) + 1 if random.random() < 0.5 else last + 1)
    place -= place % random.choice((1, size))
    value = random.choice(NUMBERS) & (2 ** (8 * size) - 1)
    packed = struct.pack("<Q", value)[:size]
    return content[:place] + packed + content[place + size :]


def repeat(content, random):
    return content * random.choice((2, 3))


def blank(content, random):
    return random.choice((b"", b"\0" * len(content), b"\xff" * len(content), b"\n", b"{}", b"[]"))


def lines(content, random):
    rows = content.split(b"\n")
    place = random.randrange(len(rows))
    rows[place] = random.choice((b"", b"x", b"a b", b"a b c", b"\xff", rows[0], b"x" * 10_000))
    return b"\n".join(rows)


# === JSON ===


def places(value, path=()):
    """The paths of all values inside a value, but only a few of those in long lists."""
    children = ()
    if isinstance(value, dict):
        children = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    for key, child in list(children)[:200]:
        yield (*path, key)
        yield from places(child, (*path, key))


def inner(value, path):
    for key in path[:-1]:
        value = value[key]
    return value


def parsed(content):
    try:
        return json.loads(content)
    except ValueError:
        return None


def json_value(content, random):
    """Replaces, removes or moves one value."""
    value = parsed(content)
    found = sorted(places(value), key=lambda path: (len(path), str(path)))
    if not found:
        return json.dumps(random.choice(VALUES)).encode()
    # Those at the top are the settings, of which there are few.
    path = random.choice(found[:80]) if random.random() < 0.7 else random.choice(found)
    parent = inner(value, path)
    if random.random() < 0.1 and isinstance(parent, dict):
        del parent[path[-1]]
    elif random.random() < 0.2:
        other = random.choice(found)
        parent[path[-1]] = json.loads(json.dumps(inner(value, other)[other[-1]]))
    elif random.random() < 0.2:
        changed = parent[path[-1]]
        parent[path[-1]] = [changed] * random.choice((0, 2, 1000))
    else:
        parent[path[-1]] = random.choice(VALUES)
    return json.dumps(value).encode()


def json_text(content, random):
    """Replaces a number or a text with something invalid in JSON, or much too large."""
    found = list(re.finditer(rb'-?\d+(\.\d+)?|"[^"]*"', content))
    if not found:
        return random.choice(TEXTS)
    match = random.choice(found)
    return content[: match.start()] + random.choice(TEXTS) + content[match.end() :]


def json_key(content, random):
    """Writes a key twice, or under the name of another one."""
    found = list(re.finditer(rb'"([^"]*)"\s*:', content))
    if not found:
        return content
    one, other = random.choice(found), random.choice(found)
    return content[: one.start(1)] + other[1] + content[one.end(1) :]


# === Archives ===


def entries_of(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(entries, method=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return stream.getvalue()


def entry(content, random):
    """Damages one entry, with the CRC of the damaged data."""
    entries = entries_of(content)
    name = random.choice(sorted(entries))
    entries[name] = mutate(entries[name], name, random)
    return packed(entries, random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))


def swap(content, random):
    """Swaps the data of two entries, or drops, renames or adds one."""
    entries = entries_of(content)
    one, other = random.choice(sorted(entries)), random.choice(sorted(entries))
    kind = random.randrange(4)
    if kind == 0:
        entries[one], entries[other] = entries[other], entries[one]
    elif kind == 1:
        del entries[one]
    elif kind == 2:
        entries[random.choice(("x", "../x", "/x", f"{one}.npy"))] = entries.pop(one)
    else:
        entries[random.choice(("x.npy", "assets/x", "a/" * 50 + "x"))] = bytes(99)
    return packed(entries)
